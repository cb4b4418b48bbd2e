"""Gradient descent in the valley with one bulk mode: the normal form of self-stabilisation, derived from the loss."""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import sympy as sp
from jaxtyping import Array

from eosmodel.analysis.symbolic.compiling import compile

x, lam = sp.symbols("x lambda", real=True)
eta, limit, b, mu, alpha, beta = sp.symbols("eta lambda_oo b mu alpha beta", positive=True)
gamma, variance = sp.symbols("gamma sigma_u^2", nonnegative=True)


@dataclasses.dataclass(frozen=True)
class NormalForm:
    """The map of (x, λ) and its edge equilibrium, as sympy expressions of `symbols`; the result of `normal_form`.

    Fields
        symbols: η, λ_∞, b, μ, and γ if it is a symbol.
        step: (x', λ').
        alpha: α(λ) = μ(λ_∞ − λ).
        fixed_point: (x², λ) of the orbit x' = −x, λ' = λ.
        jacobian: 2 × 2, for (ln x², λ) at the equilibrium.
        determinant, trace: those of the Jacobian.
        attracts: the exact condition for stability, x² > 0 and both eigenvalues inside the unit circle.
        neimark_sacker: the λ_∞ at which the determinant is 1; above it oscillations of λ grow.
    """

    symbols: tuple[sp.Symbol, ...]
    step: tuple[sp.Expr, sp.Expr]
    alpha: sp.Expr
    fixed_point: tuple[sp.Expr, sp.Expr]
    jacobian: sp.Matrix
    determinant: sp.Expr
    trace: sp.Expr
    attracts: Any
    neimark_sacker: sp.Expr

    def compile(self) -> Callable[[Array, Array], Array]:
        """The map z, p ↦ z' with z = (x, λ), p = the values of `symbols`; flat arrays.

        Example:
            >>> import jax.numpy as jnp
            >>> from eosmodel.analysis.symbolic import normal_form
            >>> step = normal_form().compile()
            >>> new = step(jnp.array([0.1, 16.0]), jnp.array([0.1, 22.0, 4.0, 0.5]))
            >>> [round(float(value), 3) for value in new]
            [-0.06, 16.298]
        """
        step = compile(self.step, (x, lam, *self.symbols))
        return lambda z, p: step(*z, *p)


@cache
def normal_form(quartic: Any = 0) -> NormalForm:
    """The map of gradient descent with step η on f = ½(λ_∞ + √b z)x² + ½μz² + ¼γx⁴, in x and λ = λ_∞ + √b z:

        x' = (1 − ηλ − ηγx²) x,      λ' = λ + η(α − ½βx²),      α = μ(λ_∞ − λ),  β = b

    For γ = 0 the edge equilibrium is x² = 2α/β, λ = 2/η, with trace 2 − ημ and determinant 1 − ημ + 2η²α. It is stable
    if and only if 2 < ηλ_∞ < 5/2 and 2 + ημ(ηλ_∞ − 3) > 0. The second condition is ημ < 2/(3 − ηλ_∞), a bound between 2
    and 4, and holds if the bulk is stable (ημ ≤ 2). At ηλ_∞ = 5/2 the determinant is 1.

    For γ > 0 the edge equilibrium is λ + γx² = 2/η, so that λ = 2/η − γx² and x² = 2μ(λ_∞ − 2/η)/(b − 2μγ): λ is
    *below* 2/η and the oscillation is larger; x² = 2α/β still holds.

    Args:
        quartic: γ, an expression; use this module's `gamma` for a symbol.

    Source: Damian, Nichani & Lee (arXiv 2209.15594) for the map; the exact conditions are derived here.

    Example:
        >>> from eosmodel.analysis.symbolic import normal_form
        >>> form = normal_form()
        >>> form.fixed_point[1], form.neimark_sacker
        (2/eta, 5/(2*eta))
    """
    z = (lam - limit) / sp.sqrt(b)
    bulk, quartic = sp.Symbol("z", real=True), sp.sympify(quartic)
    loss = (limit + sp.sqrt(b) * bulk) * x**2 / 2 + mu * bulk**2 / 2 + quartic * x**4 / 4
    new_x, new_z = (v - eta * loss.diff(v) for v in (x, bulk))
    step = sp.factor(new_x.subs(bulk, z)), sp.expand((limit + sp.sqrt(b) * new_z).subs(bulk, z))

    # In (ln x², λ) the two-cycle is a fixed point: y' = y + ln (x'/x)².
    y, amplitude_sq = sp.Symbol("y", real=True), sp.Symbol("x^2", positive=True)
    ratio = sp.expand(step[0] / x).subs(x**2, amplitude_sq)
    drift = sp.expand(step[1] - lam).subs(x**2, amplitude_sq)
    (point,) = sp.solve([ratio + 1, drift], [amplitude_sq, lam], dict=True)
    squared, edge = sp.factor(point[amplitude_sq]), sp.simplify(point[lam])
    slow = sp.Matrix([y + sp.log(ratio**2).subs(amplitude_sq, sp.exp(y)), lam + drift.subs(amplitude_sq, sp.exp(y))])
    jacobian = slow.jacobian([y, lam]).subs(sp.exp(y), amplitude_sq).subs(point).applyfunc(sp.factor)
    determinant, trace = sp.factor(jacobian.det()), sp.factor(jacobian.trace())
    inside = sp.And(determinant < 1, sp.factor(1 + determinant - trace) > 0, sp.factor(1 + determinant + trace) > 0)
    (ceiling,) = sp.solve(sp.Eq(determinant, 1), limit)
    return NormalForm(
        (eta, limit, b, mu, *sorted(quartic.free_symbols, key=str)),
        step,
        mu * (limit - lam),
        (squared, edge),
        jacobian,
        determinant,
        trace,
        sp.And(squared > 0, inside),
        sp.factor(ceiling),
    )


@dataclasses.dataclass(frozen=True)
class NoiseGap:
    """The distance of the sharpness below 2/η under gradient noise; the result of `noise_gap`.

    Fields
        symbols: η, α, β, σ_u².
        leading: ηβσ_u²/(4α).
        adiabatic: (1 − √(1 − q))/η with q = η²βσ_u²/(2α), exact in the limit of a slow λ.
        largest_noise: the σ_u² at which q = 1; there is no equilibrium for more noise.
    """

    symbols: tuple[sp.Symbol, ...]
    leading: sp.Expr
    adiabatic: sp.Expr
    largest_noise: sp.Expr


@cache
def noise_gap() -> NoiseGap:
    """2/η − λ at the equilibrium of the normal form with noise of variance σ_u² in the gradient along x.

    With x' = (1 − ηλ)x − ηξ and a slow λ, ⟨x²⟩ = η²σ_u²/(1 − (1 − ηλ)²), and λ is stationary if ⟨x²⟩ = 2α/β. The known
    ηβσ_u²/(4α) is the first term of the solution in σ_u². It has two conditions:

    * βσ_u² ≪ 2α/η², which is q ≪ 1. At q = 1 the equilibrium is at ηλ = 1, where ⟨x²⟩ is smallest. For more noise
      ⟨x²⟩ > 2α/β at every λ, and λ decreases without bound if α is constant.
    * βσ_u² ≫ 2α², which is q ≫ η²α: λ must stay near its mean, about which it has the variance α. For constant α,
      stationarity gives exactly, with d = 2 − ηλ and X = βx²/(2α),

          ⟨d⟩ = ½q + ½η²α Var(X) + ½⟨X d²⟩,

      so that the gap is at least ηβσ_u²/(4α), and does not vanish with the noise because of the term with η²α.

    Source: the leading term, arXiv 2604.21016; the conditions are derived here.

    Example:
        >>> from eosmodel.analysis.symbolic import noise_gap
        >>> noise_gap().leading
        beta*eta*sigma_u^2/(4*alpha)
    """
    step, amplitude_sq, q = sp.symbols("s x^2 q", positive=True)
    stationary = sp.Eq(amplitude_sq, (1 - step) ** 2 * amplitude_sq + q * amplitude_sq)  # q = η²σ_u²/⟨x²⟩
    upper = max(sp.solve(stationary, step), key=lambda root: root.subs(q, sp.Rational(1, 2)))
    gap = (2 - upper) / eta
    noise = eta**2 * beta * variance / (2 * alpha)
    (largest,) = sp.solve(sp.Eq(noise, 1), variance)
    leading = (gap.diff(q).subs(q, 0) * noise).simplify()
    return NoiseGap((eta, alpha, beta, variance), leading, gap.subs(q, noise), largest)
