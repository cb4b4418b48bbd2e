"""What the models of centre and oscillation share in a step."""

import jax.numpy as jnp

from eosmodel._status import Status


def relaxation(stepsize, values):
    """(1 − e^{−ηλ})/λ: how far the flow for a time η takes a mode, per unit of force; η where λ = 0."""
    rate = stepsize * values
    small = jnp.abs(rate) < 1e-6
    return stepsize * jnp.where(small, 1 - rate / 2, -jnp.expm1(-rate) / jnp.where(small, 1, rate))


def valid(status, sharpness):
    """A model that divides scales by the top curvature has nothing to say where there is none."""
    lost = (status == int(Status.OK)) & ~(sharpness > 0)
    return jnp.where(lost, int(Status.OUT_OF_RANGE), status).astype(jnp.int32)
