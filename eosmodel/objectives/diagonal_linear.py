"""Diagonal linear networks: regression whose coefficients are products of weights."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import check_count, check_range
from eosmodel.objectives._arrays import draw, normal, samples_of, scale_of, vector
from eosmodel.objectives.base import AbstractObjective


class DiagonalLinear(AbstractObjective):
    """1/(2N) ‖Xβ − y‖² with β = u⊙u − v⊙v, a diagonal linear network; weights w = [u, v], or w = u and β = u⊙u.

    From a small start it converges to sparse minima. The sharpness of a minimum (Xβ = y) is the largest eigenvalue of
    4 D [X X]ᵀ[X X] D/N with D = diag(u, −v).

    Args:
        x: inputs, shape (samples, features).
        y: targets, shape (samples,).
        start: initial weights, shape (2·features,) for u⊙u − v⊙v, or (features,) for u⊙u.

    `initial(seed)` draws normal weights with the root mean square of `start`.

    Raises:
        ValueError: a value that is not finite, or shapes that do not fit.

    Source: Woodworth et al., arXiv 2002.09277; at large steps Even et al., arXiv 2302.08982.

    Example:
        >>> from eosmodel.objectives.diagonal_linear import DiagonalLinear
        >>> toy = DiagonalLinear([[1.0, 0.0]], [1.0], [1.0, 0.5])
        >>> float(toy(toy.initial())), float(toy.sharpness(toy.initial()))  # 4u²x²
        (0.0, 4.0)
    """

    x: Float[Array, "samples features"]
    y: Float[Array, " samples"]
    start: Float[Array, " dim"]

    def __init__(self, x, y, start):
        self.start = vector("DiagonalLinear", "start", start)
        self.x, self.y = samples_of("DiagonalLinear", x, y, self.start.dtype)
        features = self.x.shape[1]
        if self.y.ndim != 1:
            raise ValueError(f"DiagonalLinear: y must have shape (samples,), got {self.y.shape}")
        if self.start.size not in (features, 2 * features):
            raise ValueError(
                f"DiagonalLinear: start must hold {features} (u⊙u) or {2 * features} (u⊙u − v⊙v) weights, "
                f"got {self.start.size}"
            )

    def coefficients(self, weights: Float[Array, " dim"]) -> Float[Array, " features"]:
        """β = u⊙u − v⊙v, or u⊙u."""
        features = self.x.shape[1]
        return jnp.sum((self._signs(weights) * weights**2).reshape(-1, features), axis=0)

    def _signs(self, weights):
        return jnp.where(jnp.arange(weights.size) < self.x.shape[1], 1, -1).astype(weights.dtype)

    def _residual(self, weights):
        return self.x.astype(weights.dtype) @ self.coefficients(weights) - self.y.astype(weights.dtype)

    def loss(self, weights):
        return 0.5 * jnp.mean(self._residual(weights) ** 2)

    def initial(self, seed=None):
        return self.start if seed is None else draw(jnp.sqrt(jnp.mean(self.start**2)), self.start, seed)

    def sharpness(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """The largest eigenvalue of ∇² = 4 D [X X]ᵀ[X X] D/N + 2 diag(±Xᵀ(Xβ − y)/N), D = diag(u, −v)."""
        x = self.x.astype(weights.dtype)
        samples, twice = x.shape[0], jnp.tile(x, (1, weights.size // x.shape[1]))
        signs = self._signs(weights)
        tangent = 2 * twice * (signs * weights)
        bend = 2 * signs * (twice.T @ self._residual(weights))
        return jnp.linalg.eigvalsh((tangent.T @ tangent + jnp.diag(bend)) / samples)[-1]


def diagonal_linear(
    features: int = 6,
    samples: int = 12,
    support: int = 2,
    scale=0.3,
    signed: bool = True,
    seed: int = 0,
    dtype=None,
) -> DiagonalLinear:
    """A `DiagonalLinear` on Gaussian inputs; its targets have `support` nonzero coefficients, 1 (or ±1 if signed).

    All initial weights are `scale`, so that β = 0 if signed.

    Example:
        >>> from eosmodel.objectives.diagonal_linear import diagonal_linear
        >>> diagonal_linear(features=5).initial().shape
        (10,)
    """
    owner, dtype = "diagonal_linear", jnp.result_type(float) if dtype is None else dtype
    for name, count in (("features", features), ("samples", samples), ("support", support)):
        check_count(owner, name, count)
    check_range(owner, "support", support, 1, features)
    x = jnp.asarray(normal(seed, (samples, features)), dtype)
    index = jnp.arange(features)
    sign = jnp.where((index % 2 == 1) & signed, -1, 1)
    beta = jnp.where(index < support, sign, 0).astype(dtype)
    start = jnp.full(2 * features if signed else features, scale_of(owner, scale, dtype), dtype)
    return DiagonalLinear(x, x @ beta, start)
