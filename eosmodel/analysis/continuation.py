"""Continuation of fixed points and cycles in a parameter, past folds, and of folds and flips in two parameters.

The method is pseudo-arclength continuation: a step along the tangent of the curve, then Newton's method in the plane
perpendicular to it, for which a fold is a regular point.
"""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from eosmodel._checks import check_range
from eosmodel.analysis.cycles import Map, around, check_interval, check_state, check_whole, defect, eigenvalues, newton

_STRAIGHT = 0.99  # smallest cosine between successive tangents
KINDS = {
    "regular": "no bifurcation",
    "fold": "multiplier 1, where the branch turns",
    "branch": "multiplier 1, where another branch crosses or starts",
    "flip": "multiplier −1, where the period doubles",
    "neimark-sacker": "a pair of multipliers on the unit circle",
}


def branch(
    mapping: Map,
    z: Any,
    p: float,
    bounds: tuple[float, float],
    *,
    period: int = 1,
    max_step: float = 0.02,
    max_points: int = 2000,
    name: str = "p",
) -> xr.Dataset:
    """The branch of k-cycles through a point, followed in both directions until p leaves its bounds.

    Arclength is measured with p in units of high − low and z in units of max(1, ‖z‖) at the start. If the branch turns,
    or det(Df^k ∓ 1) or Π_{i<j}(μ_i μ_j − 1) changes sign between two points, the zero is located by Brent's method and
    added to the branch; two zeros of the same kind within a step are missed. At a crossing of branches the equations
    are singular, and the point is less accurate (1e-8 in float64).

    Args:
        mapping: the family f, called as `mapping(z, p)`.
        z: a guess of a point of the cycle at p, shape (dim,).
        p: initial parameter, within the bounds.
        bounds: (low, high) of p.
        period: k ≥ 1.
        max_step: largest step in arclength, in (0, 1]. The continuation fails if steps become shorter than 1e-6 of it.
        max_points: largest number of points in each direction.
        name: name of the parameter, for labels.

    Returns:
        A dataset over `point` with coordinates `p` and `arclength`, `z` (point, phase, component), `multiplier_real`
        and `multiplier_imag` (point, multiplier), `stable` (all multipliers inside the unit circle, false for a
        bifurcation), `kind` (a key of `KINDS`), `residual` ‖f^k(z) − z‖, and `converged`, false if a bifurcation was
        not located accurately. The attributes `ended_low` and `ended_high` say why each direction ended: "bound",
        "closed" (back at the start), "max_points", "failed" (steps too short), or "no start" (Newton did not converge
        at p, and there are no points).

    Raises:
        ValueError: bounds empty or reversed, p outside, or another argument of the wrong shape or range.

    Example:
        >>> logistic = branch(lambda z, r: r * z * (1 - z), [0.6], 2.5, (1.5, 4.0))
        >>> logistic.p[logistic.kind == "flip"].values.round(4).tolist()
        [3.0]
    """
    title = "fixed points" if period == 1 else f"cycles of period {period}"
    return _continued("branch", None, title, mapping, z, (p,), (bounds,), (name,), period, max_step, max_points)


def fold_curve(mapping: Map, z: Any, p: float, q: float, bounds: tuple, **options: Any) -> xr.Dataset:
    """The curve in the plane of two parameters on which a k-cycle has a multiplier +1; see `flip_curve`."""
    return _singular("fold", 1, mapping, z, p, q, bounds, **options)


def flip_curve(mapping: Map, z: Any, p: float, q: float, bounds: tuple, **options: Any) -> xr.Dataset:
    """The curve in the plane of two parameters on which a k-cycle has a multiplier −1.

    Args:
        mapping: f, called as `mapping(z, p, q)`.
        z: a guess of a point of the cycle, shape (dim,).
        p: a guess of the flip at q, for example from `flip`; q is constant for the first point.
        q: the other parameter.
        bounds: ((low, high) of p, (low, high) of q).
        options: period, max_step, max_points as for `branch`; names, a pair.

    Returns:
        A dataset over `point` like that of `branch`, with coordinates `p` and `q`, and without bifurcations.

    Raises:
        ValueError: as for `branch`.

    Example:
        >>> logistic = lambda z, r, h: r * z * (1 - z) - h
        >>> curve = flip_curve(logistic, [0.6], 3.0, 0.0, ((2.0, 4.0), (-0.5, 0.5)))
        >>> r, h = curve.p, curve.q
        >>> bool((abs(h - ((r - 1) ** 2 / 4 - 1) / r) < 1e-4).all())  # from z* = (r + 1)/2r
        True
    """
    return _singular("flip", -1, mapping, z, p, q, bounds, **options)


def _singular(what, multiplier, mapping, z, p, q, bounds, *, period=1, max_step=0.02, max_points=2000, names="pq"):
    rest = bounds, names, period, max_step, max_points
    return _continued(f"{what}_curve", multiplier, f"{what} of period {period}", mapping, z, (p, q), *rest)


def _continued(owner, multiplier, title, mapping, z, start, bounds, names, period, max_step, max_points):
    check_whole(owner, "period", period)
    check_whole(owner, "max_points", max_points)
    check_range(owner, "max_step", max_step, 0, 1, low_open=True)
    if np.shape(bounds) != (len(start), 2):
        raise ValueError(f"{owner}: bounds must be a pair (low, high) for each parameter, got {bounds!r}")
    ends = [check_interval(owner, "bounds", pair) for pair in bounds]
    for name, value, (low, high) in zip("pq", start, ends, strict=False):
        check_range(owner, name, value, low, high)
    z = check_state(owner, mapping, z, tuple(float(value) for value in start))
    first, lows, highs = (jnp.asarray(column, z.dtype) for column in (start, *zip(*ends, strict=True)))
    scale = jnp.append(jnp.full_like(z, jnp.maximum(1, jnp.linalg.norm(z))), highs - lows)
    curve = _Curve(mapping, scale, lows, highs, period, multiplier)
    kinds, points, ended = _trace(curve, jnp.append(z, first) / scale, max_step, max_points)
    return _label(curve, kinds, points, ended, names, title)


class _Curve(eqx.Module):
    """G(u) = 0 with one more unknown than equations: u = (z/‖z‖, parameters in units of their bounds)."""

    mapping: Callable
    scale: Float[Array, " unknowns"]
    low: Float[Array, " parameters"]
    high: Float[Array, " parameters"]
    period: int = eqx.field(static=True)
    multiplier: int | None = eqx.field(static=True)

    def split(self, u):
        """z and the parameters."""
        z, parameters = jnp.split(u * self.scale, [u.size - self.low.size])
        return z, tuple(parameters)

    def __call__(self, u):
        z, parameters = self.split(u)
        return defect(self.mapping, z, parameters, self.period, self.multiplier)


_Point = namedtuple("_Point", "u tangent cycle jacobians excess residual converged steps")
"""A point of a curve with the k points of its cycle and their Jacobians; excess is the distance outside the bounds."""


@eqx.filter_jit
def _correct(curve: _Curve, guess: Array, tangent: Array) -> _Point:
    """The point of the curve in the plane perpendicular to the tangent, with its properties."""
    u, small, residual, steps = newton(lambda u: jnp.append(curve(u), tangent @ (u - guess)), guess, 10)
    u = jnp.where(small, u, guess)
    new = jnp.linalg.svd(jax.jacfwd(curve)(u))[2][-1]
    new = jnp.where(new @ tangent < 0, -new, new)
    z, parameters = curve.split(u)
    p, (cycle, jacobians) = jnp.stack(parameters), around(curve.mapping, z, parameters, curve.period)
    excess = jnp.max(jnp.maximum(curve.low - p, p - curve.high) / (curve.high - curve.low))
    return _Point(u, new, cycle, jacobians, excess, residual, small & jnp.all(jnp.isfinite(jacobians)), steps)


def _at(curve, guess, tangent):
    return _Point(*(np.asarray(x) for x in _correct(curve, guess, tangent)))


def _trace(curve, guess, max_step, max_points):
    """Kinds and points along the curve, and why each direction ended."""
    start = _at(curve, guess, jnp.zeros_like(guess).at[-1].set(1))
    if not start.converged:
        return [], [], ("no start", "no start")
    forward, up = _follow(curve, start, max_step, max_points)
    backward, down = [], up
    if up != "closed":
        backward, down = _follow(curve, start._replace(tangent=-start.tangent), max_step, max_points)
    kinds, points = zip(*backward[::-1], ("regular", start), *forward, strict=True)
    return kinds, points, (down, up)


def _follow(curve, start, max_step, max_points):
    points: list[tuple[str, _Point]] = []
    here, size, shortest = start, max_step / 4, max_step * 1e-6
    while len(points) < max_points:
        guess = here.u + size * here.tangent
        there = _at(curve, guess, here.tangent)
        usable = bool(there.converged) and here.tangent @ there.tangent > _STRAIGHT
        leaves = usable and there.excess > 0
        if leaves:
            if here.excess >= 0:
                return points, "bound"
            there = _zero(curve, here, there, lambda point: point.excess)
            usable = bool(there.converged)
        crossed = _crossed(curve, here, there) if usable else []
        # At most one bifurcation per step, so that they are in order.
        if not usable or (len(crossed) > 1 and size > 100 * shortest):
            size /= 2
            if size < shortest:
                return points, "failed"
            continue
        points += [point for which in crossed if (point := _bifurcation(curve, here, there, which))]
        if points and _passes(start, here, there):
            return [*points, ("regular", start)], "closed"
        points.append(("regular", there))
        if leaves:
            return points, "bound"
        here = there
        size = min(1.5 * size, max_step) if there.steps <= 4 else size
    return points, "max_points"


def _zero(curve, here, there, test):
    """The point between two at which a test function vanishes; converged if all points in between are."""
    chord = there.u - here.u
    length = np.linalg.norm(chord)
    good = []

    def between(x):
        # A cubic Hermite interpolant is accurate enough for Newton to stay on this branch near a crossing.
        bend = x * (1 - x) * ((1 - x) * (length * here.tangent - chord) - x * (length * there.tangent - chord))
        point = _at(curve, here.u + x * chord + bend, chord / length)
        good.append(bool(point.converged))
        return point

    def value(x):
        return float(test(here if x == 0 else there if x == 1 else between(x)))

    from scipy.optimize import brentq  # slow to import

    eps = float(np.finfo(chord.dtype).eps)
    root = brentq(value, 0, 1, xtol=eps, rtol=4 * eps)
    return (point := between(root))._replace(converged=np.asarray(all(good) and point.converged))


def _tests(point):
    """The slope dp/ds, det(D − 1), det(D + 1) and Π_{i<j}(μ_i μ_j − 1)."""
    mu = eigenvalues(point.jacobians)
    first, second = np.triu_indices(len(mu), 1)
    tests = np.prod(mu - 1), np.prod(mu + 1), np.prod(mu[first] * mu[second] - 1)
    return np.array([point.tangent[-1], *np.real(tests)])


def _crossed(curve, here, there):
    """The indices of the tests that change sign between two points; at a fold only the first of the first two."""
    if curve.multiplier is not None:
        return []
    turns, one, *others = (_tests(here) >= 0) != (_tests(there) >= 0)
    return [0] * bool(turns) + [1] * bool(one and not turns) + [2 + i for i in np.flatnonzero(others)]


def _bifurcation(curve, here, there, which):
    point = _zero(curve, here, there, lambda point: _tests(point)[which])
    if which == 0:
        # A branch of cycles of double period turns at its origin without a multiplier that crosses 1.
        return "fold" if _tests(here)[1] * _tests(there)[1] < 0 else "branch", point
    if which < 3:
        return ("branch", "flip")[which - 1], point
    # Two real multipliers whose product is 1 form a neutral saddle, which is not a bifurcation.
    mu = eigenvalues(point.jacobians)
    first, second = np.triu_indices(len(mu), 1)
    pair = np.argmin(np.abs(mu[first] * mu[second] - 1))
    return ("neimark-sacker", point) if abs(mu[first[pair]].imag) > np.finfo(here.u.dtype).eps ** 0.5 else None


def _passes(start, here, there):
    """Whether the step from here to there passes the start in its direction."""
    along = there.u - here.u
    past = (start.u - here.u) @ along / (along @ along)
    beside = np.linalg.norm(here.u + past * along - start.u)
    return 0 < past <= 1 and beside < 0.3 * np.linalg.norm(along) and start.tangent @ there.tangent > _STRAIGHT


def _label(curve, kinds, points, ended, names, title):
    kind = np.array(kinds, dtype="U14")
    u = np.array([point.u for point in points]).reshape(-1, curve.scale.size)
    dim = u.shape[1] - len(names)
    mu = np.array([eigenvalues(point.jacobians) for point in points], dtype=complex).reshape(-1, dim)
    cycle = np.array([point.cycle for point in points]).reshape(-1, curve.period, dim)
    arclength = np.append(0, np.cumsum(np.linalg.norm(np.diff(u, axis=0), axis=1)))[: len(u)]
    stable = np.all(np.abs(mu) < 1, axis=1) & (kind == "regular")
    residual, converged = (np.array([getattr(point, of) for point in points]) for of in ("residual", "converged"))
    data = {
        "z": (("point", "phase", "component"), cycle, {"long_name": "points of the cycle"}),
        "multiplier_real": (("point", "multiplier"), mu.real, {"long_name": "real part of the multiplier"}),
        "multiplier_imag": (("point", "multiplier"), mu.imag, {"long_name": "imaginary part of the multiplier"}),
        "stable": ("point", stable, {"long_name": "all multipliers inside the unit circle"}),
        "kind": ("point", kind, {"long_name": "bifurcation", **KINDS}),
        "residual": ("point", residual, {"long_name": "norm of the equations"}),
        "converged": ("point", converged.astype(bool), {"long_name": "located accurately"}),
    }
    coords = {"arclength": ("point", arclength, {"long_name": "scaled arclength"})}
    columns = (u * np.asarray(curve.scale))[:, dim:].T
    for key, name, values in zip("pq", names, columns, strict=False):
        coords[key] = ("point", values, {"long_name": f"parameter {name}", "symbol": name})
    attrs = {"title": title, "period": curve.period, "ended_low": ended[0], "ended_high": ended[1]}
    return xr.Dataset(data, coords, attrs)
