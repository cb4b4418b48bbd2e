"""Fixed points and cycles of maps, their multipliers, and the folds and flips of one-parameter families.

A map is any jax function z ↦ z' of a flat float array, a family of maps a function z, p ↦ z'. Either may be an equinox
module; its arrays are traced, so that new numbers do not recompile.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from eosmodel._checks import check_range, floating

Map = Callable[..., Float[Array, " dim"]]


class Cycles(NamedTuple):
    """Cycles of a map, sorted by period and first point; each starts at its smallest point.

    Fields
        points: shape (cycles, k, dim) for f^k(z) = z; a cycle of a lower period is repeated.
        period: least period of each, a divisor of k.
        multipliers: eigenvalues of the Jacobian of the map iterated over one period, shape (cycles, dim).
        stable: whether all multipliers lie inside the unit circle.
        residual: ‖f^k(z) − z‖.
        reached: for each start the index of the cycle reached, −1 where Newton did not converge.
    """

    points: Float[np.ndarray, "cycles k dim"]
    period: Int[np.ndarray, " cycles"]
    multipliers: Complex[np.ndarray, "cycles dim"]
    stable: Bool[np.ndarray, " cycles"]
    residual: Float[np.ndarray, " cycles"]
    reached: Int[np.ndarray, " starts"]


class Bifurcation(NamedTuple):
    """A fold or flip point of a family of maps.

    Fields
        points: the cycle, shape (k, dim).
        parameter: p there.
        multipliers: eigenvalues of D(f^k), shape (dim,).
        period: least period; less than k if Newton converged to a shorter cycle, 0 if it did not converge.
        residual: norm of the augmented equations.
        converged: whether Newton converged; if not, the other fields are those of its last iterate.
    """

    points: Float[np.ndarray, "k dim"]
    parameter: float
    multipliers: Complex[np.ndarray, " dim"]
    period: int
    residual: float
    converged: bool


def cycles(mapping: Map, starts: Any, *, period: int = 1, args: tuple = (), max_steps: int = 50) -> Cycles:
    """All solutions of f^k(z) = z that Newton's method reaches from the starts.

    Newton's steps are least-squares steps, so that cycles which are not isolated are found too. The iteration has
    converged when its step is below ε^¾(1 + ‖z‖) (2e-12 in float64; ε is the machine epsilon), or the residual is at
    the level of rounding. Points closer than ε^⅖(1 + ‖z‖) (5e-7) are identified, and so are cyclic shifts. At a
    bifurcation, where a cycle is a multiple root, the solutions scatter by more than that.

    Args:
        mapping: f, called as `mapping(z, *args)`.
        starts: shape (starts, dim).
        period: k ≥ 1.
        args: further arguments of the map.
        max_steps: largest number of Newton steps.

    Raises:
        ValueError: starts of another shape, a period or max_steps < 1, a map that does not return the shape of z.

    Example:
        >>> import jax.numpy as jnp
        >>> logistic = lambda z, r: r * z * (1 - z)
        >>> result = cycles(logistic, jnp.linspace(0.05, 0.95, 20)[:, None], period=2, args=(3.2,))
        >>> result.period.tolist(), result.stable.tolist()
        ([1, 1, 2], [False, False, True])
        >>> round(float(result.multipliers[2, 0].real), 3)  # 4 + 2r − r²
        0.16
    """
    check_whole("cycles", "period", period)
    check_whole("cycles", "max_steps", max_steps)
    starts = floating(starts)
    if starts.ndim != 2 or not starts.size or not bool(jnp.all(jnp.isfinite(starts))):
        raise ValueError(f"cycles: starts must be finite numbers of shape (starts, dim), got shape {starts.shape}")
    check_state("cycles", mapping, starts[0], args)
    points, residual, jacobians, converged = (np.asarray(x) for x in _search(mapping, starts, args, period, max_steps))
    eps = float(jnp.finfo(starts.dtype).eps)

    kept: list[tuple] = []  # least period, points from the smallest on, multipliers, residual
    label = np.full(len(starts), -1)
    for i in np.flatnonzero(converged):
        near = _merge_distance(eps, points[i])
        # Compared with all points of a cycle, so that cyclic shifts are identified.
        same = (c for c, row in enumerate(kept) if np.linalg.norm(row[1] - points[i, 0], axis=-1).min() <= near)
        label[i] = next(same, len(kept))
        if label[i] == len(kept):
            least = _least_period(points[i], near)
            first = np.lexsort(points[i, :least].T[::-1])[0]
            ordered = np.roll(points[i], -first, axis=0)
            kept.append((least, ordered, eigenvalues(jacobians[i, :least]), residual[i]))

    order = sorted(range(len(kept)), key=lambda c: (kept[c][0], *kept[c][1].ravel()))
    dim = starts.shape[1]
    multipliers = np.array([kept[c][2] for c in order], dtype=complex).reshape(-1, dim)
    return Cycles(
        np.array([kept[c][1] for c in order], dtype=points.dtype).reshape(-1, period, dim),
        np.array([kept[c][0] for c in order], dtype=int),
        multipliers,
        np.all(np.abs(multipliers) < 1, axis=1),
        np.array([kept[c][3] for c in order], dtype=points.dtype),
        np.array([order.index(c) if c >= 0 else -1 for c in label]),
    )


def fold(mapping: Map, z: Any, p: float, *, period: int = 1) -> Bifurcation:
    """A point at which two k-cycles of a family meet and vanish, with a multiplier +1; see `flip`.

    A transcritical or a pitchfork point also has a multiplier +1. There the equations are singular, and Newton
    converges slowly or not at all.

    Example:
        >>> result = fold(lambda z, r: r * z * (1 - z), [0.5], 3.8, period=3)
        >>> result.converged, round(result.parameter, 6)  # 1 + √8
        (True, 3.828427)
    """
    return _bifurcation("fold", 1, mapping, z, p, period)


def flip(mapping: Map, z: Any, p: float, *, period: int = 1) -> Bifurcation:
    """A point at which a k-cycle of a family doubles its period, with a multiplier −1, by Newton's method on

        f^k(z, p) = z,        u·(Df^k ± I)v = 0        (+ for a flip, − for a fold)

    with u and v the singular vectors of the smallest singular value, at the solution the null vectors.

    Args:
        mapping: the family, called as `mapping(z, p)`.
        z: initial guess, shape (dim,), preferably a point of a nearby cycle.
        p: initial parameter.
        period: k ≥ 1.

    Returns:
        `Bifurcation`, which says whether Newton converged.

    Raises:
        ValueError: a z of another shape, a p that is not finite, a period < 1.

    Example:
        >>> result = flip(lambda z, r: r * z * (1 - z), [0.6], 2.8)
        >>> result.converged, round(result.parameter, 6)
        (True, 3.0)
    """
    return _bifurcation("flip", -1, mapping, z, p, period)


def _bifurcation(owner, multiplier, mapping, z, p, period):
    check_whole(owner, "period", period)
    check_range(owner, "p", p, low_open=True, high_open=True)
    z = check_state(owner, mapping, z, (float(p),))
    guess = jnp.concatenate([z, jnp.asarray(p, z.dtype)[None]])
    solved = _solve_augmented(mapping, guess, period, multiplier)
    p, points, jacobians, residual, converged = (np.asarray(x) for x in solved)
    least = _least_period(points, _merge_distance(float(jnp.finfo(z.dtype).eps), points)) if converged else 0
    return Bifurcation(points, float(p), eigenvalues(jacobians), least, float(residual), bool(converged))


def defect(mapping: Map, z: Array, args: tuple, period: int, multiplier: int | None = None) -> Array:
    """f^k(z) − z, and with a multiplier m = ±1 also u·(Df^k − mI)v, the smallest singular value with a sign."""

    def iterated(z):
        image = jax.lax.fori_loop(0, period, lambda _, z: mapping(z, *args), z)
        return image, image

    if multiplier is None:
        return iterated(z)[0] - z
    jacobian, image = jax.jacfwd(iterated, has_aux=True)(z)
    matrix = jacobian - multiplier * jnp.eye(z.size, dtype=z.dtype)
    # The derivative of a singular value is that of u·Mv with constant vectors.
    left, _, right = jnp.linalg.svd(jax.lax.stop_gradient(matrix))
    return jnp.append(image - z, left[:, -1] @ matrix @ right[-1])


def newton(equations: Callable, x: Array, max_steps: int = 50) -> tuple[Array, Array, Array, Array]:
    """A root by least-squares Newton steps: the root, whether it converged, the residual, the number of steps."""
    eps = jnp.finfo(x.dtype).eps

    def body(state):
        x, _, count = state
        slope, value = jax.jacfwd(lambda x: 2 * (equations(x),), has_aux=True)(x)
        scale = 1 + jnp.linalg.norm(x)
        # At the level of rounding, a step with a singular Jacobian would only add noise.
        done = jnp.linalg.norm(value) <= 4 * eps * scale
        change = jnp.where(done, 0, jnp.linalg.lstsq(slope, value)[0])
        return x - change, jnp.linalg.norm(change) / scale, count + 1

    def unfinished(state):
        return (state[1] > eps**0.75) & (state[2] < max_steps)

    start = x, jnp.asarray(jnp.inf, x.dtype), jnp.asarray(0, jnp.int32)
    x, size, count = jax.lax.while_loop(unfinished, body, start)
    residual = jnp.linalg.norm(equations(x))
    # Near a singularity the step may be small without a root.
    small_residual = residual <= eps**0.375 * (1 + jnp.linalg.norm(x))
    return x, (size <= eps**0.75) & small_residual, residual, count


@eqx.filter_jit
def _search(mapping, starts, args, period, max_steps):
    def search(start):
        z, converged, residual, _ = newton(lambda z: defect(mapping, z, args, period), start, max_steps)
        points, jacobians = around(mapping, z, args, period)
        return points, residual, jacobians, converged

    return jax.vmap(search)(starts)


@eqx.filter_jit
def _solve_augmented(mapping, guess, period, multiplier):
    def equations(u):
        return defect(mapping, u[:-1], (u[-1],), period, multiplier)

    root, converged, residual, _ = newton(equations, guess)
    points, jacobians = around(mapping, root[:-1], (root[-1],), period)
    return root[-1], points, jacobians, residual, converged


def around(mapping: Map, z: Array, args: tuple, period: int) -> tuple[Array, Array]:
    """The k points from z on, and the Jacobian of the step from each."""

    def step(z, _):
        return mapping(z, *args), (z, jax.jacfwd(mapping)(z, *args))

    return jax.lax.scan(step, z, None, length=period)[1]


def _merge_distance(eps, points):
    """The distance below which points are identified."""
    return eps**0.4 * (1 + float(np.max(np.abs(points))))


def _least_period(points, near):
    k = len(points)
    shifts = ((d, np.linalg.norm(points - np.roll(points, -d, axis=0), axis=-1)) for d in range(1, k) if k % d == 0)
    return next((d for d, moved in shifts if np.all(moved <= near)), k)


def eigenvalues(jacobians: np.ndarray) -> np.ndarray:
    """Eigenvalues of the product of the Jacobians of successive steps; NaN if one is not finite."""
    product = np.eye(jacobians.shape[-1])
    for jacobian in jacobians:
        product = jacobian @ product
    finite = np.all(np.isfinite(product))
    return np.linalg.eigvals(product).astype(complex) if finite else np.full(len(product), np.nan, dtype=complex)


def check_whole(owner: str, name: str, value: Any, low: int = 1) -> None:
    """Raise ValueError unless `value` is a whole number ≥ low."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ValueError(f"{owner}: {name} must be a whole number ≥ {low}, got {value!r}")


def check_interval(owner: str, name: str, value: Any) -> tuple[float, float]:
    """(low, high) as floats; ValueError unless both are finite and low < high."""
    ends = np.asarray(value, dtype=float)
    if ends.shape != (2,) or not np.all(np.isfinite(ends)) or not ends[0] < ends[1]:
        raise ValueError(f"{owner}: {name} must be a pair (low, high) with low < high, got {value!r}")
    return float(ends[0]), float(ends[1])


def check_state(owner: str, mapping: Map, z: Any, args: tuple) -> Array:
    """z as a flat array of floats; ValueError unless it is one and the map returns the same shape and dtype."""
    z = floating(z)
    if z.ndim != 1 or not z.size or not bool(jnp.all(jnp.isfinite(z))):
        raise ValueError(f"{owner}: z must be finite numbers of shape (dim,), got {z}")
    image = eqx.filter_eval_shape(mapping, z, *args)
    if image.shape != z.shape or image.dtype != z.dtype:
        got = f"{image.shape} of {image.dtype}"
        raise ValueError(f"{owner}: mapping must return shape {z.shape} of {z.dtype} like z, got {got}")
    return z
