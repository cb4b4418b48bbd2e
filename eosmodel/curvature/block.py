"""A tracker of fixed work, for accelerators."""

import equinox as eqx
import jax
import jax.numpy as jnp

from eosmodel._checks import check_count, check_range
from eosmodel._units import unit_of
from eosmodel.curvature.ritz import (
    DENSE_DIM,
    TrackInfo,
    beyond,
    dense_pairs,
    eigh_of_kept,
    orthogonalize,
    residuals,
    tolerances,
    turned_like,
)
from eosmodel.curvature.scout import look_on
from eosmodel.curvature.tracker import AbstractTracker, Tracked, Tracker


class BlockTracker(AbstractTracker):
    """Block Lanczos with the same work at every update, all products of a round at once.

    `Tracker` decides after each product whether it takes another, and on an accelerator every decision waits for the
    host. Here an update is one Ritz problem of a fixed size, in a block Krylov space, without any decision. The first
    round takes the products of the k modes and of a direction outside them (the `Scout`, here at every update), the
    others those of what the round before has found beyond the space, each round as one batched product. So an update of
    one round with residuals takes 2k + 1 products, in two batches: more than `Tracker` needs at the edge of stability,
    k + 1.5 on digits, in fewer and larger operations. On a CPU, where a batched product costs as much as its parts,
    `Tracker` is faster. One round follows a run at the edge of stability; where steps go far, as the first ones do, it
    is not enough, and `converged` says so.

    Args:
        modes: number of pairs k, ≥ 1; as many as there are weights if that is less.
        rtol: tolerance by which `converged` is decided, as of `Tracker`; > 0.
        rounds: rounds with residuals, ≥ 1; one more where several steps have elapsed.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> curvatures = jnp.arange(100.0)
        >>> tracker = BlockTracker(modes=2)
        >>> _, _, pairs = tracker.init(lambda w: 0.5 * curvatures @ w**2, jnp.ones(100))
        >>> pairs, info = tracker.update(lambda v: 2 * curvatures * v, pairs)
        >>> pairs.values.round(1).tolist(), bool(info.converged), int(info.products)
        ([198.0, 196.0], True, 5)

    Source: Golub & Underwood (1977), block Lanczos, restarted at every update from the modes before.
    """

    modes: int = eqx.field(static=True, default=3)
    rtol: float = eqx.field(static=True, default=1.5e-2)
    rounds: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_count("BlockTracker", "modes", self.modes)
        check_range("BlockTracker", "rtol", self.rtol, 0, low_open=True)
        check_count("BlockTracker", "rounds", self.rounds)

    def init(self, fn, weights):
        return Tracker(self.modes).init(fn, weights)

    def update(self, matvec, pairs, elapsed=1):
        modes, dim = pairs.vectors.shape
        dtype = pairs.vectors.dtype
        if dim <= DENSE_DIM:
            found, info = dense_pairs(matvec, dim, modes, dtype)
            return Tracked(found.values, found.vectors, None), info
        product, basis = jax.vmap(matvec), pairs.vectors
        scout = pairs.scout if isinstance(pairs, Tracked) else None
        if scout is not None:
            basis = jnp.concatenate([basis, orthogonalize(scout.last, basis)[None]])
        outside = basis[-1]
        products = product(basis)
        unit = unit_of(products)
        products = products / unit
        seen, newest = products[-1], products[:modes]
        for _ in range(self.rounds + (elapsed > 1)):
            directions = beyond(newest, basis)
            newest = product(directions) / unit
            basis, products = jnp.concatenate([basis, directions]), jnp.concatenate([products, newest])
        values, vectors, hvps = _solve(basis, products, modes)
        _, size = residuals(values, vectors, hvps)
        vectors = turned_like(vectors, pairs.vectors)
        scout = None if scout is None else look_on(scout, outside, seen, values, vectors, unit)
        taken = jnp.asarray(len(basis), jnp.int32)
        info = TrackInfo(size[0], taken, jnp.all(size <= tolerances(self.rtol, modes, dtype)))
        return Tracked(values * unit, vectors, scout), info


def _solve(basis, products, modes):
    """The largest Ritz values over orthonormal rows, some of which may be 0, with vectors and their products."""
    gram, inner = basis @ basis.T, basis @ products.T
    values, c = eigh_of_kept(0.5 * (inner + inner.T), jnp.sum(basis * basis, axis=1) > 0.5)
    c = c.T[::-1][:modes]
    # A step of Newton and Schulz: what rounding takes from their orthonormality would add up over updates.
    c = (1.5 * jnp.eye(modes, dtype=c.dtype) - 0.5 * (c @ gram) @ c.T) @ c
    return values[::-1][:modes], c @ basis, c @ products
