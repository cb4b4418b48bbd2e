"""Consequences of the response function of a tuner: its edge equilibrium, the multiplier there, and its flip.

A tuner has a response s = Φ(r), and the oscillation obeys ln r' = ln r + 2 ln|1 − Φ(r)| (`eosmodel.theory.FastMap`).
The edge equilibrium is Φ(r*) = 2, where d ln r'/d ln r = m = 1 + 2 r*Φ'(r*). It is stable for −1 < m < 1, and a
period doubling (a flip) is at m = −1.

Polyak, greedy, CDAT and Armijo have the same response up to the unit of r, the Möbius function

    Φ(r) = σ (1 + r)/(κ + r),    r* = (σ − 2κ)/(2 − σ),    m = 1 − 2 (σ − 2κ)(2 − σ)/(σ (1 − κ)),

with σ = 1/(2c), κ = 1/(2A) for Polyak (r in units of 2A) and σ = 2(1 − c₁)ξ for Armijo. All of them therefore have the
flips σ = ½ [1 + 3κ ± √((1 − κ)(1 − 9κ))]. Between the two r* is unstable, outside it is stable, and for κ > 1/9
(Polyak: A < 9/2) there is no flip.

Constant steps and the on-edge rule do not depend on r, so that their fast maps have no edge equilibrium. With a
constant step the oscillation grows until it lowers λ; the on-edge rule follows λ, so that a lower λ has no effect.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import sympy as sp
from jaxtyping import Array

from eosmodel.analysis.symbolic.compiling import compile

r, s, sigma, kappa, c, A, s_max, xi, c1 = sp.symbols("r s sigma kappa c A s_max xi c1", positive=True)


class CompiledResponse(NamedTuple):
    """The jax functions of a `SymbolicResponse`.

    Fields
        phi: s = Φ(r); arguments r, then the parameters in the order of `symbols`.
        fixed_point: r*, of the parameters.
        multiplier: m, of the parameters.
        flip: the flips, each a function of all parameters except the first; NaN where a flip does not exist.
        clamped: whether the tuner clamps the oscillation, of the parameters.
    """

    phi: Callable[..., Array]
    fixed_point: Callable[..., Array]
    multiplier: Callable[..., Array]
    flip: tuple[Callable[..., Array], ...]
    clamped: Callable[..., Array]


@dataclasses.dataclass(frozen=True)
class SymbolicResponse:
    """A tuner's response min(Φ(r), cap), and the closed forms that follow from it; see `RESPONSES`.

    Args:
        name: name of the tuner.
        symbols: its parameters, positive symbols; the flip is solved for the first one.
        branch: Φ(r) without the cap, an expression of r (`responses.r`) and `symbols`.
        cap: the largest s; infinity for no cap.

    Example:
        >>> import sympy as sp
        >>> from eosmodel.analysis.symbolic import SymbolicResponse
        >>> from eosmodel.analysis.symbolic.responses import r
        >>> rho = sp.Symbol("rho", positive=True)
        >>> normalised = SymbolicResponse("normalised", (rho,), rho / sp.sqrt(1 + r))
        >>> sp.expand(normalised.fixed_point), sp.expand(normalised.multiplier), normalised.flip
        (rho**2/4 - 1, -1 + 8/rho**2, ())
    """

    name: str
    symbols: tuple[sp.Symbol, ...]
    branch: sp.Expr
    cap: sp.Expr = sp.oo

    @property
    def phi(self) -> sp.Expr:
        """s = min(Φ(r), cap)."""
        return sp.Min(self.branch, self.cap)

    @cached_property
    def fixed_point(self) -> sp.Expr:
        """r*, the root of Φ(r) = 2; NaN if Φ does not depend on r. It is an edge equilibrium only if it is positive and
        the cap is above 2.

        Raises:
            ValueError: more than one root.
        """
        roots = sp.solve(sp.Eq(self.branch, 2), r) if self.branch.has(r) else [sp.nan]
        if len(roots) != 1:
            raise ValueError(f"SymbolicResponse: Φ = 2 must have one root, {self.name} has {roots}")
        return sp.factor(roots[0])

    @cached_property
    def slope(self) -> sp.Expr:
        """Φ'(r*)."""
        return sp.factor(self.branch.diff(r).subs(r, self.fixed_point))

    @cached_property
    def multiplier(self) -> sp.Expr:
        """m = 1 + 2 r*Φ'(r*); NaN if there is no r*."""
        return sp.factor(1 + 2 * self.fixed_point * self.slope)

    @cached_property
    def flip(self) -> tuple[sp.Expr, ...]:
        """The values of the first parameter at which m = −1, in arbitrary order: empty if there are none, complex for
        values of the other parameters that do not allow a flip."""
        return tuple(sp.solve(sp.Eq(self.multiplier, -1), self.symbols[0])) if self.branch.has(r) else ()

    @property
    def clamped(self) -> Any:
        """The condition for Φ to fall through 2 at a finite r* > 0. The tuner then determines x² = r*G/λ² and not λ;
        otherwise the oscillation decays, or grows until it lowers λ."""
        return sp.And(self.fixed_point > 0, self.slope < 0, self.cap > 2) if self.branch.has(r) else sp.false

    def compile(self) -> CompiledResponse:
        """The expressions as jax functions; see `compile` for their arguments.

        Example:
            >>> from eosmodel.analysis.symbolic import RESPONSES
            >>> polyak = RESPONSES["polyak"].compile()
            >>> round(float(polyak.fixed_point(0.3, 10.0)), 3)  # c, A
            94.0
        """
        return CompiledResponse(
            compile(self.phi, (r, *self.symbols)),
            compile(self.fixed_point, self.symbols),
            compile(self.multiplier, self.symbols),
            tuple(compile(value, self.symbols[1:]) for value in self.flip),
            compile(self.clamped, self.symbols),
        )


_POLYAK = (A + r / 2) / (c * (1 + r))
_GREEDY = (1 + r) / (kappa + r)

# s = ηλ and s_max = η_max λ are parameters because λ is constant in the fast map.
RESPONSES = {
    response.name: response
    for response in (
        SymbolicResponse("constant", (s,), s),
        SymbolicResponse("on-edge", (sigma,), sigma),
        SymbolicResponse("polyak", (c, A), _POLYAK),
        SymbolicResponse("sps-max", (c, A, s_max), _POLYAK, s_max),
        SymbolicResponse("cdat", (sigma, kappa), sigma * _GREEDY),
        SymbolicResponse("armijo", (xi, c1, kappa), 2 * (1 - c1) * xi * _GREEDY),
    )
}
"""Name of a tuner -> its response s = Φ(r), from which equilibria, multipliers and flips follow."""
