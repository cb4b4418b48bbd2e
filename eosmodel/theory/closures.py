"""Sources of the coefficients of a slow flow: an exact valley, a measured run, or constants."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import check_range, floating
from eosmodel.objectives.valleys import Valley
from eosmodel.theory.low_dim import AMPLITUDE_FLOOR, Coefficients


class Floor(NamedTuple):
    """The quantities of the valley floor that enter the fast dynamics: λ, L̄, α, β, κ, G at one time.

    Fields
        sharpness, center_loss: λ and L̄ there.
        alpha, beta: α = −∇L·∇λ and β = ‖∇λ‖², so that λ changes by η(α − ½βx²) in a step.
        kappa, bulk_gradient_sq: κ = gᵀHg/(λG) and G = ‖g‖² of the bulk.
    """

    sharpness: Float[Array, ""]
    center_loss: Float[Array, ""]
    alpha: Float[Array, ""]
    beta: Float[Array, ""]
    kappa: Float[Array, ""]
    bulk_gradient_sq: Float[Array, ""]


class AbstractClosure(eqx.Module):
    """Closes the slow flow: the slow state, the `Floor` as a function of it, and its drift under averaged steps.

    An extension must supply the five methods below; `drift` must be affine in `kick`.
    """

    @abc.abstractmethod
    def init(self) -> Any:
        """The initial slow state, arrays of one floating-point dtype."""

    @abc.abstractmethod
    def initial_amplitude_sq(self) -> Float[Array, ""]:
        """The initial x², used only where the oscillation is itself a slow variable."""

    @abc.abstractmethod
    def floor(self, state: Any) -> Floor:
        """The `Floor` of a slow state."""

    @abc.abstractmethod
    def drift(self, state: Any, stepsize: Array, square: Array, kick: Array) -> Any:
        """d state/dt, t in steps, for the averages ⟨η⟩, ⟨η²⟩ and ⟨ηx²⟩."""

    @abc.abstractmethod
    def room(self, state: Any) -> Float[Array, ""]:
        """A number that is positive while the state is in the range of validity."""


class ValleyClosure(AbstractClosure):
    """The exact closure of a `Valley`: the slow state is its bulk z, and everything else is a function of z.

        dz/dt = −(1 + ½ (⟨η²⟩/⟨η⟩) M) F,      F = ⟨η⟩ M z + ½ ⟨ηx²⟩ √b q,      M = diag(μ)

    F is the average of what a step subtracts from z. The factor in front corrects for the finite step to second order
    in ημ, so that the flow interpolates the iterates of z' = z − F. Without oscillation it is the gradient flow of
    f + ¼η‖∇f‖² (Barrett & Dherin, arXiv 2009.11162).

    Args:
        valley: with γ = 0, because the fast map has no quartic term. `valley_at` approximates a network by one.

    Raises:
        ValueError: γ ≠ 0.
    """

    valley: Valley

    def __check_init__(self):
        check_range("ValleyClosure", "valley.gamma", self.valley.gamma, 0, 0)

    def init(self):
        return self.valley.start[1:]

    def initial_amplitude_sq(self):
        return self.valley.start[0] ** 2

    def floor(self, state):
        v = self.valley
        w = jnp.concatenate([jnp.zeros_like(state[:1]), state])
        return Floor(v.sharpness(w), v.loss(w), v.alpha(w), v.beta, v.kappa(w), v.bulk_gradient_sq(w))

    def drift(self, state, stepsize, square, kick):
        v = self.valley
        force = stepsize * v.mu * state + 0.5 * kick * jnp.sqrt(v.b) * v.q
        return -(1 + 0.5 * square / stepsize * v.mu) * force

    def room(self, state):
        return self.floor(state).sharpness


class ReducedState(NamedTuple):
    """The slow state of a closure with given coefficients, or its rates: λ, L̄ and the flow time τ = Σ η."""

    sharpness: Float[Array, ""]
    center_loss: Float[Array, ""]
    time: Float[Array, ""]


class _Reduced(AbstractClosure):
    """λ and L̄ only, with given coefficients: dλ/dt = ⟨η⟩α − ½β⟨ηx²⟩, dL̄/dt = −⟨η⟩G + ½⟨ηx²⟩α + ½⟨η²⟩κλG.

    The right-hand sides are the changes in one step. The run sums them at the left ends of its steps; the integral
    agrees with that sum to second order if the coefficients are evaluated half a step earlier.
    """

    @abc.abstractmethod
    def _coefficients(self, time: Array) -> tuple[Array, Array, Array, Array]:
        """α, β, κ, G at a flow time τ = Σ η."""

    def floor(self, state):
        return Floor(state.sharpness, state.center_loss, *self._coefficients(state.time))

    def drift(self, state, stepsize, square, kick):
        alpha, beta, kappa, bulk = self._coefficients(state.time - 0.5 * stepsize)
        rise = stepsize * alpha - 0.5 * beta * kick
        fall = -stepsize * bulk + 0.5 * kick * alpha + 0.5 * square * kappa * state.sharpness * bulk
        return ReducedState(rise, fall, stepsize)


def _room(state, f_min):
    return jnp.minimum(state.sharpness, state.center_loss - jnp.asarray(f_min, state.sharpness.dtype))


class MeasuredClosure(_Reduced):
    """α, β, κ and G as they were measured along a run, read at the flow's own flow time; the state is a `ReducedState`.

    Args:
        coefficients: `Coefficients` of a run; `eosmodel.coefficients` takes them from a dataset.
        f_min: lower bound of the loss; a floor loss that reaches it is outside the range of validity.
    """

    coefficients: Coefficients
    f_min: Any = 0.0

    def init(self):
        c = self.coefficients
        return ReducedState(c.sharpness, c.center_loss, jnp.zeros_like(c.sharpness))

    def initial_amplitude_sq(self):
        return self.coefficients.amplitude**2

    def room(self, state):
        return _room(state, self.f_min)

    def _coefficients(self, time):
        c = self.coefficients
        alpha, beta, kappa, bulk = (
            jnp.interp(time, c.time, series) for series in (c.alpha, c.beta, c.kappa, c.bulk_gradient_sq)
        )
        return alpha, beta, kappa, bulk


class FrozenClosure(_Reduced):
    """Constant α, β, κ and G, an extrapolation from one time; the state is a `ReducedState`.

    In this closure progressive sharpening never ends. For a model from one time whose bulk relaxes, use `valley_at` and
    `ValleyClosure`.

    Args:
        alpha, beta, kappa, bulk_gradient_sq: α, β ≥ 0, κ in [0, 1), G > 0.
        sharpness, center_loss: initial λ > 0 and L̄; numbers may be floats or arrays.
        amplitude: initial x.
        f_min: as in `MeasuredClosure`.

    Raises:
        ValueError: a number outside its range.
    """

    alpha: Float[Array, ""] = eqx.field(converter=floating)
    beta: Float[Array, ""] = eqx.field(converter=floating)
    kappa: Float[Array, ""] = eqx.field(converter=floating)
    bulk_gradient_sq: Float[Array, ""] = eqx.field(converter=floating)
    sharpness: Float[Array, ""] = eqx.field(converter=floating)
    center_loss: Float[Array, ""] = eqx.field(converter=floating)
    amplitude: Float[Array, ""] = eqx.field(converter=floating, default=AMPLITUDE_FLOOR)
    f_min: Any = 0.0

    def __check_init__(self):
        check_range("FrozenClosure", "alpha", self.alpha, low_open=True, high_open=True)
        check_range("FrozenClosure", "beta", self.beta, 0, high_open=True)
        check_range("FrozenClosure", "kappa", self.kappa, 0, 1, high_open=True)
        check_range("FrozenClosure", "bulk_gradient_sq", self.bulk_gradient_sq, 0, low_open=True, high_open=True)
        check_range("FrozenClosure", "sharpness", self.sharpness, 0, low_open=True, high_open=True)
        check_range("FrozenClosure", "center_loss", self.center_loss, low_open=True, high_open=True)
        check_range("FrozenClosure", "amplitude", self.amplitude, low_open=True, high_open=True)

    def init(self):
        return ReducedState(self.sharpness, self.center_loss, jnp.zeros_like(self.sharpness))

    def initial_amplitude_sq(self):
        return self.amplitude**2

    def room(self, state):
        return _room(state, self.f_min)

    def _coefficients(self, time):
        del time
        return self.alpha, self.beta, self.kappa, self.bulk_gradient_sq
