"""Hessian–vector products, also in the coordinates of a preconditioner."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float


def hvp(fn: Callable, weights: Array, vector: Array) -> Array:
    """Hessian–vector product ∇²fn(weights)·vector, forward over reverse; shapes (dim,)."""
    return jax.jvp(jax.grad(fn), (weights,), (vector,))[1]


def linearize(fn: Callable, weights: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Loss, gradient and a function v ↦ ∇²fn(weights) v that shares one evaluation among all its products."""
    (value, gradient), pushforward = jax.linearize(jax.value_and_grad(fn), weights)
    return value, gradient, lambda vector: pushforward(vector)[1]


class Scaled(eqx.Module):
    """A loss in the coordinates z = w/S: z ↦ f(Sz); see `scaled`."""

    fn: Callable[[Array], Array]
    scale: Float[Array, " dim"]

    def __call__(self, z):
        return self.fn(self.scale * z)


def scaled(fn: Any, scale: Float[Array, " dim"] | None) -> Any:
    """f in the coordinates z = w/S in which a preconditioner P = S⁻² is the identity; f itself without one.

    Its Hessian there is S·∇²f·S, the one whose edge counts.
    """
    return fn if scale is None else Scaled(fn, scale)


def scale_by(vector: Array, scale: Array | None) -> Array:
    """S·v: a gradient of f as one of `scaled(f, S)`, or a displacement of z as one of w; v itself without a scale."""
    return vector if scale is None else scale * vector


def unscale_by(vector: Array, scale: Array | None) -> Array:
    """v/S: weights w, or a displacement of them, as z; v itself without a scale."""
    return vector if scale is None else vector / scale
