"""The slow coefficients of a network read off its river, and with them the class of any tuner there."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel.theory.classes import Classification, classify
from eosmodel.theory.fast_map import FastMap
from eosmodel.theory.river.river import River
from eosmodel.tuners.base import AbstractTuner


class RiverCoefficients(NamedTuple):
    """The slow coefficients of the leading mode at one flow time; they are those that `simulate` measures along a run.

    Fields
        sharpness: λ.
        center_loss: L̄.
        alpha: α = −∇L·∇λ, the rate of progressive sharpening dλ/dτ.
        beta: β = ‖∇λ‖²: an oscillation x lowers λ at the rate ½βx².
        bulk_gradient_sq: G, the squared gradient off the modes.
        kappa: κ = gᵀHg/(λG) of that gradient.
    """

    sharpness: Float[Array, ""]
    center_loss: Float[Array, ""]
    alpha: Float[Array, ""]
    beta: Float[Array, ""]
    bulk_gradient_sq: Float[Array, ""]
    kappa: Float[Array, ""]


def coefficients_at(river: River, tau: float | Array) -> RiverCoefficients:
    """The slow coefficients on the free flow at flow time τ; `jax.vmap` gives them along it.

    Args:
        river: of a network.
        tau: from 0 to the river's length.

    Example:
        >>> import eosmodel as eos
        >>> river = eos.measure_river(eos.objectives.valley(modes=3), time=2.0, modes=1, progress=False)
        >>> round(float(coefficients_at(river, 0.0).sharpness))
        16
    """
    flow = river.free
    here = flow.at(jnp.asarray(tau, river.dtype))
    basis = jnp.asarray(flow.basis, here.root.dtype)
    _, axes = jnp.linalg.eigh(here.root)
    leading = jnp.einsum("i,nij,j->n", axes[:, -1], basis, axes[:, -1])
    bulk = jnp.sum(here.gradient)
    return RiverCoefficients(
        here.sharpness,
        here.loss,
        -here.sharpness * jnp.sum(here.cross @ leading),
        here.sharpness**2 * jnp.einsum("i,bij,j->", leading, here.response, leading),
        bulk,
        flow.curvature @ here.gradient / (here.sharpness * bulk),
    )


def classify_at(river: River, tuner: AbstractTuner, tau: float | Array) -> Classification:
    """What bounds the oscillation of a tuner on this network at flow time τ: `classify` with the river's coefficients.

    With it q = βx²/(2α) and the sign of dλ/dt, λ being that of the river.

    Args:
        river: of a network.
        tuner: any rule.
        tau: from 0 to the river's length.

    Raises:
        ValueError: as `classify`.
    """
    at = coefficients_at(river, tau)
    fast = FastMap(
        tuner,
        A=at.sharpness * at.center_loss / at.bulk_gradient_sq,
        kappa=at.kappa,
        sharpness=at.sharpness,
        bulk_gradient_sq=at.bulk_gradient_sq,
    )
    return classify(fast, at.alpha, at.beta)
