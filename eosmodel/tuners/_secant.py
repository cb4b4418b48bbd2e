"""Helpers of the rules that use the secant of the last step."""

import jax.numpy as jnp


def read_secant(ray):
    """ss, sy and yy in the dtype of the run, and whether there is a secant at all."""
    ss, sy, yy = (jnp.asarray(value, ray.value.dtype) for value in ray.secant)
    return ss, sy, yy, ~((ss == 0) & (sy == 0) & (yy == 0))


def usable_step(step):
    """Whether a step is positive and finite: a division may overflow or underflow, and a step of 0 would stay 0."""
    return (step > 0) & jnp.isfinite(step)
