"""Checks, conversions and random numbers for the arrays of objectives."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from eosmodel._checks import check_range, floating


def check_finite(owner: str, name: str, array: Array) -> None:
    if not isinstance(array, jax.core.Tracer) and not np.isfinite(array).all():
        raise ValueError(f"{owner}: {name} must be finite, got {np.asarray(array)}")


def vector(owner: str, name: str, value, like: Array | None = None) -> Array:
    array = floating(value) if like is None else jnp.asarray(value).astype(like.dtype)
    wanted = "(dim,)" if like is None else str(like.shape)
    if array.ndim != 1 or not array.size or (like is not None and array.shape != like.shape):
        raise ValueError(f"{owner}: {name} must have shape {wanted}, got {array.shape}")
    check_finite(owner, name, array)
    return array


def check_symmetric(owner: str, name: str, array: Array, symbol: str) -> None:
    """Raise ValueError unless the array is symmetric in its last two axes, to rounding."""
    if isinstance(array, jax.core.Tracer):
        return
    dense = np.asarray(array, np.float64)
    gap = np.abs(dense - dense.swapaxes(-1, -2)).max()
    if gap > 100 * float(jnp.finfo(array.dtype).eps) * np.abs(dense).max():
        raise ValueError(f"{owner}: {name} must be symmetric, got max |{symbol} − {symbol}ᵀ| = {gap:.3g}")


def normal(seed: int, shape: tuple[int, ...], stream: int = 0) -> np.ndarray:
    """Standard normal numbers from numpy, which needs no compilation. The streams of a seed are independent."""
    return np.random.default_rng([seed, stream]).standard_normal(shape)


def draw(scale: Array, like: Array, seed: int) -> Array:
    # A separate stream, so that data and weights of the same seed are independent.
    return scale * jnp.asarray(normal(seed, like.shape, 2), like.dtype)


def scale_of(owner: str, scale, dtype) -> Array:
    check_range(owner, "scale", scale, 0, low_open=True, high_open=True)
    return jnp.asarray(scale).astype(dtype)


def samples_of(owner: str, x, y, dtype) -> tuple[Array, Array]:
    x, y = jnp.asarray(x).astype(dtype), jnp.asarray(y).astype(dtype)
    if x.ndim != 2 or not x.size or y.ndim < 1 or y.shape[0] != x.shape[0]:
        raise ValueError(f"{owner}: x must have shape (samples, features) and y as many rows, got {x.shape}, {y.shape}")
    for name, array in (("x", x), ("y", y)):
        check_finite(owner, name, array)
    return x, y
