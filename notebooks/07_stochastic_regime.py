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
# # 7. The stochastic regime: what a mini-batch changes
#
# So far every step saw all of the data. In practice it sees a batch of $B$ samples, drawn anew for every step. This
# notebook studies the effect on the step size $\eta$ and the sharpness $\lambda$:
#
# 1. Noise drives the oscillation, which therefore never decays.
# 2. A noisy oscillation holds the sharpness *below* the edge $2/\eta$, by an amount that can be computed.
# 3. On a network, small batches therefore weaken progressive sharpening.
# 4. A rule that chooses $\eta$ sees only its batch, so it goes to the edge of its batch.
# 5. The outcome can be predicted as a band.

# %%
import os

import eosmodel as eos
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from eosmodel.analysis.symbolic import compile, noise_gap

quick = bool(os.environ.get("EOSMODEL_QUICK"))  # the project's tests run a small version of this notebook
colors = ("#000000", "#0072B2", "#D55E00", "#009E73")
styles = ("-", "--", "-.", ":")

# %% [markdown]
# ## What does a batch do to the oscillation?
#
# Let $x$ be the displacement along the sharpest direction $u$, as in notebook 1. A batch has a gradient that is off by
# $\xi_u/\sqrt B$ along $u$, and a curvature $\lambda_B$ that is not quite $\lambda$:
#
# $$x' = (1 - \eta\lambda_B)\,x - \eta\,\frac{\xi_u}{\sqrt B}.$$
#
# $\xi_u$ is a random number of variance $\sigma_u^2$, what one *sample* is off by; the mean of $B$ samples is off by
# $\sqrt B$ times less. `NoisyFastMap` iterates this equation with all slow variables held fixed. Below, a constant
# step has $s = \eta\lambda = 1.9$, below the edge: without noise $x$ would go to zero.

# %%
s, variance = 1.9, 1.0
sizes = (4, 16, 64)
fast = eos.theory.FastMap(eos.tuners.Constant(s))  # λ = 1 and G = 1, so that x² = r
figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), sharey=True, layout="constrained")
for ax, size, color in zip(axes, sizes, colors[1:], strict=True):
    noisy = eos.theory.NoisyFastMap(fast, size, noise_along=variance)
    keys = jax.random.split(jax.random.key(0), 120)
    _, x = jax.lax.scan(lambda state, key, noisy=noisy: (noisy(state, key), state.y), noisy.init(), keys)
    ax.plot(x, color=color, linewidth=0.8)
    ax.set(title=f"B = {size}", xlabel="step t")
axes[0].set_ylabel("displacement x")
plt.show()

# %% [markdown]
# **What we see.** The oscillation never decays: noise drives it, the contraction $|1-\eta\lambda| < 1$ damps it. The balance
# gives its mean square. Square the equation, average, and solve:
#
# $$\langle x^2\rangle = \frac{\eta\,\sigma_u^2}{B\,\lambda\,\bigl(2 - (1 + m)\,\eta\lambda\bigr)},
# \qquad m = \frac{\operatorname{Var}\lambda_B}{\lambda^2}.$$
#
# It grows as $1/B$, and without bound as $\eta\lambda$ comes near the edge. Noise in the curvature ($m > 0$) lowers the
# edge to $\eta\lambda = 2/(1+m)$. `stationary` averages over a long orbit and estimates its error.

# %%
steps = 3200 if quick else 64_000
for size in sizes:
    for bend in (0.0, 0.1):  # variance over samples of the curvature, in units of λ²
        m = bend / size
        noisy = eos.theory.NoisyFastMap(fast, size, noise_along=variance, noise_curvature=bend)
        found = eos.theory.stationary(noisy, steps=steps)
        formula = s * variance / size / (2 - (1 + m) * s)
        print(f"B = {size:2}, m = {m:.4f}: ⟨x²⟩ = {found.mean.r:.3f} ± {found.error.r:.3f}, formula {formula:.3f}")

# %% [markdown]
# ## Where does the sharpness settle?
#
# Now let $\lambda$ change. In the valley of notebook 1, $\lambda$ is in equilibrium when sharpening and self-stabilisation
# balance, $\langle x^2\rangle = 2\alpha/\beta$. Without noise the oscillation reaches this size only *at* the edge. With
# noise it reaches it below the edge, by the formula above. Combining the two, the sharpness settles below the edge by the
# **equilibrium gap**
#
# $$\frac2\eta - \lambda \;\approx\; \frac{\eta\,\beta\,\sigma_u^2}{4\,\alpha\,B}$$
#
# (arXiv 2604.21016). `NoisyValley` is the valley seen through batches of $B$ samples with noise of a given strength.

# %%
eta, beta, mu, size = 0.1, 4.0, 0.02, 16.0


def at_rest(a, q, mu):
    """A noisy valley that starts at rest, with a = η²α and q = η²βσ_u²/(2αB) at the edge."""
    alpha = a / eta**2
    sigma_u = np.sqrt(2 * alpha * q * size / beta) / eta
    resting = (1 + np.sqrt(1 - q)) / eta  # λ, from the two conditions above
    start = jnp.array([np.sqrt(2 * alpha / beta), -alpha / mu / np.sqrt(beta)])
    floor = eos.objectives.Valley(resting + alpha / mu, beta, [1.0], [mu], start)
    return eos.objectives.NoisyValley(floor, size, sigma_u=sigma_u)


def run(noisy):
    count, steps = (2, 200) if quick else (24, 3000)
    options = {"modes": 1, "track_every": 10, "record_every": 10, "measure_every": 0, "progress": False}
    found = eos.simulate(noisy, eos.tuners.Constant(eta), steps, seeds=list(range(count)), **options)
    return found.sharpness.isel(step=slice(found.sizes["step"] // 3, None))


resting = run(at_rest(1e-4, 0.1, 0.002))
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.plot(resting.step, resting[0], color="#b8b8b8", linewidth=0.8, label="one run")
ax.plot(resting.step, resting.mean("seed"), color=colors[1], label="mean of all runs")
ax.axhline(2 / eta, color="black", linestyle="--", linewidth=1, label="2/η")
ax.axhline(2 / eta - 0.1 / (2 * eta), color=colors[2], linestyle="-.", linewidth=1.2, label="2/η − formula")
ax.set(xlabel="step t", ylabel="sharpness λ")
ax.legend(frameon=False, ncols=2)
plt.show()

# %% [markdown]
# **What we see.** A single run fluctuates; on average it stays below the dashed edge, where the formula predicts.
#
# ## Where does the formula fail?
#
# It is a **double limit**. Two dimensionless numbers decide whether it holds:
#
# $$q = \frac{\eta^2\beta\sigma_u^2}{2\alpha B}\quad\text{(how strong the noise is)},\qquad
# a = \eta^2\alpha\quad\text{(how fast the sharpness moves)}.$$
#
# In these units the formula reads gap $= q/(2\eta)$, and it needs $a \ll q \ll 1$.
#
# - *$q$ not small*: solving the balance exactly, not to first order, gives the gap $(1-\sqrt{1-q})/\eta$, which is wider.
#   Above $q = 1$ it has no solution: there is no equilibrium.
# - *$q$ not large compared with $a$*: now $\lambda$ changes as fast as $x$, and averaging over one before the other is wrong.
#   In this valley $\alpha = \mu(\lambda_\infty - \lambda)$ falls where $\lambda$ rises, which damps the motion, and
#   without noise the gap is zero.
#
# We measure the gap, in units of the formula, over $q$ for a slow and a fast sharpness.

# %%
strengths = np.array([0.1] if quick else [0.003, 0.01, 0.03, 0.1, 0.3, 0.9])
known = noise_gap()
adiabatic = compile(known.adiabatic, known.symbols)
measured = {}
for a in (1e-3,) if quick else (5e-5, 1e-3):
    for q in strengths:
        noisy = at_rest(a, q, mu)
        sharpness = run(noisy)
        alpha = mu * (noisy.objective.sharpness_limit - sharpness).mean("step")  # of the run, since λ decides it
        formula = eta * beta * float(noisy.sigma_u) ** 2 / (4 * alpha * size)
        ratio = ((2 / eta - sharpness).mean("step") / formula).values
        measured[a, q] = ratio.mean(), ratio.std(ddof=1) / np.sqrt(ratio.size)
        print(f"a = {a:.0e}, q = {q:5}: gap over formula {measured[a, q][0]:6.2f} ± {measured[a, q][1]:.2f}")

# %%
fine = np.geomspace(0.003, 0.99, 100)
# σ_u² over B that makes each q, for any α: the ratio depends on q alone.
curve = [float(adiabatic(eta, 1.0, beta, q * 2 / (eta**2 * beta))) / (q / (2 * eta)) for q in fine]
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.axhline(1, color="black", linestyle="--", linewidth=1, label="the formula")
ax.plot(fine, curve, color="#3a3a3a", linewidth=1, label="$q$ not small: $[1-\\sqrt{1-q}]/(q/2)$")
for a, color, marker in zip(sorted({a for a, _ in measured}), colors[1:], "os", strict=False):
    here = [measured[a, q] for q in strengths]
    mean, error = np.transpose(here)
    ax.errorbar(strengths, mean, 2 * error, color=color, marker=marker, linestyle="none", capsize=3, label=f"a = {a:g}")
ax.set(xscale="log", xlabel="strength of the noise q", ylabel="gap / formula")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# **What we see.** (Bars are two standard errors.) Where $a \ll q \ll 1$ the points should lie at 1, to the right they
# should follow the solid curve, and where $q$ is not large compared with $a$ they leave 1. The leftmost points of the slow
# valley leave it too: the noise is so weak there, and $\lambda$ so slow, that these runs may be too short to reach the
# equilibrium. Before using the formula, compute $q$ and $a$.

# %% [markdown]
# ## How noisy is a network?
#
# `MiniBatches` draws batches of a network's data. A run then records, besides the full loss and the full sharpness at
# every `track_every`-th step, how much samples differ: in the gradient along $u$ ($\sigma_u^2$), in the curvature
# along $u$ ($\sigma_\lambda^2$) and in the rest of the gradient ($\operatorname{tr}\Sigma_b$). Divided by $B$ and
# made dimensionless they are the noise that the batch adds to the oscillation.

# %%
options = {"width": 4, "depth": 1} if quick else {"width": 16, "depth": 2}
net = eos.objectives.mlp(eos.data.digits(64 if quick else 512), init_scale=0.5, **options)
samples = net.x.shape[0]
batches = eos.objectives.MiniBatches(net, 16 if quick else 64)
armijo = eos.tuners.Armijo()
length = 33 if quick else 330
options = {"seeds": [0], "modes": 2, "track_every": 11, "progress": False}
example = eos.simulate(batches, armijo, length, measure_every=11 if quick else 55, **options)
rows = example.isel(seed=0)
rows = rows.where(rows.noise_bulk.notnull(), drop=True)
print(f"{net.initial().size} weights, {samples} samples, B = {batches.size}")
for t in rows.step[1 :: max(1, rows.sizes["step"] // 4)].values:
    at = rows.sel(step=t)
    m = float(at.noise_curvature / at.sharpness**2) / batches.size
    noises = (at.noise_along.sel(mode=1), at.noise_bulk)
    a, n = (float(noise / at.bulk_gradient_sq) / batches.size for noise in noises)
    print(f"step {t:3.0f}: m = {m:.4f}, noise over gradient: along u {a:5.2f}, in the bulk {n:5.2f}")

# %% [markdown]
# **What we see.** $m$ is the relative variance of a batch's $\lambda$. The last two numbers compare the *variance* of the
# gradient noise with the squared length of the gradient that makes progress. As the loss falls the gradient becomes small
# and its noise matters more: a run that starts almost like full batch ends dominated by noise.

# %% [markdown]
# ## Does sharpening get weaker at small batches?
#
# Noise enlarges the oscillation, and a large oscillation lowers $\lambda$: so it should. We train from the same weights
# with several batch sizes and three rules: a constant step, Armijo's line search, and CDAT, whose step is
#
# $$\eta = \sigma\,\frac{\|g\|^2}{|g\cdot Hg|},$$
#
# with $g$ and $H$ the batch's gradient and Hessian: $\sigma$ times the step to the bottom of the parabola along $g$.
# $\sigma = 2$ is its edge of stability. Each is run with several seeds of the weights and of the batches.

# %%
batch_sizes = (16,) if quick else (samples, 64, 8)
sigmas = np.array([1.0, 1.25, 1.5, 1.75, 1.9, 2.0])
rules = {"Armijo": armijo}
if not quick:
    rules = (
        {"constant 0.6": eos.tuners.Constant(0.6)}
        | rules
        | {f"CDAT {sigma:g}": eos.tuners.CDAT(sigma) for sigma in sigmas}
    )
seeds, steps = ([0], length) if quick else ([0, 1, 2], 605)
runs = {("Armijo", batches.size): example} if quick else {}
options = {"seeds": seeds, "modes": 2, "track_every": 11, "measure_every": 0, "progress": False}
for rule, tuner in rules.items():
    for size in batch_sizes:
        if (rule, size) not in runs:
            # A batch of all samples is the full batch.
            each = eos.objectives.MiniBatches(net, size)
            runs[rule, size] = eos.simulate(each, tuner, steps, **options)


def last(found, name):
    """Mean over the tracked rows of the last tenth of the run, one number a seed."""
    return found[name][:, ::11][:, -(steps // 110 + 1) :].mean("step").values


# %%
shown = [rule for rule in ("constant 0.6", "Armijo", "CDAT 2") if rule in rules]
figure, axes = plt.subplots(1, len(shown), figsize=(3.6 * len(shown), 3.2), sharey=True, squeeze=False)
figure.set_layout_engine("constrained")
for ax, rule in zip(axes[0], shown, strict=True):
    for size, color, style in zip(batch_sizes, colors, styles, strict=False):
        tracked = runs[rule, size].sharpness[:, ::11]
        label = "full batch" if size == samples else f"B = {size}"
        ax.plot(tracked.step, tracked.median("seed"), color=color, linestyle=style, label=label)
    ax.set(title=rule, xlabel="step t")
axes[0, 0].set_ylabel("sharpness λ of the full loss")
axes[0, 0].legend(frameon=False)
plt.show()

# %%
for rule in shown:
    full = last(runs[rule, batch_sizes[0]], "sharpness")
    for size in batch_sizes[1:]:
        ratios = last(runs[rule, size], "sharpness") / full
        print(f"{rule:12} B = {size:3}: final λ over that of the full batch, by seed: {np.round(ratios, 2)}")

# %% [markdown]
# **What we see.** (Lines are medians over seeds.) With a constant step, and most of all under Armijo's rule, the smaller
# the batch, the less the full loss sharpens. CDAT at $\sigma = 2$ hardly sharpens at any batch size: its large oscillation
# already keeps $\lambda$ low.

# %% [markdown]
# ## What does a line search on a batch control?
#
# Armijo's rule ensures that the loss *of the batch* falls. The full loss may rise meanwhile, and the relevant edge is that of
# the batch. Its measure is the curvature of the batch along the batch's own gradient,
# $g\cdot H_B\,g/\|g\|^2$, also called **batch sharpness**: the rule takes a step while $\eta$ times that is about 2.

# %%
for size in batch_sizes:
    found = runs["Armijo", size]
    late = found.isel(step=slice(steps // 22 * 11, None, 11))
    products = [float((late.stepsize * late[name]).median()) for name in ("sharpness", "batch_sharpness")]
    losses = found.loss[:, ::11].values
    rising = np.mean(np.diff(losses, axis=1) > 0)
    print(
        f"B = {size:3}: median η {float(late.stepsize.median()):.2f}, η × λ of the full loss {products[0]:4.2f}, "
        f"η × batch sharpness {products[1]:4.2f}, full loss higher 11 steps later: {rising:4.0%} of the time"
    )

# %%
reference = next(iter(rules))
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for size, color, style in zip(batch_sizes, colors, styles, strict=False):
    label = "full batch" if size == samples else f"B = {size}"
    found = runs["Armijo", size]
    left.semilogy(found.step[::11], found.loss[:, ::11].median("seed"), color=color, linestyle=style, label=label)
    compared = found.loss[:, ::11] / runs[reference, size].loss[:, ::11]
    right.semilogy(found.step[::11], compared.median("seed"), color=color, linestyle=style)
left.set(xlabel="step t", ylabel="full loss L", title="Armijo")
left.legend(frameon=False)
right.axhline(1, color="black", linewidth=0.6)
right.set(xlabel="step t", ylabel="ratio of losses", title=f"Armijo over {reference}, same batches")
plt.show()

# %% [markdown]
# **What we see.** In the full batch the two products are nearly the same number. In a small batch they differ: the line
# search holds $\eta$ times the batch sharpness, and the full loss does not enter. On the right, below 1 Armijo's rule is
# ahead of the constant step on the same batches. Noise keeps $\lambda$ low and allows longer steps; but a step that is good
# for a few samples only is bad for the others. Which effect is larger depends on $B$.

# %% [markdown]
# ## Does the best $\sigma$ of CDAT fall with the batch size?
#
# CDAT's step is set by one number, $\sigma$. In full batch $\sigma$ near 2 is recommended. With noise in the gradient of a
# batch, such long steps should be too long.

# %%
if not quick:
    figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for size, color, style in zip(batch_sizes, colors, styles, strict=False):
        losses = np.array([np.median(last(runs[f"CDAT {sigma:g}", size], "loss")) for sigma in sigmas])
        label = "full batch" if size == samples else f"B = {size}"
        ax.semilogy(sigmas, losses, color=color, linestyle=style, marker="o", markersize=4, label=label)
        by_seed = np.array([last(runs[f"CDAT {sigma:g}", size], "loss") for sigma in sigmas])
        best = sigmas[np.argmin(by_seed, axis=0)]
        print(f"B = {size:3}: σ of lowest median loss {sigmas[losses.argmin()]:g}; by seed {best}")
    ax.set(xlabel="σ", ylabel="full loss at the end")
    ax.legend(frameon=False, ncols=2)
    plt.show()

# %% [markdown]
# **What we see.** The printed lines say where each curve is lowest. Read them with care: three seeds are few, the curves
# are flat between 1 and 1.9, the runs are short, and for so small a network the best $\sigma$ in full batch need not be near 2.

# %% [markdown]
# ## Can it be predicted?
#
# Not the path of a noisy run, but a band around it. For a stochastic objective `eos.predict` knows the mean and the covariance
# over samples, but not the batches of the run. With `members` it draws its own noise that many times. The question is then
# whether the run lies inside the central 90 % of them.

# %%
options = {"seeds": 0, "modes": 2, "members": 2 if quick else 19, "record_every": 11, "progress": False}
theory = eos.predict(batches, armijo, length, **options)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
eos.plotting.ensemble(example.isel(seed=0, step=slice(None, None, 11)), theory, axes=axes)
plt.show()

# %% [markdown]
# **What we see.** The titles say what share of the run lies inside the band. Nothing was fitted: the theory starts from
# the same weights and gets the covariance of the samples from the network itself. A theory that does not know the
# batches can at best have the run inside the band nine times out of ten; fewer means that its error exceeds the noise.
#
# ## The same from the command line
#
# ```sh
# eosmodel sweep --workers 2     # rules × batch sizes × seeds, with verdicts and intervals: runs/sweep/sweep.html
# eosmodel train --batch-size 64 --track-every 11 --tuners armijo cdat:sigma={1,1.5,2} --out runs/stochastic
# ```
#
# The first takes minutes and judges the statements of this notebook with five seeds and intervals. Notebook 8 has its
# verdicts together with the other claims of the paper.
