"""Stability limits of gradient descent on textbook losses: ¼(x² − μ)², and momentum on a quadratic."""

import dataclasses
from functools import cache

import sympy as sp

x = sp.Symbol("x", real=True)
eta, mu, lam, beta = sp.symbols("eta mu lambda beta", positive=True)
z = sp.Symbol("z")


@dataclasses.dataclass(frozen=True)
class QuarticThresholds:
    """Gradient descent on ¼(x² − μ)², as sympy expressions of η and μ; made by `quartic_thresholds`.

    Fields
        step: x'.
        minimum_multiplier: dx'/dx at the minima ±√μ.
        unstable: η at which the minima lose stability and the two-cycle appears.
        two_cycle: its two points; with both signs reversed, the cycle of the other minimum.
        two_cycle_multiplier: multiplier of the map applied twice.
        two_cycle_flip: η at which the two-cycle doubles its period.
        crossing: η beyond which an orbit can go from one minimum to the other.
        divergence: η beyond which almost every orbit grows without bound.
        symmetric_cycle: the point x > 0 of the two-cycle {x, −x}; orbits that start beyond it are unbounded.
        symmetric_multiplier: multiplier of the map applied twice.
    """

    step: sp.Expr
    minimum_multiplier: sp.Expr
    unstable: sp.Expr
    two_cycle: tuple[sp.Expr, sp.Expr]
    two_cycle_multiplier: sp.Expr
    two_cycle_flip: sp.Expr
    crossing: sp.Expr
    divergence: sp.Expr
    symmetric_cycle: sp.Expr
    symmetric_multiplier: sp.Expr


@cache
def quartic_thresholds() -> QuarticThresholds:
    """Gradient descent with step η on ¼(x² − μ)², x' = x + ηx(μ − x²), which depends on k = ημ only.

    * k < 1: the minima ±√μ are stable, with multiplier 1 − 2k.
    * 1 < k < √5 − 1: a two-cycle x = [√(μ + 3/η) ± √(μ − 1/η)]/2 around each, with multiplier 9 − 2(1 + k)².
    * √5 − 1 < k < (3√3)/2 − 1: period doubling and chaos, on one side of 0.
    * (3√3)/2 − 1 < k ≤ 2: orbits cross to the other side and back. At k = 2 the map is x' = 3x − ηx³, a Chebyshev
      polynomial: fully chaotic, with Lyapunov exponent ln 3.
    * k > 2: orbits pass the symmetric cycle ±√(μ + 2/η), and almost all of them diverge. That cycle, with multiplier
      (5 + 2k)², is unstable for every k and encloses all bounded orbits.

    Source: Chen & Bruna (arXiv 2206.04172) for the first two; all of them are derived here.

    Example:
        >>> from eosmodel.analysis.symbolic import quartic_thresholds
        >>> quartic = quartic_thresholds()
        >>> quartic.unstable, quartic.two_cycle_flip, quartic.divergence
        (1/mu, (-1 + sqrt(5))/mu, 2/mu)
    """
    # In units of 1/√η for x: y' = f(y), with k = ημ.
    y, k = sp.Symbol("y", real=True), sp.Symbol("k", positive=True)
    total, product = sp.symbols("S P", real=True)
    f = sp.expand(y - sp.diff((y**2 - k) ** 2 / 4, y))
    slope = f.diff(y)
    at_minimum = sp.expand(slope.subs(y, sp.sqrt(k)))

    def positive(equation, unknown):
        (root,) = (root for root in sp.solve(equation, unknown) if root.is_positive)
        return root

    # The two points are roots of y² − Sy + P. The equations f(y₁) = y₂ and f(y₂) = y₁ have an antisymmetric and a
    # symmetric part; each is divided by the factor of its trivial solution, y₁ = y₂ and S = 0.
    first, second = (total + sp.sqrt(total**2 - 4 * product)) / 2, (total - sp.sqrt(total**2 - 4 * product)) / 2
    there, back = f.subs(y, first) - second, f.subs(y, second) - first
    odd = sp.simplify((there - back) / (first - second))
    even = sp.simplify((there + back) / total)
    squares = sp.solve([odd.subs(total, sp.sqrt(z)), even.subs(total, sp.sqrt(z))], [z, product], dict=True)
    (cycle,) = (solution for solution in squares if solution[product].is_positive)
    points = tuple(point.subs(product, cycle[product]).subs(total, sp.sqrt(cycle[z])) for point in (first, second))
    both = sp.factor(sp.expand(slope.subs(y, points[0]) * slope.subs(y, points[1])))

    symmetric, turn, zero = (positive(equation, y) for equation in (sp.Eq(f, -y), sp.Eq(slope, 0), sp.Eq(f, 0)))
    highest = f.subs(y, turn)
    scale = {k: eta * mu}
    unit = sp.sqrt(eta)
    return QuarticThresholds(
        sp.expand(f.subs(y, unit * x).subs(scale) / unit),
        at_minimum.subs(scale),
        positive(sp.Eq(at_minimum, -1), k) / mu,
        tuple(point.subs(scale) / unit for point in points),
        both.subs(scale),
        positive(sp.Eq(both, -1), k) / mu,
        positive(sp.Eq(highest, zero), k) / mu,
        positive(sp.Eq(highest, symmetric), k) / mu,
        symmetric.subs(scale) / unit,
        sp.factor(slope.subs(y, symmetric) ** 2).subs(scale),
    )


@dataclasses.dataclass(frozen=True)
class MomentumThreshold:
    """A momentum method on ½λx², as sympy expressions; made by `momentum_thresholds`.

    Fields
        characteristic: the polynomial in z whose roots are the growth factors of x per step.
        sharpness: the λ below which both lie inside the unit circle, for 0 ≤ β < 1; at this λ one of them is −1.
    """

    characteristic: sp.Expr
    sharpness: sp.Expr


def momentum_thresholds() -> dict[str, MomentumThreshold]:
    """The largest stable sharpness of gradient descent with momentum β and step η, from its recurrence on ½λx².

    * heavy ball: x'' = x' + β(x' − x) − ηλx', stable iff λ < 2(1 + β)/η;
    * Nesterov: x'' = (1 − ηλ)(x' + β(x' − x)), stable iff λ < (2 + 2β)/((1 + 2β)η).

    Returns:
        `MomentumThreshold`s named "heavy-ball" and "nesterov"; β = 0 is gradient descent, 2/η.

    Source: Cohen et al. (arXiv 2103.00065).

    Example:
        >>> from eosmodel.analysis.symbolic import momentum_thresholds
        >>> momentum_thresholds()["heavy-ball"].sharpness
        2*(beta + 1)/eta
    """
    ahead = z + beta * (z - 1)  # with x = 1, x' = z, x'' = z²
    recurrences = {"heavy-ball": ahead - eta * lam * z, "nesterov": (1 - eta * lam) * ahead}
    thresholds = {}
    for name, following in recurrences.items():
        characteristic = sp.Poly(z**2 - following, z)
        # z² + a₁z + a₀ has both roots inside the circle iff 1 ± a₁ + a₀ > 0 and a₀ < 1. As λ rises from 0, the
        # condition at z = −1 is the first to fail.
        (edge,) = sp.solve(characteristic.eval(-1), lam)
        thresholds[name] = MomentumThreshold(characteristic.as_expr(), sp.factor(edge))
    return thresholds
