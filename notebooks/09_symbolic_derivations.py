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
# # 9. Symbolic derivations: where the formulas come from, and where they stop
#
# The other notebooks use a few formulas. Here each is derived with sympy, in a few lines, and compared with numbers from
# the package in the next cell. Every derivation neglects something, so each section ends where its formula fails.
#
# 1. A loss becomes a map of the oscillation $x$ and the sharpness $\lambda$.
# 2. That map has a fixed point, the edge of stability, and multipliers that say when it is stable.
# 3. A step-size rule becomes a response $s = \Phi(r)$; Polyak's and the greedy rule get equilibria and flips.
# 4. CDAT at $\sigma = 2$ has no equilibrium, so $\lambda$ must bound the oscillation.
# 5. Averaged over the oscillation, $\lambda$ obeys a differential equation, which can be solved.

# %%
import os

import eosmodel as eos
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import sympy as sp
from eosmodel import analysis
from eosmodel.analysis.symbolic import compile, normal_form
from IPython.display import display

jax.config.update("jax_enable_x64", True)
quick = bool(os.environ.get("EOSMODEL_QUICK"))  # the project's tests run a small version of this notebook
BLUE, RED, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"


def table(rows):
    """Formula against numbers."""
    print(f"{'':46}{'formula':>12}{'numbers':>12}{'difference':>12}")
    for name, (formula, numbers) in rows.items():
        formula, numbers = float(formula), float(numbers)
        print(f"{name:46}{formula:12.6f}{numbers:12.6f}{abs(numbers - formula):12.1e}")


# %% [markdown]
# ## From a loss to a map
#
# The valley of notebook 1 has one sharp direction $x$ and one other weight $z$. We write down the loss and let sympy
# take a step of gradient descent.

# %%
x, z = sp.symbols("x z", real=True)
eta, b, mu, limit, lam = sp.symbols(r"eta b mu \lambda_\infty lambda", positive=True)
loss = (limit + sp.sqrt(b) * z) * x**2 / 2 + mu * z**2 / 2
new_x, new_z = (weight - eta * loss.diff(weight) for weight in (x, z))
display(sp.Eq(sp.Symbol("f"), loss), sp.Eq(sp.Symbol("x'"), new_x), sp.Eq(sp.Symbol("z'"), new_z))

# %% [markdown]
# The sharpness on the valley's floor is $\lambda = \lambda_\infty + \sqrt b\,z$. Replace $z$ by $\lambda$:

# %%
in_lambda = {z: (lam - limit) / sp.sqrt(b)}
new_x = sp.factor(new_x.subs(in_lambda))
new_lam = sp.expand((limit + sp.sqrt(b) * new_z).subs(in_lambda))
display(
    sp.Eq(sp.Symbol("x'"), new_x),
    sp.Eq(sp.Symbol(r"\lambda'"), lam + eta * sp.collect(sp.expand((new_lam - lam) / eta), mu)),
)

# %% [markdown]
# With $\alpha = \mu(\lambda_\infty - \lambda)$ and $\beta = b$ this is $\lambda' = \lambda + \eta(\alpha -
# \tfrac12\beta x^2)$: the normal form of self-stabilisation (Damian, Nichani & Lee, arXiv 2209.15594). Nothing has
# been neglected. The package derives the same map; we compare with it, and with descent on the valley as an objective.

# %%
form = normal_form()
ours = dict(zip(form.symbols, (eta, limit, b, mu), strict=True))
theirs = [expr.subs(ours).subs(sp.Symbol("lambda", real=True), lam) for expr in form.step]
print("the package's map is ours:", [sp.simplify(a - b) == 0 for a, b in zip(theirs, (new_x, new_lam), strict=True)])

steps, size = 60 if quick else 300, 0.1
valley = eos.objectives.valley()
run = eos.simulate(valley, eos.tuners.Constant(size), steps=steps, modes=1, progress=False)
our_map = compile([new_x, new_lam], (x, lam, eta, limit, b, mu))
numbers = jnp.array([size, valley.sharpness_limit, valley.b, valley.mu[0]])
first = jnp.array([valley.start[0], valley.sharpness(valley.start)])
path = jax.jit(lambda z: jax.lax.scan(lambda z, _: (our_map(*z, *numbers), z), z, length=steps)[1])(first)
on_map = 0.5 * path[:, 1] * path[:, 0] ** 2 + 0.5 * valley.mu[0] / valley.b * (path[:, 1] - valley.sharpness_limit) ** 2
print(
    f"largest difference of map and run over {steps} steps: loss {np.max(abs(run.loss.values - on_map)):.1e},", end=" "
)
print(f"sharpness {np.max(abs(run.sharpness.values - path[:, 1])):.1e}")

# %% [markdown]
# The loss of the run agrees with the map to rounding. The sharpness of a run is *measured* at the middle of the oscillation,
# which is estimated from three iterates, and so has an error of its own.
#
# **Where it fails.** With several other weights of different curvature, $\lambda$ still obeys $\lambda' = \lambda +
# \eta(\alpha - \tfrac12\beta x^2)$, but $\alpha$ is no longer a function of $\lambda$: it has a memory. We give the
# map the right $\lambda$ and $\alpha$ at the start and see how long it stays right.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
for ax, modes in zip(axes, (1, 4), strict=True):
    floor = eos.objectives.valley(modes=modes)
    begin = floor.initial()
    measured = (
        run if modes == 1 else eos.simulate(floor, eos.tuners.Constant(size), steps=steps, modes=1, progress=False)
    )
    rate = floor.alpha(begin) / (floor.sharpness_limit - floor.sharpness(begin))  # the μ that gives α at the start
    numbers = jnp.array([size, floor.sharpness_limit, floor.b, rate])
    z0 = jnp.array([begin[0], floor.sharpness(begin)])
    followed = jax.lax.scan(lambda z, _, n=numbers: (our_map(*z, *n), z), z0, length=steps)[1]
    ax.plot(measured.step, measured.sharpness, color="#b8b8b8", linewidth=2.5, label="descent")
    ax.plot(followed[:, 1], color=BLUE, linewidth=1, label="map of x and λ")
    ax.axhline(2 / size, color="black", linestyle="--", linewidth=1)
    ax.set(xlabel="step t", title=f"{modes} other weight{'s' * (modes > 1)}")
    gap = np.nanmedian(abs(np.log(measured.sharpness.values / followed[:, 1])))
    print(f"{modes} other weight{'s' * (modes > 1)}: median |Δ ln λ| {gap:.1e}")
axes[0].set_ylabel("sharpness λ")
axes[0].legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# **What we see.** With one other weight the map *is* the descent. With four it gets the first rise right and then
# is too fast: the fast directions of the bulk soon converge, and $\lambda$ keeps rising with the slow ones.

# %% [markdown]
# ## The fixed point and its multipliers
#
# At the fixed point $x' = -x$ and $\lambda' = \lambda$. To see whether it is stable, linearise. In the coordinates
# $(\ln x^2, \lambda)$ the change of sign of $x$ disappears.

# %%
energy, log_energy = sp.Symbol("E", positive=True), sp.Symbol("y", real=True)  # E = x²
ratio, drift = sp.simplify(new_x / x), (new_lam - lam).subs(x**2, energy)
(rest,) = sp.solve([ratio + 1, drift], [energy, lam], dict=True)
display(sp.Eq(sp.Symbol("x^2"), sp.factor(rest[energy])), sp.Eq(lam, rest[lam]))
slow = sp.Matrix([log_energy + sp.log(ratio**2), (lam + drift).subs(energy, sp.exp(log_energy))])
jacobian = slow.jacobian([log_energy, lam]).subs(sp.exp(log_energy), energy).subs(rest).applyfunc(sp.factor)
trace, determinant = sp.factor(jacobian.trace()), sp.factor(jacobian.det())
display(jacobian, sp.Eq(sp.Symbol("T"), trace), sp.Eq(sp.Symbol("D"), determinant))
display(sp.Eq(limit, sp.solve(sp.Eq(determinant, 1), limit)[0]))

# %% [markdown]
# Multipliers of a plane map with trace $T$ and determinant $D$ solve $m^2 - Tm + D = 0$. Where they are complex, both
# have the modulus $\sqrt D$, and the last line says when that is 1: at $\eta\lambda_\infty = \tfrac52$. Below, the logarithm
# of a disturbance changes by $\tfrac12\ln D$ per step. We compare with the multipliers that `analysis.cycles`
# computes from the map alone, and then with descent that starts a little beside the fixed point.

# %%
at = {eta: size, b: 4.0, mu: 0.5}
growth = compile(sp.log(determinant.subs(at)) / 2, (limit,))
trace_at, determinant_at = (float(value.subs(at).subs(limit, 23.0)) for value in (trace, determinant))


def folded(z):
    """The map of |x| and λ at λ_∞ = 23."""
    new = our_map(*z, size, 23.0, 4.0, 0.5)
    return new.at[0].set(jnp.abs(new[0]))


found = analysis.cycles(folded, jnp.array([[0.8, 19.0]])).multipliers[0]
table({"T at λ_∞ = 23": (trace_at, found.sum().real), "D at λ_∞ = 23": (determinant_at, found.prod().real)})

# %%
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
swings = 100 if quick else 700
for top, color, dash in ((23.0, BLUE, "-"), (24.5, GREEN, "--"), (26.5, RED, "-.")):
    stay = np.sqrt(2 * 0.5 * (top - 2 / size) / 4.0)
    floor = eos.objectives.Valley(top, 4.0, [1.0], [0.5], jnp.array([1.02 * stay, (2 / size - top) / 2]))
    measured = eos.simulate(floor, eos.tuners.Constant(size), steps=swings, modes=1, progress=False)
    away = abs(measured.sharpness - 2 / size)
    ax.semilogy(away.step, away, color=color, linewidth=0.8)
    t = np.arange(swings)
    ax.plot(
        t,
        float(away[5:40].max()) * np.exp(float(growth(top)) * (t - 20)),
        color=color,
        linestyle=dash,
        label=f"λ_∞ = {top}",
    )
ax.set(xlabel="step t", ylabel="|λ − 2/η|", ylim=(1e-4, 60))
ax.legend(frameon=False, ncols=3, loc="upper left")
plt.show()

# %% [markdown]
# **What we see.** Thin lines oscillate; the straight ones have the derived slope, and only their height is taken from the
# first oscillation. **Where it fails**: a multiplier describes small disturbances. Above $\eta\lambda_\infty = \tfrac52$ the
# oscillation follows the formula while it is small and then stops growing, which is a nonlinear effect (notebook 4 draws the
# closed curve on which it ends).

# %% [markdown]
# ## A rule becomes a response
#
# Now a rule chooses $\eta$. Let $x$ be the displacement in the sharp direction. All other directions
# are the *rest*: $G$ is its squared gradient, $\bar L$ its loss (lowest possible loss: 0), $\kappa\lambda$ its curvature along
# its gradient. To leading order
#
# $$L = \bar L + \tfrac12\lambda x^2,\qquad \|g\|^2 = G + \lambda^2x^2,\qquad g^\top Hg = \kappa\lambda G + \lambda^3x^2 .$$
#
# Insert this into a rule, and write $r = \lambda^2x^2/G$ and $A = \lambda\bar L/G$.

# %%
r, G, A, c, c1, kappa, sigma, floor_loss = sp.symbols("r G A c c_1 kappa sigma Lbar", positive=True)
displacement = {x**2: r * G / lam**2, floor_loss: A * G / lam}
value = floor_loss + lam * x**2 / 2
square = G + lam**2 * x**2
bend = kappa * lam * G + lam**3 * x**2
trial = sp.Symbol("eta_0", positive=True)
on_line = value - trial * square + trial**2 * bend / 2  # the loss along −g, a parabola
(longest,) = sp.solve(sp.Eq(on_line, value - c1 * trial * square), trial)
rules = {"polyak": value / (c * square), "cdat": sigma * square / bend, "armijo": longest}
phi = {name: sp.factor(sp.expand(lam * rule).subs(displacement)) for name, rule in rules.items()}
for name, response in phi.items():
    display(sp.Eq(sp.Function(f"Phi_{name}")(r), response))

# %% [markdown]
# (Armijo: the longest step that the search accepts; its step is between `factor` times this and this.) Compared with the
# tuner objects, which `eos.theory.response` calls on a parabola:

# %%
energies = jnp.geomspace(1e-2, 1e3, 25)
ours = compile([phi["polyak"].subs({c: 0.3, A: 10}), phi["cdat"].subs({sigma: 1.5, kappa: sp.Rational(1, 20)})], (r,))(
    energies
)
theirs = (
    eos.theory.response(eos.tuners.Polyak(0.3), energies, A=10.0),
    eos.theory.response(eos.tuners.CDAT(1.5, eps=0.0), energies, kappa=0.05),
)
for i, name in enumerate(("Polyak", "CDAT")):
    print(f"{name:7} largest relative difference {float(abs(ours[:, i] / theirs[i] - 1).max()):.1e}")

# %% [markdown]
# **Where it fails.** A loss is a parabola only near its floor. Let the valley have walls that stiffen,
# $+\tfrac14\gamma x^4$, and call the same tuners there. (We set $b = 0$, so that this is the only error.)

# %%
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
out = jnp.geomspace(0.01, 3.0, 60)
for gamma, dash in ((0.3, "--"), (3.0, "-")):
    stiff = eos.objectives.Valley(20.0, 0.0, [1.0], [0.5], jnp.array([0.1, -1.0]), gamma=gamma)
    start = jnp.array([0.0, -1.0])
    at_floor = stiff.sharpness(start), stiff.bulk_gradient_sq(start), stiff.loss(start), stiff.kappa(start)
    ratio_r = out**2 * at_floor[0] ** 2 / at_floor[1]
    for tuner, name, color in (
        (eos.tuners.Polyak(0.3), "polyak", BLUE),
        (eos.tuners.CDAT(1.5, eps=0.0), "cdat", ORANGE),
    ):
        ask = jax.vmap(lambda w, t=tuner, f=stiff: t(eos.ray(f, w), t.init())[0])
        taken = ask(jnp.stack([out, jnp.full_like(out, -1.0)], 1)) * at_floor[0]
        given = {c: 0.3, A: at_floor[0] * at_floor[2] / at_floor[1], sigma: 1.5, kappa: at_floor[3]}
        derived = compile(phi[name].subs({symbol: float(v) for symbol, v in given.items()}), (r,))(ratio_r)
        ax.loglog(out, abs(taken / derived - 1), color=color, linestyle=dash, label=f"{name}, γ = {gamma}")
ax.loglog(out, 3.0 * out**2 / 20, color="black", linewidth=0.8, linestyle=":", label="γx²/λ, γ = 3")
ax.set(xlabel="displacement x", ylabel="relative error of Φ")
ax.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# **What we see.** The error grows like $\gamma x^2/\lambda$ (dotted), the share of the quartic term in the curvature,
# and is smaller still where Polyak's rule looks at the rest of the loss and not at the oscillation. A formula for the
# response is as accurate as the parabola.

# %% [markdown]
# ## Equilibrium, multiplier, flip
#
# With all else held fixed, the oscillation obeys $\ln r' = \ln r + 2\ln|1 - \Phi(r)|$. Its equilibrium is $\Phi(r^*) = 2$,
# and $d\ln r'/d\ln r = 1 - 2r\Phi'(r)/(1 - \Phi(r))$ is $m = 1 + 2r^*\Phi'(r^*)$ there. For Polyak's rule:


# %%
def rest_of(response):
    """r* and its multiplier, with everything slow held."""
    (star,) = sp.solve(sp.Eq(response, 2), r)
    return sp.factor(star), sp.factor((1 + 2 * r * response.diff(r)).subs(r, star))


star, m = rest_of(phi["polyak"])
display(sp.Eq(sp.Symbol("r^*"), star), sp.Eq(sp.Symbol("m"), m), sp.Eq(sp.Symbol(r"m_\infty"), sp.limit(m, A, sp.oo)))

# %% [markdown]
# With much loss left the flip, $m = -1$, is at $-3 + 1/c = -1$, that is $c = \tfrac12$. For a finite $A$ multiply by
# the denominator:

# %%
flip_equation = sp.Poly(sp.numer(sp.together(m + 1)), c).primitive()[1] / 2
flip_at = sorted(sp.solve(flip_equation.as_expr(), c), key=lambda root: root.subs(A, 10))
display(sp.Eq(sp.expand(flip_equation.as_expr()), 0), sp.Eq(c, flip_at[0]))
large = sp.Symbol("epsilon", positive=True)  # 1/A
display(sp.series(flip_at[0].subs(A, 1 / large), large, 0, 3))
print("no flip below A =", max(sp.solve(sp.discriminant(flip_equation.as_expr(), c), A)))


# %%
def polyak(u, c, A):
    return eos.theory.FastMap(eos.tuners.Polyak(c), A=A)(u)


known = compile(flip_at[0], (A,))
levels = (6.0, 20.0) if quick else (4.6, 6.0, 10.0, 20.0, 50.0)
found = {}
for level in levels:

    def held(u, c, level=level):
        return polyak(u, c, level)

    found[level] = analysis.flip(held, [np.log((level - 1) / 0.6)], float(known(level)) - 0.02).parameter
table({f"first flip at A = {level:g}, c =": (known(level), at) for level, at in found.items()})
fixed = analysis.cycles(lambda u: polyak(u, 0.3, 10.0), jnp.array([[4.0]]))
values = {c: 0.3, A: 10}
table(
    {
        "r* at c = 0.3, A = 10": (star.subs(values), np.exp(fixed.points[0, 0, 0])),
        "m there": (m.subs(values), fixed.multipliers[0, 0].real),
    }
)

# %% [markdown]
# So far the formulas agree with the fast map to rounding, as they must: both hold the slow variables fixed.
#
# **Where it fails.** On a loss, a step also moves the rest: a rest of curvature $\kappa\lambda$ has its gradient
# multiplied by $1 - \kappa s$, and $G$ by the square of that. So
#
# $$r' = r\left(\frac{1 - s}{1 - \kappa s}\right)^2,\qquad s = \Phi(r) .$$


# %%
def rest_of_both(response):
    """r*, its multiplier and the next r, with the rest moving."""
    after = sp.factor(r * ((1 - response) / (1 - kappa * response)) ** 2)
    (star,) = sp.solve(sp.Eq(response, 2 / (1 + kappa)), r)  # 1 − s = −(1 − κs)
    return sp.factor(star), sp.factor(after.diff(r).subs(r, star)), after


moving_m = rest_of_both(phi["polyak"])[1]
display(sp.Eq(sp.Symbol("m"), moving_m))
moving_flip = min(sp.solve(sp.numer(sp.together(moving_m + 1)), c), key=lambda root: root.subs({A: 10, kappa: 0.05}))
ratio_a = sp.Symbol("a", positive=True)  # κA, to expand in 1/A and κ together
leading = sp.series(moving_flip.subs({kappa: ratio_a * large, A: 1 / large}), large, 0, 2).removeO()
display(sp.Eq(c, sp.expand(sp.expand(leading).subs(ratio_a, kappa / large)).subs(large, 1 / A)))
print("κ = 1/2A: flips at c =", sp.solve(sp.Eq(moving_m.subs(A, 1 / (2 * kappa)), -1), c))

# %% [markdown]
# A moving rest shifts the flip by $-\tfrac12\kappa$. If the rest is a single weight of curvature $\mu$, then $\bar
# L = G/2\mu$ and $\kappa = 1/2A$: the two shifts cancel, and the flip is at $c = \tfrac12$ *exactly*, whatever $A$.
# We test this by descent on such valleys. A constant $c$ counts as settled if $\ln s$ spreads by less than 0.01 over
# the last steps.


# %%
def descend(tuner, share, r0, steps):
    """r and s along descent from r0 on a valley whose λ = 20 hardly moves, and whose rest has κ = share."""
    floor = eos.objectives.Valley(20.0, 1e-8, [1.0], jnp.array([20.0 * share]), jnp.array([share * jnp.sqrt(r0), -1.0]))

    def step(w, _):
        line = eos.ray(floor, w)
        taken = tuner(line, tuner.init())[0]
        return w + taken * line.direction, ((w[0] / (share * w[1])) ** 2, 20.0 * taken)

    return jax.lax.scan(step, floor.initial(), None, length=steps)[1]


ratios = (5.0, 10.0) if quick else (5.0, 7.0, 10.0, 20.0, 50.0)
tried = jnp.linspace(0.46, 0.58, 25 if quick else 121)
each = jax.jit(jax.vmap(lambda c, share: descend(eos.tuners.Polyak(c), share, 30.0, 1000)[1], (0, None)))
onsets = []
for level in ratios:
    # Past the flip the rest may come to lie at 0 exactly, where Polyak's step is 0.
    spread = np.log(np.maximum(each(tried, 0.5 / level)[:, -60:], 1e-9)).std(1)
    onsets.append(float(tried[np.argmax(spread > 0.01)]))
    print(
        f"A = {level:4g}: descent fluctuates from c = {onsets[-1]:.3f} on; held rest {float(known(level)):.3f}, moving rest 0.500"
    )
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
grid = np.geomspace(4.5, 60, 200)
ax.semilogx(grid, known(grid), color=BLUE, label="held rest: 4c² − (A + 3/2)c + A/2 = 0")
ax.plot(grid, 0.5 + 0.25 / grid, color=BLUE, linestyle=":", label="held rest: ½ + 1/4A")
ax.plot(list(found), list(found.values()), "o", color=BLUE, label="held rest: found on the fast map")
ax.axhline(0.5, color=RED, linestyle="--", label="moving rest: ½")
ax.plot(ratios, onsets, "s", color=RED, label="descent on a valley")
ax.set(xlabel="A", ylabel="first flip, c")
ax.set_xticks([5, 10, 20, 50], ["5", "10", "20", "50"])
ax.minorticks_off()
ax.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# **What we see.** Descent leaves its fixed point at $\tfrac12$ and not on the curve. The formula for a fixed rest is correct,
# but for another problem, a rest that does not move. When is it accurate on a loss? Its error is
# $\tfrac12\kappa$, and any quadratic rest that can be fitted, of curvatures $\mu_j$, has $\kappa \ge 1/2A$, by
# $(\sum\mu_j^2z_j^2)^2 \le \sum\mu_jz_j^2\,\sum\mu_j^3z_j^2$. So there the shift $1/4A$ never occurs alone; it needs a
# loss of which a part cannot be fitted. At large $A$, where the rule is mostly used, all of them give $\tfrac12$.
# (And the expansion $\tfrac12 + 1/4A$ of the formula for a fixed rest fails towards $A = \tfrac92$.)

# %% [markdown]
# ## The greedy rule
#
# The same steps for $\Phi = \sigma(1 + r)/(\kappa + r)$.

# %%
star, m = rest_of(phi["cdat"])
display(sp.Eq(sp.Symbol("r^*"), star), sp.Eq(sp.Symbol("m"), m), sp.Eq(sp.Symbol("m_0"), sp.simplify(m.subs(kappa, 0))))
(flips_equation,) = [sp.factor(sp.numer(sp.together(m + 1)))]
display(sp.Eq(flips_equation, 0))
moving_star, moving_m, after = rest_of_both(phi["cdat"])
print("held rest, flip at κ = 0: σ =", list(sp.solve(flips_equation.subs(kappa, 0), sigma)))
print("moving rest, flips: σ =", sp.solve(sp.Eq(moving_m, -1), sigma))
display(sp.Eq(sp.Symbol("r'"), sp.simplify(after.subs(sigma, 1))))

# %% [markdown]
# The last line is remarkable: with a moving rest and $\sigma = 1$ a step maps $r$ to $1/r$, for every $\kappa$.
# The greedy rule is exactly on its flip, and *every* orbit repeats after two steps. On a quadratic it is steepest
# descent with exact line search, whose zigzag has been known since Akaike (1959). Again the map with a fixed rest is off by a term
# in $\kappa$.

# %%
from_three = descend(eos.tuners.Greedy(eps=0.0), 0.05, 3.0, 40)[0]
at_small = {kappa: sp.Rational(1, 20), sigma: sp.Rational(3, 2)}
held = analysis.cycles(eos.theory.FastMap(eos.tuners.CDAT(1.5, eps=0.0), kappa=0.05), jnp.array([[1.0, 1.0, 1.0]]))
table(
    {
        "greedy on a valley from r = 3: r after 1 step": (1 / 3, from_three[1]),
        "r after 40 steps, that is 3 or 1/3": (1 / 3, from_three[39]),
        "σ = 3/2: r*, held rest, on the fast map": (star.subs(at_small), np.exp(held.points[0, 0, 0])),
        "σ = 3/2: m, held rest, on the fast map": (
            m.subs(at_small),
            held.multipliers[0][np.argmax(abs(held.multipliers[0]))].real,
        ),
        "σ = 3/2: r*, moving rest, on a valley": (
            moving_star.subs(at_small),
            descend(eos.tuners.CDAT(1.5, eps=0.0), 0.05, 3.0, 40)[0][-1],
        ),
    }
)

# %% [markdown]
# ## CDAT at σ = 2: no equilibrium
#
# At $\sigma = 2$ the equation $\Phi = 2$ has no root. What happens to the oscillation?

# %%
excess = sp.factor(phi["cdat"].subs(sigma, 2) - 2)
gain = sp.series((r * (1 - phi["cdat"].subs(sigma, 2)) ** 2 - r).subs(r, 1 / large), large, 0, 2)
display(sp.Eq(sp.Symbol("Phi") - 2, excess), sp.Eq(sp.Symbol("r'") - r, gain))

# %% [markdown]
# $\Phi$ is above 2 for every $r$, by less and less: $r$ grows by nearly $4(1 - \kappa)$ per step, forever (here
# $\epsilon$ stands for $1/r$). The rule does not bound the oscillation, so $\lambda$ must: it falls until $x^2 =
# 2\alpha/\beta$, as with a constant step. For $\sigma$ a little below 2 there is an equilibrium, $r^* = (\sigma -
# 2\kappa)/(2 - \sigma)$, but if it is far out then $x^2$ meets $2\alpha/\beta$ first. So we expect
#
# $$q = \frac{\beta x^2}{2\alpha} \approx \min\left(1,\ \frac{r^*G\beta}{2\alpha\lambda^2}\right) .$$

# %%
two = eos.theory.FastMap(eos.tuners.CDAT(2.0, eps=0.0), kappa=0.05)
grown = jax.jit(lambda z: jax.lax.fori_loop(0, 2000, lambda _, z: two(z), z))(two.init(1.0))
table({"growth of r a step, over 2000 steps": (4 * 0.95, (np.exp(grown[0]) - 1) / 2000)})

sigmas = (1.9, 2.0) if quick else (1.5, 1.8, 1.9, 1.95, 1.98, 1.99, 2.0)
floor = eos.objectives.Valley(22.0, 4.0, [1.0, 0.0], [0.01, 0.01], jnp.array([0.02, -3.0, 30.0]))
runs = eos.simulate(
    floor, eos.tuners.CDAT(jnp.array(sigmas), eps=0.0), steps=200 if quick else 800, modes=1, progress=False
)
late = runs.isel(step=slice(-100, -2))
q_run = (late.beta * late.amplitude.sel(mode=1) ** 2 / (2 * late.alpha)).mean("step").values
bulk, sharp, push = (late[name].mean("step").values for name in ("bulk_gradient_sq", "sharpness", "alpha"))
for i, value in enumerate(sigmas):
    equilibrium = (value - 2 * 0.01 / sharp[i]) / (2 - value) if value < 2 else np.inf
    bound = equilibrium * bulk[i] * 4.0 / (2 * push[i] * sharp[i] ** 2)
    print(
        f"σ = {value:4}: r* = {equilibrium:7.2f}, q = {min(1, bound):.3f} expected, {q_run[i]:.3f} on descent", end=""
    )
    if not quick:
        slow = {"sharpness": sharp[i], "bulk_gradient_sq": bulk[i], "kappa": 0.01 / sharp[i]}
        kind = eos.theory.classify(
            eos.theory.FastMap(eos.tuners.CDAT(value, eps=0.0), **slow), alpha=push[i], beta=4.0
        ).kind
        print(", class:", eos.theory.Kind(int(kind)).label, end="")
    print()

# %% [markdown]
# **What we see.** The smaller of the two determines $x^2$, up to $\sigma = 2$, where $\lambda$ takes over. **Where it
# fails**: the transition between the two limits is smooth and has no corner. (A moving rest shifts $r^*$ as above; here
# $\kappa$ is small.)

# %% [markdown]
# ## The slow flow
#
# Over many oscillations $\lambda$ changes by the average of its steps. With $\langle\cdot\rangle$ the average over the
# fast map,
#
# $$\frac{d\lambda}{dt} = \langle\eta\rangle\alpha - \tfrac12\beta\langle\eta x^2\rangle .$$
#
# A clamped rule stays at $r^*$, so that $\eta = 2/\lambda$ and $x^2 = r^*G/\lambda^2$. Insert that, hold
# $\alpha$, $\beta$, $G$ fixed, and let sympy solve for $u = \lambda^2$.

# %%
t, alpha, beta, r_star, U = sp.symbols("t alpha beta r^* U", positive=True)
u = sp.Function("u", positive=True)
rate = 2 / lam * (alpha - beta * (r_star * G / lam**2) / 2)
in_u = sp.expand(2 * lam * rate).subs(lam, sp.sqrt(u(t))).subs(r_star, 2 * alpha * U / (beta * G))
display(sp.Eq(sp.Derivative(sp.Symbol("lambda"), t), sp.expand(rate)), sp.Eq(u(t).diff(t), sp.factor(in_u)))
solution = sp.dsolve(sp.Eq(u(t).diff(t), in_u), u(t))
display(solution, sp.Eq(U, r_star * beta * G / (2 * alpha)))

# %% [markdown]
# $W$ is Lambert's function, the inverse of $we^w$. The square of the sharpness moves away from $U$, where $q =
# U/\lambda^2 = 1$: above, it rises, asymptotically like $\lambda = \sqrt{\lambda_0^2 + 4\alpha t}$ (put $U = 0$); below,
# it falls. The package solves the same equation numerically, with averages from the tuner itself.

# %%
from eosmodel.theory import FrozenClosure, SlowFlow
from scipy.special import lambertw


def clamped(t, start, level, push):
    """λ(t) by the formula, as long as it is real."""
    w0 = start**2 / level - 1
    inner = w0 * np.exp(w0 + 4 * push * t / level)
    return np.sqrt(level * (1 + np.where(inner > -np.exp(-1), lambertw(inner).real, np.nan)))


push, pull, bulk, until = 1.0, 4.0, 60.0, 60 if quick else 150
tuner = eos.tuners.CDAT(1.5, eps=0.0)  # r* = 3 at κ = 0
level = 3 * pull * bulk / (2 * push)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
worst = {}
for start, color in ((20.0, BLUE),) if quick else ((21.0, BLUE), (19.2, GREEN), (18.5, RED)):
    closure = FrozenClosure(alpha=push, beta=pull, kappa=0.0, bulk_gradient_sq=bulk, sharpness=start, center_loss=1e5)
    flow = SlowFlow(tuner, closure).solve(until, save_every=5)
    formula = clamped(flow.time, start, level, push)
    ax.plot(flow.time, formula, color=color, label=f"λ₀ = {start:g}, q = {level / start**2:.2f}")
    ax.plot(flow.time, flow.sharpness, "o", color=color, markersize=3.5)
    worst[start] = np.nanmax(abs(flow.sharpness / formula - 1))
ax.axhline(np.sqrt(level), color="black", linestyle="--", linewidth=1, label="√U, q = 1")
ax.set(xlabel="t", ylabel="λ", title="lines: formula; dots: SlowFlow")
ax.legend(frameon=False, fontsize=9)
plt.show()
print({f"λ₀ = {start:g}": f"{error:.1e}" for start, error in worst.items()}, "largest relative differences")

# %% [markdown]
# **What we see.** The solution and the solver agree to the solver's tolerance. Below $q = 1$ the clamped rule
# sharpens forever, above it flattens.
#
# ## How slow is slow?
#
# Averaging assumes that $\lambda$ hardly changes while the oscillation settles. In the valley with one other weight
# $\alpha = \mu(\lambda_\infty - \lambda)$, and $\mu$ sets the rate. Neglecting the effect of the oscillation ($q \ll 1$)
# sympy solves this, too:

# %%
L = sp.Function("lambda", positive=True)
in_valley = sp.dsolve(sp.Eq(L(t).diff(t), 2 * mu * (limit - L(t)) / L(t)), L(t))
display(in_valley)


def rising(t, start, top, pace):
    """λ(t) by the formula."""
    share = (start - top) / top
    return top * (1 + lambertw(share * np.exp(share - 2 * pace * t / top)).real)


# %%
paces = np.array([0.01, 0.1]) if quick else np.geomspace(0.005, 3.0, 10)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for value, color, mark in ((1.5, BLUE, "o"),) if quick else ((1.5, BLUE, "o"), (0.8, RED, "s")):
    errors = []
    for pace in paces:
        # The same stretch of λ for all, from its start at 16; the oscillation begins near its r*.
        steps = int(4 / pace) + 8
        floor = eos.objectives.Valley(22.0, 4.0, [1.0], [pace], jnp.array([pace * 0.3, -3.0]))
        run = eos.simulate(
            floor, eos.tuners.CDAT(value, eps=0.0), steps=steps, modes=1, measure_every=0, progress=False
        )
        seen, formula = run.sharpness.values, rising(np.arange(steps), 16.0, 22.0, pace)
        errors.append(np.nanmedian(abs(np.log(seen / formula))))
        if pace == paces[0]:
            left.plot(np.arange(steps) * pace, seen, color=color, label=f"descent, σ = {value}")
    right.loglog(paces, errors, mark, color=color, linestyle="-", label=f"σ = {value}")
    print(
        f"σ = {value}: median |Δ ln λ| {errors[0]:.1e} at μ = {paces[0]:.3g}, {errors[-1]:.1e} at μ = {paces[-1]:.3g}"
    )
fine = np.linspace(0, 4, 100)
left.plot(
    fine, rising(fine / paces[0], 16.0, 22.0, paces[0]), color="black", linestyle="--", linewidth=1, label="formula"
)
left.set(xlabel="μt", ylabel="λ")
right.set(xlabel="μ", ylabel="median error of ln λ")
for ax in (left, right):
    ax.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# **What we see.** Before its flip, $\sigma = 1.5$, the formula is nearly exact for a slow rest, and its error grows
# with $\mu$. Past the flip, $\sigma = 0.8$, it is wrong, and the more so the slower $\lambda$ is. The step is no
# longer $2/\lambda$ but fluctuates with a heavy tail (notebook 4), which is cut only at $s \approx 1/\kappa$, so that
# $\langle\eta\rangle$ grows as $\kappa = \mu/\lambda$ shrinks. The averages must then be taken over the invariant
# measure, which `SlowFlow` does:

# %%
if not quick:
    pace = float(paces[0])
    floor = eos.objectives.Valley(22.0, 4.0, [1.0], [pace], jnp.array([pace * 0.3, -3.0]))
    rule, steps = eos.tuners.CDAT(0.8, eps=0.0), int(4 / pace)
    run = eos.simulate(floor, rule, steps=steps, modes=1, measure_every=0, progress=False)
    averaged = SlowFlow(rule, eos.theory.ValleyClosure(floor), burn_in=100).solve(
        steps - 1, save_every=steps // 8, dt=steps / 32
    )
    here = averaged.time.astype(int)
    print("t       ", "".join(f"{time:8d}" for time in here))
    for name, values in {
        "descent": run.sharpness.values[here],
        "SlowFlow": averaged.sharpness,
        "formula": rising(here, 16.0, 22.0, pace),
    }.items():
        print(f"{name:8}", "".join(f"{value:8.3f}" for value in values))

# %% [markdown]
# The averaged flow has the rate of descent, though not its path: a step with $s \approx 1/\kappa$ moves the rest to its
# minimum at once, and then there is no slow variable left. This is the last limit on the list.

# %% [markdown]
# ## What to remember
#
# | formula | exact for | fails where |
# | --- | --- | --- |
# | map of $x$ and $\lambda$ | one other weight | the rest has several curvatures |
# | $\lambda = 2/\eta$, $x^2 = 2\alpha/\beta$, stable for $\eta\lambda_\infty < \tfrac52$ | small disturbances | the oscillation is large |
# | responses $\Phi(r)$ | a parabola along the gradient | $\gamma x^2/\lambda$ is not small |
# | Polyak's flip $4c^2 - (A + \tfrac32)c + \tfrac A2 = 0$ | a fixed rest | the rest moves: then $c \approx \tfrac12 + 1/4A - \kappa/2$ |
# | greedy: $r^*$, flip near $\sigma = 1$ | a fixed rest | the rest moves: then $\sigma = 1$ |
# | CDAT, $\sigma = 2$: $q = 1$ | no equilibrium of the rule | $\sigma$ a little below 2: a mixture |
# | clamped slow flow with $r^*$ | a slow $\lambda$ and a rule before its flip | past the flip: average over the measure, and know its tail |
