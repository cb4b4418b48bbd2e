"""A tracker of fixed work, for accelerators."""

import equinox as eqx
import jax
import jax.numpy as jnp

from eosmodel._checks import check_count, check_range
from eosmodel._units import unit_of
from eosmodel.curvature.ritz import (
    DENSE_DIM,
    TrackInfo,
    dense_pairs,
    orthogonalize,
    rayleigh_ritz,
    residuals,
    tolerances,
    turned_like,
)
from eosmodel.curvature.scout import look_on
from eosmodel.curvature.tracker import AbstractTracker, Tracked, Tracker


class BlockTracker(AbstractTracker):
    """Block Rayleigh–Ritz with the same work at every update, all products of a round at once.

    `Tracker` decides after each product whether it takes another, and on an accelerator every decision waits for the
    host. Here an update is a fixed number of rounds without any decision. The first takes the products of the k modes
    and of a direction outside them (the `Scout`, here at every update), the others those of the k residuals, each
    round as one batched product; all is solved on [u_1 … u_k, residuals, the directions in which the modes last moved].
    So an update of one round takes 2k + 1 products, in two batches: more than `Tracker` needs at the edge of stability,
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

    Source: Knyazev (2001), LOBPCG.
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
        outside, count = basis[-1], len(basis)
        products = product(basis)
        unit = unit_of(products)
        products = products / unit
        seen = products[-1]
        values, vectors, hvps, moved = _solve(basis, products, modes)
        rounds = self.rounds + (elapsed > 1)
        for _ in range(rounds):
            # Unit rows along the residuals; zeros where nothing but rounding is left.
            rest = jax.vmap(orthogonalize, (0, None))(residuals(values, vectors, hvps)[0], vectors)
            basis = jnp.concatenate([vectors, moved[0], rest])
            products = jnp.concatenate([hvps, moved[1], product(rest) / unit])
            values, vectors, hvps, moved = _solve(basis, products, modes)
        _, size = residuals(values, vectors, hvps)
        vectors = turned_like(vectors, pairs.vectors)
        taken = jnp.asarray(count + rounds * modes, jnp.int32)
        scout = None if scout is None else look_on(scout, outside, seen, values, vectors, unit)
        info = TrackInfo(size[0], taken, jnp.all(size <= tolerances(self.rtol, modes, dtype)))
        return Tracked(values * unit, vectors, scout), info


def _solve(basis, products, modes):
    """Ritz values and vectors with their products, and what the vectors took from beyond the first rows, as unit rows
    at right angles to the vectors, with its products."""
    values, c = rayleigh_ritz(basis, products, modes)
    vectors, hvps = c @ basis, c @ products
    inner = c.at[:, :modes].set(0)
    moved, images = inner @ basis, inner @ products
    overlap = moved @ vectors.T
    moved, images = moved - overlap @ vectors, images - overlap @ hvps
    norm = jnp.linalg.norm(moved, axis=1)
    scale = jnp.where(norm > 1e-4, 1 / jnp.where(norm > 0, norm, 1), 0)[:, None]
    return values, vectors, hvps, (moved * scale, images * scale)
