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


def rayleigh_ritz(basis, products, modes):
    """Largest Ritz values over the rows of `basis`, and their coefficients (modes, rows). Dependent rows drop out."""
    gram = basis @ basis.T
    inner = basis @ products.T
    inner = 0.5 * (inner + inner.T)
    sizes, axes = jnp.linalg.eigh(gram)
    kept = sizes > RANK_FLOOR
    whiten = axes * jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, sizes, 1)), 0)
    reduced = whiten.T @ inner @ whiten
    values, coefficients = eigh_of_kept(reduced, kept)
    return values[::-1][:modes], (whiten @ coefficients)[:, ::-1][:, :modes].T


def residuals(values, vectors, products):
    """Hu_i − λ_iu_i of Ritz pairs, and their norms relative to |λ_1|."""
    rest = products - values[:, None] * vectors
    scale = jnp.maximum(jnp.abs(values[0]), jnp.finfo(values.dtype).tiny)
    return rest, jnp.linalg.norm(rest, axis=1) / scale


def tolerances(rtol, modes, dtype):
    """The largest relative residual of each mode: rtol for the first, more for the others."""
    return rtol * jnp.where(jnp.arange(modes) == 0, 1, _OTHERS).astype(dtype)


def turned_like(vectors, before):
    """Vectors in the sense of those before; a larger Ritz problem may turn one round, and with it the sign of an
    amplitude."""
    return vectors * jnp.where(jnp.sum(vectors * before, axis=1) < 0, -1, 1).astype(vectors.dtype)[:, None]


def dense_pairs(matvec, dim, modes, dtype):
    hessian = jax.vmap(matvec)(jnp.eye(dim, dtype=dtype))
    values, vectors = jnp.linalg.eigh(0.5 * (hessian + hessian.T))
    pairs = Modes(values[::-1][:modes], vectors.T[::-1][:modes])
    return pairs, TrackInfo(jnp.asarray(0, dtype), jnp.asarray(dim, jnp.int32), jnp.asarray(True))
