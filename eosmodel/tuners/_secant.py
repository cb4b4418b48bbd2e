"""What the rules share that read the secant of the last step."""

import jax.numpy as jnp


def read_secant(ray):
    """ss, sy, yy in the type of the run, and whether there is a secant at all."""
    ss, sy, yy = (jnp.asarray(value, ray.value.dtype) for value in ray.secant)
    return ss, sy, yy, ~((ss == 0) & (sy == 0) & (yy == 0))


def usable_step(step):
    """Neither 0 nor infinite nor NaN: a division may have left the range of the type, and 0 would stay 0."""
    return (step > 0) & jnp.isfinite(step)
