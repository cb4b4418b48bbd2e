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
# # 1. Start here: the edge of stability in ten minutes
#
# You have trained a network with JAX and wonder what the step size really does. Here is the short answer, with a
# picture for each statement:
#
# 1. Gradient descent with step size $\eta$ is stable only along directions whose curvature is below $2/\eta$.
# 2. Training makes the largest curvature of a network grow until it reaches that bound.
# 3. It then stays there, and a model with two variables explains why.
# 4. If a rule chooses $\eta$ during training, the bound moves, and the outcome changes.
#
# Derivatives and a little linear algebra are all you need. If you would rather begin with a network, data and a rule of
# your own, go to notebook 6, `06_bring_your_own`, and come back.

# %%
import os

import eosmodel as eos
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

quick = bool(os.environ.get("EOSMODEL_QUICK"))  # the project's tests run a small version of this notebook

# %% [markdown]
# ## How large may a step be?
#
# Gradient descent changes the weights $w$ of a loss $L$ step by step,
#
# $$w_{t+1} = w_t - \eta\,\nabla L(w_t),$$
#
# with the *step size* $\eta > 0$ (also called learning rate). Take the simplest loss there is, a parabola
# $L(w) = \tfrac12 \lambda w^2$. Its curvature is $\lambda$ everywhere. Let us try four step sizes.

# %%
curvature = 4.0
gradient = jax.grad(lambda w: 0.5 * curvature * w**2)

figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for product in (0.5, 1.5, 1.95, 2.05):
    w, path = 1.0, []
    for _ in range(40):
        path.append(w)
        w = w - product / curvature * gradient(w)
    ax.plot(path, marker=".", label=f"ηλ = {product}")
ax.set(xlabel="step t", ylabel="weight $w_t$", ylim=(-5, 5))
figure.legend(frameon=False, ncols=4, loc="outside upper center")
plt.show()

# %% [markdown]
# **What we see.** A step multiplies the weight by $1 - \eta\lambda$. So everything depends on one number,
# $s = \eta\lambda$:
#
# - $s < 1$: the weight slides to the minimum,
# - $1 < s < 2$: it jumps from side to side, closer each time,
# - $s > 2$: each jump is larger than the one before.
#
# The border, $s = 2$ or $\lambda = 2/\eta$, is the **edge of stability**.

# %% [markdown]
# ## What is the curvature of a network?
#
# A network has thousands of weights, hence a curvature in every direction: the eigenvalues of the Hessian
# $\nabla^2 L$, the matrix of second derivatives. The largest of them is the **sharpness**, again called $\lambda$; its
# eigenvector $u$ is the direction that becomes unstable first.
#
# Our network is small: images of handwritten digits, two hidden layers, a squared loss. `eos.simulate` trains it with
# all images in every step and finds $\lambda$ at each of them.

# %%
net = eos.objectives.mlp(eos.data.digits(60 if quick else 300), width=8 if quick else 32, init_scale=0.5)
print(f"{net.initial().size} weights, {net.x.shape[0]} images, loss at the start {float(net(net.initial())):.3f}")

# %% [markdown]
# ## Does the sharpness stay below $2/\eta$?
#
# If it did not, training should diverge. We train three times from the same weights. A step size given as an array makes
# one run for each entry.

# %%
sizes, steps = [0.4, 0.6, 0.9], 60 if quick else 1000
runs = eos.simulate(net, eos.tuners.Constant(jnp.array(sizes)), steps=steps, measure_every=0, progress=False)
list(runs.data_vars)

# %% [markdown]
# The result is a labelled dataset (xarray): each variable over `tuner_step`, the step size of the run, and `step`, with a
# symbol and a meaning attached.

# %%
for name in ("loss", "stepsize", "sharpness"):
    meaning = runs[name].long_name.partition(";")[0]
    print(f"{name:10} {runs[name].symbol}: {meaning}")

# %%
colors = ("#0072B2", "#D55E00", "#009E73")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for run, size, color in zip(runs.sharpness, sizes, colors, strict=True):
    left.plot(runs.step, run, color=color, label=f"η = {size}")
    left.axhline(2 / size, color=color, linestyle="--", linewidth=1)
for run, color in zip(runs.loss, colors, strict=True):
    right.semilogy(runs.step, run, color=color)
left.set(xlabel="step t", ylabel="sharpness λ", title="dashed: 2/η")
figure.legend(frameon=False, ncols=3, loc="outside upper center")
right.set(xlabel="step t", ylabel="loss L", title="the loss, nevertheless")
plt.show()

# %%
for size, run in zip(sizes, runs.sharpness, strict=True):
    print(f"η = {size}: λ went from {float(run[0]):.2f} to {float(run[-25:].mean()):.2f}, and 2/η is {2 / size:.2f}")

# %% [markdown]
# **What we see.** The sharpness first rises. This is *progressive sharpening*: as the network fits the data, the loss
# becomes more curved. It rises until it is near the dashed line $2/\eta$ of its own step size, and no further,
# while the loss keeps falling, though not at every step. Choosing $\eta$ means choosing the sharpness.
#
# (Near, not at: the oscillation of a real network is not small, and a larger step sits a little above its line.)

# %% [markdown]
# ## What happens at the edge?
#
# Beyond the edge the weights jump back and forth along $u$. Let $x$ be the displacement along $u$ from the middle of that
# motion; the dataset has it as `amplitude`. Here are the sharpness and $x$ of the smallest step size, around the time at
# which the sharpness reaches its line.

# %%
one = runs.isel(tuner_step=0)
window = slice(0, 30) if quick else slice(320, 480)
figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 4.4), sharex=True, layout="constrained")
top.plot(one.step, one.sharpness, color=colors[0])
top.axhline(2 / sizes[0], color="black", linestyle="--", linewidth=1, label="2/η")
bottom.plot(one.step, one.amplitude.sel(mode=1), color="#3a3a3a", linewidth=0.7)
near = one.sharpness[window]
margin = 0.3 * float(near.max() - near.min())
top.set(ylabel="sharpness λ", xlim=(window.start, window.stop), ylim=(near.min() - margin, near.max() + margin))
top.legend(frameon=False, loc="upper right")
bottom.set(xlabel="step t", ylabel="displacement x")
plt.show()

# %% [markdown]
# **What we see.** The displacement changes sign at every step. Where $\lambda$ is above the line it grows; where it is
# below, it shrinks. And a large displacement brings $\lambda$ down. The oscillation is the feedback that keeps the sharpness
# where it is: *self-stabilisation*. Counted over the steps of the picture:

# %%
x, above = one.amplitude.sel(mode=1).values[window], (one.sharpness.values[window] > 2 / sizes[0])[:-1]
changes, grows = x[1:] * x[:-1] < 0, np.abs(x[1:]) > np.abs(x[:-1])
for where, rows in (("above", above), ("below", ~above)):
    print(f"{rows.sum()} steps {where} the line: x changes sign at {changes[rows].sum()}, grows at {grows[rows].sum()}")

# %% [markdown]
# (With the larger step sizes $\lambda$ stays above its line and several directions oscillate at once, so that no single
# one shows this. Notebook 5 is about that.)

# %% [markdown]
# ## Two numbers are enough
#
# The smallest loss that does all of this has one sharp direction $x$ and one other weight $z$:
#
# $$f(x, z) = \tfrac12\,\underbrace{(\lambda_\infty + \sqrt b\,z)}_{\lambda}\,x^2 + \tfrac12\,\mu z^2 .$$
#
# It is a **valley**: its floor is $x = 0$, its walls have the sharpness $\lambda = \lambda_\infty + \sqrt b\,z$, and
# along the floor $z$ slides to its minimum $z = 0$ with the small curvature $\mu$. We start at negative $z$, so $\lambda$
# will rise towards $\lambda_\infty$; $b$ says how much $\lambda$ feels $z$. One step of gradient descent on $f$ reads
#
# $$x' = (1 - \eta\lambda)\,x, \qquad \lambda' = \lambda + \eta\,\bigl(\alpha - \tfrac12\beta x^2\bigr),$$
#
# with $\alpha = -\sqrt b\,\mu z$, the rate of progressive sharpening, and $\beta = b$, the strength of self-stabilisation.
# The first equation is the parabola from above; the second says that sharpening raises $\lambda$ and the oscillation
# lowers it.

# %%
valley = eos.objectives.valley()
eta = 0.1
run = eos.simulate(valley, eos.tuners.Constant(eta), steps=400, modes=1, progress=False)
print(
    f"λ starts at {float(run.sharpness[0]):.1f} and would rise to {float(valley.sharpness_limit):.0f}; 2/η = {2 / eta:.0f}"
)

# %%
x, sharpness = run.amplitude.sel(mode=1), run.sharpness
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
left.plot(run.step, sharpness, color="#0072B2", label="λ")
left.axhline(2 / eta, color="black", linestyle="--", linewidth=1, label="2/η")
left.plot(run.step, 10 + x, color="#3a3a3a", linewidth=0.7, label="x (shifted to 10)")
left.set(xlabel="step t", ylim=(7, 22))
figure.legend(frameon=False, ncols=3, loc="outside upper center")
right.plot(sharpness, np.abs(x), marker=".", markersize=3, linewidth=0.7, color="#0072B2")
right.axvline(2 / eta, color="black", linestyle="--", linewidth=1)
right.set(xlabel="sharpness λ", ylabel="size of the oscillation |x|")
plt.show()

# %% [markdown]
# **What we see.** On the left, the behaviour of the network in its simplest form: $\lambda$ rises, crosses the dashed line, the
# oscillation starts to grow, pushes $\lambda$ back below the line, decays, and so on. On the right, the same motion in the plane
# of $\lambda$ and $|x|$: a spiral into a point. There $\lambda$ no longer moves, so $\alpha = \tfrac12\beta x^2$, and the
# oscillation neither grows nor shrinks, so $\eta\lambda = 2$. The two conditions give
#
# $$\lambda = 2/\eta, \qquad x^2 = 2\alpha/\beta .$$

# %%
alpha, beta = (float(run[name].dropna("step")[-1]) for name in ("alpha", "beta"))
print(f"at the end: ηλ = {eta * float(sharpness[-1]):.3f}, x² = {float(x[-1]) ** 2:.4f}, 2α/β = {2 * alpha / beta:.4f}")

# %% [markdown]
# ## What if a rule chooses the step size?
#
# In practice $\eta$ is often not fixed. A **tuner** is a rule that chooses it at every step. Two classics, with $g$ the
# gradient:
#
# - *Armijo's line search* tries a step and shortens it until the loss falls by at least a small share of what the slope
#   promises: $L(w - \eta g) \le L(w) - c\,\eta\,\|g\|^2$.
# - *Polyak's step* is the one that would reach the lowest possible loss, 0 here, if the loss were linear:
#   $\eta = L(w)/\|g\|^2$.
#
# Both respond to the curvature. How does the curvature respond to them?

# %%
tuners = {"armijo": eos.tuners.Armijo(), "polyak": eos.tuners.Polyak()}
if quick:
    del tuners["polyak"]
each = {"constant": runs.isel(tuner_step=1)}  # η = 0.6 from above
for name, tuner in tuners.items():
    each[name] = eos.simulate(net, tuner, steps=steps, measure_every=0, progress=False)
tuned = xr.concat(list(each.values()), xr.Variable("tuner", list(each)))
eos.plotting.summary(tuned)

# %%
for name, run in each.items():
    first, last = (float(run.sharpness[rows].mean()) for rows in (slice(0, steps // 4), slice(-steps // 4, None)))
    early, late = (float(run.stepsize[rows].median()) for rows in (slice(0, steps // 4), slice(-steps // 4, None)))
    print(f"{name:8} first and last quarter: λ {first:5.2f} → {last:5.2f}   median η {early:.3f} → {late:.3f}")

# %% [markdown]
# **What we see.** (Lines are averages over 25 steps.) The product $\eta\lambda$ of all three comes near 2, yet they are not
# the same. With a constant step the sharpness stops rising. Under Armijo's rule the step shrinks instead: when $\lambda$
# rises, the rule shortens $\eta$ at once, the oscillation that would have lowered $\lambda$ stays small, and the sharpness
# keeps rising. A cautious rule thus leads to ever shorter steps. Polyak's rule does the opposite: some of its steps are
# far beyond the edge, and the large oscillation keeps the sharpness low.
#
# So "the edge of stability" alone does not determine what happens. The step size and the sharpness evolve together.

# %% [markdown]
# ## Can it be predicted?
#
# `eos.predict` runs a theory whose variables are the middle of the oscillation and the size of the oscillation along the
# leading eigenvectors. It starts from the same weights and never sees the run: nothing is fitted.

# %%
theory = eos.predict(net, tuners["armijo"], steps=steps, progress=False)
comparison = eos.compare(tuned.sel(tuner="armijo"), theory)
errors = comparison.rows()[0]["theories"]["oscillation"]
print({name: round(errors[name], 4) for name in ("sharpness_error", "stepsize_error", "loss_error")})

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
for ax, name in zip(axes, ("sharpness", "stepsize", "loss"), strict=True):
    ax.semilogy(tuned.step, tuned[name].sel(tuner="armijo"), color="#b8b8b8", linewidth=1.5, label="run")
    ax.semilogy(theory.step, theory[name], color="#0072B2", linewidth=0.8, label="theory")
    ax.set(xlabel="step t", ylabel=f"{name} {theory[name].symbol}")
axes[0].legend(frameon=False)
plt.show()

# %% [markdown]
# **What we see.** The printed errors are medians over the run of $|\ln(\text{run}/\text{theory})|$ after averaging over
# 25 steps: 0.01 means one per cent.
#
# ## Where to go from here
#
# - Notebook 6, if you have a network, data or a rule of your own: they take a line each.
# - Notebook 2: why Armijo and a constant step differ. A tuner is a response to the oscillation, one curve that can be
#   drawn, and the curve says which *class* the tuner is of: whether the tuner itself bounds the oscillation, or only a fall
#   of the sharpness can.
# - Notebook 3: phase diagrams of what tuners do, with sliders.
# - Notebooks 4, 5 and 7 to 9: bifurcations and chaos, measuring $\alpha$ and $\beta$ on a network, mini-batches, the claims
#   of the paper that this project started from, and derivations of the formulas.
# - Notebook 10: measure a network once, and predict every tuner on it.
