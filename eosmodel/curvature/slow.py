"""The oscillation along the modes, and the slow coefficients."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from eosmodel.curvature.products import hvp
from eosmodel.curvature.ritz import Modes


def sharp(pairs: Modes) -> Bool[Array, " modes"]:
    """Which tracked modes are sharp, λ_i > λ_1/10: only they oscillate, the others belong to the bulk."""
    return pairs.values > jnp.maximum(0.1 * pairs.values[0], jnp.finfo(pairs.values.dtype).tiny)


def off_modes(vector: Float[Array, " dim"], pairs: Modes) -> Float[Array, " dim"]:
    """The part of a vector in the bulk: all sharp modes projected out."""
    return vector - jnp.where(sharp(pairs), pairs.vectors @ vector, 0) @ pairs.vectors


def oscillation(gradient: Float[Array, " dim"], pairs: Modes) -> Float[Array, " modes"]:
    """Displacement from the valley floor along each mode, x_i = (u_i·∇L)/λ_i: one Newton step along u_i.

    Modes that are not sharp have no floor to measure from and get 0.
    """
    curved = sharp(pairs)
    return jnp.where(curved, pairs.vectors @ gradient / jnp.where(curved, pairs.values, 1), 0)


def sharpness_gradient(fn: Callable, weights: Array, vector: Array) -> Array:
    """∇λ = ∇_w (uᵀ∇²fn(w)u) with u held fixed, shape (dim,); the exact gradient of a simple eigenvalue."""

    def quadratic_form(w):
        def slope(z):
            return jax.jvp(fn, (z,), (vector,))[1]

        return jax.jvp(slope, (w,), (vector,))[1]

    return jax.grad(quadratic_form)(weights)


class SlowCoefficients(NamedTuple):
    """The coefficients of the slow flow at a valley floor, every sharp mode projected out of both gradients.

    Fields
        alpha: α = −∇L·∇λ, the rate of progressive sharpening.
        beta: β = ‖∇λ‖², the strength of self-stabilisation.
        kappa: κ = gᵀHg/(λG), bulk curvature relative to λ.
        bulk_gradient_sq: G = ‖g‖², g the gradient off the sharp modes.
    """

    alpha: Float[Array, ""]
    beta: Float[Array, ""]
    kappa: Float[Array, ""]
    bulk_gradient_sq: Float[Array, ""]


def slow_coefficients(fn: Callable, weights: Array, gradient: Array, pairs: Modes) -> SlowCoefficients:
    """α, β, κ and G at `weights`, a valley floor with the given gradient and leading pairs (theory: the slow flow)."""
    bulk = off_modes(gradient, pairs)
    rise = off_modes(sharpness_gradient(fn, weights, pairs.vectors[0]), pairs)
    size = jnp.vdot(bulk, bulk)
    scale = pairs.values[0] * size
    kappa = jnp.vdot(bulk, hvp(fn, weights, bulk)) / jnp.where(scale != 0, scale, 1)
    return SlowCoefficients(-jnp.vdot(bulk, rise), jnp.vdot(rise, rise), kappa, size)
