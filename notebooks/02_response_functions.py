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
# # 2. A tuner is a response function
#
# Notebook 1 ended with a question. With a constant step the sharpness stops at the edge of stability; under Armijo's line
# search the step shrinks and the sharpness keeps rising. Neither rule knows the sharpness. Which property of a rule decides
# this?
#
# The answer is one curve: the step that a rule takes as a function of the size of the oscillation. It is the rule's
# **response function**, and what happens to the sharpness can be read off it.
#
# | symbol | meaning |
# | --- | --- |
# | $\eta$ | step size |
# | $\lambda$, $u$ | sharpness, the largest eigenvalue of the Hessian; its eigenvector |
# | $s = \eta\lambda$ | normalised step; $s = 2$ is the edge of stability |
# | $x$ | displacement of the weights along $u$ from the middle of the oscillation, the *floor* of the valley |
# | $\bar L$, $G$ | loss on the floor; squared gradient on the floor, the part that makes progress (the *bulk*) |
# | $\kappa$ | curvature along that bulk gradient, relative to $\lambda$; between 0 and 1, and small |
# | $\alpha$, $\beta$ | how fast the sharpness rises by itself; how strongly an oscillation lowers it (notebook 1) |

# %%
import os

import eosmodel as eos
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from eosmodel.theory import FastMap, Kind, classify, response
from eosmodel.tuners import CDAT, AbstractTuner, Armijo, Constant, Greedy, Polyak, TunerInfo

jax.config.update("jax_enable_x64", True)
quick = bool(os.environ.get("EOSMODEL_QUICK"))  # the project's tests run a small version of this notebook
blue, orange, green, pink, yellow, sky = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
grey, black = "#b8b8b8", "#3a3a3a"

# %% [markdown]
# ## What does a rule see?
#
# Take the valley of notebook 1, with one sharp direction $x$ and one flat one, $z$:
#
# $$f(x, z) = \tfrac12\,\underbrace{(\lambda_\infty + \sqrt b\,z)}_{\lambda}\,x^2 + \tfrac12\,\mu z^2 .$$
#
# Away from the floor $x = 0$ the gradient has two parts: the wall's, $\lambda x$, which belongs to the oscillation, and
# the floor's, $\mu z$, which makes progress.

# %%
valley = eos.objectives.Valley(sharpness_limit=22.0, b=4.0, q=[1.0], mu=[0.3], start=[0.06, -2.0])

zs, xs = np.meshgrid(np.linspace(-2.3, 0.3, 150), np.linspace(-0.17, 0.17, 150))
heights = jax.vmap(valley.loss)(jnp.stack([xs.ravel(), zs.ravel()], axis=1)).reshape(xs.shape)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.contour(zs, xs, heights, np.linspace(0, 0.9, 16) ** 2, colors=grey, linewidths=0.8)
ax.axhline(0, color=black, linestyle="--", linewidth=1)
ax.text(-2.25, 0.006, "floor, x = 0", color=black)
ax.plot([-1.4], [0.1], marker="o", color=black)
arrow = {"arrowstyle": "-|>", "linewidth": 2, "mutation_scale": 16}
ax.annotate("", (-1.4, 0.015), (-1.4, 0.1), arrowprops=arrow | {"color": orange})
ax.annotate("", (-0.9, 0.1), (-1.4, 0.1), arrowprops=arrow | {"color": blue})
ax.text(-1.45, 0.055, "wall: −λx", color=orange, ha="right")
ax.text(-0.87, 0.095, "floor: −μz", color=blue)
ax.set(xlabel="z", ylabel="x")
plt.show()

# %% [markdown]
# **What we see.** The loss from above (lines of equal loss, arrows not to scale). A rule that picks the step size sees
# neither arrow by itself. It sees the loss along the line of the next step, $\varphi(\eta) = f(w - \eta\nabla f)$, and
# for an oscillation that is small against the valley this is the parabola
#
# $$\varphi(\eta) \approx \underbrace{\bar L + \tfrac12\lambda x^2}_{\text{loss}}
# \; - \; \eta\,\underbrace{(G + \lambda^2x^2)}_{\text{squared gradient}}
# \; + \; \tfrac12\eta^2\,\underbrace{(\kappa\lambda G + \lambda^3x^2)}_{\text{curvature along it}} ,$$
#
# which mixes wall and floor. With $\lambda$, $G$, $\kappa$ and $\bar L$ held fixed, only $x$ changes. In natural units it
# is the **energy ratio**
#
# $$r = \frac{\lambda^2x^2}{G} = \frac{\text{squared gradient of the wall}}{\text{squared gradient of the floor}} .$$
#
# ## The response to an oscillation
#
# So the step of every rule is a function of $r$. We write it for the normalised step, $s = \eta\lambda = \Phi(r)$. For Polyak's rule,
# loss over $c$ times squared gradient, it can be done by hand: divide the parabola's coefficients by $G/\lambda$ and $G$,
#
# $$\Phi(r) = \frac{\lambda\,(\bar L + \frac12\lambda x^2)}{c\,(G + \lambda^2x^2)} = \frac{A + \frac12 r}{c\,(1 + r)},
# \qquad A = \frac{\lambda\bar L}{G} .$$
#
# ($A$ is the loss left on the floor, in natural units.) It need not be done by hand: `eos.theory.response` calls the rule on
# that parabola. The rule can also be called on the true valley, at a point $(x, z)$. Four rules, both ways:
#
# - *constant*: always the same $\eta$,
# - *Polyak*: $\eta = f/(c\,\|g\|^2)$ with $g$ the gradient; here $c = 0.35$,
# - *greedy*: $\eta = \|g\|^2/(g^\top H g)$, the lowest point of the parabola; $H$ is the Hessian,
# - *CDAT*: $\sigma$ times the greedy step; here $\sigma = 1.9$.


# %%
def frozen(z):
    """λ, G, κ and A on the floor at z, as numbers that stand still."""
    w = jnp.array([0.0, z])
    sharpness, bulk = float(valley.sharpness(w)), float(valley.bulk_gradient_sq(w))
    kappa = float(valley.kappa(w))
    return {"A": sharpness * float(valley(w)) / bulk, "kappa": kappa, "sharpness": sharpness, "bulk_gradient_sq": bulk}


def ask(tuner, r, z):
    """s = ηλ of a rule on the true valley, displaced from the floor at z by an x of energy ratio r."""
    known = frozen(z)
    x = np.sqrt(r * known["bulk_gradient_sq"]) / known["sharpness"]
    eta, _, _ = tuner(eos.ray(valley, jnp.array([x, z])), tuner.init())
    return float(eta) * known["sharpness"]


moment = frozen(-1.0)
print({name: round(value, 4) for name, value in moment.items()})

rules = {
    "constant": Constant(0.101),
    "Polyak": Polyak(c=0.35),
    "greedy": Greedy(),
    "CDAT 1.9": CDAT(sigma=1.9),
}
colors = {"constant": black, "Polyak": blue, "greedy": green, "CDAT 1.9": orange, "CDAT 2": yellow, "Armijo": pink}
styles = {
    "constant": "-",
    "Polyak": "--",
    "greedy": ":",
    "CDAT 1.9": "-.",
    "CDAT 2": (0, (7, 2)),
    "Armijo": (0, (3, 1)),
}
r = np.geomspace(1e-2, 1e4, 200)
few = np.geomspace(1e-1, 1e4, 6 if quick else 13)
figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for name, tuner in rules.items():
    ax.semilogx(r, response(tuner, r, **moment), color=colors[name], linestyle=styles[name], label=name)
    ax.plot(few, [ask(tuner, one, -1.0) for one in few], "o", color=colors[name], markersize=4)
ax.axhline(2, color="black", linewidth=0.8)
ax.set(xlabel="size of the oscillation, $r = λ^2x^2/G$", ylabel="step taken, $s = Φ(r)$", ylim=(0, 6))
ax.legend(frameon=False, title="line: parabola, dots: true valley")
plt.show()

# %% [markdown]
# **What we see.** The constant step ignores the oscillation. The others shorten their step as it grows, each at a different
# size and to a different level: Polyak's rule to $1/(2c)$, the greedy rule to 1, CDAT to $\sigma$. The dots lie on the
# lines and leave them a little only at the largest $r$: there the oscillation is so large that the floor itself is curved
# along it, which the parabola neglects.
#
# ## One curve, one map
#
# From notebook 1: a step multiplies $x$ by $1 - s$. With $s = \Phi(r)$ and $r \propto x^2$ this is a map of $r$ alone,
#
# $$r' = \bigl(1 - \Phi(r)\bigr)^2\,r, \qquad\text{or}\qquad \ln r' = \ln r + 2\ln|1 - \Phi(r)| .$$
#
# This is the **fast map** (`eos.theory.FastMap`): *fast* because $r$ changes at every step, while $\lambda$ and the floor
# hardly do. Where $\Phi > 2$ the oscillation grows, where $0 < \Phi < 2$ it shrinks, and its equilibrium is where
#
# $$\Phi(r^*) = 2 .$$
#
# To see whether the equilibrium is stable, differentiate. A small displacement of $\ln r$ from $\ln r^*$ is multiplied, step
# by step, by the **multiplier**
#
# $$m = 1 + 2\,r^*\,\Phi'(r^*) .$$
#
# For $|m| < 1$ the displacement decays. A response that falls gently through 2 has $0 < m < 1$ and settles smoothly; a
# steeper one has $-1 < m < 0$ and overshoots each time; at $m = -1$ the map **flips**: beyond, the overshoots grow, and
# the oscillation alternates between large and small. Polyak's rule at three values of $c$:

# %%
grid = np.linspace(0, 10.5, 400)[:, None]
figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.6), layout="constrained", sharey=True)
for ax, c in zip(axes, (0.35, 0.51, 1.0), strict=True):
    fast = FastMap(Polyak(c=c), **moment)
    _, orbit = jax.lax.scan(lambda z, _, fast=fast: (fast(z), z[0]), fast.init(4000.0), None, length=100)
    corners = np.repeat(np.asarray(orbit), 2)
    ax.plot(grid[:, 0], grid[:, 0], color=grey)
    ax.plot(grid[:, 0], jax.vmap(fast)(grid)[:, 0], color=blue)
    ax.plot(corners[:-1], corners[1:], color=orange, linewidth=0.6)
    ax.plot(corners[-20:-1], corners[-19:], color=black, linewidth=1.4)
    multiplier = float(classify(fast).multiplier[0])
    ax.set(xlabel="ln r", title=f"c = {c}, m = {multiplier:.2f}", xlim=(0, 10.5), ylim=(0, 10.5))
axes[0].set_ylabel("ln r at the next step")
plt.show()

# %% [markdown]
# **What we see.** Blue is the map, grey the diagonal, on which $r$ does not change. The thin line is an orbit: vertically to
# the map, horizontally to the diagonal, and so on. (Its last steps are black.) On the left it spirals into the crossing,
# $r^*$. In the middle, just past the flip, it ends in a square: two values in turn. On the right it never repeats: *chaos*,
# although the oscillation stays bounded. Notebook 4 is about this route. For the question what stops the sharpness it does
# not matter.
#
# ## The class of a tuner
#
# What matters is whether $\Phi$ ever falls through 2. This is the **class** of a *tuner* (another word for the rule), and
# there are three:
#
# - **Clamped.** $\Phi$ falls through 2 at some $r^*$. The tuner bounds the oscillation:
#   $x^2 = r^*G/\lambda^2$, or a cycle or chaos about it.
# - **Self-stabilised.** $\Phi$ stays above 2. The tuner lets the oscillation grow, and only the *sharpness* can stop it,
#   by falling.
# - **Below the edge.** $\Phi$ stays below 2. The oscillation decays.
#
# `eos.analysis.response_curve` draws the curve and decides the class. It also handles rules with a memory, such as
# Armijo's search, which starts from its last step: $r$ is then held fixed until the memory has settled. Constant steps appear twice, a
# little below and a little above $2/\lambda$; "CDAT 2" is CDAT with $\sigma = 2$.

# %%
named = {
    "constant 0.09": Constant(0.09),
    "constant 0.101": Constant(0.101),
    "CDAT 2": CDAT(sigma=2.0),
    "Polyak": Polyak(c=0.35),
    "greedy": Greedy(),
    "Armijo": Armijo(initial=0.03),
}
if quick:
    named = {name: named[name] for name in ("constant 0.101", "CDAT 2", "greedy")}
floor_at = jnp.array([0.0, -1.0])
alpha, beta = float(valley.alpha(floor_at)), float(valley.beta)
curves = eos.analysis.response_curve(named, alpha=alpha, beta=beta, **moment)
eos.plotting.response(curves)

# %% [markdown]
# **What we see.** The background is the class: green below the edge, orange self-stabilised, blue clamped. A filled
# circle is a stable $r^*$, a hollow one an unstable one. Armijo's search jumps through its band at every $r$ (it shortens
# its step by a factor when it fails and lengthens it when it succeeds), so it has no slope and no multiplier, but on
# average it falls through 2: the diamond. The greedy rule has $m$ just above $-1$. For $\kappa = 0$ it has
# $r^* = 1$ and $m = -1$ exactly: it sits *on* the flip.
#
# ## What the class means for the sharpness
#
# The sharpness moves by (notebook 1) $\lambda' = \lambda + \eta\,(\alpha - \tfrac12\beta x^2)$. Write it with one number,
#
# $$\lambda' = \lambda + \eta\,\alpha\,(1 - q), \qquad q = \frac{\beta x^2}{2\alpha} :$$
#
# $q$ is the ratio of self-stabilisation to progressive sharpening.
#
# - Below the edge $q = 0$: the sharpness rises at the rate $\alpha$.
# - Self-stabilised: the oscillation grows until $q = 1$. The sharpness is *pinned*.
# - Clamped: $q = \beta r^*G/(2\alpha\lambda^2)$ is set by the tuner, and nothing brings it to 1. If $q < 1$, the sharpness
#   keeps rising at the edge. If $q > 1$, it falls.
#
# The titles above give $q$ for this moment of the valley, where $\alpha$ and $\beta$ are known.

# %%
print(f"{'rule':15} {'class':>15} {'r*':>8} {'m':>7} {'q':>9}   sharpness")
for name in named:
    one = curves.sel(tuner=name)
    trend = {1.0: "rises", 0.0: "is pinned", -1.0: "falls"}.get(float(one.trend), "?")
    numbers = f"{float(one.r_star[0]):8.3g} {float(one.multiplier[0]):7.2f} {float(one.q):9.2g}"
    print(f"{name:15} {one.label.item():>15} {numbers}   {trend}")

# %% [markdown]
# CDAT with $\sigma = 2$ shows the limit of holding variables fixed: with everything but $x$ fixed its oscillation grows
# forever ($q = \infty$) and *would* lower the sharpness without bound. What happens when nothing is fixed?
#
# ## Does a run agree?
#
# We let these rules drive actual gradient descent on the valley, all from the same point, with $\lambda = 18$ and rising
# towards $\lambda_\infty = 22$.

# %%
steps = 100 if quick else 300
drivers = {
    "constant": Constant(0.1),
    "CDAT 2": CDAT(sigma=2.0),
    "CDAT 1.9": CDAT(sigma=1.9),
    "Polyak": Polyak(c=0.35),
    "greedy": Greedy(),
    "Armijo": Armijo(initial=0.03),
}
if quick:
    drivers = {name: drivers[name] for name in ("constant", "CDAT 2", "CDAT 1.9")}
runs = {
    name: eos.simulate(valley, tuner, steps=steps, modes=1, measure_every=1, progress=False)
    for name, tuner in drivers.items()
}


def energy_ratio(run):
    return run.sharpness**2 * run.amplitude.sel(mode=1) ** 2 / run.bulk_gradient_sq


figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
for name, run in runs.items():
    left.plot(run.step, run.sharpness, color=colors[name], linestyle=styles[name], label=name)
    right.semilogy(run.step, energy_ratio(run), color=colors[name], linestyle=styles[name], linewidth=1)
left.axhline(20, color="black", linewidth=0.8)
left.set(xlabel="step t", ylabel="sharpness λ")
left.legend(frameon=False, loc="lower right", ncols=2)
right.set(xlabel="step t", ylabel="$r = λ^2x^2/G$", ylim=(1e-2, 1e6))
plt.show()

# %% [markdown]
# **What we see.** Left: the clamped rules all let the sharpness climb to the end of the valley, $\lambda_\infty = 22$. With
# the constant step it oscillates about $2/\eta = 20$ and settles there, and CDAT with $\sigma = 2$ stops it too, at a level
# of its own, since its step changes with it. Right: each clamped rule holds $r$ at its own level, while the other two let it
# grow by orders of magnitude until the sharpness responds.
#
# Now in numbers. We take the medians of $\lambda$, $G$, $\kappa$, $A$, $\alpha$ and $\beta$ over an interval of the run, give
# them to `eos.theory.classify`, which knows the rule but not the run's oscillation, and compare with the $r$ and the $q$ of
# that interval. (Both are averages weighted with the step, $\langle\eta r\rangle/\langle\eta\rangle$ and
# $\langle\eta\beta x^2\rangle/\langle 2\eta\alpha\rangle$, because a long step counts for more. An oscillation within 2 % of
# growing or shrinking, `margin=0.02`, counts as an equilibrium.)


# %%
def compare(name, tuner, run, rows):
    """One line: class, r and q from the response, and what the run did in the same rows."""
    part = run.isel(step=rows).dropna("step", subset=["alpha"])
    known = ("sharpness", "bulk_gradient_sq", "kappa", "center_loss", "alpha", "beta")
    sharpness, bulk, kappa, height, alpha, beta = (float(part[key].median()) for key in known)
    fast = FastMap(tuner, sharpness * height / bulk, kappa, sharpness, bulk)
    result = classify(fast, alpha, beta, margin=0.02)
    kind = Kind(int(result.kind))
    energy = float(result.means.kick / result.means.stepsize) * sharpness**2 / bulk if kind is Kind.CLAMPED else np.nan
    eta = part.stepsize
    r = float((eta * energy_ratio(part)).sum() / eta.sum())
    q = float((eta * part.beta * part.amplitude.sel(mode=1) ** 2).sum() / (2 * eta * part.alpha).sum())
    path = run.sharpness.isel(step=rows)
    moved = f"{float(path[:20].mean()):6.2f} → {float(path[-20:].mean()):.2f}"
    print(f"{name:10} {kind.label:>15} {energy:8.3g} {r:8.3g} {float(result.q):9.2g} {q:9.2g}   {moved}")


header = f"{'rule':10} {'class':>15} {'r theory':>8} {'r run':>8} {'q theory':>9} {'q run':>9}   sharpness in the run"
print(header)
for name, tuner in drivers.items():
    compare(name, tuner, runs[name], slice(50, 100 if quick else 150))

# %% [markdown]
# **What we see.** (`nan`: for a rule that does not bound the oscillation there is no prediction of $r$.) The class is right
# for all, and the clamped rules hold $r$ near the predicted value. The run's value is higher, because $G$ shrinks from step
# to step while the map holds it fixed. The $q$ of CDAT with $\sigma = 2$ approaches 1, as that of a self-stabilised rule
# should, and not the $\infty$ of the frozen map. (In this small valley $\lambda$ depends on $z$ alone, so where $\lambda$ is
# pinned, $z$ is too, and no more progress is possible. A network has other directions.)
#
# ## A clamped rule can flatten as well
#
# "Clamped" does not mean "sharpening". Polyak's rule holds an oscillation in proportion to the *loss left on the floor*:
# for large $A$, $r^* \approx A/(2c - \frac12)$, so $x^2 = r^*G/\lambda^2 \approx \bar L/\bigl(\lambda\,(2c - \frac12)\bigr)$.
# Early, while much loss is left, this may be enough to lower the sharpness, $q > 1$. With $c = 0.3$, from five places on
# the floor:

# %%
c = 0.3
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for start in (-3.5, -3.0) if quick else (-3.5, -3.25, -3.0, -2.0, -1.0):
    higher = eos.objectives.Valley(22.0, 4.0, [1.0], [0.3], [0.3, start])
    run = eos.simulate(higher, Polyak(c=c), steps=40, modes=1, measure_every=0, progress=False)
    falls = float(run.sharpness[-1]) < float(run.sharpness[5])
    ax.plot(run.step, run.sharpness, color=orange if falls else blue, linestyle="--" if falls else "-")

floors = np.linspace(-4, -1, 301)  # q of the fixed point along the floor, from the formulas above
q = []
for one in floors:
    w, known = jnp.array([0.0, one]), frozen(one)
    held = (known["A"] - 2 * c) / (2 * c - 0.5) * known["bulk_gradient_sq"] / known["sharpness"] ** 2
    q.append(float(valley.beta) * held / (2 * float(valley.alpha(w))))
watershed = float(valley.sharpness(jnp.array([0.0, np.interp(-1, -np.array(q), floors)])))
ax.axhline(watershed, color="black", linestyle=":", label=f"q = 1, at λ = {watershed:.2f}")
ax.set(xlabel="step t", ylabel="sharpness λ")
figure.legend(frameon=False, loc="outside upper center")
plt.show()

# %% [markdown]
# **What we see.** One rule, one valley, and two outcomes, separated by the line $q = 1$. (The runs start a little away from
# their $r^*$ and take a few steps to reach it.) This line repels: a little above it $q < 1$, and the sharpness rises further
# away from it. This is what "nothing pins $\lambda$" means.
#
# ## And in a network?
#
# The same code, with a network in place of the valley: there $\lambda$, $G$, $\kappa$, $A$, $\alpha$ and $\beta$ are measured
# on the run (notebook 5 shows how), with three sharp directions removed from the bulk. The interval is the second half.

# %%
net = eos.objectives.mlp(eos.data.digits(60 if quick else 300), width=8 if quick else 32, init_scale=0.5)
steps = 40 if quick else 600
trained = {
    "constant": Constant(0.6),
    "CDAT 2": CDAT(sigma=2.0),
    "CDAT 1.5": CDAT(sigma=1.5),
    "greedy": Greedy(),
    "Armijo": Armijo(),
    "Polyak": Polyak(c=1.0),
}
if quick:
    trained = {"constant": trained["constant"]}
colors["CDAT 1.5"], styles["CDAT 1.5"] = colors["CDAT 1.9"], styles["CDAT 1.9"]
networks = {
    name: eos.simulate(net, tuner, steps=steps, measure_every=5, progress=False) for name, tuner in trained.items()
}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
for name, run in networks.items():
    path = eos.measures.moving_average(run.sharpness.values, run.step.values)
    left.plot(run.step, path, color=colors[name], linestyle=styles[name], label=name)
    known = run.dropna("step", subset=["alpha"])
    ratio = np.exp(eos.measures.moving_average(np.log(energy_ratio(known)), known.step.values))
    right.semilogy(known.step, ratio, color=colors[name], linestyle=styles[name])
left.set(xlabel="step t", ylabel="sharpness λ, mean of 25 steps")
left.legend(frameon=False, loc="upper left", ncols=2)
left.set_ylim(top=1.25 * left.get_ylim()[1])
right.set(xlabel="step t", ylabel="$r$, geometric mean of 25 steps")
plt.show()

# %%
print(header)
for name, tuner in trained.items():
    compare(name, tuner, networks[name], slice(steps // 2, steps))

# %% [markdown]
# **What we see.** The constant step and CDAT with $\sigma = 2$ stop the sharpness. Greedy, CDAT with $\sigma = 1.5$ and
# Armijo's search hold $r$ at the value of their response, to a few per cent, and their $q$ is predicted as well: it is below
# 1, and the sharpness keeps rising. Nothing was fitted.
#
# Where the prediction is worse, and why:
#
# - The $q$ of the constant step and of CDAT with $\sigma = 2$ should come to 1 and stays below. The oscillation of a network
#   is not along one sharp direction alone: others take part (notebook 5), and their effect is not in this $q$.
# - Polyak's rule at $c = 1$ is far beyond its flip. Its orbit is chaotic, $r$ varies over many powers of ten, and during
#   bursts the bulk is not fixed at all; between bursts $\alpha$ is small, so a ratio to it means little. Neither its $r$ nor
#   its $q$ is predicted. Its class says only that nothing pins the sharpness, which here rises slowly.
#
# ## Write your own rule and see its class
#
# In Python a tuner is a subclass of `AbstractTuner` with one method, `(ray, state) -> (eta, state, info)`. `ray.value` is $\varphi(0)$, `ray.slope` is
# $\varphi'(0) = -\|g\|^2$, `ray.curvature()` is $g^\top Hg$, and `ray.evaluate(eta)` the loss after a step `eta`. `state`
# is the memory of the rule, here none; `info` is the number of evaluations along the line and whether the rule failed.
#
# This one takes the geometric mean of a constant step and the greedy one, $\eta = \sqrt{\eta_0\,\eta_{\text{greedy}}}$.
# Before you go on: its response is $\Phi(r) = \sqrt{\eta_0\lambda\,(1 + r)/(\kappa + r)}$. Does that fall through 2?


# %%
class Between(AbstractTuner):
    first: float = 0.19

    def __call__(self, ray, state):
        greedy = -ray.slope / jnp.abs(ray.curvature())
        return jnp.sqrt(self.first * greedy), state, TunerInfo(jnp.asarray(0), jnp.asarray(False))


mine = Between()
moments = {f"at λ = {22 + 2 * z:.3g}": frozen(z) for z in ((-0.25,) if quick else (-1.0, -0.6, -0.25))}
figure, axes = plt.subplots(1, len(moments), figsize=(10.5, 3.2), layout="constrained", squeeze=False)
for ax, (name, known) in zip(axes[0], moments.items(), strict=True):
    eos.plotting.response(eos.analysis.response_curve({name: mine}, **known), axes=ax)
plt.show()

# %%
run = eos.simulate(valley, mine, steps=60 if quick else 300, modes=1, measure_every=0, progress=False)
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.plot(run.step, run.sharpness, color=blue)
ax.axhline(4 / mine.first, color="black", linestyle=":", label="4/η₀")
ax.set(xlabel="step t", ylabel="sharpness λ")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# **What we see.** For $r \to \infty$ the response goes to $\sqrt{\eta_0\lambda}$. While $\lambda < 4/\eta_0$ that is below 2: the
# rule clamps, and the sharpness rises. Meanwhile $r^*$ grows, and at $\lambda = 4/\eta_0$ it is infinite: the rule has
# changed its class, and the sharpness is pinned there. A class belongs to a rule *at a moment*.
#
# Now yours. Predict the class first, then run the cells above with it.
#
# 1. Half the greedy step, $\sigma = \frac12$. Where is $r^*$, and is it stable? What of the class?
# 2. `eos.tuners.Bounded(Polyak(c=0.35), cap=0.1)`, a cap of 0.1 on Polyak's step. Which class at $\lambda = 18$, which at
#    $\lambda = 21$? And with $c = 0.2$?
# 3. A rule that is clamped at *large* sharpness and not at small sharpness.
#
# ## Where to go from here
#
# In one sentence: a tuner's class says who stops the oscillation at this moment, the tuner (clamped), the sharpness by
# falling to $2/\eta$ (self-stabilised), or nobody, because there is none (below the edge).
#
# - Notebook 3: what a rule does over all values of two of its parameters, with sliders.
# - Notebook 4: the flip at $m = -1$ and what comes after it.
# - Notebook 5: how $\alpha$, $\beta$, $G$ and $\kappa$ are measured on a network.
