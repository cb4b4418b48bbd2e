"""What a tracker carries from one update to the next."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel.curvature.ritz import Solution, TrackInfo, dense_pairs, tolerances, unit_vector
from eosmodel.curvature.scout import Scout, lowest


class Tracked(eqx.Module):
    """The fields of `Modes`, and what the next update starts from, None where a dense solve sees everything.

    Fields
        start: the rows that the next update starts with, see `ahead`, shape (modes, dim); None for the vectors.
        scout: what has been seen outside the modes.
    """

    values: Float[Array, " modes"]
    vectors: Float[Array, "modes dim"]
    start: Float[Array, "modes dim"] | None
    scout: Scout | None


def ahead(solution: Solution, scout: Scout | None, unit):
    """Rows from which an update starts: one step of subspace iteration, of products that have been taken already.

    u_i + r_i/(θ_i − c), r_i = Hu_i − θ_iu_i: what u_i has of an eigenvector with eigenvalue μ is multiplied by
    (μ − c)/(θ_i − c), which is at most 1 in size for all μ in [low, θ_k], c the middle, `low` as the scout knows it.
    Since r_i is at right angles to all u_j the rows are independent, and where θ_i − c is too small, no longer than √2.
    """
    values, modes = solution.values, len(solution.values)
    low = -jnp.abs(values[-1]) if scout is None else scout.low / unit
    center = 0.5 * (values[-1] + lowest(values, low))
    distance = jnp.maximum(values - center, solution.sizes)
    step = jnp.where(distance > 0, 1 / jnp.where(distance > 0, distance, 1), 0)
    room = len(solution.shifts)
    return solution.rows[:modes] + step[:, None] * solution.rows[room : room + modes]


def first_basis(pairs):
    """The rows that an update starts with: those of the modes, and where there is a scout, one outside them."""
    if not isinstance(pairs, Tracked) or pairs.start is None:
        return pairs.vectors, None
    if pairs.scout is None:
        return pairs.start, None
    return jnp.concatenate([pairs.start, unit_vector(pairs.scout.last)[None]]), pairs.scout


def finish(solution: Solution, start, scout: Scout | None, unit, rtol: float, taken) -> tuple[Tracked, TrackInfo]:
    """What an update returns; `unit` is that of the solution's eigenvalues."""
    values, modes = solution.values, len(solution.values)
    relative = solution.relative()
    info = TrackInfo(
        relative[0], jnp.asarray(taken, jnp.int32), jnp.all(relative <= tolerances(rtol, modes, values.dtype))
    )
    return Tracked(values * unit, solution.rows[:modes], start, scout), info


def update_dense(matvec, pairs) -> tuple[Tracked, TrackInfo]:
    """The pairs of a dense solve, each in the sense of the pair before."""
    modes, dim = pairs.vectors.shape
    found, info = dense_pairs(matvec, dim, modes, pairs.vectors.dtype)
    sense = jnp.where(jnp.sum(found.vectors * pairs.vectors, axis=1) < 0, -1, 1)
    return Tracked(found.values, found.vectors * sense[:, None], None, None), info
