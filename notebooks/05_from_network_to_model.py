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
# # 5. From the network to the low-dimensional model
#
# Notebook 1 ended in a valley of two weights: a sharp direction $x$, and the sharpness $\lambda$ of its walls. One step of
# gradient descent there reads
#
# $$x' = (1 - \eta\lambda)\,x, \qquad \lambda' = \lambda + \eta\,\bigl(\alpha - \tfrac12\beta x^2\bigr).$$
#
# A network has thousands of weights. Does it have an $\alpha$ and a $\beta$? It does, and they can be *measured* at
# every step, without fitting anything. This notebook measures them, checks both equations, and tests how far ahead
# the small model predicts the network.
#
# | symbol | meaning | in the dataset |
# | --- | --- | --- |
# | $\lambda$, $u$ | sharpness, the largest eigenvalue of the Hessian $\nabla^2 L$; its unit eigenvector | `sharpness` |
# | $\bar w$, $\bar L$ | the middle of the oscillation, and the loss there | `center_loss` |
# | $x_i$ | displacement of the weights from $\bar w$ along the $i$-th eigenvector $u_i$; $x = x_1$ | `amplitude` |
# | $\alpha$ | how fast the sharpness rises by itself (*progressive sharpening*) | `alpha` |
# | $\beta$ | how strongly an oscillation lowers the sharpness (*self-stabilisation*) | `beta` |
# | $G$ | squared gradient at $\bar w$ off the sharp directions: the part that makes progress | `bulk_gradient_sq` |
# | $\kappa$ | curvature along that gradient, relative to $\lambda$ | `kappa` |

# %%
import os

import eosmodel as eos
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from eosmodel import curvature
from eosmodel.theory import MeasuredClosure, SlowFlow, ValleyClosure, valley_at

quick = bool(os.environ.get("EOSMODEL_QUICK"))  # the project's tests run a small version of this notebook
blue, orange, green, grey = "#0072B2", "#D55E00", "#009E73", "#b8b8b8"


def smooth(values):
    """The 25-step moving average that all of eosmodel's errors and figures use."""
    return eos.measures.moving_average(np.asarray(values), np.arange(len(values)))


# %% [markdown]
# ## One run to look at
#
# Handwritten digits, two hidden layers, a constant step size. `measure_every=1` measures the coefficients at every
# step (the default, every tenth, is enough for most purposes and cheaper).

# %%
net = eos.objectives.mlp(eos.data.digits(60 if quick else 300), width=8 if quick else 32, init_scale=0.5)
eta, steps = 0.4, 60 if quick else 1000
constant = eos.tuners.Constant(eta)
run = eos.simulate(net, constant, steps=steps, measure_every=1, progress=False)
before, after = steps // 4, 2 * steps // 5  # a moment before the edge, and one from which on the run is at it

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
left.plot(run.step, run.sharpness, color=blue)
left.axhline(2 / eta, color="black", linestyle="--", linewidth=1, label="2/η")
left.axvspan(after, steps, color="#eeeeee", zorder=0)
left.axvline(before, color=grey)
left.set(xlabel="step t", ylabel="sharpness λ")
left.legend(frameon=False, loc="lower right")
for i, style in zip((1, 2, 3), ("-", "--", ":"), strict=True):
    size = np.sqrt(smooth(run.amplitude.sel(mode=i) ** 2))
    right.semilogy(run.step, size, color=(blue, orange, green)[i - 1], linestyle=style, label=f"i = {i}")
right.set(xlabel="step t", ylabel="size of the oscillation $|x_i|$")
right.legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# **What we see.** Left: the sharpness rises to $2/\eta$ and stays near it. Below we use one moment before the
# edge (vertical line) and all steps in the grey area. Right: before the edge the oscillation is negligible; at the edge it
# is not, and not only in the leading direction. We come back to that.

# %% [markdown]
# ## What is $\alpha$?
#
# The sharpness is a function of the weights, $\lambda(w)$, so it has a gradient. With $\lambda = u^\top \nabla^2 L\,u$ it is
#
# $$\nabla\lambda = \nabla_w \bigl(u^\top \nabla^2 L(w)\, u\bigr), \qquad u \text{ held fixed},$$
#
# a third derivative of the loss, which automatic differentiation computes at the cost of a few gradients. (That $u$
# may be held fixed is a property of simple eigenvalues: turning $u$ changes $u^\top H u$ only to second order.) A step moves
# the weights by $-\eta\nabla L$, hence the sharpness by $-\eta\,\nabla L\cdot\nabla\lambda$. So
#
# $$\alpha = -\nabla L\cdot\nabla\lambda, \qquad \Delta\lambda \approx \eta\,\alpha .$$
#
# To check this by hand we need the weights. We compute them again: gradient descent in two lines.


# %%
@eqx.filter_jit
def descend(net, w):
    return jax.lax.scan(lambda w, _: (w - eta * jax.grad(net)(w), w), w, None, length=steps)[1]


path = descend(net, net.initial())  # row t holds the weights at step t
w = path[before]
_, gradient, modes = curvature.leading(net, w, 3)
slope = curvature.sharpness_gradient(net, w, modes.vectors[0])

tiny = 0.01 * slope / jnp.linalg.norm(slope)
uphill, downhill = (curvature.leading(net, w + sign * tiny, 3)[2].values[0] for sign in (1, -1))
print(f"‖∇λ‖ is {float(jnp.linalg.norm(slope)):.3f}; λ a little uphill and downhill: {(uphill - downhill) / 0.02:.3f}")

alpha = -float(gradient @ slope)
ahead = curvature.leading(net, path[before + 1], 3)[2].values[0]
print(f"by hand: α = {alpha:.5f}; in the dataset: {float(run.alpha[before]):.5f}")
print(f"one step: ηα = {eta * alpha:.5f}, and λ changed by {float(ahead - modes.values[0]):.5f}")

# %% [markdown]
# ## What is $\beta$?
#
# At a distance $x$ along $u$ the gradient of the loss is not the one at the centre. To second order it is
#
# $$\nabla L(\bar w + x u) = \nabla L(\bar w) + \lambda x\,u + \tfrac12 x^2\,\nabla\lambda + \dots$$
#
# The second term drives the oscillation: it changes its sign with $x$. The third does not. Every step therefore moves the
# centre along $-\tfrac12 x^2\nabla\lambda$, *down the gradient of the sharpness*, which lowers $\lambda$ by $\eta$ times
#
# $$\tfrac12 x^2\,\|\nabla\lambda\|^2 = \tfrac12\beta x^2, \qquad \beta = \|\nabla\lambda\|^2 .$$
#
# The only assumption is that the network can be differentiated three times.

# %% [markdown]
# ## Why the oscillating directions must be projected out
#
# At the edge the weights are never at the centre, and most of their gradient belongs to the oscillation,
# $\lambda x u$. If any of it remains in $\nabla L$, then $-\nabla L\cdot\nabla\lambda$ measures the
# oscillation and not the sharpening. So all directions that oscillate are projected out of both gradients: with the rows of
# $U$ the leading eigenvectors,
#
# $$P_\perp v = v - U^\top U v, \qquad \alpha = -(P_\perp\nabla L)\cdot(P_\perp\nabla\lambda), \quad
#   \beta = \|P_\perp\nabla\lambda\|^2, \quad G = \|P_\perp\nabla L\|^2 .$$
#
# How many are "all"? We remove none, one, two and three of them at consecutive steps at the edge.


# %%
@eqx.filter_jit
def look(net, points):
    """Gradient, leading four eigenvectors and the gradients of their eigenvalues, at each of many points."""

    def one(w):
        _, gradient, modes = curvature.leading(net, w, 4)
        slopes = [curvature.sharpness_gradient(net, w, u) for u in modes.vectors]
        return gradient, modes.vectors, jnp.stack(slopes)

    return jax.lax.map(one, points)


def without(u, v):
    return v - (u @ v) @ u


count = 10 if quick else 75
rows = np.arange(steps - count - 1, steps - 1)
seen = list(zip(*jax.device_get(look(net, path[rows])), strict=True))
removed = {k: [-without(u[:k], g) @ without(u[:k], slopes[0]) for g, u, slopes in seen] for k in range(4)}

figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
for (k, values), color, style in zip(removed.items(), (grey, orange, green, blue), ("-", ":", "--", "-"), strict=True):
    ax.plot(rows, values, color=color, linestyle=style, label=f"{k} removed")
ax.axhline(0, color="black", linewidth=0.6)
ax.set(xlabel="step t", ylabel="$-\\nabla L\\cdot\\nabla\\lambda$ at the weights")
ax.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.16))
plt.show()
for k, values in removed.items():
    print(f"{k} directions removed: mean {np.mean(values):+.4f}, from {np.min(values):+.4f} to {np.max(values):+.4f}")
print(f"the dataset: mean {float(run.alpha[rows].mean()):+.4f}")

# %% [markdown]
# **What we see.** With too few directions removed, "$\alpha$" jumps with the oscillation and even changes its sign from
# step to step. The mean of such a series is not the $\alpha$ of the centre. When all directions at the edge are
# removed, a positive number remains that does not jump.
#
# It is still evaluated at displaced weights. `eos.simulate` evaluates everything at the centre, which changes
# $\alpha$ once more (the last line), and projects out all tracked directions whose eigenvalue exceeds a tenth of
# $\lambda$. How many it tracks is its argument `modes`, 3 unless told otherwise.

# %% [markdown]
# ## The four numbers along the run

# %%
figure, axes = plt.subplots(2, 2, figsize=(10, 4.8), sharex=True, layout="constrained")
names = {"alpha": "sharpening α", "beta": "self-stabilisation β", "bulk_gradient_sq": "gradient G", "kappa": "κ"}
for ax, (name, label) in zip(axes.ravel(), names.items(), strict=True):
    ax.plot(run.step, run[name], color=blue, linewidth=0.8)
    ax.axvspan(after, steps, color="#eeeeee", zorder=0)
    ax.set(ylabel=label)
for ax in axes[1]:
    ax.set(yscale="log", xlabel="step t")
plt.show()

# %% [markdown]
# **What we see.** $\alpha$ and $\beta$ change slowly and stay of one order of magnitude. The squared gradient
# $G$, which makes progress, falls by orders of magnitude. And $\kappa$ becomes small, except for bursts at the edge: the
# gradient off the sharp directions points where the loss is flat. This makes a small model possible: a few sharp directions that
# oscillate, and a slow, flat rest.

# %% [markdown]
# ## First check: before the edge, $\Delta\lambda = \eta\alpha$
#
# We sum the two terms of the second equation and compare with the sharpness itself.

# %%
step_change = np.diff(run.sharpness)
rise = (run.stepsize * run.alpha).values[:-1]
edge = int(np.argmax(run.sharpness.values * eta > 2)) or after
for first, last in ((2, edge // 6), (edge // 6, edge // 2), (edge // 2, edge)):
    part = slice(first, last)
    print(f"steps {first:3} to {last:3}: ΣΔλ / Σηα = {step_change[part].sum() / rise[part].sum():.3f}")

kick = 0.5 * (run.stepsize * run.beta * run.amplitude.sel(mode=1) ** 2).values[:-1]
start = edge // 6
summed = run.sharpness.values[start] + np.cumsum(rise[start:])
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ax.plot(run.step, run.sharpness, color=grey, linewidth=3, label="λ of the run")
ax.plot(run.step[start + 1 :], summed, color=blue, label="Σ ηα")
ax.plot(run.step[start + 1 :], summed - np.cumsum(kick[start:]), "--", color=orange, label="Σ η(α − ½βx²)")
ax.axhline(2 / eta, color="black", linestyle="--", linewidth=1)
ax.set(xlabel="step t", ylabel="sharpness λ")
ax.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# **What we see.** Up to the edge the blue line is the sharpness: except for the first steps, in which everything changes
# at once, the ratios are close to 1. Then it departs from the run. Sharpening continues at the edge; the difference is the
# effect of self-stabilisation. The dashed line subtracts $\tfrac12\beta x^2$ of the leading direction. It bends where the
# run does, and slowly drifts off: something is missing.

# %% [markdown]
# ## Second check: at the edge, $x^2 = 2\alpha/\beta$
#
# At the edge $\lambda$ is constant on average, so the two terms must balance:
# $\langle\tfrac12\beta x^2\rangle = \langle\alpha\rangle$, or $x^2 = 2\alpha/\beta$.

# %%
balance = 2 * run.alpha / run.beta
figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
ax.semilogy(run.step, smooth(run.amplitude.sel(mode=1) ** 2), color=blue, label="x² (25-step average)")
ax.semilogy(run.step, smooth(balance), "--", color="black", label="2α/β")
ax.set(xlabel="step t", ylim=(1e-5, 1e-2), xlim=(start, steps))
ax.legend(frameon=False, loc="upper left")
plt.show()

late = run.isel(step=slice(after, None))
one_mode = 0.5 * float((late.beta * late.amplitude.sel(mode=1) ** 2).mean()) / float(late.alpha.mean())
print(f"from step {after} on: ⟨½βx²⟩ / ⟨α⟩ = {one_mode:.2f}")

# %% [markdown]
# **What we see.** The order of magnitude is right, although $x^2$ grew by ten of them. But the oscillation comes in bursts
# around the line, and on average it is too small to hold the sharpness. What else does?

# %% [markdown]
# ## Several directions contribute
#
# The first picture has the answer: a second direction oscillates as well. Its oscillation moves the centre along
# $-\tfrac12 x_2^2\nabla\lambda_2$, and if $\nabla\lambda_2$ is not perpendicular to $\nabla\lambda_1$, this changes
# $\lambda_1$ too. With all of them,
#
# $$\Delta\lambda_1 = \eta\Bigl(\alpha - \tfrac12\sum_i C_{1i}\,x_i^2\Bigr), \qquad
#   C_{1i} = P_\perp\nabla\lambda_1\cdot P_\perp\nabla\lambda_i, \quad C_{11} = \beta .$$
#
# We have the weights, so we can compute it. For the centre we take the average of three iterates,
# $\bar w = \tfrac14(w_{t-1} + 2w_t + w_{t+1})$: it cancels everything that jumps back and forth.

# %%
alphas, kicks = [], []
for rows in np.linspace(after, steps - 2, 4 * count).astype(int).reshape(4, count):
    centers = (path[rows - 1] + 2 * path[rows] + path[rows + 1]) / 4
    for g, u, slopes, displaced in zip(*jax.device_get((*look(net, centers), path[rows] - centers)), strict=True):
        flat = np.stack([without(u, slope) for slope in slopes])
        alphas.append(-g @ flat[0])
        kicks.append(0.5 * (flat @ flat[0]) * (u @ displaced) ** 2)
shares = np.mean(kicks, axis=0) / np.mean(alphas)
print("share of each direction in holding λ:", *(f"{share:.2f}" for share in shares))
print(f"the leading one alone {shares[0]:.2f}, all together {shares.sum():.2f}")

# %% [markdown]
# **What we see.** The second equation holds on average, if every direction at the edge is in it. In the normal
# form with *one* direction, this one has to balance all of the sharpening, so its oscillation is larger than the network's.
# This matters below.

# %% [markdown]
# ## The driven valley
#
# Now we turn the measurement into a model. The **driven valley** has three numbers, $x$, $\lambda$ and $\bar L$, and
# steps them with the coefficients that were measured along a run:
#
# $$x' = (1-\eta\lambda)x, \qquad \ln\lambda' = \ln\lambda + \tfrac{\eta}{\lambda}(\alpha - \tfrac12\beta x^2), \qquad
#   \bar L' = \bar L - \eta(G - \tfrac12\alpha x^2) + \tfrac12\eta^2\kappa\lambda G .$$
#
# (The logarithm is the same equation to first order, and keeps $\lambda$ positive.) The tuner does not know the run's
# step sizes. It sees the model's loss along the next step, $\bar L + \tfrac12\lambda x^2$ at its beginning, and chooses its
# own step. This is why the coefficients are read as functions of *flow time* $\tau = \sum\eta$ and not of the step number.

# %%
measured = eos.coefficients(run, at=steps // 10)
print(f"{measured.time.size} measurements over a flow time of {float(measured.time[-1]):.0f}")

# %% [markdown]
# We do this for the constant step and for Armijo's line search, which tries a step and shortens it until the loss
# falls enough. The theory `"valley"` starts at a tenth of the run. `"valley-frozen"` sees the network at that
# moment only: all coefficients are held at their values there, and the rest of the run is an extrapolation.

# %%
tuners = {"constant": constant, "armijo": eos.tuners.Armijo()}
if quick:
    del tuners["armijo"]
runs, theories = {"constant": run}, {}
for name, tuner in tuners.items():
    if name not in runs:
        runs[name] = eos.simulate(net, tuner, steps=steps, measure_every=1, progress=False)
    for theory in ("valley", "valley-frozen"):
        theories[name, theory] = eos.predict(
            net, tuner, steps=steps, theory=theory, experiment=runs[name], progress=False
        )

# %%
figure, axes = plt.subplots(len(tuners), 2, figsize=(10, 2.9 * len(tuners)), squeeze=False, layout="constrained")
for row, name in zip(axes, tuners, strict=True):
    for ax, variable, symbol in zip(row, ("sharpness", "loss"), ("sharpness λ", "loss L"), strict=True):
        ax.plot(runs[name].step, smooth(runs[name][variable]), color=grey, linewidth=3, label="run")
        for theory, color, style in (("valley", blue, "-"), ("valley-frozen", orange, "--")):
            said = theories[name, theory]
            ax.plot(said.step, smooth(said[variable]), color=color, linestyle=style, label=theory)
        ax.set(ylabel=symbol, title=name, yscale="log" if variable == "loss" else "linear")
axes[-1, 0].set_xlabel("step t")
axes[-1, 1].set_xlabel("step t")
axes[0, 1].legend(frameon=False)
plt.show()

for (name, theory), said in theories.items():
    errors = eos.compare(runs[name], said).rows()[0]["theories"][theory]
    shown = "   ".join(f"{symbol} {errors[f'{key}_error']:.3f}" for key, symbol in (("sharpness", "λ"), ("loss", "L")))
    print(f"{name:9} {theory:14} {errors['status']:13} median error of {shown}")

# %% [markdown]
# **What we see.** Under Armijo's rule the driven valley agrees with the run. The rule itself keeps the oscillation small, so
# its distribution over directions matters little: the sharpness follows $\alpha$, and the step follows the sharpness.
#
# With a constant step the driven valley follows the run to the edge and then departs from it: its single direction has to
# replace several, and its bursts are larger and rarer than the network's. The level of the sharpness is right, the motion
# around it is not.
#
# The frozen valley is right at first and then sharpens too much. Where its loss would become negative, which this loss
# cannot, it is outside its range and reports this (`out-of-range`).

# %% [markdown]
# ## How far ahead does a frozen moment predict?
#
# The frozen valley is a loss like any other, built so that at its moment it has the network's $\bar L$, $G$, $\kappa$,
# $\lambda$, $\alpha$ and $\beta$ and a few further derivatives of the slow path. We freeze the network at
# several moments before the edge, run each valley, and record when its sharpness is first 5 % off.

# %%
moments = [steps // 10] if quick else [50, 100, 150, 200, 250]
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ax.plot(run.step, run.sharpness, color=grey, linewidth=3, label="run")
for moment, color in zip(moments, plt.cm.viridis(np.linspace(0, 0.85, len(moments))), strict=True):
    frozen = valley_at(net, path[moment], curvature.leading(net, path[moment], 3)[2])
    said = eos.simulate(frozen, constant, steps=steps - moment, modes=1, measure_every=0, progress=False).sharpness
    off = np.abs(np.log(smooth(said) / smooth(run.sharpness)[moment:])) > 0.05
    horizon = int(np.argmax(off)) if off.any() else steps - moment
    ax.plot(run.step[moment:], said, color=color, linewidth=0.8)
    ax.plot(moment, run.sharpness[moment], "o", color=color, label=f"frozen at {moment}")
    print(f"frozen at {moment:3}, {edge - moment:3} steps before the edge: right for {horizon:3} steps")
ax.axhline(2 / eta, color="black", linestyle="--", linewidth=1)
ax.set(xlabel="step t", ylabel="sharpness λ", ylim=(0, 4 / eta))
figure.legend(frameon=False, ncols=3, loc="outside upper center")
plt.show()

# %% [markdown]
# **What we see.** A moment predicts some steps ahead, but not the rest of the run. (A prediction counts as right until its
# first error of 5 %, averaged over 25 steps, even if it is right again later.) There are two ways to fail:
#
# - *Frozen late*, the valley reaches the edge and oscillates in bursts that are too large, like the driven valley's. Where
#   its line ends it has diverged.
# - *Frozen early*, it passes the edge without noticing. Below the edge an oscillation decays, here until it underflows to 0,
#   and from 0 nothing grows. In a network the drift of everything else keeps a small
#   oscillation alive (the first picture, where $|x_i|$ stays above some level). The driven valley has a floor under
#   $|x|$ for that reason; the frozen one is a plain loss and has none.

# %% [markdown]
# ## The slow flow: average first, then predict
#
# The bursts of a single direction are wrong, its average is not. So we keep only the average. The **slow flow** replaces the
# oscillation by its average effect over the fast motion, for any tuner, and leaves two slow variables:
#
# $$\frac{d\lambda}{dt} = \langle\eta\rangle\,\alpha - \tfrac12\beta\,\langle\eta x^2\rangle, \qquad
#   \frac{d\bar L}{dt} = -\langle\eta\rangle\,G + \tfrac12\alpha\langle\eta x^2\rangle + \tfrac12\langle\eta^2\rangle\kappa\lambda G .$$
#
# Below the edge $x = 0$. At it, either the tuner bounds the oscillation (*clamped*), or the sharpness must, and then
# $\langle\eta x^2\rangle = 2\langle\eta\rangle\alpha/\beta$ holds $\lambda$ in place (*pinned*). The source of the coefficients
# is called a *closure*: measured along a run, or from one frozen moment.

# %%
begin = steps // 10
closures = {
    "constant, measured": (constant, MeasuredClosure(measured)),
    "constant, frozen": (
        constant,
        ValleyClosure(valley_at(net, path[begin], curvature.leading(net, path[begin], 3)[2])),
    ),
}
if quick:
    del closures["constant, frozen"]
else:
    along = eos.coefficients(runs["armijo"], at=begin)
    closures["armijo, measured"] = (tuners["armijo"], MeasuredClosure(along))
flows = {}
for name, (tuner, closure) in closures.items():
    flows[name] = SlowFlow(tuner, closure).solve(steps - begin, save_every=5)
    met = [
        f"{regime.name.lower()} from step {begin + t:.0f}"
        for t, regime in zip(flows[name].event_time, map(eos.theory.SlowRegime, flows[name].entered), strict=True)
    ]
    first = eos.theory.SlowRegime(flows[name].regime[0]).name.lower()
    print(f"{name:19} {', '.join([f'{first} at the start', *met])}; ended: {flows[name].status.label}")

# %%
slow = flows["constant, measured"]
figure, axes = plt.subplots(3, 1, figsize=(7.5, 6.4), sharex=True)
figure.subplots_adjust(hspace=0.12)
there = run.isel(step=slice(begin, None))
for ax, values in zip(axes, (there.sharpness, there.amplitude.sel(mode=1) ** 2, there.center_loss), strict=True):
    ax.plot(there.step - begin, smooth(values), color=grey, linewidth=3)
eos.plotting.slow_flow(slow, axes=axes)
plt.show()

# %% [markdown]
# **What we see.** Grey is the run (25-step averages, steps counted from where the theory starts), blue the slow flow; the
# shading shows the regime, below the edge or pinned. The flow has no bursts: it reaches the edge, stays there exactly, and
# predicts the size of the oscillation.

# %%
for name, flow in flows.items():
    tuner = name.split(",")[0]
    real = runs[tuner].isel(step=slice(begin, None))
    rows = np.minimum(flow.time, steps - begin - 1).astype(int)
    kept = np.isfinite(flow.sharpness)
    off = {  # where what the flow says is positive: a loss below 0 has no logarithm
        symbol: np.median(
            [abs(np.log(a / b)) for a, b in zip(said[kept], smooth(values)[rows][kept], strict=True) if a > 0]
        )
        for symbol, said, values in (
            ("λ", flow.sharpness, real.sharpness),
            ("η", flow.stepsize, real.stepsize),
            ("L̄", flow.center_loss, real.center_loss),
        )
    }
    print(f"{name:19} median error of", "   ".join(f"{symbol} {value:.3f}" for symbol, value in off.items()))
    print(f"{'':19} L̄ is below 0 on {np.mean(flow.center_loss[kept] <= 0):.0%} of the way")

# %% [markdown]
# **What we see.** The averaged theory with measured coefficients is close to the run under both rules, although it has
# one direction and no oscillation. It does not describe how the sharpness fluctuates around the edge, nor that several
# directions at the edge share $\alpha$ and slow the loss down. The frozen closure shows how much of the agreement comes from
# the measurement. The sharpness under a constant step does not need it: pinned, it is at $2/\eta$ for any coefficients. The
# loss does: a frozen $G$ does not fall, and where $\bar L$ reaches 0 the closure is outside its range.

# %% [markdown]
# ## Where to go from here
#
# - The theory `"oscillation"` (notebook 1) has what this one lacks: several directions at once, on the whole network,
#   with nothing measured. It also costs far more.
# - Notebook 6: all of this with your own network, tuner and data.
# - Notebook 4: the fast motion when it does not settle.
# - `help(eos.theory.DrivenValley)`, `help(eos.theory.SlowFlow)`, `help(eos.curvature.slow_coefficients)` for the
#   formulas and their sources.
