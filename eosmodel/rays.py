"""Rays: the interface between a tuner and everything else. A tuner sees the loss along one line, and nothing more.

A ray is φ(η) = f(w + η d), the loss along the line of the next step. A network provides it by automatic
differentiation, a low-dimensional theory in closed form. So the same tuner object runs at every level, and a difference
between theory and experiment is never a difference between two implementations of a rule.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel._units import unit_of


class Secant(NamedTuple):
    """Inner products of s = ηd, the last step, and y, the change of the gradient over it, for rules that use them.

    They are taken in the metric in which d is the direction of steepest descent: Euclidean for d = −g, and for
    d = −P⁻¹g with a preconditioner P they are s·Ps, s·y and y·P⁻¹y. All are 0 where there was no step.

    Fields
        ss: s·s, which is η²‖g‖² for steepest descent.
        sy: s·y; negative along negative curvature.
        yy: y·y.
    """

    ss: Float[Array, ""] | float = 0.0
    sy: Float[Array, ""] | float = 0.0
    yy: Float[Array, ""] | float = 0.0


class AbstractRay(eqx.Module):
    """φ(η) = f(w + η d) around η = 0.

    An implementation supplies the fields below and the methods `curvature` and `evaluate`. These are methods because
    they are expensive: a tuner that does not call them does not pay for them, in eager mode or under `jax.jit`.

    Fields
        value: φ(0), the loss at the current weights.
        slope: φ'(0) = g·d; −‖g‖² for steepest descent.
        step: integer index of the next update, from 0.
        sharpness: λ at the current weights, for tuners whose `needs_sharpness` is true.
        secant: the last step's `Secant`, for tuners whose `needs_secant` is true.
    """

    value: eqx.AbstractVar[Float[Array, ""]]
    slope: eqx.AbstractVar[Float[Array, ""]]
    step: eqx.AbstractVar[Int[Array, ""]]
    sharpness: eqx.AbstractVar[Float[Array, ""]]
    secant: eqx.AbstractVar[Secant]

    @abc.abstractmethod
    def curvature(self) -> Float[Array, ""]:
        """φ''(0) = dᵀHd."""

    @abc.abstractmethod
    def evaluate(self, stepsize: Float[Array, ""]) -> Float[Array, ""]:
        """φ(stepsize)."""

    def slope_at(self, stepsize: Float[Array, ""]) -> Float[Array, ""]:
        """φ'(stepsize)."""
        return jax.jvp(self.evaluate, (stepsize,), (jnp.ones_like(stepsize),))[1]

    def rescaled(self) -> "tuple[AbstractRay, Float[Array, '']]":
        """The same line with the parameter ζ = unit·η, and the unit, a power of two.

        φ'(0) is quadratic in the gradient and φ''(0) cubic in the loss: they underflow and overflow where loss,
        gradient and η do not. In ζ they do not either. The unit is 1 at all ordinary scales, and always for a ray that
        does not say otherwise.
        """
        return self, jnp.ones_like(self.value)

    def secant_unit(self) -> Float[Array, ""] | float:
        """The unit of y in `secant` relative to that of s: 1 at all ordinary scales, else a power of two. s·s/s·y is
        a step in its inverse, and so is s·y/y·y."""
        return 1.0


class NotDeclaredError(ValueError):
    """A tuner used a part of the ray that it has not declared to need."""


class FunctionRay(AbstractRay):
    """The line through `weights` along `direction` of a function; see `ray` for how to make one.

    The last two fields are None where they are withheld: reading `sharpness` or `secant` then raises
    `NotDeclaredError`.
    """

    fn: Callable[[Array], Array]
    weights: Float[Array, " dim"]
    direction: Float[Array, " dim"]
    value: Float[Array, ""]
    slope: Float[Array, ""]
    step: Int[Array, ""]
    given_sharpness: Float[Array, ""] | None
    given_secant: Secant | None
    unit: Float[Array, ""]
    slope_in_unit: Float[Array, ""]
    given_secant_unit: Float[Array, ""] | float = 1.0

    @property  # type: ignore[misc]
    def sharpness(self):  # type: ignore[override]
        if self.given_sharpness is None:
            raise NotDeclaredError("sharpness")
        return self.given_sharpness

    @property  # type: ignore[misc]
    def secant(self):  # type: ignore[override]
        if self.given_secant is None:
            raise NotDeclaredError("secant")
        return self.given_secant

    def rescaled(self):
        line = dataclasses.replace(
            self,
            direction=self.direction / self.unit,
            slope=self.slope_in_unit,
            unit=jnp.ones_like(self.unit),
        )
        return line, self.unit

    def secant_unit(self):
        return self.given_secant_unit

    def evaluate(self, stepsize):
        return self.fn(self.weights + stepsize * self.direction)

    def curvature(self):
        # Two nested forward passes along one line are cheaper than a Hessian–vector product, which has dim entries.
        def slope_at(w):
            return jax.jvp(self.fn, (w,), (self.direction,))[1]

        return jax.jvp(slope_at, (self.weights,), (self.direction,))[1]


class QuadraticRay(AbstractRay):
    """A ray with a quadratic loss: φ(η) = value + η·slope + ½η²·second, the ray of every two-mode theory."""

    value: Float[Array, ""]
    slope: Float[Array, ""]
    second: Float[Array, ""]
    step: Int[Array, ""]
    sharpness: Float[Array, ""]
    secant: Secant

    def evaluate(self, stepsize):
        return self.value + stepsize * (self.slope + 0.5 * stepsize * self.second)

    def curvature(self):
        return self.second


def along(fn, weights, value, gradient, direction, step, sharpness) -> FunctionRay:
    """The ray along `direction`, by default −∇fn, from a loss and a gradient that are already known."""
    direction = -gradient if direction is None else direction
    unit = unit_of(direction)
    slope = jnp.vdot(gradient, direction / unit)
    return FunctionRay(  # type: ignore[call-arg]  # sharpness and secant are properties
        fn=fn,
        weights=weights,
        direction=direction,
        value=value,
        slope=slope * unit,
        step=step,
        given_sharpness=sharpness,
        given_secant=Secant(),
        unit=unit,
        slope_in_unit=slope,
    )


def steepest(fn, weights, value, gradient, step, sharpness) -> FunctionRay:
    """The ray along −∇fn, with slope −‖∇fn‖², from a loss and a gradient that are already known."""
    return along(fn, weights, value, gradient, None, step, sharpness)


def two_mode_secant(stepsize, sharpness, kappa, bulk_gradient_sq, sharp_gradient_sq) -> Secant:
    """The secant of a step of steepest descent on two modes: η²(G + E), η²λ(κG + E), η²λ²(κ²G + E).

    G = ‖g‖² is the squared gradient in the bulk, E = λ²x² the squared gradient along the sharp mode.
    """
    G, E = bulk_gradient_sq, sharp_gradient_sq
    square = stepsize * stepsize
    return Secant(
        ss=square * (G + E),
        sy=square * (sharpness * (kappa * G + E)),
        yy=square * sharpness**2 * (kappa**2 * G + E),
    )


def ray(fn, weights, direction=None, *, step=0, sharpness=None, secant=None) -> FunctionRay:
    """The ray of `fn` at `weights`, along steepest descent unless a `direction` is given.

    Args:
        fn: scalar loss of one flat array of weights.
        weights: flat array, shape (dim,), floating point.
        direction: d, the same shape as `weights`; −∇fn(weights) by default.
        step: index of the update, an integer.
        sharpness: λ at `weights`, for tuners that need it (`OnEdge`); NaN when not given.
        secant: `Secant` of the last step, for tuners that need it (Barzilai–Borwein, AdGD); zeros when not given.

    Returns:
        A `FunctionRay`.

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> r = eos.ray(lambda w: 0.5 * jnp.sum(w**2), jnp.ones(2))
        >>> float(r.value), float(r.slope), float(r.curvature())
        (1.0, -2.0, 2.0)
    """
    weights = jnp.asarray(weights)
    if not jnp.issubdtype(weights.dtype, jnp.floating) or weights.ndim != 1:
        raise ValueError(
            f"weights must be a flat floating-point array; got dtype {weights.dtype}, shape {weights.shape}. "
            "Use jax.flatten_util.ravel_pytree to flatten a tree of weights."
        )
    value, gradient = jax.value_and_grad(fn)(weights)
    direction = None if direction is None else jnp.asarray(direction, weights.dtype)
    sharpness = jnp.asarray(jnp.nan if sharpness is None else sharpness, weights.dtype)
    line = along(fn, weights, value, gradient, direction, jnp.asarray(step), sharpness)
    return line if secant is None else dataclasses.replace(line, given_secant=secant)
