"""The valley with noise of known strength in its loss, slope and curvature: a minimal stochastic objective."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import check_range
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.batches import AbstractBatches, Noise
from eosmodel.objectives.valleys import Valley


class TiltedValley(AbstractObjective):
    """One draw of a `NoisyValley`: f(w) + shift + tilt·w + ½ bend x², x the first weight."""

    valley: Valley
    tilt: Float[Array, " dim"]
    bend: Float[Array, ""]
    shift: Float[Array, ""]

    def loss(self, weights):
        tilt, bend, shift = (jnp.asarray(p).astype(weights.dtype) for p in (self.tilt, self.bend, self.shift))
        first = weights[0]
        return self.valley.loss(weights) + shift + jnp.sum(tilt * weights) + 0.5 * bend * first * first

    def initial(self, seed=None):
        return self.valley.initial(seed)


class NoisyValley(AbstractBatches):
    """A `Valley` observed through batches of B samples, each with its own Gaussian noise. The loss of step t is

        f(x, z) + (ξ_u x + ½ ζ x² + Σ_j ξ_j z_j + ω) / √B

    with ξ_u, ζ, ξ_j, ω independent, normal, of mean 0, and drawn anew at every step. For a batch, therefore,

        gradient along x    ∂f/∂x + (ξ_u + ζ x)/√B
        gradient along z_j  ∂f/∂z_j + ξ_j/√B
        curvature along x   ∂²f/∂x² + ζ/√B

    so that ξ_u drives the oscillation, ζ makes its growth random, ξ_j adds noise to the bulk gradient, and ω adds noise
    to the value of the loss.

    Under a constant η the sharpness is stationary below the edge. For one bulk mode, with d = 2 − ηλ, α = μ(λ_∞ − λ),
    X = βx²/(2⟨α⟩), a = η²⟨α⟩ and q = η²βσ_u²/(2⟨α⟩B), stationarity of x² and λ² gives exactly

        ⟨d⟩ = ½q + ½a ⟨(X − α/⟨α⟩)²⟩ + ½⟨X d²⟩ − (ημ/a) Var(d)        (without ζ and ξ_j)

    whose first term is the known gap 2/η − λ = ηβσ_u²/(4αB). The other terms are negligible for a ≪ q ≪ 1. If q is not
    small the gap is wider, by [1 − √(1 − q)]/(½q). If q is not ≫ a, the gap is wider for a constant α, and narrower
    where α depends on λ strongly enough to damp it, as here: without noise λ = 2/η.

    Unlike a network's loss, this loss may become negative: rules that use its value (Polyak's) need an `offset` of the
    valley well above the noise, and an f* to match.

    Args:
        objective: the valley, the mean of all draws.
        size: B > 0, any number.
        sigma_u: standard deviation of ξ_u, the gradient of a sample along x; ≥ 0, like the others. 0 by default.
        sigma_bulk: that of ξ_j, the gradient along each bulk direction; a number or shape (M,). 0 by default.
        sigma_curvature: that of ζ, the curvature along x. 0 by default.
        sigma_loss: that of ω, the loss where x = 0 and z = 0. 0 by default.

    Numbers are stored as arrays of the valley's dtype, so that new values do not recompile.

    Raises:
        ValueError: an objective that is not a `Valley`, or a number out of its range or of a wrong shape.

    Example:
        >>> import eosmodel as eos
        >>> noisy = eos.objectives.NoisyValley(eos.objectives.valley(), size=16, sigma_u=16.0)
        >>> run = eos.simulate(noisy, eos.tuners.Constant(0.1), 1000, seeds=[0, 1, 2, 3], modes=1, measure_every=0,
        ...                    progress=False)
        >>> bool(run.sharpness[:, -500:].mean() < 19.5)  # 2/η = 20
        True

    Source: the gap, arXiv 2604.21016; its conditions, `analysis.symbolic.noise_gap`.
    """

    objective: Valley
    size: Float[Array, ""]
    sigma_u: Float[Array, ""]
    sigma_bulk: Float[Array, " bulk"]
    sigma_curvature: Float[Array, ""]
    sigma_loss: Float[Array, ""]

    def __init__(self, objective, size, sigma_u=0.0, sigma_bulk=0.0, sigma_curvature=0.0, sigma_loss=0.0):
        if not isinstance(objective, Valley):
            raise ValueError(f"NoisyValley: objective must be a Valley, got {type(objective).__name__}")
        check_range("NoisyValley", "size", size, 0, low_open=True, high_open=True)
        given = {"sigma_u": sigma_u, "sigma_bulk": sigma_bulk}
        given |= {"sigma_curvature": sigma_curvature, "sigma_loss": sigma_loss}
        for name, value in given.items():
            check_range("NoisyValley", name, value, 0, high_open=True)
        dtype, modes = objective.start.dtype, objective.q.shape
        arrays = {name: jnp.asarray(value).astype(dtype) for name, value in (given | {"size": size}).items()}
        for name, array in arrays.items():
            allowed = ((), modes) if name == "sigma_bulk" else ((),)
            if array.shape not in allowed:
                wanted = " or ".join(map(str, allowed))
                raise ValueError(f"NoisyValley: {name} must have shape {wanted}, got {array.shape}")
        self.objective, self.size = objective, arrays["size"]
        self.sigma_u, self.sigma_bulk = arrays["sigma_u"], jnp.broadcast_to(arrays["sigma_bulk"], modes)
        self.sigma_curvature, self.sigma_loss = arrays["sigma_curvature"], arrays["sigma_loss"]

    @property
    def _sigma(self) -> Float[Array, " dim"]:
        return jnp.concatenate([self.sigma_u[None], self.sigma_bulk])

    def draw(self, seed, t):
        sigma = self._sigma
        key = jax.random.fold_in(jax.random.key(seed), t)
        normal = jax.random.normal(key, (sigma.size + 2,), sigma.dtype) / jnp.sqrt(self.size)
        bend, shift = self.sigma_curvature * normal[-2], self.sigma_loss * normal[-1]
        return TiltedValley(self.objective, sigma * normal[:-2], bend, shift)

    def surrogate(self):
        return self

    def noise(self, weights, pairs, scale):
        """The exact variances, along the tracked modes; nothing is estimated."""
        scale = jnp.ones_like(weights) if scale is None else scale
        bend, first = self.sigma_curvature**2, weights[0]
        slopes = self._sigma**2
        loss = self.sigma_loss**2 + jnp.sum(slopes * weights**2) + 0.25 * bend * first**4
        # Where x ≠ 0, ζ contributes to the gradient as well.
        slopes = slopes.at[0].add(bend * first**2)
        vectors = scale * pairs.vectors
        along = vectors**2 @ slopes
        return Noise(loss, along, bend * vectors[0, 0] ** 4, jnp.sum(scale**2 * slopes) - jnp.sum(along))
