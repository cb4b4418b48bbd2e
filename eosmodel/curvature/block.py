"""A tracker of fixed work, for accelerators."""

import equinox as eqx
import jax
import jax.numpy as jnp

from eosmodel._checks import check_count, check_range
from eosmodel._units import unit_of
from eosmodel.curvature.ritz import DENSE_DIM, Solution, beyond, eigh_of_kept, orthogonalize, turned
from eosmodel.curvature.scout import look_on
from eosmodel.curvature.tracked import Tracked, finish, update_dense
from eosmodel.curvature.tracker import AbstractTracker, Tracker


class BlockTracker(AbstractTracker):
    """Block Lanczos with the same work at every update, all products of a round at once.

    `Tracker` decides after each product whether it takes another, and on an accelerator every decision waits for the
    host. Here an update is one Ritz problem of a fixed size, in a block Krylov space, without any decision. The first
    round takes the products of the k modes and of a direction outside them (the `Scout`, here at every update), the
    others those of what the round before has found beyond the space, each round as one batched product. So an update of
    one round with residuals takes 2k + 1 products, in two batches: more than `Tracker` needs at the edge of stability,
    k + 0.6 on digits, in fewer and larger operations. On a CPU, where a batched product costs as much as its parts,
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
        value, gradient, pairs = Tracker(self.modes).init(fn, weights)
        return value, gradient, Tracked(pairs.values, pairs.vectors, None, pairs.scout)

    def update(self, matvec, pairs, elapsed=1):
        modes, dim = pairs.vectors.shape
        if dim <= DENSE_DIM:
            return update_dense(matvec, pairs)
        product, basis = jax.vmap(matvec), pairs.vectors
        scout = pairs.scout if isinstance(pairs, Tracked) else None
        if scout is not None:
            basis = jnp.concatenate([basis, orthogonalize(scout.last, basis)[None]])
        outside = basis[-1]
        images = product(basis)
        unit = unit_of(images)
        images = images / unit
        seen, newest = images[-1], images[:modes]
        for _ in range(self.rounds + (elapsed > 1)):
            directions = beyond(newest, basis)
            newest = product(directions) / unit
            basis, images = jnp.concatenate([basis, directions]), jnp.concatenate([images, newest])
        solution = _solve(basis, images, modes)
        if scout is not None:
            scout = look_on(scout, outside, seen, solution, unit)
        return finish(solution, None, scout, unit, self.rtol, len(basis))


def _solve(basis, images, modes):
    """The leading Ritz pairs of orthonormal rows, some of which may be 0, in the sense of the first rows."""
    gram, inner = basis @ basis.T, basis @ images.T
    values, c = eigh_of_kept(0.5 * (inner + inner.T), jnp.sum(basis * basis, axis=1) > 0.5)
    values, c = values[::-1][:modes], c.T[::-1][:modes]
    # A step of Newton and Schulz: what rounding takes from their orthonormality would add up over updates.
    c = turned(1.5 * c - 0.5 * (c @ gram @ c.T) @ c, gram)
    vectors, rest = c @ basis, c @ images - values[:, None] * (c @ basis)
    return Solution(values, jnp.linalg.norm(rest, axis=1), jnp.concatenate([vectors, rest]), values)
