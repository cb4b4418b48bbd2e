"""Complementarity problems for a few modes, over vectors ≥ 0 and matrices ⪰ 0, solved inside jitted code."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Number of Newton steps of the semidefinite problem, and the factor of the smoothing from one to the next.
_STEPS, _FALL = 32, 0.6
# Added to the operator in the Newton matrix only, which would be singular where the solution is not unique.
_RIDGE = 1e-5


def symmetric_basis(size: int) -> np.ndarray:
    """An orthonormal basis of the symmetric matrices, shape (size(size + 1)/2, size, size): E_ii, and for i < j the
    symmetric part of √2·E_ij. ⟨X, Y⟩ = Σ_ij X_ij Y_ij is then the inner product of the coordinates."""
    rows, columns = np.triu_indices(size)
    basis = np.zeros((rows.size, size, size))
    each = np.arange(rows.size)
    basis[each, rows, columns] = basis[each, columns, rows] = np.where(rows == columns, 1, 0.5**0.5)
    return basis


def nonnegative(gram: Float[Array, "modes modes"]) -> Callable[[Array], tuple[Array, Array]]:
    """A function q ↦ (X, violation) for X ≥ 0, q − BX ≤ 0, X·(q − BX) = 0 with B = `gram` positive semidefinite, which
    tries all sets of active modes. The violation is the largest one of these conditions, in units of q."""
    modes = gram.shape[0]
    codes = np.arange(2**modes)
    sets = (codes[:, None] >> np.arange(modes)) & 1 == 1
    both = sets[:, :, None] & sets[:, None, :]
    inverse = jnp.linalg.inv(jnp.where(both, gram, jnp.eye(modes, dtype=gram.dtype)))
    size = jnp.diagonal(gram)

    def solve(q):
        candidates = jnp.einsum("sij,sj->si", inverse, jnp.where(sets, q, 0))
        slack = q - candidates @ gram
        violation = jnp.max(jnp.maximum(jnp.where(sets, jnp.abs(slack), slack), -candidates * size), axis=1)
        # A set of modes with dependent gradients is singular; a smaller set then solves the problem.
        violation = jnp.where(jnp.isfinite(violation), violation, jnp.inf)
        best = jnp.argmin(violation)
        return jnp.maximum(candidates[best], 0), violation[best]

    return solve


def semidefinite(
    gram: Float[Array, "pairs pairs"], q: Float[Array, "modes modes"]
) -> tuple[Float[Array, "modes modes"], Float[Array, "modes modes"], Float[Array, ""]]:
    """X ⪰ 0 with S = B[X] − q ⪰ 0 and ⟨X, S⟩ = 0, for a symmetric q and B positive semidefinite on symmetric matrices.

    X and S commute, so that they are the two parts X = W₊, S = W₋ of one matrix W = X − S, which solves
    B[W₊] − q − W₋ = 0. With (w + √(w² + 4ε²))/2 in place of the positive part of an eigenvalue w this is smooth and
    X S = ε²; Newton's method follows its solution as ε falls from 1 to 10⁻⁷ in units of q.

    Args:
        gram: B in the coordinates of `symmetric_basis`.
        q: symmetric.

    Returns:
        X, the common eigenvectors of X and S (columns), and the largest violation in units of q, which is large or NaN
        if the problem has no solution or the iteration did not converge.

    Source: Chen & Tseng (2003) for smoothed Newton methods; the problem is that of Cohen, Damian, Talwalkar, Kolter &
    Lee (arXiv 2410.24206).
    """
    basis = jnp.asarray(symmetric_basis(q.shape[0]), q.dtype)
    size, unit = jnp.max(jnp.diagonal(gram)), jnp.max(jnp.abs(q))
    scaled = gram / size
    eye = jnp.eye(gram.shape[0], dtype=q.dtype)
    target = jnp.einsum("nij,ij->n", basis, q) / unit

    def coordinates(matrix):
        return jnp.einsum("nij,ij->n", basis, matrix)

    def violation(solution, whole):
        return scaled @ coordinates(solution) - target - coordinates(solution - whole)

    def newton(i, whole):
        w, rotation = jnp.linalg.eigh(whole)
        root = jnp.sqrt(w**2 + 4 * jnp.asarray(_FALL, q.dtype) ** (2 * i))
        solution = (rotation * (0.5 * (w + root))) @ rotation.T
        # In the eigenbasis the derivative of the smoothed positive part is given by its divided differences.
        slopes = 0.5 * (1 + (w[:, None] + w) / (root[:, None] + root))
        rotated = jnp.einsum("ai,nab,bj->nij", rotation, basis, rotation)
        derivative = jnp.einsum("nij,ij,mij->nm", rotated, slopes, rotated)
        matrix = (scaled + _RIDGE * eye) @ derivative + eye - derivative
        step = jnp.linalg.solve(matrix, violation(solution, whole))
        return whole - jnp.einsum("nij,n->ij", basis, step)

    whole = jax.lax.fori_loop(0, _STEPS, newton, q / unit)
    w, rotation = jnp.linalg.eigh(whole)
    solution = (rotation * jnp.maximum(w, 0)) @ rotation.T
    return solution * unit / size, rotation, jnp.max(jnp.abs(violation(solution, whole))) * unit
