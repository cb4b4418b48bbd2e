"""Eigenpairs, and the small problems that they are read from."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Below this dimension a dense solve is exact and cheaper than any iteration.
DENSE_DIM = 24
# A direction whose squared length left after orthogonalisation is below this (relative to 1) adds only rounding.
RANK_FLOOR = 1e-3
# Residuals below so many units of rounding are not used.
_ROUNDING = 64
# The other modes must be known well enough to notice in time that one overtakes the first.
_OTHERS = 4


class Modes(eqx.Module):
    """The leading eigenpairs as the tracker carries them.

    Fields
        values: λ_1 ≥ λ_2 ≥ …, shape (modes,).
        vectors: rows u_i, orthonormal, shape (modes, dim).
    """

    values: Float[Array, " modes"]
    vectors: Float[Array, "modes dim"]


class TrackInfo(NamedTuple):
    """How good the tracked pairs are: relative residual of the leading pair, Hessian–vector products taken in this
    call, and whether every pair met its tolerance."""

    residual: Float[Array, ""]
    products: Int[Array, ""]
    converged: Bool[Array, ""]


class Solution(NamedTuple):
    """A Rayleigh–Ritz problem solved, and the rows of the next one.

    The rows are those of a basis b_j and, after all of these, their images Hb_j − s_jb_j. Of the next problem the basis
    is [u_1 … u_k, the direction in which u_1 last moved, room for one more], and the first images are the residuals.

    Fields
        values: Ritz values θ_1 ≥ θ_2 ≥ …, shape (modes,).
        sizes: ‖Hu_i − θ_iu_i‖, shape (modes,).
        rows: shape (2·n, dim), n the size of the next basis.
        shifts: s_j of the next basis, shape (n,).
    """

    values: Float[Array, " modes"]
    sizes: Float[Array, " modes"]
    rows: Float[Array, "2n dim"]
    shifts: Float[Array, " n"]

    def relative(self):
        """Sizes of the residuals relative to |λ_1|."""
        return self.sizes / jnp.maximum(jnp.abs(self.values[0]), jnp.finfo(self.values.dtype).tiny)

    def lengthening(self):
        """By what the residuals become unit rows; 0 where they are little but rounding, of which the part along the
        vectors would not be small."""
        kept = self.relative() > _ROUNDING * jnp.finfo(self.values.dtype).eps
        return jnp.where(kept, 1 / jnp.where(kept, self.sizes, 1), 0)


def unit_vector(v):
    norm = jnp.linalg.norm(v)
    return v * jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)


def orthogonalize(v, basis):
    """Unit vector along the part of v outside the rows of `basis`; zero if nothing but rounding is left."""
    for _ in range(2):  # once is not enough in floating point; twice is
        v = unit_vector(v - (basis @ v) @ basis)
    return v


def beyond(rows, basis):
    """Orthonormal rows that span what `rows` have outside the rows of `basis`; 0 where too little is left."""
    for _ in range(2):
        rows = jax.vmap(unit_vector)(rows - (rows @ basis.T) @ basis)
    # Gram and Schmidt's method in coordinates along the rows: one pass over them, whatever their number.
    gram = rows @ rows.T
    c = jnp.zeros_like(gram)
    for i in range(len(rows)):
        row = jnp.zeros_like(gram[i]).at[i].set(1)
        row = row - jnp.sum(c * jnp.sum(c * gram[i], axis=1)[:, None], axis=0)
        size = jnp.sum(row[:, None] * gram * row)
        kept = size > RANK_FLOOR
        c = c.at[i].set(row * jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, size, 1)), 0))
    return c @ rows


def eigh_of_kept(matrix, kept):
    """Eigenvalues and vectors; rows that are not kept are not among the largest ones, whatever their sign."""
    bound = 2 * jnp.max(jnp.sum(jnp.abs(matrix), axis=0)) + 1
    return jnp.linalg.eigh(matrix - jnp.diag(jnp.where(kept, 0, bound)))


def rayleigh_ritz(gram, inner, modes):
    """Largest Ritz values, and their coefficients (modes, rows), from the inner products of a basis with itself and
    with its products. Dependent rows drop out."""
    inner = 0.5 * (inner + inner.T)
    sizes, axes = jnp.linalg.eigh(gram)
    kept = sizes > RANK_FLOOR
    whiten = axes * jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, sizes, 1)), 0)
    reduced = whiten.T @ inner @ whiten
    values, coefficients = eigh_of_kept(reduced, kept)
    return values[::-1][:modes], (whiten @ coefficients)[:, ::-1][:, :modes].T


def turned(c, gram):
    """Coefficients of vectors, each in the sense of the row of its own number: a larger Ritz problem may turn one
    round, and with it the sign of an amplitude."""
    modes = len(c)
    return c * jnp.where(jnp.sum((c @ gram)[:, :modes] * jnp.eye(modes, dtype=c.dtype), axis=1) < 0, -1, 1)[:, None]


def solve(rows: Array, shifts: Array, modes: int) -> Solution:
    """The leading Ritz pairs of a basis.

    All that has the length of the weights is done in one product of the rows with themselves and one of a small matrix
    with them; with many weights the time of an update goes to passes over memory.

    Args:
        rows, shifts: as in `Solution`. Rows of zeros drop out.
        modes: number k of pairs. Vectors are in the sense of the first k rows. The next basis has after them what u_1
            took from beyond these rows, as a unit row at right angles to all vectors, and a row of zeros.
    """
    n, kept, size = len(shifts), modes + 1, modes + 2
    products = rows @ rows.T
    gram = products[:n, :n]
    values, c = rayleigh_ritz(gram, products[:n, n:] + gram * shifts, modes)
    c = turned(c, gram)
    moved = c[:1].at[:, :modes].set(0)
    moved = moved - (moved @ gram @ c.T) @ c
    norm = jnp.sqrt(jnp.maximum(jnp.sum((moved @ gram) * moved, axis=1), 0))
    moved = moved * jnp.where(norm > 1e-4, 1 / jnp.where(norm > 0, norm, 1), 0)[:, None]
    combined = jnp.concatenate([c, moved])
    following = jnp.concatenate([values, jnp.zeros(2, values.dtype)])
    to_next = jnp.zeros((2 * size, 2 * n), rows.dtype)
    to_next = to_next.at[:kept, :n].set(combined).at[size : size + kept, n:].set(combined)
    to_next = to_next.at[size : size + kept, :n].set(combined * (shifts - following[:kept, None]))
    rows = to_next @ rows
    return Solution(values, jnp.linalg.norm(rows[size : size + modes], axis=1), rows, following)


def tolerances(rtol, modes, dtype):
    """The largest relative residual of each mode: rtol for the first, more for the others."""
    return rtol * jnp.where(jnp.arange(modes) == 0, 1, _OTHERS).astype(dtype)


def dense_pairs(matvec, dim, modes, dtype):
    hessian = jax.vmap(matvec)(jnp.eye(dim, dtype=dtype))
    values, vectors = jnp.linalg.eigh(0.5 * (hessian + hessian.T))
    pairs = Modes(values[::-1][:modes], vectors.T[::-1][:modes])
    return pairs, TrackInfo(jnp.asarray(0, dtype), jnp.asarray(dim, jnp.int32), jnp.asarray(True))
