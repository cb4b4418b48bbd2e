"""Portraits of two-dimensional maps: displacements, nullclines, fixed points, and basins of attraction."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel._checks import check_range
from eosmodel.analysis.cycles import Map, check_interval, check_state, check_whole, cycles

UNDECIDED, ESCAPED = -1, -2
"""Labels in a map of basins: no attractor reached within the allowed steps; outside the bound."""

# Number of starts of the search for fixed points along each axis.
_STARTS = 12


def portrait(
    mapping: Map,
    x: tuple[float, float],
    y: tuple[float, float],
    *,
    args: tuple = (),
    resolution: tuple[int, int] = (201, 201),
    names: tuple[str, str] = ("x", "y"),
) -> xr.Dataset:
    """The displacements of the points of a window by one step of a map of the plane, with nullclines and fixed points.

    Args:
        mapping: f, called as `mapping(z, *args)` with z = (x, y).
        x: (low, high) of the window.
        y: (low, high) of the window.
        args: further arguments of the map.
        resolution: numbers of points along x and along y, each ≥ 2.
        names: names of the two coordinates, for labels.

    Returns:
        A dataset over (y, x) with the displacements `dx` and `dy`, the nullclines `x_nullcline` (dx = 0) and
        `y_nullcline` as polylines (x_vertex or y_vertex, coordinate) with a row of NaN after each piece, linear between
        grid points, and the fixed points in the window that Newton reaches from 12 × 12 starts: `fixed_point` (fixed,
        coordinate), `fixed_stable` (fixed). A curve on which a displacement is 0 without a change of sign is missed.

    Raises:
        ValueError: a window or resolution out of range, or a map that is not two-dimensional.

    Example:
        >>> import jax.numpy as jnp
        >>> henon = portrait(lambda z: jnp.stack([1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]]), (-2, 2), (-1, 1))
        >>> [[round(float(c), 3) for c in point] for point in henon.fixed_point.values]
        [[-1.131, -0.339], [0.631, 0.189]]
    """
    points, axes = _grid("portrait", mapping, x, y, args, resolution)
    moved = np.asarray(_displacements(mapping, points, args)).reshape(*resolution[::-1], 2)
    data: dict[str, Any] = {
        "dx": (("y", "x"), moved[..., 0], {"long_name": f"displacement of {names[0]} in a step"}),
        "dy": (("y", "x"), moved[..., 1], {"long_name": f"displacement of {names[1]} in a step"}),
    }
    for which, name in (("x", names[0]), ("y", names[1])):
        lines = _zero_level(axes, data[f"d{which}"][1])
        attrs = {"long_name": f"points at which a step does not change {name}"}
        data[f"{which}_nullcline"] = ((f"{which}_vertex", "coordinate"), lines, attrs)
    starts = [jnp.linspace(*ends, _STARTS, dtype=points.dtype) for ends in (x, y)]
    solutions = cycles(mapping, jnp.stack(jnp.meshgrid(*starts), -1).reshape(-1, 2), args=args)
    fixed = solutions.points[:, 0]
    inside = np.all((fixed >= [x[0], y[0]]) & (fixed <= [x[1], y[1]]), axis=1)
    data["fixed_point"] = (("fixed", "coordinate"), fixed[inside], {"long_name": "fixed points"})
    data["fixed_stable"] = ("fixed", solutions.stable[inside], {"long_name": "all multipliers inside the unit circle"})
    return xr.Dataset(data, _coords(axes, names) | {"coordinate": ["x", "y"]})


def basins(
    mapping: Map,
    attractors: Sequence[Any],
    x: tuple[float, float],
    y: tuple[float, float],
    *,
    args: tuple = (),
    resolution: tuple[int, int] = (200, 200),
    steps: int = 1000,
    radius: float = 1e-3,
    bound: float = 1e6,
    names: tuple[str, str] = ("x", "y"),
) -> xr.Dataset:
    """The attractor of each point of a window.

    A point belongs to the first attractor to which its orbit comes closer than the radius. The radius should be well
    inside the basin; for a chaotic attractor give many of its points.

    Args:
        mapping: f, called as `mapping(z, *args)` with z = (x, y).
        attractors: each a point, shape (2,), or the points of a cycle, (period, 2).
        x: (low, high) of the window.
        y: (low, high) of the window.
        args: further arguments of the map.
        resolution: numbers of points along x and along y, each ≥ 2.
        steps: largest number of steps, ≥ 1.
        radius: distance at which an attractor counts as reached, > 0.
        bound: an orbit with a coordinate larger than this, > 0, or not finite, has escaped.
        names: names of the two coordinates, for labels.

    Returns:
        A dataset over (y, x) with `basin`, the index of the attractor, −1 undecided or −2 escaped, and `steps`, the
        number of steps until then; `attractor_point` (member, coordinate), and `member_of`, the attractor of each of
        these points.

    Raises:
        ValueError: no attractors, or an argument out of its range or of the wrong shape.

    Example:
        >>> import jax.numpy as jnp
        >>> step = lambda z: jnp.stack([z[0] - 0.1 * (z[0] ** 3 - z[0]), 0.5 * z[1]])
        >>> result = basins(step, [[-1.0, 0.0], [1.0, 0.0]], (-2, 2), (-1, 1), resolution=(4, 2))
        >>> result.basin.values.tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    check_whole("basins", "steps", steps)
    check_range("basins", "radius", radius, 0, low_open=True, high_open=True)
    check_range("basins", "bound", bound, 0, low_open=True)
    sets = [np.atleast_2d(np.asarray(attractor, dtype=float)) for attractor in attractors]
    if not sets or any(members.ndim != 2 or members.shape[1] != 2 or not members.size for members in sets):
        raise ValueError(f"basins: attractors must be points (2,) or cycles (period, 2), got {attractors!r}")
    points, axes = _grid("basins", mapping, x, y, args, resolution)
    members = np.concatenate(sets)
    owner = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    limits = jnp.asarray(radius, points.dtype), jnp.asarray(bound, points.dtype)
    labels, taken = _capture(mapping, points, args, jnp.asarray(members, points.dtype), owner, *limits, steps)
    shape = resolution[::-1]
    flags = [ESCAPED, UNDECIDED, *range(len(sets))]
    meanings = " ".join(["escaped", "undecided", *(f"attractor_{i}" for i in range(len(sets)))])
    attrs = {"long_name": "basin of attraction", "flag_values": flags, "flag_meanings": meanings}
    return xr.Dataset(
        {
            "basin": (("y", "x"), np.asarray(labels).reshape(shape), attrs),
            "steps": (("y", "x"), np.asarray(taken).reshape(shape), {"long_name": "number of steps until decided"}),
            "attractor_point": (("member", "coordinate"), members, {"long_name": "points of the attractors"}),
        },
        _coords(axes, names) | {"member_of": ("member", owner), "coordinate": ["x", "y"]},
        {"radius": radius, "bound": bound},
    )


def _grid(owner, mapping, x, y, args, resolution):
    ends = check_interval(owner, "x", x), check_interval(owner, "y", y)
    if np.shape(resolution) != (2,):
        raise ValueError(f"{owner}: resolution must be a pair of whole numbers, got {resolution!r}")
    for count in resolution:
        check_whole(owner, "resolution", count, 2)
    dtype = jnp.result_type(float)
    axes = [np.linspace(*pair, count) for pair, count in zip(ends, resolution, strict=True)]
    points = jnp.asarray(np.stack(np.meshgrid(*axes), -1).reshape(-1, 2), dtype)
    check_state(owner, mapping, points[0], args)
    return points, axes


def _coords(axes, names):
    pairs = zip("xy", axes, names, strict=True)
    return {axis: (axis, values, {"long_name": name, "symbol": name}) for axis, values, name in pairs}


def _zero_level(axes, values):
    """Polylines of the zero level, a row of NaN after each."""
    from contourpy import contour_generator

    x, y = axes
    lines = contour_generator(x, y, np.ma.masked_invalid(values)).lines(0.0)
    gap = np.full((1, 2), np.nan)
    return np.concatenate([piece for line in lines for piece in (line, gap)]) if lines else np.zeros((0, 2))


@eqx.filter_jit
def _displacements(mapping, points, args):
    return jax.vmap(lambda z: mapping(z, *args) - z)(points)


@eqx.filter_jit
def _capture(mapping, points, args, members, owner, radius, bound, steps):
    owner = jnp.asarray(owner, jnp.int32)

    def label(z):
        apart = jnp.linalg.norm(members - z, axis=-1)
        nearest = jnp.argmin(apart)
        # Comparisons with NaN are false.
        lost = ~(jnp.max(jnp.abs(z)) <= bound)
        return jnp.where(lost, ESCAPED, jnp.where(apart[nearest] <= radius, owner[nearest], UNDECIDED))

    def one(z):
        def body(state):
            z, _, count = state
            z = mapping(z, *args)
            return z, label(z), count + 1

        start = z, label(z), jnp.asarray(0, jnp.int32)
        return jax.lax.while_loop(lambda s: (s[1] == UNDECIDED) & (s[2] < steps), body, start)[1:]

    return jax.lax.map(one, points, batch_size=min(len(points), 16_384))
