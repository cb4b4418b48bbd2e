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
# # 4. Bifurcations and chaos: when a step size does not settle
#
# Some step-size rules settle on a step, some alternate between two, some never repeat. This notebook studies them with
# the tools of dynamical systems:
#
# 1. A step of training is a **map** from the current weights to the next.
# 2. A map may have fixed points, cycles, or chaos. A change from one to another is a **bifurcation**.
# 3. For a loss with one weight all of this is known analytically. We use it to test the tools.
# 4. Polyak's rule, the greedy rule and Armijo's search are such maps, too, and two of them have exact results.
#
# Wherever an exact value is known, it is printed beside the computed one.

# %%
import os

import eosmodel as eos
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from eosmodel import analysis

jax.config.update("jax_enable_x64", True)  # double precision: bifurcations are located to many digits
quick = bool(os.environ.get("EOSMODEL_QUICK"))  # the project's tests run a small version of this notebook


def table(rows):
    """Known against found."""
    print(f"{'':44}{'known':>12}{'found':>12}{'difference':>12}")
    for name, (known, found) in rows.items():
        print(f"{name:44}{float(known):12.6f}{float(found):12.6f}{abs(float(found) - float(known)):12.1e}")


# %% [markdown]
# ## A map with known answers
#
# Take the loss $L(x) = \tfrac14(x^2 - 1)^2$, a double well with minima at $x = \pm1$. A step of gradient descent of
# size $\eta$ is
#
# $$x' = F(x) = x + \eta\,x\,(1 - x^2).$$
#
# A **fixed point** is an $x$ with $F(x) = x$; both minima are. A small distance from it is multiplied by the slope $m
# = F'(x)$ at every step, its **multiplier**: the fixed point attracts if $|m| < 1$. Here $m = 1 - 2\eta$ (the
# curvature at a minimum is 2). At $m = -1$, that is $\eta = 1$, orbits begin to jump across the minimum forever,
# between two points. This bifurcation is called a **flip**, or period doubling. (With wells at $\pm\sqrt\mu$ read
# $\eta\mu$ for $\eta$. Source: Chen & Bruna, arXiv 2206.04172.)
#
# `analysis.flip` finds such a point with Newton's method, near a guess. It does not use the formulas, which
# `eosmodel.analysis.symbolic` derives.

# %%
from eosmodel.analysis.symbolic import quartic_thresholds

double_well = eos.objectives.DoubleWell()


def well(x, eta):
    return x - eta * jax.grad(double_well.loss)(x)


known = quartic_thresholds()
at_one = dict.fromkeys(known.unstable.free_symbols, 1)  # μ = 1
pair = analysis.cycles(well, jnp.linspace(0.6, 1.4, 9)[:, None], period=2, args=(1.1,))  # every cycle of period 2
eta, mu = sorted(known.two_cycle_multiplier.free_symbols, key=str)
table(
    {
        "the minimum flips at η =": (known.unstable.subs(at_one), analysis.flip(well, [1.0], 0.9).parameter),
        "multiplier of the 2-cycle at η = 1.1": (
            known.two_cycle_multiplier.subs({eta: 1.1, mu: 1}),
            pair.multipliers[pair.stable][0, 0].real,
        ),
        "the 2-cycle flips at η =": (
            known.two_cycle_flip.subs(at_one),
            analysis.flip(well, [0.85], 1.2, period=2).parameter,
        ),
    }
)

# %% [markdown]
# **What we see.** The numbers agree to rounding. The 2-cycle is born stable at $\eta = 1$ and loses its stability at
# $\eta = \sqrt5 - 1$, by the same mechanism: a flip of the map applied twice.

# %% [markdown]
# ## What comes after?
#
# An **orbit diagram** shows it: for each $\eta$ let an orbit settle, then plot a few hundred of its points. One
# point: a fixed point. Two: a 2-cycle.
#
# Below it we draw the **Lyapunov exponent**
#
# $$\ell = \lim_{t\to\infty} \frac1t \ln\left|\frac{\partial x_t}{\partial x_0}\right| ,$$
#
# the rate at which two orbits that start close together separate. Negative: they converge, and the future is
# predictable. Positive: their distance grows like $e^{\ell t}$ while it is small, and that is what **chaos** means.
# On a cycle of period $p$ and multiplier $m$ it is $\ell = \tfrac1p\ln|m|$.

# %%
etas = np.linspace(0.8, 2.05, 120 if quick else 800)
diagram = analysis.orbit_diagram(well, etas, [1.05], name="η", burn_in=500, lyapunov_steps=500)

figure, axes = plt.subplots(2, 1, figsize=(8, 5.2), sharex=True, height_ratios=[2.4, 1], layout="constrained")
eos.plotting.orbit_diagram(diagram, axes=axes)
below, between = etas[etas < 1], etas[(etas > 1) & (etas < np.sqrt(5) - 1)]
axes[1].plot(below, np.log(abs(1 - 2 * below)), color="black", linewidth=1)
axes[1].plot(between, np.log(abs(9 - 2 * (1 + between) ** 2)) / 2, color="black", linewidth=1)
axes[0].set_ylabel("x on the orbit")
plt.show()

# %%
p, orbit = diagram.p.values, diagram.orbit.values[..., 0]
crosses, escapes = p[(orbit < 0).any(1)].min(), p[diagram.escaped].min()
at_two = analysis.lyapunov(well, [0.3], args=(2.0,), steps=20_000)
table(
    {
        "orbits first visit the other well at η =": (known.crossing.subs(at_one), crosses),
        "orbits escape beyond η =": (known.divergence.subs(at_one), escapes),
        "Lyapunov exponent at η = 2": (np.log(3), at_two.exponents[0]),
    }
)
print(f"(the first two are found on a grid of η of spacing {np.diff(etas)[0]:.4f})")

# %% [markdown]
# **What we see.** One branch splits into two, these into four, and soon there is a cloud. The exponent (blue below 0,
# red above) touches 0 at every split, and it is positive in the clouds except in narrow windows. Black lines: the known
# exponents of the fixed point and the 2-cycle. An orbit that starts in the right well stays there until the cloud
# extends over the hill between the wells; beyond $\eta = 2$ everything escapes (grey).

# %% [markdown]
# ## The doublings accumulate
#
# Each cycle of $2^n$ points flips at some $\eta_n$. `flip` finds one after the other: we let an orbit settle a little
# beyond the last flip, and start Newton's method from there. The distances $\eta_n - \eta_{n-1}$ shrink by a factor
# that tends to Feigenbaum's number 4.6692…, the same for all smooth maps with one hump.

# %%
settle = jax.jit(lambda x, eta: jax.lax.fori_loop(0, 10_000, lambda _, x: well(x, eta), x))
flips = [analysis.flip(well, [1.0], 0.95).parameter, analysis.flip(well, [0.85], 1.2, period=2).parameter]
for n in range(2, 3 if quick else 7):
    guess = flips[-1] + 0.6 * (flips[-1] - flips[-2]) / 4.67
    found = analysis.flip(well, settle(jnp.array([1.01]), guess), guess, period=2**n)
    assert found.converged
    assert found.period == 2**n
    flips.append(found.parameter)
gaps = np.diff(flips)
for n, at in enumerate(flips):
    print(f"period {2**n:3} flips at η = {at:.8f}" + (f"   ratio {gaps[n - 2] / gaps[n - 1]:.4f}" if n > 1 else ""))

# %% [markdown]
# **What we see.** The ratios approach 4.669. (The initial guess uses that number; the result of Newton's method does not.)

# %% [markdown]
# ## Where is an orbit that never repeats?
#
# In chaos a single prediction fails after a while, but a histogram of the orbit does not: it converges to an
# **invariant measure**, the share of time that the orbit spends in each region. Averages over it, written
# $\langle\cdot\rangle$, can still be predicted. For the double well at $\eta = 2$ it is known: with $x =
# \sqrt2\cos\theta$ a step turns $\theta$ into $3\theta$ (up to a sign), all angles are equally likely, and $x$ has
# the density $1/(\pi\sqrt{2 - x^2})$.

# %%
trace = jax.jit(
    lambda x, eta, steps: jax.lax.scan(lambda x, _: (well(x, eta), x), x, length=steps)[1][:, 0], static_argnums=2
)
long = 5_000 if quick else 200_000
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for start, style in ((0.3, "-"), (-1.2, "--")):
    visits = np.asarray(trace(jnp.array([start]), 2.0, long))
    ax.hist(visits, 80, density=True, histtype="step", linestyle=style, label=f"orbit from {start}")
x = np.linspace(-1.405, 1.405, 400)
ax.plot(x, 1 / (np.pi * np.sqrt(2 - x**2)), color="black", linewidth=1, label="known")
ax.set(xlabel="x", ylabel="density", ylim=(0, 2))
ax.legend(frameon=False, ncols=3, loc="upper center")
plt.show()
table({"⟨x²⟩": (1, (visits**2).mean())})

# %% [markdown]
# **What we see.** Two orbits with different starts have one and the same histogram, and it is the known one. The
# error of the average is that of a finite orbit, about $1/\sqrt{\text{steps}}$.

# %% [markdown]
# ## Two weights: which start goes where?
#
# The smallest network has one unit and one sample: output $uv$, target $y$, loss $\tfrac12(uv - y)^2$. Its minima are
# a whole curve $uv = y$, with sharpness $u^2 + v^2 \ge 2y$. So if $\eta y > 1$ *every* minimum is unstable. On the
# line $u = v$ a step is the map of the double well, with $\eta y$ in the place of $\eta$, so that all thresholds are
# known (Kalra, He & Barkeshli, arXiv 2311.02076). There is also a mirror image, $u = v < 0$. Which of the two does an
# orbit go to, if to any? The set of starting points that lead to an attractor is its **basin**.


# %%
def net_step(w, y):
    return w - jax.grad(eos.objectives.TwoLayerScalar(w, y).loss)(w)  # η = 1


starts = jnp.stack(jnp.meshgrid(jnp.linspace(-2, 2, 7), jnp.linspace(-2, 2, 7)), -1).reshape(-1, 2)
found = analysis.cycles(net_step, starts, period=2, args=(1.1,))
attractors = [points for points, stable in zip(found.points, found.stable, strict=True) if stable]
double = np.sort([float(point.subs({eta: 1.1, mu: 1})) for point in known.two_cycle]) * np.sqrt(1.1)
table(
    {
        "the 2-cycle at ηy = 1.1, least u": (double[0], max(attractors, key=np.sum)[:, 0].min()),
        "the 2-cycle at ηy = 1.1, largest u": (double[1], max(attractors, key=np.sum)[:, 0].max()),
        "the 2-cycle flips at ηy =": (np.sqrt(5) - 1, analysis.flip(net_step, [0.85, 0.85], 1.2, period=2).parameter),
    }
)
print(f"{len(found.points)} cycles of period 1 or 2 found from {len(starts)} starts, {len(attractors)} of them stable")

# %%
size = 40 if quick else 300
whole, part = ((-2.6, 2.6), (-2.6, 2.6)), ((-0.5, 0.3), (1.2, 2.0))
options = {"args": (1.1,), "resolution": (size, size), "names": ("u", "v")}
where, closer = (analysis.basins(net_step, attractors, *window, **options) for window in (whole, part))
figure, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
for ax, one in zip(axes, (where, closer), strict=True):
    eos.plotting.basins(one, axes=ax)
    ax.set_aspect("equal")
axes[1].get_legend().remove()
axes[1].set_title("the square on the left")
axes[0].add_patch(plt.Rectangle((part[0][0], part[1][0]), 0.8, 0.8, fill=False, linewidth=1.2))
plt.show()

# %%
shares = {name: float((where.basin == code).mean()) for name, code in (("escape", -2), ("first", 0), ("second", 1))}
print({name: round(share, 3) for name, share in shares.items()})

# %% [markdown]
# **What we see.** Close to the two cycles their basins are simple. Towards the border, beyond which orbits diverge (grey),
# smaller and smaller lobes of both colours alternate: there one cannot predict where an orbit will end without knowing its
# start to many digits, although both attractors are regular.

# %% [markdown]
# ## A loss that finds its own flip
#
# So far we varied the parameter. In $\ln\cosh(uv)$ descent does it: the minima are the line $u = 0$, their
# sharpness is $\lambda = v^2$, and the flip is at $\lambda = 2/\eta$. Beyond it $u$ oscillates, which makes $v$
# shrink: the orbit drifts towards its flip, passes it, and stops just below. How far below is known to leading order
# in $\eta$: $\lambda = 2/\eta - \tfrac32\eta$ (Ahn et al., arXiv 2212.07469).


# %%
def settled_sharpness(eta, start):
    product = eos.objectives.ProductLoss("log-cosh", start)
    weights = jax.lax.fori_loop(0, 20_000, lambda _, w: w - eta * jax.grad(product.loss)(w), start)
    return product.sharpness(weights)


sizes = jnp.array([0.4, 0.2, 0.1, 0.05])
beyond = jnp.stack([jnp.full(4, 0.5), jnp.sqrt(2.5 / sizes)], 1)  # v² = 2.5/η
ends = jax.jit(jax.vmap(settled_sharpness))(sizes, beyond)
table({f"(2/η − λ)/η at η = {size:.2f}": (1.5, (2 / size - end) / size) for size, end in zip(sizes, ends, strict=True)})

# %% [markdown]
# **What we see.** The known value is a limit, and the numbers approach it as $\eta$ shrinks. A system that moves to
# its own bifurcation: this is the edge of stability in one sentence. We return to it at the end.

# %% [markdown]
# ## A rule is a map, too
#
# Now to step-size rules. (Notebook 2 has the long version of this paragraph.) Near the edge of stability a sharp
# direction of curvature $\lambda$ oscillates with displacement $x$, while the rest of the weights hardly changes. Let
# $G$ be the squared gradient of that rest and
#
# $$r = \lambda^2x^2/G$$
#
# the energy of the oscillation in units of it. A rule that chooses $\eta$ from the loss and the gradient takes a normalised
# step $s = \eta\lambda = \Phi(r)$. The oscillation is multiplied by $1 - s$, hence the
# **fast map**
#
# $$\ln r' = \ln r + 2\ln|1 - \Phi(r)| .$$
#
# Its fixed point is where $\Phi(r^*) = 2$, the edge of stability, and the multiplier there is $m = 1 + 2r^*\Phi'(r^*)$.
#
# `eos.theory.FastMap` is this map for any tuner object: it calls the tuner itself. Polyak's rule $\eta =
# L/(c\,\|g\|^2)$ has $\Phi = (A + r/2)/(c\,(1 + r))$, where $A = \lambda\bar L/G$ is the loss left in the rest.

# %%
from eosmodel.analysis.symbolic import RESPONSES


def polyak(z, c, A):
    return eos.theory.FastMap(eos.tuners.Polyak(c), A=A)(z)


A = 10.0


def polyak_at(z, c):
    return polyak(z, c, A)


line = analysis.branch(polyak_at, [4.0], 0.3, (0.27, 4.8), name="c")
closed = RESPONSES["polyak"].compile()
r_star, m = (fn(line.p.values, A) for fn in (closed.fixed_point, closed.multiplier))
at_flip = np.sort(line.p.values[line.kind == "flip"])
first, second = sorted(float(root(A)) for root in closed.flip)
table({"first flip, c =": (first, at_flip[0]), "second flip, c =": (second, at_flip[1])})
print(
    f"largest error of r* along {line.sizes['point']} points: {np.max(abs(np.exp(line.z.values[:, 0, 0]) / r_star - 1)):.1e}"
)
print(f"largest error of m:  {np.max(abs(line.multiplier_real.values[:, 0] - m)):.1e}")

# %% [markdown]
# `branch` is **continuation**: it starts at one fixed point and follows it as $c$ changes, whether or not
# any orbit converges to it. So it also finds the unstable part between the flips. The known values are the roots of
# $4c^2 - (A + \tfrac32)c + \tfrac A2 = 0$. Here is the branch on top of an orbit diagram.

# %%
cs = np.geomspace(0.27, 4.8, 120 if quick else 900)
diagram = analysis.orbit_diagram(polyak_at, cs, [0.0], name="c", burn_in=500, lyapunov_steps=500)
figure, axes = plt.subplots(2, 1, figsize=(8, 5.6), sharex=True, height_ratios=[2.4, 1], layout="constrained")
eos.plotting.orbit_diagram(diagram, axes=axes)
eos.plotting.branch(line, axes=axes[0])
axes[0].set(ylabel="ln r on the orbit", xlabel="")
axes[1].set(xscale="log", xlabel="Polyak's constant c")
axes[1].set_xticks([0.3, 0.5, 1, 2, 4], ["0.3", "0.5", "1", "2", "4"])
axes[1].minorticks_off()
plt.show()

# %% [markdown]
# **What we see.** A small $c$ means long steps. From $c = \tfrac14$ to the first flip a large oscillation settles
# at the edge. Then its period doubles, and it soon becomes chaotic, also for Polyak's own $c = 1$. Beyond the second flip it
# settles again. Towards $c = A/2$ the oscillation vanishes: there even for the smallest one the step is only $s = 2$.

# %% [markdown]
# ## Two exponents
#
# Sum the fast map over $T$ steps: $\ln r_T - \ln r_0 = 2\sum_t\ln|1 - s_t|$. If $r$ stays between bounds, the left
# side divided by $T$ goes to 0. So for every rule, settled or chaotic,
#
# $$\Lambda = \langle\ln|1 - s|\rangle = 0 .$$
#
# $\Lambda$ is the **edge exponent**: the mean growth of the oscillation. It is a different thing from the Lyapunov
# exponent $\ell$ of the map, which says whether two oscillations of nearly equal size stay close. And
# $\Lambda = 0$ does not imply $\langle s\rangle = 2$: by the inequality of the means $\langle|1 - s|\rangle\ge 1$, with
# equality only if $|1 - s|$ is constant.

# %%
average = jax.jit(
    jax.vmap(lambda c: eos.theory.averages(eos.theory.FastMap(eos.tuners.Polyak(c), A=A), burn_in=500, steps=4000)[0])
)
coarse = np.geomspace(0.27, 4.8, 60 if quick else 300)
means = average(jnp.asarray(coarse))
figure, axes = plt.subplots(2, 1, figsize=(8, 4.4), sharex=True, layout="constrained")
axes[0].plot(coarse, means.s, color="#D55E00", label="⟨s⟩")
axes[0].axhline(2, color="black", linestyle="--", linewidth=1, label="2")
axes[0].set(ylabel="mean normalised step", ylim=(0, None))
axes[1].plot(coarse, means.lyapunov, color="#0072B2", linewidth=1, label="Lyapunov exponent ℓ")
axes[1].plot(coarse, means.edge_exponent, color="black", linestyle="--", label="edge exponent Λ")
axes[1].set(xlabel="Polyak's constant c", xscale="log", ylim=(-1.5, 0.9))
axes[1].set_xticks([0.3, 0.5, 1, 2, 4], ["0.3", "0.5", "1", "2", "4"])
axes[1].minorticks_off()
for ax, corner in zip(axes, ("lower left", "upper left"), strict=True):
    ax.legend(frameon=False, loc=corner, fontsize=9)
plt.show()
bounded = np.abs(means.edge_exponent)
print(
    f"largest |Λ|: {bounded.max():.1e}; ⟨s⟩ from {means.s.min():.3f} to {means.s.max():.2f}, {means.s[np.argmin(abs(coarse - 1))]:.2f} near c = 1"
)

# %% [markdown]
# **What we see.** $\Lambda$ is 0 all along, up to what a finite average can show; $\ell$ changes sign many times.
# Where the rule is settled, $\langle s\rangle = 2$; where it fluctuates, $\langle s\rangle > 2$. A run that is
# called "beyond the edge" because of its mean step may be exactly at it.

# %% [markdown]
# ## Polyak's own constant, solved
#
# How long are the steps in chaos? There is an exact answer when much loss is left, $A \to \infty$. In units $r =
# 2A\rho$ Polyak's response with $c = 1$ is then $\Phi = \tfrac12(1 + 1/\rho)$, and with $\rho = \xi^2$ the map reads
#
# $$\xi' = \tfrac12\left(\xi - 1/\xi\right).$$
#
# This is Newton's method for the equation $\xi^2 + 1 = 0$, which has no real root and so never settles. With $\xi =
# \cot\theta$ it doubles the angle, $\theta' = 2\theta$, and everything follows: the Lyapunov exponent is $\ln 2$; all
# angles are equally likely, so that $\ln\rho$ has the density $1/(2\pi\cosh(\tfrac12\ln\rho))$; and $s =
# 1/(2\cos^2\theta)$ exceeds a value $S$ with the probability $\tfrac2\pi\arcsin(1/\sqrt{2S})$. Its median is 1. Its
# mean is infinite. (The greedy rule with half its step, on a flat bulk, is the same map. There we can test it
# directly.)

# %%
half = eos.theory.FastMap(eos.tuners.CDAT(0.5, eps=0.0), kappa=0.0)
path = jax.jit(lambda fast, z, steps: jax.lax.scan(lambda z, _: (fast(z), z[0]), z, length=steps)[1], static_argnums=2)
ln_rho = np.asarray(path(half, half.init(0.7), long))
s = 0.5 * (1 + np.exp(-ln_rho))
ell = analysis.lyapunov(half, half.init(0.7), steps=long)
table(
    {
        "Lyapunov exponent": (np.log(2), ell.exponents[0]),
        "median of s": (1, np.median(s)),
        "share of steps with s > 2": (1 / 3, (s > 2).mean()),
        "share of steps with s > 50": (2 / np.pi * np.arcsin(0.1), (s > 50).mean()),
        "Λ": (0, np.log(abs(1 - s)).mean()),
    }
)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
polyak_one = jax.jit(
    lambda A, z, steps: path(eos.theory.FastMap(eos.tuners.Polyak(1.0), A=A), z, steps), static_argnums=2
)
lengths = np.geomspace(0.5, 3000, 200)
for A_one, color in ((10.0, "#D55E00"), (1e3, "#E69F00"), (1e5, "#56B4E9")):
    u = np.asarray(polyak_one(A_one, jnp.array([0.3]), long))
    steps_one = (A_one + 0.5 * np.exp(u)) / (1 + np.exp(u))
    left.hist(
        u - np.log(2 * A_one),
        np.linspace(-8, 8, 81),
        density=True,
        histtype="step",
        color=color,
        label=f"A = {A_one:g}",
    )
    right.loglog(lengths, [(steps_one > value).mean() for value in lengths], color=color)
    print(
        f"A = {A_one:6g}: median s {np.median(steps_one):.3f}, mean s {steps_one.mean():7.2f}, √(A/2) = {np.sqrt(A_one / 2):.2f}"
    )
u = np.linspace(-8, 8, 200)
left.plot(u, 1 / (2 * np.pi * np.cosh(u / 2)), color="black", linewidth=1, linestyle="--", label="A → ∞, exact")
right.loglog(lengths, 2 / np.pi * np.arcsin(1 / np.sqrt(2 * lengths)), color="black", linewidth=1, linestyle="--")
left.set(xlabel="ln ρ", ylabel="density")
left.legend(frameon=False, fontsize=9)
right.set(xlabel="S", ylabel="share of steps with s > S", ylim=(1e-4, 1.2))
plt.show()

# %% [markdown]
# **What we see.** With much loss left (not yet at $A = 10$) the measure is the exact one: the median step is half the
# edge, one step in three is beyond it, and now and then one is enormous. The tail falls like $1/\sqrt S$ and ends at
# the largest step there can be, $s = A$; hence the mean grows with $A$ (the response at $A$, averaged over the exact
# measure, is $\sqrt{A/2}$). All this at $\Lambda = 0$. The mean step of such a rule says little; its median says
# more.

# %% [markdown]
# ## Two parameters at once
#
# `flip_curve` follows a flip in the plane of two parameters, here $c$ and $A$. `phase_diagram` runs an orbit at every
# point of the plane and assigns a **regime** by the thresholds of `analysis.Regime`. The two are
# independent.

# %%
curve = analysis.flip_curve(polyak, [3.0], 0.53, 10.0, ((0.26, 3.0), (2.0, 14.0)), names=("c", "A"))
c, height = curve.p.values, curve.q.values
turn = np.argmin(height)
table({"least A that has a flip": (4.5, height[turn]), "c there": (0.75, c[turn])})
print(f"largest |4c² − (A + 3/2)c + A/2| on the curve: {np.max(abs(4 * c**2 - (height + 1.5) * c + height / 2)):.1e}")

# %%
count = 8 if quick else 160
plane = eos.phase_diagram(
    eos.theory.FastMap(eos.tuners.Polyak()), c=(0.26, 3.0, count), A=(2.0, 14.0, count), steps=600, progress=False
)
figure = plane.plot()
figure.axes[0].plot(c, height, color="white", linewidth=3)
figure.axes[0].plot(c, height, color="black", linewidth=1.3, linestyle="--")
figure

# %%
ds = plane.dataset
side = 4 * ds.c**2 - (ds.A + 1.5) * ds.c + ds.A / 2  # below 0 between the two flips
alive = 2 * ds.c < ds.A  # else the oscillation dies
settled = ds.regime == int(analysis.Regime.PERIODIC)
inside, outside = (side < -0.1) & alive, (side > 0.1) & alive
at_rest = settled & (ds.period == 1)
print(
    f"between the flips {float(at_rest.where(inside).mean()):.1%} of the points are at rest, outside {float(at_rest.where(outside).mean()):.1%}"
)

# %% [markdown]
# **What we see.** The dashed line from continuation bounds the region where orbits do not settle. It turns at
# $A = \tfrac92$: with less loss left than that, no constant makes Polyak's rule double its period. Far inside the line there
# is chaos with windows of periodic motion. (A settled orbit is called periodic, too, of period 1, since $r$ repeats. The
# points outside that have not settled are near the line $A = 2c$, where the oscillation decays too slowly.)

# %% [markdown]
# ## The greedy rule, relaxed
#
# The greedy rule takes the step that would be best if the loss along the gradient were a parabola, CDAT a multiple $\sigma$ of
# it.
# Its response is $\Phi = \sigma(1 + r)/(\kappa + r)$, where $\kappa$ is the curvature of the rest relative to
# $\lambda$. That is Polyak's in other units: $\sigma = 1/(2c)$, $\kappa = 1/(2A)$, and $r$ counted in $2A$. So
# everything above holds for it. First a test of this claim on the two tuner objects, then the diagram.

# %%
kappa = 0.05


def greedy(z, sigma):
    return eos.theory.FastMap(eos.tuners.CDAT(sigma, eps=0.0), kappa=kappa)(z)


begin = eos.theory.FastMap(eos.tuners.CDAT()).init(1.35)  # ln r, and two numbers that this tuner can average over steps
unit = np.log(1 / kappa)
u, sigma = jnp.linspace(-4, 4, 9), 0.8
one = jax.vmap(lambda v: greedy(begin.at[0].set(v), sigma)[0])(u)
other = jax.vmap(lambda v: polyak((v + unit)[None], 0.5 / sigma, 0.5 / kappa)[0] - unit)(u)
print(f"largest difference of the two maps: {float(abs(one - other).max()):.1e}")
upper = float(max(root(kappa) for root in RESPONSES["cdat"].compile().flip))
table({f"flip at κ = {kappa}, σ =": (upper, analysis.flip(greedy, begin, 0.95).parameter)})

# %%
sigmas = np.linspace(0.12, 1.9, 120 if quick else 800)
diagram = analysis.orbit_diagram(greedy, sigmas, begin, name="σ", burn_in=500, lyapunov_steps=500)
figure, axes = plt.subplots(2, 1, figsize=(8, 5.2), sharex=True, height_ratios=[2.4, 1], layout="constrained")
eos.plotting.orbit_diagram(diagram, axes=axes)
for ax in axes:
    ax.axvline(upper, color="black", linewidth=0.9, linestyle=":")
axes[0].set_ylabel("ln r on the orbit")
plt.show()

# %% [markdown]
# **What we see.** The diagram is Polyak's, from right to left. The full greedy rule, $\sigma = 1$, is just above
# its flip (dotted). With a flat rest, $\kappa = 0$, it is exactly on it: the map is then $r' = 1/r$, *every*
# oscillation repeats after two steps, and none is preferred. This is why small changes have such a large effect on that rule.
# (If the rest moves with every step, this holds for every $\kappa$; notebook 9 shows it.)

# %%
flat = eos.theory.FastMap(eos.tuners.Greedy(eps=0.0), kappa=0.0)
twice = jax.jit(lambda r: jnp.exp(flat(flat(flat.init(r)))[0]))
table({f"r after two steps, from r = {r}": (r, twice(r)) for r in (0.2, 1.0, 30.0)})

# %% [markdown]
# ## Armijo: neither settled nor chaotic
#
# Armijo's search remembers its last step, tries it again a little longer (here by a factor 1.25), and shortens it by
# 0.8 until the loss falls enough. Its map has two variables, $\ln r$ and the next trial, and is discontinuous where
# the number of cuts changes.


# %%
def armijo(first):
    return eos.theory.FastMap(eos.tuners.Armijo(factor=0.8, increase=1.25, initial=first), kappa=kappa)


search = jax.jit(
    lambda first, steps: jax.lax.scan(
        lambda z, _: (armijo(first)(z), (z[0], armijo(first).observe(z).s)), armijo(first).init(1.0), length=steps
    )[1],
    static_argnums=1,
)
first_trials = (1.0, 0.9)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
levels = []
for ax, trial in zip(axes, first_trials, strict=True):
    u, s = (np.asarray(x) for x in search(trial, 4000))
    ax.plot(s[-60:], marker=".", linewidth=0.7, color="#3a3a3a")
    ax.axhline(2, color="black", linestyle="--", linewidth=1)
    ax.set(xlabel="step", title=f"first trial {trial}", ylim=(1.6, 2.6))
    levels.append((np.unique(s[500:].round(9)), s[500:], u))
axes[0].set_ylabel("normalised step s")
plt.show()

# %% [markdown]
# **What we see.** A sawtooth about the edge, between two values of $s$ that depend on the first trial: since
# $1.25 \times 0.8 = 1$, the trials are always a power of 0.8 times the first. How often is each taken? This
# follows from the edge exponent. With shares $p_1 + p_2 = 1$,
#
# $$p_1\ln|1 - s_1| + p_2\ln|1 - s_2| = 0 .$$

# %%
for trial, (values, s, u) in zip(first_trials, levels, strict=True):
    low, high = values
    a, b = np.log(abs(1 - values))
    share = a / (a - b)
    print(
        f"first trial {trial}: s is {low:.4f} or {high:.4f}; period up to 100: {int(analysis.detect_period(u[:, None], max_period=100))}"
    )
    table({"share of the longer step": (share, (s > 2).mean()), "⟨s⟩": (low + share * (high - low), s.mean())})

# %% [markdown]
# The orbit never repeats (−1: no period found), because the shares are not rational. Is it chaotic? We compute the
# exponents over longer and longer intervals.

# %%
for steps in (300,) if quick else (1000, 10_000, 100_000):
    exponents = analysis.lyapunov(armijo(1.0), armijo(1.0).init(1.0), steps=steps, burn_in=500).exponents
    print(f"over {steps:6} steps: {float(exponents[0]):+.5f}, {float(exponents[1]):+.5f}")

# %% [markdown]
# **What we see.** Both exponents go to 0. Between its jumps the map only shifts $\ln r$ and the trial, and two nearby
# orbits keep their distance, up to a slow shear, until a jump separates them once. So Armijo's step fluctuates forever
# without chaos. It is also a warning: a Lyapunov exponent is a derivative along an orbit, and jumps do not enter it.

# %% [markdown]
# ## A border between two outcomes
#
# Polyak's rule with $c < \tfrac14$ takes too long steps: a large oscillation has $s > 2$ and grows without bound. If little
# loss is left, $A < 2c$, a small one has $s < 2$ and decays. The two basins meet at the fixed point $r^* = (A -
# 2c)/(2c - \tfrac12)$, which repels.


# %%
def little(z):
    return polyak(z, 0.2, 0.3)


rest = analysis.cycles(little, jnp.array([[0.5]]))
table(
    {
        "r* at c = 0.2, A = 0.3": (closed.fixed_point(0.2, 0.3), np.exp(rest.points[0, 0, 0])),
        "its multiplier": (closed.multiplier(0.2, 0.3), rest.multipliers[0, 0].real),
    }
)
starts = jnp.log(jnp.array([0.1, 0.5, 0.9, 0.99, 1.01, 1.1, 2.0, 10.0]))
fates = jax.jit(jax.vmap(lambda u: jax.lax.scan(lambda z, _: (little(z), z[0]), u[None], length=60)[1]))(starts)
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for fate in fates:
    ax.plot(fate, color="#0072B2" if fate[0] < 0 else "#D55E00", linestyle="-" if fate[0] < 0 else "--")
ax.axhline(0, color="black", linewidth=0.9, linestyle=":")
ax.set(xlabel="step", ylabel="ln r", xlim=(0, 25), ylim=(-10, 10))
plt.show()

# %% [markdown]
# **What we see.** The dotted line is the repelling fixed point. Starts below it (blue) die out, starts above it (red,
# dashed) grow without bound; those close to it stay near it at first. For the same rule in the same valley, the start
# decides.

# %% [markdown]
# ## When the sharpness responds
#
# So far $\lambda$ was held fixed. In the valley of notebook 1 it is not: with a constant step the map of $x$ and
# $\lambda$ is
#
# $$x' = (1 - \eta\lambda)\,x,\qquad \lambda' = \lambda + \eta\bigl(\alpha - \tfrac12\beta x^2\bigr),\qquad
# \alpha = \mu(\lambda_\infty - \lambda).$$
#
# We follow $|x|$, since $x$ changes sign at every step. The fixed point is $\lambda = 2/\eta$, $x^2 = 2\alpha/\beta$.
# Let us raise $\lambda_\infty$, and with it the rate $\alpha$ of progressive sharpening.

# %%
from eosmodel.analysis.symbolic import normal_form

form = normal_form()
step = form.compile()
eta, b, mu = 0.1, 4.0, 0.5


def valley_map(z, limit):
    new = step(z, jnp.stack([jnp.asarray(value, z.dtype) for value in (eta, limit, b, mu)]))
    return new.at[0].set(jnp.abs(new[0]))


equilibrium = analysis.branch(valley_map, [0.7, 20.0], 22.0, (20.5, 28.0), name="λ_∞")
turning = equilibrium.kind == "neimark-sacker"
table({"λ_∞ where the equilibrium begins to swing": (5 / (2 * eta), equilibrium.p[turning].item())})

# %%
orbit = jax.jit(lambda z, limit: jax.lax.scan(lambda z, _: (valley_map(z, limit), z), z, length=5000)[1])
figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
for ax, limit, late in zip(axes[:2], (23.0, 25.1), (False, True), strict=True):
    field = analysis.portrait(
        valley_map, (0.02, 2.7), (14.0, 26.0), args=(limit,), resolution=(45, 45), names=("|x|", "λ")
    )
    eos.plotting.portrait(field, axes=ax)
    visited = orbit(jnp.array([0.3, 17.0]), limit)[slice(-400, None) if late else slice(400)]
    ax.plot(*visited.T, ".", color="#CC79A7", markersize=3, zorder=3, label="an orbit" + ", late" * late)
    ax.set_title(f"λ_∞ = {limit:g}")
    # One legend below for both.
    handles, labels = ax.get_legend_handles_labels()
    ax.get_legend().remove()
    ax.legend(handles, labels, loc="lower left", fontsize=7, framealpha=0.9)
eos.plotting.branch(equilibrium, axes=axes[2])
axes[2].set_ylabel("|x|")
plt.show()
for limit in (23.0, 25.1):
    spectrum = analysis.lyapunov(valley_map, [0.7, 20.0], args=(limit,), steps=200 if quick else 20_000, burn_in=4000)
    print(
        f"λ_∞ = {limit:g}: Lyapunov exponents {float(spectrum.exponents[0]):+.5f} and {float(spectrum.exponents[1]):+.5f}"
    )

# %% [markdown]
# **What we see.** Arrows show where a step leads, lines where a step leaves $|x|$ or $\lambda$ alone; they cross at
# the equilibrium. On the left an orbit spirals into it. At $\eta\lambda_\infty = \tfrac52$ a pair of complex
# multipliers leaves the unit circle, a **Neimark–Sacker** bifurcation. Beyond it (middle) the orbit moves on a
# closed curve: sharpness and oscillation vary forever, regularly, but without a period that is a whole number of
# steps. Its largest Lyapunov exponent is 0: two orbits on the curve keep their distance.

# %% [markdown]
# ## What to remember
#
# - A rule is a map. Its flip, and not the edge, is where its step size starts to fluctuate.
# - $\Lambda = 0$ for every bounded oscillation; the Lyapunov exponent is different; $\langle s\rangle$ may be far above 2.
# - In chaos compare distributions, not steps. A heavy tail makes means depend on a few steps.
# - Armijo's search fluctuates without chaos, and the values it takes depend on its first trial.
# - All of this holds the slow variables fixed. Notebook 9 derives the formulas and shows where each one fails.
