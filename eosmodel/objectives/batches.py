"""Losses that are drawn anew at every step: mini-batches of a data set, and whatever else is noisy in a known way."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel._checks import check_count
from eosmodel.curvature import Modes, scale_by
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.networks import Network

# Samples whose gradients are in memory at once.
_AT_ONCE = 100


class Noise(NamedTuple):
    """Variances of what one sample says about the loss; a batch of B drawn on its own has them divided by B.

    Fields
        noise_loss: of ℓ.
        noise_along: σ_i² of u_i·∇ℓ along each mode, shape (modes,).
        noise_curvature: of uᵀ∇²ℓ u, u the leading mode.
        noise_bulk: of ∇ℓ off the tracked modes, tr Cov less the modes' share.
    """

    noise_loss: Float[Array, ""]
    noise_along: Float[Array, " modes"]
    noise_curvature: Float[Array, ""]
    noise_bulk: Float[Array, ""]

    @classmethod
    def unknown(cls, modes: int, dtype) -> "Noise":
        """NaN throughout."""
        nan = jnp.asarray(jnp.nan, dtype)
        return cls(nan, jnp.full(modes, nan), nan, nan)


class AbstractBatches(eqx.Module):
    """A stochastic objective: at every step another loss, whose mean is the full one.

    The least an extension supplies: the field `objective`, the full loss (its starting points are the run's), and
    `draw`. A draw is a function of the seed and the integer step alone, so a run is reproducible, and resumable bit for
    bit, without a generator to store.
    """

    objective: eqx.AbstractVar[AbstractObjective]

    @abc.abstractmethod
    def draw(self, seed: Int[Array, ""], t: Int[Array, ""]) -> AbstractObjective:
        """The loss of step t in the run of that seed."""

    @abc.abstractmethod
    def surrogate(self) -> "AbstractBatches":
        """Draws of the same mean and covariance of which a theory need know nothing else."""

    @abc.abstractmethod
    def noise(self, weights: Float[Array, " dim"], pairs: Modes, scale: Float[Array, " dim"] | None) -> Noise:
        """How noisy the draws are at `weights`; gradients in the coordinates of a scale where there is one."""


class MiniBatches(AbstractBatches):
    """Mini-batches of a network's data: the loss of step t is the mean over `size` samples.

    Without replacement, each pass over the data goes through a new random order, batch by batch, and leaves out the
    n mod size samples that are left over; with it, every batch is drawn on its own, a sample possibly twice.

    Args:
        objective: a `Network`, its loss over all n samples.
        size: samples in a batch, an integer in [1, n]. A batch of n is the full loss, in another order of summation.
        replacement: draw with replacement.

    Raises:
        ValueError: an objective without samples, or a size outside its range.

    Example:
        >>> import eosmodel as eos
        >>> net = eos.objectives.mlp(eos.data.digits(100), width=4, depth=1)
        >>> batches = eos.objectives.MiniBatches(net, 20)
        >>> batches.draw(0, 3).x.shape
        (20, 8, 8, 1)
    """

    objective: Network
    size: int = eqx.field(static=True)
    replacement: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not isinstance(self.objective, Network):
            raise ValueError(f"MiniBatches: objective must be a Network, got {type(self.objective).__name__}")
        check_count("MiniBatches", "size", self.size)
        samples = self.objective.x.shape[0]
        if self.size > samples:
            raise ValueError(f"MiniBatches: size must lie in [1, {samples}] ({samples} samples), got {self.size}")

    def indices(self, seed: Int[Array, ""], t: Int[Array, ""]) -> Int[Array, " size"]:
        """Which samples are in the batch of step t."""
        samples = self.objective.x.shape[0]
        key = jax.random.key(seed)
        if self.replacement:
            return jax.random.randint(jax.random.fold_in(key, t), (self.size,), 0, samples)
        passes = samples // self.size
        # The order of a pass is made again at every step: cheaper than a gradient, and nothing need be carried.
        order = jax.random.permutation(jax.random.fold_in(key, t // passes), samples)
        return jax.lax.dynamic_slice_in_dim(order, (t % passes) * self.size, self.size)

    def draw(self, seed, t):
        return self.objective.on(self.indices(seed, t))

    def surrogate(self):
        samples = self.objective.x.shape[0]
        # Samples that cannot be drawn twice average out sooner.
        rest = 1.0 if self.replacement else (samples - self.size) / max(samples - 1, 1)
        return GaussianBatches(self.objective, rest / self.size)

    def noise(self, weights, pairs, scale):
        return sample_noise(self.objective, weights, pairs, scale)


class Weighted(AbstractObjective):
    """A network's loss with weights on its samples: 1/n Σ_j v_j ℓ_j."""

    net: Network
    emphasis: Float[Array, " samples"]

    def loss(self, weights):
        return jnp.mean(self.emphasis * self.net.losses(weights))

    def initial(self, seed=None):
        return self.net.initial(seed)

    def tree(self, weights):
        return self.net.tree(weights)


class GaussianBatches(AbstractBatches):
    """The full loss with Gaussian noise of the covariance that its samples have: L + √(variance) Σ_j ε_j (ℓ_j − L)/√n,
    ε_j independent standard normal numbers. Loss, gradient and Hessian get the noise of one batch, consistently.

    Args:
        objective: a `Network`.
        variance: of a batch's mean over that of a sample, ≥ 0: 1/B, times (n − B)/(n − 1) without replacement.
    """

    objective: Network
    variance: Float[Array, ""] | float

    def draw(self, seed, t):
        samples = self.objective.x.shape[0]
        dtype = self.objective.x.dtype
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(seed), t), (samples,), dtype)
        size = jnp.sqrt(jnp.asarray(samples * self.variance, dtype))
        return Weighted(self.objective, 1 + size * (noise - jnp.mean(noise)))

    def surrogate(self):
        return self

    def noise(self, weights, pairs, scale):
        return sample_noise(self.objective, weights, pairs, scale)


def sample_noise(net: Network, weights: Float[Array, " dim"], pairs: Modes, scale: Any = None) -> Noise:
    """`Noise` over the samples of a network: forward sweeps of all losses along the modes, and a gradient a sample."""

    def along(v, w):
        return jax.jvp(net.losses, (w,), (scale_by(v, scale),))[1]

    slopes = jax.lax.map(lambda v: along(v, weights), pairs.vectors)
    first = pairs.vectors[0]
    bends = jax.jvp(lambda w: along(first, w), (weights,), (scale_by(first, scale),))[1]

    def square(i):
        gradient = scale_by(jax.grad(net.on(i[None]))(weights), scale)
        return jnp.vdot(gradient, gradient)

    samples = net.x.shape[0]
    squares = jax.lax.map(square, jnp.arange(samples), batch_size=min(_AT_ONCE, samples))
    mean = scale_by(jax.grad(net)(weights), scale)
    along_modes = jnp.var(slopes, axis=1)
    total = jnp.mean(squares) - jnp.vdot(mean, mean)
    return Noise(jnp.var(net.losses(weights)), along_modes, jnp.var(bends), total - jnp.sum(along_modes))
