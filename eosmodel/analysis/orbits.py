"""Orbits of maps: orbit diagrams of a family, Lyapunov spectra, and the period of an orbit."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float, Int

from eosmodel._checks import check_range
from eosmodel.analysis.cycles import Map, check_state, check_whole

_BLOCKS = 20
"""Number of blocks of an orbit, whose means give the standard error of an average."""


class Lyapunov(NamedTuple):
    """Lyapunov exponents per step, the largest first (equal ones may differ by their error).

    Fields
        exponents: λ_i = lim (1/t) Σ ln R_ii, shape (count,); NaN if the orbit did not stay finite.
        error: their standard errors, from the means of 20 successive blocks of the orbit.
        state: the last point of the orbit.
        finite: whether orbit and exponents are finite.
    """

    exponents: Float[Array, " count"]
    error: Float[Array, " count"]
    state: Float[Array, " dim"]
    finite: Bool[Array, ""]


def lyapunov(
    mapping: Map, z: Any, *, args: tuple = (), steps: int = 10_000, burn_in: int = 1000, count: int | None = None
) -> Lyapunov:
    """The Lyapunov spectrum along an orbit, by a QR decomposition Df Q = Q' R in each step.

    ln R_ii is at least the logarithm of the smallest positive number, so that the exponent of a superstable cycle is
    very negative and not −∞. The initial frame Q is random and converges during the average, which gives an error of
    order 1/steps.

    Args:
        mapping: f, called as `mapping(z, *args)`.
        z: initial point, shape (dim,).
        args: further arguments of the map.
        steps: number of steps averaged over, ≥ 20.
        burn_in: number of initial steps that are left out, ≥ 0.
        count: number of exponents, at most dim; all when None.

    Raises:
        ValueError: an argument out of its range, or a z of another shape.

    Example:
        >>> spectrum = lyapunov(lambda z: 4 * z * (1 - z), [0.3])
        >>> round(float(spectrum.exponents[0]), 2)  # ln 2
        0.69
    """
    check_whole("lyapunov", "steps", steps, _BLOCKS)
    check_whole("lyapunov", "burn_in", burn_in, 0)
    count = np.size(z) if count is None else count
    check_whole("lyapunov", "count", count)
    check_range("lyapunov", "count", count, 1, np.size(z))
    z = check_state("lyapunov", mapping, z, args)
    return _lyapunov(mapping, z, args, steps, burn_in, count)


@eqx.filter_jit
def _lyapunov(mapping, z, args, steps, burn_in, count):
    z = jax.lax.fori_loop(0, burn_in, lambda _, z: mapping(z, *args), z)
    z, logs = _stretches(mapping, z, args, steps, count)
    length = steps // _BLOCKS
    means = logs[: _BLOCKS * length].reshape(_BLOCKS, length, count).mean(1)
    exponents = logs.mean(0)
    error = means.std(0, ddof=1) / jnp.sqrt(jnp.asarray(_BLOCKS, z.dtype))
    finite = jnp.all(jnp.isfinite(z)) & jnp.all(jnp.isfinite(exponents))
    return Lyapunov(jnp.where(finite, exponents, jnp.nan), jnp.where(finite, error, jnp.nan), z, finite)


def _stretches(mapping, z, args, steps, count):
    """ln R_ii of each step, shape (steps, count), and the last point."""

    def body(carry, _):
        z, frame = carry
        new, push = jax.linearize(lambda z: mapping(z, *args), z)
        frame, triangle = jnp.linalg.qr(jax.vmap(push, in_axes=1, out_axes=1)(frame))
        size = jnp.abs(jnp.diagonal(triangle))
        # maximum() propagates NaN.
        return (new, frame), jnp.log(jnp.maximum(size, jnp.finfo(z.dtype).tiny))

    # A random frame, because a frame along the axes may stay there: they are often invariant.
    frame, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (z.size, count), z.dtype))
    (z, _), logs = jax.lax.scan(body, (z, frame), None, length=steps)
    return z, logs


def detect_period(orbit: Any, *, max_period: int = 32, tolerance: float | None = None) -> Int[Array, ""]:
    """The least k ≤ max_period with ‖z_{t+k} − z_t‖_∞ ≤ tolerance · (1 + ‖z‖_∞) to the end of the orbit; −1 if none.

    The last (steps − max_period) points are compared. An orbit that has not converged to a cycle within the tolerance
    is not periodic, and differences below the tolerance are ignored.

    Args:
        orbit: shape (steps, dim), steps ≥ 2·max_period.
        max_period: the longest period considered, ≥ 1.
        tolerance: ≥ 0, relative; ε^⅖ when None (5e-7 in float64, 2e-3 in float32).

    Raises:
        ValueError: an argument out of its range, or too short an orbit.

    Example:
        >>> import jax.numpy as jnp
        >>> int(detect_period(jnp.tile(jnp.asarray([[0.0], [1.0], [5.0]]), (30, 1))))
        3
    """
    orbit = jnp.asarray(orbit)
    check_whole("detect_period", "max_period", max_period)
    if orbit.ndim != 2 or len(orbit) < 2 * max_period:
        raise ValueError(f"detect_period: orbit must have shape (≥ {2 * max_period}, dim), got {orbit.shape}")
    if tolerance is not None:
        check_range("detect_period", "tolerance", tolerance, 0)
    return _period(orbit, max_period, tolerance)


@eqx.filter_jit
def _period(orbit, max_period, tolerance):
    eps = float(jnp.finfo(orbit.dtype).eps)
    near = (eps**0.4 if tolerance is None else tolerance) * (1 + jnp.max(jnp.abs(orbit)))
    late, window = orbit[max_period:], len(orbit) - max_period

    def repeats(k):
        earlier = jax.lax.dynamic_slice_in_dim(orbit, max_period - k, window)
        return jnp.max(jnp.abs(late - earlier)) <= near

    periodic = jax.lax.map(repeats, jnp.arange(1, max_period + 1))
    return jnp.where(jnp.any(periodic), jnp.argmax(periodic) + 1, -1).astype(jnp.int32)


def orbit_diagram(
    mapping: Map,
    parameters: Any,
    z: Any,
    *,
    burn_in: int = 1000,
    keep: int = 200,
    lyapunov_steps: int = 1000,
    max_period: int = 32,
    bound: float = 1e8,
    chunk: int = 1024,
    name: str = "p",
) -> xr.Dataset:
    """The long-term orbits of a family of maps, for each value of its parameter.

    Args:
        mapping: the family, called as `mapping(z, p)`.
        parameters: values of p, increasing, shape (values,).
        z: initial point of all orbits, shape (dim,), or of each orbit, (values, dim).
        burn_in: number of initial steps that are left out, ≥ 0.
        keep: number of points kept, ≥ 2·max_period.
        lyapunov_steps: number of further steps, over which the Lyapunov exponents are averaged, ≥ 1.
        max_period: the longest period considered; see `detect_period`.
        bound: an orbit with a point that is not finite or larger than this, > 0, has escaped.
        chunk: number of values of p computed at once, which limits the memory needed in addition to the result.
        name: name of the parameter, for labels.

    Returns:
        A dataset over `p` with `orbit` (p, sample, component), `lyapunov` (p, exponent), `period` (−1: none detected)
        and `escaped`. For an orbit that escaped the others are NaN and −1.

    Raises:
        ValueError: an argument out of its range, or of the wrong shape.

    Example:
        >>> import jax.numpy as jnp
        >>> diagram = orbit_diagram(lambda z, r: r * z * (1 - z), jnp.asarray([2.9, 3.2, 3.5, 3.9]), [0.3])
        >>> diagram.period.values.tolist()
        [1, 2, 4, -1]
    """
    owner = "orbit_diagram"
    for what, value, low in (("burn_in", burn_in, 0), ("max_period", max_period, 1), ("chunk", chunk, 1)):
        check_whole(owner, what, value, low)
    check_whole(owner, "keep", keep, 2 * max_period)
    check_whole(owner, "lyapunov_steps", lyapunov_steps)
    check_range(owner, "bound", bound, 0, low_open=True)
    values = np.asarray(parameters, dtype=float)
    if values.ndim != 1 or not values.size or not np.all(np.isfinite(values)) or np.any(np.diff(values) <= 0):
        raise ValueError(f"{owner}: parameters must be increasing finite numbers of shape (values,), got {parameters}")
    if np.ndim(z) == 2 and len(z) != len(values):
        raise ValueError(f"{owner}: z must have shape (dim,) or ({len(values)}, dim), got {np.shape(z)}")
    first = check_state(owner, mapping, z[0] if np.ndim(z) == 2 else z, (float(values[0]),))
    starts = jnp.broadcast_to(jnp.asarray(z, first.dtype), (len(values), first.size))
    p = jnp.asarray(values, first.dtype)
    limit = jnp.asarray(bound, p.dtype)
    arrays = _diagram(mapping, p, starts, limit, burn_in, keep, lyapunov_steps, max_period, min(chunk, len(values)))
    orbit, exponents, period, escaped = (np.asarray(x) for x in arrays)
    return xr.Dataset(
        {
            "orbit": (("p", "sample", "component"), orbit, {"long_name": "points of the orbit"}),
            "lyapunov": (("p", "exponent"), exponents, {"long_name": "Lyapunov exponent per step"}),
            "period": ("p", period, {"long_name": f"period, −1 if none up to {max_period}"}),
            "escaped": ("p", escaped, {"long_name": "the orbit exceeded the bound"}),
        },
        {"p": ("p", values, {"long_name": f"parameter {name}", "symbol": name})},
        {"burn_in": burn_in, "lyapunov_steps": lyapunov_steps, "bound": float(bound)},
    )


@eqx.filter_jit
def _diagram(mapping, p, starts, bound, burn_in, keep, lyapunov_steps, max_period, chunk):
    def one(pair):
        z, p = pair

        def advance(carry, _):
            z, largest = carry
            return (mapping(z, p), jnp.maximum(largest, jnp.max(jnp.abs(z)))), z

        carry = z, jnp.zeros((), z.dtype)
        carry = jax.lax.fori_loop(0, burn_in, lambda _, carry: advance(carry, None)[0], carry)
        (z, largest), orbit = jax.lax.scan(advance, carry, None, length=keep)
        last, logs = _stretches(mapping, z, (p,), lyapunov_steps, z.size)
        # Comparisons with NaN are false.
        escaped = ~((largest <= bound) & (jnp.max(jnp.abs(z)) <= bound) & jnp.all(jnp.isfinite(last)))
        orbit = jnp.where(escaped, jnp.nan, orbit)
        exponents = jnp.where(escaped, jnp.nan, logs.mean(0))
        return orbit, exponents, _period(orbit, max_period, None), escaped

    return jax.lax.map(one, (starts, p), batch_size=chunk)
