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
# # 3. Phase diagrams, with sliders
#
# A step-size rule has parameters. For some values the oscillation settles, for others it never repeats, and for some it
# diverges. A **phase diagram** shows this: two parameters on the axes, and at every point a colour for the long-term
# behaviour. This notebook draws the diagrams of the rules of notebook 2, shows how to read them, and lets you explore them.
#
# The sliders need a running kernel (`jupyter lab notebooks/03_phase_diagrams.ipynb` in a checkout). Without one you see the
# picture that stands above each slider, which is one of its settings.
#
# | symbol | meaning (notebook 2 has the whole story) |
# | --- | --- |
# | $s = \eta\lambda$ | normalised step: step size times sharpness; $s = 2$ is the edge of stability |
# | $r = \lambda^2x^2/G$ | size of the oscillation $x$ along the sharpest direction, measured by the gradient $G$ of the rest |
# | $\Phi(r)$ | the $s$ that a rule takes at an oscillation of size $r$; $r^*$ is where $\Phi(r^*) = 2$ |
# | class | *clamped* if $\Phi$ falls through 2, so that the rule bounds the oscillation; *self-stabilised* if it stays above, so that only a falling sharpness can; *below the edge* if it stays below |
# | fast map | $r' = (1 - \Phi(r))^2\,r$, the oscillation with all else held fixed |
# | $A = \lambda\bar L/G$ | loss $\bar L$ left in the middle of the oscillation, in natural units |
# | $\kappa$ | curvature of the rest, relative to $\lambda$ |

# %%
import os

import eosmodel as eos
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from eosmodel.analysis import Regime
from eosmodel.theory import FastMap
from eosmodel.tuners import CDAT, Armijo, Constant, Polyak
from ipywidgets import interact

jax.config.update("jax_enable_x64", True)
quick = bool(os.environ.get("EOSMODEL_QUICK"))  # the project's tests run a small version of this notebook
blue, orange, green, grey, black = "#0072B2", "#D55E00", "#009E73", "#b8b8b8", "#3a3a3a"


def border(ax, x, y):
    """A line that is seen on any colour."""
    ax.plot(x, y, color="white", linewidth=3)
    ax.plot(x, y, color="black", linewidth=1.3, linestyle=(0, (4, 2)))


# %% [markdown]
# ## One orbit
#
# We begin with Polyak's rule, $\eta = f/(c\,\|g\|^2)$: loss over $c$ times squared gradient. On the fast map it has two
# parameters, its own $c$ and the $A$ of the landscape,
#
# $$\Phi(r) = \frac{A + \frac12 r}{c\,(1 + r)} .$$
#
# Here is the oscillation for three values of $c$, with $A = 10$.


# %%
@eqx.filter_jit
def orbit(fast, r=1.0, steps=80):
    """r and s at every step of an orbit of a fast map, and its η and ηx²."""
    return jax.lax.scan(lambda z, _: (fast(z), fast.observe(z)), fast.init(r), None, length=steps)[1]


figure, axes = plt.subplots(1, 3, figsize=(10.5, 2.8), layout="constrained", sharey=True)
for ax, c in zip(axes, (0.35, 0.54, 1.0), strict=True):
    ax.semilogy(orbit(FastMap(Polyak(c=jnp.array(c)), A=jnp.array(10.0))).r, marker=".", color=blue, linewidth=0.6)
    ax.axhline((10 - 2 * c) / (2 * c - 0.5), color="black", linestyle="--", linewidth=1)
    ax.set(title=f"c = {c}", xlabel="step t")
axes[0].set_ylabel("size of the oscillation, r")
plt.show()

# %% [markdown]
# **What we see.** The dashed line is the equilibrium $r^*$. On the left the oscillation settles there. In the middle it takes
# two values in turn: period 2. On the right it has no period.
#
# ## All orbits at once
#
# `eos.phase_diagram` takes the map, and for each of two parameters a range, `(low, high, how many)`, on a logarithmic
# axis if followed by `"log"`. It runs every orbit, classifies it, and stores the class and not the orbit.

# %%
n, steps = (12, 200) if quick else (100, 600)
kept = ("regime", "lyapunov", "s", "edge_exponent")
polyak = eos.phase_diagram(
    FastMap(Polyak()),
    c=(0.26, 1.2, n),
    A=(3.0, 100.0, n, "log"),
    steps=steps,
    observables=kept,
    progress=False,
)
polyak.dataset

# %%
c_flip = np.linspace(0.505, 1.2, 400)
A_flip = (4 * c_flip**2 - 1.5 * c_flip) / (c_flip - 0.5)

figure, ax = plt.subplots(figsize=(7.2, 5), layout="constrained")
eos.plotting.phase_diagram(polyak.dataset, axes=ax)
border(ax, c_flip, A_flip)
plt.show()

# %% [markdown]
# **What we see.** For small $c$ the oscillation settles ("period 1"). To the right its period doubles and doubles again
# until there is chaos, with windows of order in it. The dashed line is not fitted: it is where the multiplier of
# notebook 2, $m = 1 + 2r^*\Phi'(r^*)$, is $-1$. With $r^* = (A - 2c)/(2c - \frac12)$ this is
#
# $$4c^2 - \bigl(A + \tfrac32\bigr)\,c + \tfrac12 A = 0 ,$$
#
# and for a large $A$ simply $c = \frac12$. Below $A = \frac92$, its lowest point, nothing flips at any $c$. So
# $c = \frac12$, a value often recommended, is a border: a little below it the oscillation settles, a little above it
# does not.
#
# ## How to read the colours
#
# The colours are **regimes**. `Regime` lists all that eosmodel distinguishes; `eosmodel.analysis.regimes` documents the
# thresholds.

# %%
for regime in Regime:
    print(f"{int(regime):2} {regime.label:20} {regime.describe()}")

# %% [markdown]
# On the fast map $\lambda$ is fixed, so only some of these can occur: an oscillation that decays (converged), settles at the
# edge or repeats (periodic, with the period in its name), never repeats (chaotic), or is not bounded by the rule
# (diverged).
#
# And there is $-1$, *undecided*, drawn white. It is a result, not a failure: in the steps that it had, the orbit showed no
# clear evidence of any regime. This happens on the borders between two regimes, where orbits settle very slowly. Longer
# orbits leave fewer of them:

# %%
size = 12 if quick else 40
waits = (100, 200) if quick else (100, 400, 1600)
ranges = {"c": (0.45, 0.65, size), "A": (8.0, 60.0, size)}
figure, axes = plt.subplots(1, len(waits), figsize=(10.5, 3.6), layout="constrained", sharey=True)
for ax, wait in zip(axes, waits, strict=True):
    found = eos.phase_diagram(FastMap(Polyak()), None, ranges, steps=wait, observables=kept, progress=False)
    eos.plotting.phase_diagram(found.dataset, axes=ax)
    ax.get_legend().remove()
    for text in ax.texts:
        text.set_fontsize(7)
    share = float((found.dataset.regime == Regime.UNDECIDED).mean())
    ax.set_title(f"{wait} steps: {share:.1%} undecided", fontsize=10)
    ax.label_outer()
plt.show()

# %% [markdown]
# **What we see.** The white parts shrink towards the lines where the period changes, and towards the border of chaos.
#
# ## Other numbers than the regime
#
# The same diagram holds other observables. Choose one:
#
# - `regime`, as above,
# - `lyapunov`, the Lyapunov exponent: the rate at which two nearby orbits separate; positive in chaos, and very negative
#   along the lines on which disturbances decay at once,
# - `s`, the mean of $\eta\lambda$,
# - `edge_exponent`, $\Lambda = \langle\ln|1 - \eta\lambda|\rangle$: the mean growth of the oscillation.


# %%
def observe(observable):
    _, ax = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
    eos.plotting.phase_diagram(polyak.dataset, observable, axes=ax)
    border(ax, c_flip, A_flip)
    plt.show()


observe("s")
_ = interact(observe, observable=["regime", "lyapunov", "s", "edge_exponent"])

# %% [markdown]
# **What we see.** (Shown without a kernel: the mean of $s$.) Left of the flip the mean is 2, the usual edge of stability.
# Right of it it is *more* than 2, and far more where the oscillation sometimes almost vanishes and the rule responds with one
# enormous step, up to $A/c$. The oscillation still stays bounded. $\Lambda$ is 0 in the whole diagram, up to the accuracy of
# orbits of this length: growth and decay cancel. For a varying step size this is the meaning of "at the edge".

# %%
exponents = polyak.dataset.edge_exponent.values
print(f"mean s from {float(polyak.dataset.s.min()):.2f} to {float(polyak.dataset.s.max()):.2f}")
print(
    f"|Λ| is below 0.01 at {np.mean(np.abs(exponents) < 0.01):.1%} of the points, at most {np.abs(exponents).max():.3f}"
)

# %% [markdown]
# ## Explore it
#
# Two sliders, $c$ and $A$. Every change computes a new orbit. To watch the flip, move slowly through $c = 0.5$.


# %%
def walk(c, A):
    fast = FastMap(Polyak(c=jnp.array(c)), A=jnp.array(float(A)))
    _, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
    eos.plotting.phase_diagram(polyak.dataset, axes=left)
    left.get_legend().remove()
    left.plot([c], [A], marker="*", markersize=16, color="white", markeredgecolor="black")
    right.semilogy(orbit(fast).r, marker=".", color=blue, linewidth=0.6)
    right.axhline((A - 2 * c) / (2 * c - 0.5), color="black", linestyle="--", linewidth=1, label="r*")
    right.set(xlabel="step t", ylabel="r", title=f"c = {c:.2f}, A = {A:g}", ylim=(1e-4, 1e5))
    right.legend(frameon=False, loc="lower right")
    plt.show()


walk(0.6, 10)
_ = interact(walk, c=(0.26, 1.2, 0.01), A=(3, 100, 1))

# %% [markdown]
# ## A row of the diagram in detail
#
# For a row of the diagram (one $A$, all $c$) we can plot all values that $\ln r$ takes in the long run, instead of a colour.
# `eos.analysis.orbit_diagram` does that. We compute it once for several $A$; the slider only selects.


# %%
class PolyakAt(eqx.Module):
    """The fast map of Polyak's rule at one A as a family in c."""

    A: jax.Array

    def __call__(self, z, c):
        return FastMap(Polyak(c=c), A=self.A)(z)


cs = np.linspace(0.27, 1.2, 20 if quick else 300)
rows = {}
for A_row in (5.0, 10.0) if quick else (3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 40.0):
    rows[A_row] = eos.analysis.orbit_diagram(
        PolyakAt(jnp.array(A_row)), cs, [0.0], burn_in=400, keep=80, lyapunov_steps=100, name="c"
    )


def row(A):
    found = rows[A]
    _, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
    values = found.orbit.isel(component=0)
    ax.plot(np.repeat(cs, values.sizes["sample"]), values.values.ravel(), ",", color=blue, alpha=0.5)
    ax.plot(cs, np.log((A - 2 * cs) / (2 * cs - 0.5)), color="black", linestyle="--", linewidth=1, label="ln r*")
    ax.set(xlabel="c", ylabel="ln r in the long run", title=f"A = {A:g}", ylim=(-10, 9))
    ax.legend(frameon=False)
    plt.show()


row(10.0)
_ = interact(row, A=list(rows))

# %% [markdown]
# **What we see.** One branch, which is $r^*$; at the flip it splits in two, then in four, and so on, until the values fill
# a band. For $A$ below $\frac92$ there is no flip, in accord with the lowest point of the dashed line above. Notebook 4 analyses this
# picture.
#
# ## CDAT: $\sigma$ and $\kappa$
#
# The next rule is CDAT, $\sigma$ times the step to the lowest point of the parabola along the gradient; $\sigma = 1$ is the
# *greedy* rule. Its response
#
# $$\Phi(r) = \sigma\,\frac{1 + r}{\kappa + r}$$
#
# does not depend on $A$, but on $\kappa$. Its flip is where $\sigma^2 - (1 + 3\kappa)\,\sigma + 4\kappa = 0$.

# %%
cdat = eos.phase_diagram(
    FastMap(CDAT(eps=0.0)), sigma=(0.3, 2.2, n), kappa=(0.0, 0.6, n), steps=steps, observables="regime", progress=False
)
kappa = np.linspace(0, 1 / 9, 300)
root = np.sqrt(np.maximum((1 + 3 * kappa) ** 2 - 16 * kappa, 0))

figure, ax = plt.subplots(figsize=(7.2, 5), layout="constrained")
eos.plotting.phase_diagram(cdat.dataset, axes=ax)
for sign in (1, -1):
    border(ax, (1 + 3 * kappa + sign * root) / 2, kappa)
plt.show()

# %% [markdown]
# **What we see.**
#
# - Right, $\sigma \ge 2$: "diverged". The response never falls to 2, so the rule does not bound the oscillation. In a
#   network the sharpness would have to: the self-stabilised class of notebook 2. The fast map cannot show this, because it
#   holds $\lambda$ fixed.
# - Upper left, $\sigma < 2\kappa$: the response is below 2 everywhere, and the oscillation decays.
# - Between, the rule clamps. The greedy rule with a flat bulk, $\sigma = 1$ and $\kappa \to 0$, is exactly on the flip (the
#   right end of the dashed arch). Above the arch, $\kappa > \frac19$, nothing flips.
#
# ## Armijo: a map that is white
#
# Armijo's search accepts a step if the loss falls by at least $c_1$ of what the slope promises. A refused step is
# shortened by a factor; the next search starts from an increase (here 1.5) of the last step. Both numbers are
# parameters.

# %%
size = 6 if quick else 40
armijo = eos.phase_diagram(
    FastMap(Armijo(initial=0.3, max_evaluations=20), kappa=0.05),
    c=(0.01, 0.9, size),
    factor=(0.1, 0.95, size),
    steps=steps,
    observables=kept,
    progress=False,
)
figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
for ax, name in zip(axes, ("s", "edge_exponent"), strict=True):
    eos.plotting.phase_diagram(armijo.dataset, name, axes=ax)
    ax.set_xlabel("$c_1$")
plt.show()
codes, counts = np.unique(armijo.dataset.regime, return_counts=True)
print({Regime(int(code)).label: int(count) for code, count in zip(codes, counts, strict=True)})

# %% [markdown]
# **What we see.** Left, the mean of $s$. With a factor near 1 the search is fine and the mean is near 2; with a coarse
# one it is above 2. Right, $\Lambda$: near 0 everywhere except in a corner where the search is demanding and coarse and
# the oscillation decays. The counts say that almost no point of this diagram has a regime. Why? Look at one orbit.

# %%
there = armijo.dataset.sel(c=0.1, factor=0.7, method="nearest")
search = Armijo(c=float(there.c), factor=float(there.factor), initial=0.3, max_evaluations=20)
seen = orbit(FastMap(search, kappa=0.05))
figure, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
ax.plot(seen.s, marker=".", color=blue, linewidth=0.6)
ax.axhline(2, color="black", linestyle="--", linewidth=1)
ax.set(xlabel="step t", ylabel="s = ηλ", ylim=(1, 3.5))
plt.show()
print(
    f"c₁ = {search.c:.2f}, factor = {search.factor:.2f}: period {int(there.period)}, Lyapunov {float(there.lyapunov):.4f}"
)

# %% [markdown]
# **What we see.** After the first steps (outside the frame) a jagged line about 2: the step grows by 1.5 until the search
# rejects it and multiplies it by the factor. 1.5 is not a power of the factor, so the pattern does not repeat (period
# $-1$: none up to 32). Nor do neighbouring orbits separate fast enough to call it chaos, for which `Regime` requires ten
# factors of $e$ within the averaged steps. It is neither periodic nor chaotic, so the right entry is "undecided". The means
# are still meaningful. **A white point says nothing about the rule; look at another
# observable.**

# %% [markdown]
# ## When the sharpness can change
#
# So far $\lambda$ was fixed. Now it changes, in valleys like that of notebook 1, under two opposing effects:
#
# - $\alpha$, **sharpening**: how fast $\lambda$ rises by itself,
# - $\beta$, **self-stabilisation**: how strongly an oscillation $x$ lowers it.
#
# Their ratio is $q = \beta x^2/(2\alpha)$: the sharpness rises for $q < 1$ and falls for $q > 1$.
# `eos.analysis.check_classes` makes a valley for every pair $(\alpha, \beta)$ (in units in which $\lambda = G = 1$ at the
# start), runs actual gradient descent under a rule, and *measures* $q$. It also returns the $q$ that `eos.theory.classify`
# *predicts* from the response function.

# %%
ranges = {
    "cdat:1.5": ((1e-5, 1e-3), (1.1e-6, 1e-2)),
    "polyak:0.35": ((1e-6, 1e-5), (1.1e-10, 1e-7)),
    "constant:2.02": ((1e-5, 1e-3), (1.1e-6, 1e-2)),
}
if quick:
    ranges = {"constant:2.02": ranges["constant:2.02"]}
points, length = (2, 100) if quick else (11, 1000)
checked = {
    rule: eos.analysis.check_classes(*(np.geomspace(*ends, points) for ends in both), [rule], steps=length).isel(
        tuner=0
    )
    for rule, both in ranges.items()
}

# %%
from matplotlib.colors import LogNorm

figure, axes = plt.subplots(1, len(checked), figsize=(10.5, 3.8), layout="constrained", squeeze=False)
for ax, (rule, found) in zip(axes[0], checked.items(), strict=True):
    found = found.transpose("beta", "alpha")
    measured = np.clip(found.q_measured.values, 1e-3, 1e3)
    image = ax.pcolormesh(found.alpha, found.beta, measured, norm=LogNorm(0.05, 20), cmap="RdBu_r")
    predicted = np.log(np.clip(found.q_predicted.values, 1e-6, 1e6))
    predicted = np.ma.masked_invalid(np.where(np.isfinite(measured), predicted, np.nan))
    if predicted.count() and predicted.min() < -0.01 and predicted.max() > 0.01:
        ax.contour(found.alpha, found.beta, predicted, [0.0], colors="black")
    ax.set_facecolor("#bdbdbd")
    ax.set(xscale="log", yscale="log", xlabel="sharpening α", title=rule)
axes[0, 0].set_ylabel("self-stabilisation β")
figure.colorbar(image, ax=axes[0], extend="both", label="q in the run")
plt.show()

# %% [markdown]
# **What we see.** Blue: sharpness rises. Red: it falls. White: it stays. Grey: the oscillation threw the run out
# of its valley, and there is nothing to measure. The line is the predicted $q = 1$. Under the two clamped rules (CDAT with
# $\sigma = 1.5$, Polyak with $c = 0.35$) the map has a blue side and another, divided along that line. Under a constant
# step a little above the edge $\beta$ makes no difference at all: the oscillation grows until $q$ is 1.
# (A run measures $q$ over a limited time. For the smallest $\alpha$ that was too short, and elsewhere it coincides with an
# oscillation of $\lambda$ about its equilibrium.)
#
# The slider cuts through these maps at one $\alpha$.


# %%
def cut(place):
    _, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    for (rule, found), color, mark in zip(checked.items(), (blue, orange, green), "os^", strict=False):
        one = found.isel(alpha=place)
        # In units of the largest β, so that all rules fit on one axis.
        across = one.beta / one.beta[-1]
        ax.loglog(across, one.q_measured.where(one.q_measured > 0), mark, color=color, label=f"{rule}, run")
        ax.loglog(across, one.q_predicted.where(one.q_measured.notnull()), color=color, label="predicted")
    ax.axhline(1, color="black", linestyle="--", linewidth=1)
    ax.set(xlabel="β, relative to its largest", ylabel="q", ylim=(1e-4, 1e2), title=f"α number {place + 1} of {points}")
    ax.legend(frameon=False, ncols=3, fontsize=8, loc="upper left")
    plt.show()


cut(points // 2)
_ = interact(cut, place=(0, points - 1))

# %% [markdown]
# **What we see.** For the clamped rules $q$ grows in proportion to $\beta$: the tuner fixes $x$, independently of
# $\beta$. For the constant step $q$ does not depend on $\beta$, because $x$ adjusts. This is the difference between the two
# classes. (Polyak's levels off beyond $q = 1$, as predicted: the sharpness falls there, and with it the quantities in $q$.)
#
# It also shows a limit. Where CDAT's $q$ is predicted far above 1, the run's is near 1. Such a strong force changes $\lambda$
# and $G$ within a few steps, so they are not slow, as the prediction assumes. How often the sign of the
# drift came out as predicted (0 if $q$ is within a quarter of 1):

# %%
for rule, found in checked.items():
    known = (found.trend_predicted.notnull() & found.trend_measured.notnull()).values
    right = (found.trend_predicted == found.trend_measured).values[known].sum()
    print(f"{rule:15} {right} of {known.sum()} ({(~known).sum()} without an answer)")

# %% [markdown]
# ## The catapult
#
# The last diagram varies the start and not the rule. The smallest network there is has one input, one hidden unit and one
# output, $f = uv$, and we give it the target 0: its loss is $\frac12(uv)^2$. Let $\lambda_0 = u^2 + v^2$; where the loss
# is 0 this is the sharpness. We take a constant step $\eta = 1$ and classify every start $(u, v)$.

# %%
net, step = eos.objectives.TwoLayerScalar([1.0, 1.0]), Constant(1.0)
sides = (-2.6, 2.6, 12 if quick else 101)
catapult = eos.phase_diagram(
    net, step, {"start[0]": sides, "start[1]": sides}, steps=steps, observables="regime", progress=False
)
turn = np.linspace(0, 2 * np.pi, 200)

figure, ax = plt.subplots(figsize=(6, 5.6), layout="constrained")
eos.plotting.phase_diagram(catapult.dataset, axes=ax)
for kernel in (2, 4):
    border(ax, np.sqrt(kernel) * np.cos(turn), np.sqrt(kernel) * np.sin(turn))
ax.set(xlabel="u at the start", ylabel="v at the start", aspect="equal")
plt.show()

# %% [markdown]
# **What we see.** The circles are $\eta\lambda_0 = 2$ and $\eta\lambda_0 = 4$. Inside the inner one the start is below the edge
# and descent converges. Between them the start is *beyond* the edge, and yet it does not diverge: the weights jump to a
# flatter region, and descent converges there. Where the loss more than doubles on the way (blue) this is a
# **catapult**. Outside, descent diverges. The white lines are exceptions with a reason: on the axes the loss is 0 from
# the start, and on the diagonals, $|u| = |v|$, the weights converge to the only minimum without curvature, $u = v = 0$, very
# slowly.

# %%
kernel = catapult.dataset["start[0]"] ** 2 + catapult.dataset["start[1]"] ** 2
for name, where in {"ηλ₀ < 2": kernel < 2, "2 to 4": (kernel > 2) & (kernel < 4), "ηλ₀ > 4": kernel > 4}.items():
    counts = {kind.label: float((catapult.dataset.regime == kind).where(where).mean()) for kind in Regime}
    print(f"{name:8}", ", ".join(f"{share:.1%} {label}" for label, share in counts.items() if share))

# %% [markdown]
# Watch single starts. The left picture is the plane above, with the path of the weights; the right one the loss.


# %%
@jax.jit
def descend(start):
    """Weights and losses of 30 steps of gradient descent, held where they explode."""

    def body(w, _):
        new = w - jax.grad(net.loss)(w)
        return jnp.clip(new, -1e3, 1e3), (w, net.loss(w))

    return jax.lax.scan(body, start, None, length=30)[1]


def launch(u, v):
    path, losses = (np.asarray(values) for values in descend(jnp.array([u, v])))
    _, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    eos.plotting.phase_diagram(catapult.dataset, axes=left)
    left.get_legend().remove()
    left.plot(path[:, 0], path[:, 1], color="black", marker=".", linewidth=0.8)
    left.plot(u, v, marker="*", markersize=16, color="white", markeredgecolor="black")
    left.set(xlabel="u", ylabel="v", aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    right.semilogy(np.maximum(losses, 1e-20), marker=".", color=blue)
    right.set(xlabel="step t", ylabel="loss", title=f"ηλ₀ = {u**2 + v**2:.2f}", ylim=(1e-20, 1e6))
    plt.show()


launch(1.7, 0.5)
_ = interact(launch, u=(-2.5, 2.5, 0.1), v=(-2.5, 2.5, 0.1))

# %% [markdown]
# ## Make your own
#
# Any two numbers of a system can be varied: `eos.phase_diagram(valley, Polyak, {"c": (0.25, 1, 100), "start[0]": (0.01, 1, 100,
# "log")})` has a parameter of the rule on one axis and the start on the other. Things to try:
#
# 1. Polyak's rule with a cap on its step: `FastMap(Polyak(max=2.5))` over `c` and `max`. (On the fast map
#    $\lambda = 1$, so a cap is a cap on $s$.) Which part of the diagram becomes "diverged", and why there?
# 2. The diagram of $(c, A)$ with `refine=2`, which halves the cells where regimes meet, twice. How much sharper are the
#    borders, and how much longer does it take than the coarse diagram?
# 3. CDAT with a memory, `CDAT(ema=0.9, eps=0.0)`, over `sigma` and `kappa`. Does averaging move the flip?
#
# Notebook 4 follows the borders of such maps exactly, without a grid.
