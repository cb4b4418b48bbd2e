# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10. One river, every tuner
#
# A line search looks clever and loses to a constant step. Polyak's rule looks reckless and wins. Both, and most rules
# between them, spend the training at the edge of stability, $\eta\lambda\approx2$. So what decides which rule gets
# further?
#
# This notebook begins from nothing and answers with one picture. Then it uses the answer: it measures a network **once**,
# without running any rule, and predicts every rule on it.
#
# | symbol | meaning |
# | --- | --- |
# | $\eta_t$ | the step size that the rule takes at step $t$ |
# | $\lambda$ | sharpness, the largest eigenvalue of the Hessian |
# | $\tau=\sum\eta_t$ | flow time: how much of gradient flow the steps have covered |
# | $\bar L$ | the loss at the centre of the oscillation |

# %%
import os

import eosmodel as eos
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from eosmodel.experiment import river_dataset

quick = bool(os.environ.get("EOSMODEL_QUICK"))  # the project's tests run a small version of this notebook
colors = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000"]
modes = 1 if quick else 8
steps = 40 if quick else 800

net = eos.objectives.mlp(
    eos.data.digits(50 if quick else 500), width=4 if quick else 24, depth=1 if quick else 2, init_scale=0.5, seed=3
)
rules = ["constant:0.2", "constant:0.6", "on-edge", "armijo", "sps-max", "polyak"][: 3 if quick else 6]

# %% [markdown]
# ## Six rules on one network
#
# Two constant steps; a step that is always at the edge, $2/\lambda$; a backtracking line search (Armijo); Polyak's step
# $(L-L^*)/\|g\|^2$ with a cap (SPS_max) and without.

# %%
runs = xr.concat(
    [eos.simulate(net, rule, steps, modes=modes, measure_every=0, progress=False) for rule in rules],
    xr.IndexVariable("tuner", rules),
)


def smooth(values):
    return eos.measures.moving_average(np.asarray(values, float), np.arange(len(values)))


figure, panels = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
for rule, color in zip(rules, colors, strict=False):
    run = runs.sel(tuner=rule)
    panels[0].semilogy(run.step, run.center_loss, color=color, label=rule)
    panels[1].semilogy(run.step, smooth(run.sharpness), color=color)
    panels[2].plot(run.step, smooth(run.stepsize * run.sharpness), color=color)
panels[2].axhline(2, color="black", linestyle="--", linewidth=1)
panels[2].set_ylim(0, 5)
for panel, label in zip(panels, ("loss at the centre", "sharpness λ", "ηλ, the edge at 2"), strict=True):
    panel.set(xlabel="step t", ylabel=label)
panels[0].legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# On the right all rules but the small constant step are at the edge sooner or later, or jump about it. On the left they
# end at different losses. **Being at the edge does not decide how far a rule gets.**

# %%
print(f"{'rule':14} {'median ηλ':>10} {'final λ':>8} {'Ση':>7} {'loss':>8}")
for rule in rules:
    run = runs.sel(tuner=rule)
    edge = np.median(eos.measures.edge_products(run))
    last = eos.measures.final_mean(run, "sharpness"), float(run.stepsize.sum()), eos.measures.final_mean(run, "loss")
    print(f"{rule:14} {edge:10.2f} {last[0]:8.2f} {last[1]:7.0f} {last[2]:8.4f}")

# %% [markdown]
# ## Progress is flow time
#
# Gradient flow $\dot w=-\nabla L(w)$ is descent with vanishing steps. It has no oscillation and no edge, and it reaches a
# loss $L(\tau)$ after a time $\tau$. A run whose steps sum to $\tau=\sum\eta_t$ has covered as much of it. `measure_river`
# follows that flow from the initial weights, in long exact steps, and measures along it what the curvatures answer to.
# **No rule is run for it.**

# %%
river = eos.measure_river(net, steps=steps, modes=modes, progress=False)
figure = eos.plotting.river(river_dataset(river), runs)
figure

# %% [markdown]
# The curves of the first picture have become one: gradient flow's, in thick grey; the thin lines are for later. (Polyak's without a cap is thrown off it by
# its bursts, and falls back.) What is left is only *how far* along it a rule gets within its steps. To leading order,
# **whoever collects more flow time per step gets further**. At the edge a step is about $2/\lambda$ long, so that is a
# question of the sharpness (right):
#
# - **Armijo starves.** It accepts only steps that lower the loss enough, so its oscillation stays too small to push the
#   sharpness down far. $\lambda$ rises almost as gradient flow's does, and its steps of about $2/\lambda$ become short;
#   so do those of the step that is always at the edge.
# - **Polyak wins.** Its step does not know the edge: it is long where the loss is large. The oscillation that follows
#   pushes $\lambda$ far below gradient flow's, where steps of about $2/\lambda$ are long.
# - **The edge does not decide it.** Both are at $\eta\lambda\approx2$.

# %%
free = river_dataset(river).isel(flow=-1)
tau, flow = free.tau.values, np.log(free.loss.values)
for rule in rules:
    run = runs.sel(tuner=rule)
    elapsed = np.cumsum(run.stepsize.values) - run.stepsize.values
    gap = np.abs(np.log(run.center_loss.values) - np.interp(elapsed, tau, flow))[20:]
    print(f"{rule:14} median |Δ ln L| from gradient flow at the same flow time: {np.nanmedian(gap):.3f}")

# %% [markdown]
# ## The sharpness is a spring with a memory
#
# What is missing for a theory is how far an oscillation pushes $\lambda$ down. Linearise the centre of the run about
# gradient flow: an oscillation of energy $E$ displaces it along $-\nabla\ln\lambda$, and the flow forgets the displacement,
# at the rate $\mu$ in a direction of curvature $\mu$. So with one spring $s_b$ for each curvature $\mu_b$
#
# $$s_b'=-\mu_b s_b+E,\qquad \ln\lambda=\ln\lambda_{\mathrm{river}}(\tau)-\sum_bW_b\,s_b .$$
#
# The weights $W_b$ are those of $\nabla\ln\lambda$ over the spectrum of the Hessian, and are measured along the river. The
# picture shows them: the lower a band, the longer a push at that time is remembered.

# %%
eos.plotting.river_response(river_dataset(river))

# %% [markdown]
# An expansion holds near the flow about which it is made, and long steps hold $\lambda$ far below gradient flow's. So the
# flow is measured again, with $\lambda$ held below caps from 0.8 times its first value upwards, as an oscillation would hold it
# (the thin lines above). Springs about such a flow answer to what a rule's oscillation has more or less than that, and
# every step of a prediction takes the flow to which it is nearest.
#
# With the oscillation $x'=(1-\eta\lambda)x$ and the rule itself, this is a map of a few hundred numbers. `predict` runs it:
# milliseconds for any rule, from the initial weights alone.

# %%
theory = xr.concat([eos.predict(river, rule, steps) for rule in rules], xr.IndexVariable("tuner", rules))
figure, panels = plt.subplots(2, len(rules), figsize=(1.9 * len(rules), 4), sharey="row", layout="constrained")
panels[0, 0].set_ylim(0.5 * float(runs.sharpness.min()), 1.5 * float(runs.sharpness.max()))
for column, rule in zip(panels.T, rules, strict=True):
    for name, panel in zip(("sharpness", "center_loss"), column, strict=True):
        for data, style in (
            (runs, {"color": "#b3b3b3", "linewidth": 3}),
            (theory, {"color": "#0072B2", "linewidth": 1.2}),
        ):
            panel.semilogy(data.step, smooth(data[name].sel(tuner=rule)), **style)
    said = theory.sel(tuner=rule)
    around = smooth(said.sharpness) * np.exp(np.outer([-1, 1], said.sharpness_uncertainty))
    column[0].fill_between(said.step, *around, color="#0072B2", alpha=0.15, linewidth=0)
    column[0].set_title(rule, fontsize=9)
    column[1].set_xlabel("step")
panels[0, 0].set_ylabel("λ")
panels[1, 0].set_ylabel("loss at the centre")
plt.show()


def errors(said, rule):
    """Median |Δ ln| of λ, η and the loss at the centre, and how the prediction ended."""
    run = runs.sel(tuner=rule)
    numbers = [eos.measures.log_error(run[name], said[name]) for name in ("sharpness", "stepsize", "center_loss")]
    return " ".join(f"{number:.3f}" for number in numbers), eos.Status(int(said.status)).label


for rule in rules:
    numbers, status = errors(theory.sel(tuner=rule), rule)
    print(f"{rule:14} median |Δ ln| of λ, η, loss: {numbers} over {int(theory.sel(tuner=rule).steps)} steps ({status})")

# %% [markdown]
# Grey is the network, blue the prediction, the band its uncertainty: what linear response leaves out grows with the
# displacement of $\lambda$ from the nearest flow's. Polyak's step without a cap pushes it far within a few steps, and is chaotic
# besides: this theory shows *why* it wins and does not follow how.
#
# ## How many numbers does that take?
#
# Most of a river's numbers are in one place: how the curvatures of all pairs of modes answer to an oscillation along all pairs.
# Averaged over all rotations of the modes, two numbers are left of that for each spring: how far an oscillation
# lowers all curvatures, $\alpha$, and how much further that along itself, $\gamma$.

# %%
few = river.isotropic()
for rule in rules:
    numbers, status = errors(eos.predict(few, rule, steps), rule)
    print(f"{rule:14} median |Δ ln| of λ, η, loss: {numbers} ({status})")

# %% [markdown]
# Two functions of the curvature and of the flow time tell most of how a network's sharpness answers to *any* rule.
#
# ## Choose before you train
#
# Which rule will win? Nothing below is trained. Rules are ordered by the loss at the centre of the oscillation: how far
# above it the last steps lie is a matter of the moment.

# %%
inverse = 1 / float(river.free.rate)  # 1/λ at the initial weights
candidates = [f"constant:{factor * inverse:.3g}" for factor in (0.25, 0.5, 1.0)] + ["on-edge", "armijo", "greedy"]
print(eos.rank(river, candidates[: 3 if quick else 6], steps))

# %% [markdown]
# Which constant step? A larger one gets further, until its oscillation costs more than it gains. The step of least
# predicted loss, averaged over the last quarter of the training, against real training:

# %%
tuned = eos.tune(river, "constant:0.1", steps, step=(0.1 * inverse, 3 * inverse, 5 if quick else 60))
grid = np.geomspace(0.1, 3, 3 if quick else 10) * inverse
true = [
    eos.simulate(net, f"constant:{eta}", steps, modes=1, track_every=steps, measure_every=0, progress=False)
    for eta in grid
]
figure, panel = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
panel.loglog(tuned.dataset.step, tuned.dataset.final_center_loss, color="#56B4E9", label="predicted, at the centre")
panel.loglog(tuned.dataset.step, tuned.dataset.late_loss, color="#0072B2", label="predicted, mean of the last quarter")
panel.loglog(grid, [eos.measures.final_mean(run, "loss") for run in true], "o", color="black", label="trained")
panel.axvline(tuned.value, color="#0072B2", linestyle="--", linewidth=1, label="chosen")
panel.set(xlabel="constant step η", ylabel=f"loss after {steps} steps")
panel.legend(frameon=False)
plt.show()

# %% [markdown]
# Two hyper-parameters make a phase diagram of the *network*: here the constant $c$ and the cap of SPS_max. At the circles
# the network was trained for real.

# %%
count = 3 if quick else 40
diagram = eos.phase_diagram(
    river,
    eos.tuners.Polyak(),
    {"max": (0.3 * inverse, 4 * inverse, count, "log"), "c": (0.3, 3.0, count, "log")},
    steps=64 if quick else steps,
    checks=1 if quick else 8,
    network=net,
    progress=False,
)
diagram.plot()

# %%
diagram.plot("final_loss")

# %% [markdown]
# ## What if I switch?
#
# A prediction may also go on from a step of a run, under another rule.

# %%
half = steps // 2
armijo = eos.simulate(net, "armijo", half + 1, modes=modes, measure_every=0, progress=False)
figure, panel = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
panel.semilogy(armijo.step, armijo.center_loss, color="#b3b3b3", linewidth=3, label="armijo")
for rule, color in zip(["armijo", "constant:0.6", "on-edge"], colors, strict=False):
    after = eos.predict(river, rule, half, at=(armijo, half))
    panel.semilogy(after.step, after.center_loss, color=color, label=f"then {rule}, predicted")
panel.set(xlabel="step t", ylabel="loss at the centre")
panel.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# The [page on the river](../eosmodel/docs/river.md) has the derivation, the measured errors on other networks, and what the
# theory does not predict.
