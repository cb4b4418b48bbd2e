"""The valley: one sharp direction coupled to a quadratic bulk, a minimal loss with an edge of stability."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from eosmodel._checks import check_range
from eosmodel.objectives.base import AbstractObjective


class Valley(AbstractObjective):
    """f(x, z) = ½ (λ_∞ + √b q·z) x² + ½ Σ_j μ_j z_j² + ¼ γ x⁴ + offset, with weights w = [x, z_1, …, z_M].

    Its floor is x = 0, where the curvature along x is λ = λ_∞ + √b q·z. For M = 1 and γ = 0 gradient descent is
    exactly the normal form of self-stabilisation,

        x' = (1 − ηλ) x,        λ' = λ + η (α − ½ β x²),        α = −√b Σ_j q_j μ_j z_j,  β = b,

    whose edge equilibrium under a constant η is λ = 2/η, x² = 2α/β. For M = 1 it is stable for ηλ_∞ < 5/2 (the
    Jacobian in (ln x², λ) has determinant 1 − ημ + 2η²α there); otherwise the oscillation of λ about 2/η grows. For
    M > 1 the same equilibrium holds with a slowly varying α. With γ = 0 the loss is unbounded below where λ < 0, so
    tuners that take large steps need γ > 0.

    Args:
        sharpness_limit: λ_∞, the sharpness at the minimum z = 0.
        b: strength β ≥ 0 of self-stabilisation, ‖∇λ‖².
        q: unit vector in the bulk along which λ grows, shape (M,).
        mu: bulk curvatures μ ≥ 0, shape (M,).
        start: initial weights [x0, z0], shape (M + 1,); λ rises from there if q·z0 < 0.
        gamma: γ ≥ 0, the quartic stiffening along x; 0 by default.
        offset: added to the loss; 0 by default.

    Numbers may be Python floats or arrays; all are stored as arrays of the dtype of `start`, so that new values do not
    recompile. ValueError for a value outside its range, a wrong shape, or ‖q‖ ≠ 1.

    Example:
        >>> from eosmodel.objectives import Valley
        >>> floor = Valley(sharpness_limit=22.0, b=4.0, q=[1.0], mu=[0.5], start=[0.1, -3.0])
        >>> w = floor.initial()
        >>> round(float(floor.sharpness(w)), 5), round(float(floor.alpha(w)), 5)
        (16.0, 3.0)

    Source: Damian, Nichani & Lee, arXiv 2209.15594 (the normal form).
    """

    sharpness_limit: Float[Array, ""]
    b: Float[Array, ""]
    q: Float[Array, " modes"]
    mu: Float[Array, " modes"]
    start: Float[Array, " dim"]
    gamma: Float[Array, ""]
    offset: Float[Array, ""]

    def __init__(self, sharpness_limit, b, q, mu, start, gamma=0.0, offset=0.0):
        check_range("Valley", "sharpness_limit", sharpness_limit, low_open=True, high_open=True)
        check_range("Valley", "b", b, 0, high_open=True)
        check_range("Valley", "q", q, -np.inf, low_open=True, high_open=True)
        check_range("Valley", "mu", mu, 0, high_open=True)
        check_range("Valley", "start", start, low_open=True, high_open=True)
        check_range("Valley", "gamma", gamma, 0, high_open=True)
        check_range("Valley", "offset", offset, low_open=True, high_open=True)
        start = jnp.asarray(start)
        dtype = start.dtype if jnp.issubdtype(start.dtype, jnp.floating) else jnp.result_type(float)
        self.start = start.astype(dtype)
        self.q, self.mu = jnp.asarray(q).astype(dtype), jnp.asarray(mu).astype(dtype)
        modes = self.q.size
        for name, array, size in (("q", self.q, modes), ("mu", self.mu, modes), ("start", self.start, modes + 1)):
            if array.shape != (size,) or not modes:
                raise ValueError(f"Valley: {name} must have shape ({size},) for q of {modes} modes, got {array.shape}")
        if not isinstance(self.q, jax.core.Tracer):
            norm = float(np.linalg.norm(np.asarray(self.q, np.float64)))
            if abs(norm - 1) > max(1e-6, 10 * float(jnp.finfo(dtype).eps)):
                raise ValueError(f"Valley: q must be a unit vector, got a norm of {norm:.7g}")
        scalars = {"sharpness_limit": sharpness_limit, "b": b, "gamma": gamma, "offset": offset}
        for name, value in scalars.items():
            if jnp.asarray(value).ndim:
                raise ValueError(f"Valley: {name} must be a scalar, got shape {jnp.asarray(value).shape}")
        self.sharpness_limit = jnp.asarray(sharpness_limit).astype(dtype)
        self.b = jnp.asarray(b).astype(dtype)
        self.gamma = jnp.asarray(gamma).astype(dtype)
        self.offset = jnp.asarray(offset).astype(dtype)

    def loss(self, weights):
        # Chosen for a fast derivative: the transpose of a slice is a pad, which would keep XLA from fusing a batch of
        # valleys into one loop, and the derivative of a product has fewer operations than that of a power.
        first, z = jnp.split(weights, [1])
        square = first[0] * first[0]
        mu, gamma, offset = (jnp.asarray(p).astype(weights.dtype) for p in (self.mu, self.gamma, self.offset))
        return 0.5 * ((self._sharpness(z) + 0.5 * gamma * square) * square + jnp.sum(mu * (z * z))) + offset

    def initial(self, seed=None):
        del seed
        return self.start

    @property
    def beta(self) -> Float[Array, ""]:
        """β = ‖∇λ‖² = b."""
        return self.b

    def sharpness(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """λ = λ_∞ + √b q·z, the curvature along x on the valley floor; x and the γ term do not enter."""
        return self._sharpness(weights[1:])

    def _sharpness(self, z):
        limit, b, q = (jnp.asarray(p).astype(z.dtype) for p in (self.sharpness_limit, self.b, self.q))
        return limit + jnp.sqrt(b) * jnp.sum(q * z)

    def alpha(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """α = −∇L·∇λ = −√b Σ_j q_j μ_j z_j on the floor: the rate of progressive sharpening."""
        b, q, mu = (jnp.asarray(p).astype(weights.dtype) for p in (self.b, self.q, self.mu))
        return -jnp.sqrt(b) * jnp.sum(q * mu * weights[1:])

    def bulk_gradient_sq(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """G = Σ_j μ_j² z_j², the squared gradient on the floor."""
        return jnp.sum((self.mu.astype(weights.dtype) * weights[1:]) ** 2)

    def kappa(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """κ = Σ_j μ_j³ z_j² / (λ G), the bulk curvature along the gradient relative to λ; NaN where G = 0."""
        mu = self.mu.astype(weights.dtype)
        along = jnp.sum(mu**3 * weights[1:] ** 2)
        return along / (self.sharpness(weights) * self.bulk_gradient_sq(weights))


def valley(modes: int = 1, gamma: float = 0.0, dtype=None) -> Valley:
    """A valley with default parameters, suited to a constant η ≈ 0.1.

    The sharpness starts at 16 and would rise to λ_∞ = 22 at the minimum, so it crosses 2/η for every η between 0.091
    and 0.125. For one mode it converges to 2/η if η < 0.113 (see `Valley`): at η = 0.1 it crosses 20 within 25 steps,
    overshoots once and converges within a few hundred steps. b = 4, x0 = 0.1, q = (1, …, 1)/√M, z0 = −3 q, and μ is
    spaced geometrically from 0.5 down to 0.05 (for one mode, 0.5).

    Args:
        modes: M, the number of bulk directions.
        gamma: γ; choose γ > 0 for tuners that take large steps.
        dtype: None for jax's default float.

    Example:
        >>> import jax
        >>> from eosmodel.objectives import valley
        >>> floor = valley()
        >>> step = jax.jit(lambda w: w - 0.1 * jax.grad(floor)(w))
        >>> w = floor.initial()
        >>> for _ in range(500):
        ...     w = step(w)
        >>> round(float(floor.sharpness(w)), 1)  # 2/η
        20.0
    """
    if not isinstance(modes, int) or modes < 1:
        raise ValueError(f"valley: modes must be an integer ≥ 1, got {modes!r}")
    q = jnp.full(modes, modes**-0.5, jnp.result_type(float) if dtype is None else dtype)
    start = jnp.concatenate([jnp.full_like(q, 0.1)[:1], -3 * q])
    return Valley(22.0, 4.0, q, np.geomspace(0.5, 0.05, modes), start, gamma)
