"""Second-order regression: a model whose outputs are quadratic in the weights."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import check_count, check_range, floating
from eosmodel.objectives._arrays import check_finite, check_symmetric, draw, normal, scale_of, vector
from eosmodel.objectives.base import AbstractObjective


class SecondOrderRegression(AbstractObjective):
    """½ ‖z‖² with residuals z(θ) = z₀ + J₀θ + ½ θᵀQθ, one symmetric matrix Q_a for each output a.

    The tangent kernel is JJᵀ with J = J₀ + Qθ, the Hessian JᵀJ + Σ_a z_a Q_a.

    Args:
        curvature: Q, symmetric in its last two axes, shape (outputs, dim, dim).
        jacobian: J₀, shape (outputs, dim); zeros by default.
        offset: z₀, shape (outputs,); zeros by default.
        start: initial θ, shape (dim,); zeros by default.
        scale: standard deviation of the weights that `initial(seed)` draws; 1 by default.

    Raises:
        ValueError: a value that is not finite, a wrong shape, an asymmetry, or scale ≤ 0.

    Source: Agarwala, Pedregosa & Pennington, arXiv 2210.04860.

    Example:
        >>> from eosmodel.objectives.second_order import SecondOrderRegression
        >>> toy = SecondOrderRegression([[[2.0]]], [[1.0]], [3.0])  # z = 3 + θ + θ²
        >>> float(toy(toy.initial())), float(toy.sharpness(toy.initial()))  # J² + zQ = 1 + 6
        (4.5, 7.0)
    """

    curvature: Float[Array, "outputs dim dim"]
    jacobian: Float[Array, "outputs dim"]
    offset: Float[Array, " outputs"]
    start: Float[Array, " dim"]
    scale: Float[Array, ""]

    def __init__(self, curvature, jacobian=None, offset=None, start=None, scale=1.0):
        owner = "SecondOrderRegression"
        self.curvature = floating(curvature)
        shape, dtype = self.curvature.shape, self.curvature.dtype
        if len(shape) != 3 or shape[1] != shape[2] or not self.curvature.size:
            raise ValueError(f"{owner}: curvature must have shape (outputs, dim, dim), got {shape}")
        check_finite(owner, "curvature", self.curvature)
        check_symmetric(owner, "curvature", self.curvature, "Q")
        outputs, dim = shape[:2]
        self.jacobian = jnp.zeros((outputs, dim), dtype) if jacobian is None else jnp.asarray(jacobian).astype(dtype)
        if self.jacobian.shape != (outputs, dim):
            raise ValueError(f"{owner}: jacobian must have shape {(outputs, dim)}, got {self.jacobian.shape}")
        check_finite(owner, "jacobian", self.jacobian)
        zeros = jnp.zeros((outputs,), dtype)
        self.offset = zeros if offset is None else vector(owner, "offset", offset, zeros)
        blank = jnp.zeros((dim,), dtype)
        self.start = blank if start is None else vector(owner, "start", start, blank)
        self.scale = scale_of(owner, scale, dtype)

    def tangent(self, weights: Float[Array, " dim"]) -> Float[Array, "outputs dim"]:
        """J = ∂z/∂θ = J₀ + Qθ."""
        return self.jacobian.astype(weights.dtype) + self.curvature.astype(weights.dtype) @ weights

    def residuals(self, weights: Float[Array, " dim"]) -> Float[Array, " outputs"]:
        """z = z₀ + J₀θ + ½ θᵀQθ."""
        half = 0.5 * (self.curvature.astype(weights.dtype) @ weights)
        return self.offset.astype(weights.dtype) + (self.jacobian.astype(weights.dtype) + half) @ weights

    def kernel(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """The largest eigenvalue of the tangent kernel JJᵀ, the sharpness where z = 0."""
        tangent = self.tangent(weights)
        return jnp.linalg.eigvalsh(tangent @ tangent.T)[-1]

    def loss(self, weights):
        return 0.5 * jnp.sum(self.residuals(weights) ** 2)

    def initial(self, seed=None):
        return self.start if seed is None else draw(self.scale, self.start, seed)

    def sharpness(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """The largest eigenvalue of ∇² = JᵀJ + Σ_a z_a Q_a."""
        tangent = self.tangent(weights)
        bend = jnp.tensordot(self.residuals(weights), self.curvature.astype(weights.dtype), 1)
        return jnp.linalg.eigvalsh(tangent.T @ tangent + bend)[-1]


def two_parameter_regression(eps=0.1, start=(0.5, 5.0), dtype=None) -> SecondOrderRegression:
    """One output and two weights, z = ½(θ₁² − εθ₂²): a minimal second-order regression with an edge of stability.

    With A = ηθ₁² and B = ηεθ₂² gradient descent is A' = A(1 − z̃)², B' = B(1 + εz̃)², z̃ = (A − B)/2: for small ε, A
    is fast and B slow. The kernel times η is A + εB. It rises to the edge as A grows to B. If B(1 + ε) > 2 an
    oscillation then reduces B until it dies out at ηλ = 2 − ε/2 + O(ε²).

    Args:
        eps: ε > 0, minus the ratio of the eigenvalues of Q.
        start: initial (θ₁, θ₂), shape (2,); from a small θ₁ the sharpness rises first.
        dtype: None for jax's default float.

    Raises:
        ValueError: ε out of its range, or a start that is not two finite numbers.

    Source: Agarwala, Pedregosa & Pennington, arXiv 2210.04860, section 2.

    Example:
        >>> from eosmodel.objectives.second_order import two_parameter_regression
        >>> toy = two_parameter_regression(0.5, start=[1.0, 2.0])
        >>> float(toy(toy.initial()))  # z = ½(1 − 2)
        0.125
    """
    check_range("two_parameter_regression", "eps", eps, 0, low_open=True, high_open=True)
    dtype = jnp.result_type(float) if dtype is None else dtype
    eps = jnp.asarray(eps).astype(dtype)
    return SecondOrderRegression(jnp.diag(jnp.stack([jnp.ones_like(eps), -eps]))[None], start=start)


def random_regression(
    outputs: int = 4, dim: int = 8, curvature=0.3, jacobian=1.0, offset=1.0, seed: int = 0, dtype=None
) -> SecondOrderRegression:
    """Many outputs: independent Gaussian z₀, J₀ and Q (symmetrised), of standard deviations offset, jacobian/√dim and
    curvature/√dim, from θ = 0.

    Args:
        outputs, dim: numbers of outputs and weights, at least 1.
        curvature, jacobian, offset: sizes of Q, J₀ and z₀, ≥ 0.
        seed: seed of all three.
        dtype: None for jax's default float.

    Raises:
        ValueError: a value out of its range.

    Source: Agarwala, Pedregosa & Pennington, arXiv 2210.04860, section 3.

    Example:
        >>> from eosmodel.objectives.second_order import random_regression
        >>> toy = random_regression(outputs=3, dim=5)
        >>> toy.residuals(toy.initial()).shape
        (3,)
    """
    owner, dtype = "random_regression", jnp.result_type(float) if dtype is None else dtype
    for name, count in (("outputs", outputs), ("dim", dim)):
        check_count(owner, name, count)
    sizes = {"curvature": curvature, "jacobian": jacobian, "offset": offset}
    for name, size in sizes.items():
        check_range(owner, name, size, 0, high_open=True)
    q, j, z = (jnp.asarray(size).astype(dtype) for size in sizes.values())
    square = normal(seed, (outputs, dim, dim))
    symmetric = (square + square.swapaxes(1, 2)) / math.sqrt(2 * dim)
    return SecondOrderRegression(
        q * jnp.asarray(symmetric, dtype),
        j * jnp.asarray(normal(seed, (outputs, dim), 1) / math.sqrt(dim), dtype),
        z * jnp.asarray(normal(seed, (outputs,), 3), dtype),
    )
