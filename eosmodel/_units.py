"""Powers of two that keep squares of very small and very large numbers within the range of their floating type.

Multiplying by a power of two is exact, so what is computed in such a unit is what would be computed without a limit.
"""

import jax
import jax.numpy as jnp

# The bits of the exponent, whose value alone is the power of two below a number.
_EXPONENT = {
    "float16": (jnp.int16, 0x7C00),
    "bfloat16": (jnp.int16, 0x7F80),
    "float32": (jnp.int32, 0x7F800000),
    "float64": (jnp.int64, 0x7FF0000000000000),
}


def unit_of(numbers):
    """1 where the largest |entry| lies in the middle half of the exponents (2^±32 in float32), else the power of two
    below it; 1 also where that is 0 or not finite. No derivative goes through it."""
    size = jnp.max(jnp.abs(jax.lax.stop_gradient(numbers)))
    limits = jnp.finfo(size.dtype)
    most = 2.0 ** (limits.maxexp // 4)
    integer, mask = _EXPONENT[str(size.dtype)]
    power = jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(size, integer) & integer(mask), size.dtype)
    outside = ((size < 1 / most) & (size >= limits.tiny)) | ((size > most) & jnp.isfinite(size))
    return jnp.where(outside, power, 1)


def per(number, unit):
    """number/unit, in which the compiler cannot see a division: it makes a/b/c of a/(b·c), which may underflow."""
    unit = jnp.asarray(unit, number.dtype)
    integer, _ = _EXPONENT[str(unit.dtype)]
    ones = jax.lax.bitcast_convert_type(jnp.ones_like(unit), integer)
    return number * jax.lax.bitcast_convert_type(2 * ones - jax.lax.bitcast_convert_type(unit, integer), unit.dtype)


def norm(vector):
    """‖v‖, where it is representable."""
    unit = unit_of(vector)
    return unit * jnp.linalg.norm(vector / unit)
