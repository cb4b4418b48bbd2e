"""Krylov spaces of the bulk: the spectral measure of several vectors at once, and the flow's linear step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel.theory._steps import relaxation

# A vector of which less than this share is left after orthogonalisation adds only rounding.
_RANK = 1e-4


def krylov_relaxation(matvec: Callable[[Array], Array], vector: Float[Array, " dim"], time: Array, size: int) -> Array:
    """−∫₀ᵗ e^{−sH} v ds = −(1 − e^{−tH})H⁻¹ v in the Krylov space of v with `size` vectors."""
    norm = jnp.linalg.norm(vector)
    size = min(size, vector.size)
    start = jnp.zeros((size, vector.size), vector.dtype).at[0].set(vector / jnp.where(norm > 0, norm, 1))

    def grow(basis, i):
        product = matvec(basis[i])
        rest = product
        for _ in range(2):
            rest = rest - (basis @ rest) @ basis
        length = jnp.linalg.norm(rest)
        # A space that closes early gives vectors that are 0, on which the operator is 0 and v has no part.
        good = length > _RANK * jnp.linalg.norm(product)
        rest = jnp.where(good, rest / jnp.where(good, length, 1), 0)
        return basis.at[i + 1].set(rest, mode="drop"), product

    basis, products = jax.lax.scan(grow, start, jnp.arange(size))
    inner = basis @ products.T
    values, axes = jnp.linalg.eigh(0.5 * (inner + inner.T))
    return -norm * ((axes @ (relaxation(time, values) * axes[0])) @ basis)


def krylov_measure(
    matvec: Callable[[Array], Array],
    block: Float[Array, "vectors dim"],
    count: int,
    outside: Float[Array, "modes dim"],
) -> tuple[Float[Array, " ritz"], Float[Array, "ritz vectors"]]:
    """Ritz values θ_n of an operator in the block Krylov space of some vectors y_a, and their components (q_n·y_a).

    Σ_n f(θ_n)(q_n·y_a)(q_n·y_b) is y_aᵀ f(H) y_b, exactly for polynomials f of degree below 2·count (block Gauss
    quadrature).

    Args:
        matvec: v ↦ Hv on the complement of `outside`.
        block: the vectors y_a, in that complement.
        count: blocks, each of as many products as there are vectors; fewer where the space has no more dimensions.
        outside: orthonormal rows that stay out.

    Source: Golub & Meurant, Matrices, Moments and Quadrature (2010), chapter 4.
    """
    vectors, dim = block.shape
    room = dim - outside.shape[0]
    if room <= count * vectors:
        # The whole complement: exact, and no larger than the Krylov space would have been.
        whole = jnp.linalg.qr(jnp.concatenate([outside, jnp.eye(dim, dtype=block.dtype)]).T)[0].T
        basis = whole[outside.shape[0] :]
        products = jax.vmap(matvec)(basis)
    else:
        empty = jnp.zeros((count * vectors, dim), block.dtype)

        def join(basis, first, rows):
            """`rows` as basis vectors from `first` on, each orthogonal to all before; 0 where nothing but rounding is
            left, on which the operator is 0 and no vector has a part."""

            whole = jnp.linalg.norm(rows, axis=1)
            for _ in range(2):
                for against in (outside, basis):
                    rows = rows - (rows @ against.T) @ against

            def add(rows, i):
                rest = rows[i]
                before = jnp.where((jnp.arange(vectors) < i)[:, None], rows, 0)
                for _ in range(2):
                    rest = rest - (before @ rest) @ before
                length = jnp.linalg.norm(rest)
                good = length > _RANK * whole[i]
                return rows.at[i].set(jnp.where(good, rest / jnp.where(good, length, 1), 0)), None

            rows = jax.lax.scan(add, rows, jnp.arange(vectors))[0]
            return basis.at[first + jnp.arange(vectors)].set(rows, mode="drop")

        def grow(basis, i):
            products = jax.vmap(matvec)(jax.lax.dynamic_slice_in_dim(basis, i * vectors, vectors))
            return join(basis, (i + 1) * vectors, products), products

        basis, products = jax.lax.scan(grow, join(empty, 0, block), jnp.arange(count))
        products = products.reshape(-1, dim)
    inner = basis @ products.T
    values, axes = jnp.linalg.eigh(0.5 * (inner + inner.T))
    return values, axes.T @ (basis @ block.T)
