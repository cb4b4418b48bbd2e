"""Quadratics, on which gradient descent has a closed form (stable if and only if ηλ < 2)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import floating
from eosmodel.objectives._arrays import check_finite, check_symmetric, vector
from eosmodel.objectives.base import AbstractObjective


class DiagonalQuadratic(AbstractObjective):
    """f(w) = ½ Σ_i λ_i (w_i − c_i)².

    Args:
        eigenvalues: λ, shape (dim,), finite, of any sign.
        center: c, the minimum, shape (dim,); zeros by default.
        start: initial weights, shape (dim,); c + 1 by default.

    All arrays take the dtype of `eigenvalues`. ValueError for a wrong shape or a value that is not finite.

    Example:
        >>> from eosmodel.objectives import DiagonalQuadratic
        >>> bowl = DiagonalQuadratic([1.0, 10.0])
        >>> float(bowl(bowl.initial())), float(bowl.sharpness())
        (5.5, 10.0)
    """

    eigenvalues: Float[Array, " dim"]
    center: Float[Array, " dim"]
    start: Float[Array, " dim"]

    def __init__(self, eigenvalues, center=None, start=None):
        self.eigenvalues = vector("DiagonalQuadratic", "eigenvalues", eigenvalues)
        self.center, self.start = _center_start("DiagonalQuadratic", self.eigenvalues, center, start)

    def loss(self, weights):
        shift = weights - self.center.astype(weights.dtype)
        return 0.5 * jnp.sum(self.eigenvalues.astype(weights.dtype) * shift**2)

    def initial(self, seed=None):
        del seed
        return self.start

    def sharpness(self, weights=None) -> Float[Array, ""]:
        """max λ, the same at all weights."""
        del weights
        return jnp.max(self.eigenvalues)


class DenseQuadratic(AbstractObjective):
    """f(w) = ½ (w − c)ᵀ H (w − c).

    Args:
        matrix: H, symmetric, shape (dim, dim), finite.
        center: c, the minimum, shape (dim,); zeros by default.
        start: initial weights, shape (dim,); c + 1 by default.

    All arrays take the dtype of `matrix`. ValueError for a wrong shape, an asymmetry, or a value that is not finite.

    Example:
        >>> from eosmodel.objectives import DenseQuadratic
        >>> bowl = DenseQuadratic([[2.0, 1.0], [1.0, 2.0]])
        >>> round(float(bowl.sharpness()), 6)
        3.0
    """

    matrix: Float[Array, "dim dim"]
    center: Float[Array, " dim"]
    start: Float[Array, " dim"]

    def __init__(self, matrix, center=None, start=None):
        self.matrix = floating(matrix)
        shape = self.matrix.shape
        if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
            raise ValueError(f"DenseQuadratic: matrix must have shape (dim, dim), got {shape}")
        check_finite("DenseQuadratic", "matrix", self.matrix)
        check_symmetric("DenseQuadratic", "matrix", self.matrix, "H")
        self.center, self.start = _center_start("DenseQuadratic", self.matrix[0], center, start)

    def loss(self, weights):
        shift = weights - self.center.astype(weights.dtype)
        return 0.5 * shift @ (self.matrix.astype(weights.dtype) @ shift)

    def initial(self, seed=None):
        del seed
        return self.start

    def sharpness(self, weights=None) -> Float[Array, ""]:
        """The largest algebraic eigenvalue of H, the same at all weights."""
        del weights
        return jnp.linalg.eigvalsh(self.matrix)[-1]


def _center_start(owner: str, like: Array, center, start) -> tuple[Array, Array]:
    center = jnp.zeros_like(like) if center is None else vector(owner, "center", center, like)
    return center, center + 1 if start is None else vector(owner, "start", start, like)
