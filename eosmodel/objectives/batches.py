"""Stochastic objectives, with a new loss at every step: mini-batches of a data set, and Gaussian noise."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel._checks import ONE_LINE, check_count
from eosmodel.curvature import Modes, scale_by
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.networks import Network

# Number of samples whose gradients are in memory at once.
_AT_ONCE = 100


class Noise(NamedTuple):
    """Variances over samples; those of the mean of B independent samples are smaller by the factor 1/B.

    Fields
        noise_loss: variance of ℓ.
        noise_along: σ_i², the variance of u_i·∇ℓ along each mode, shape (modes,).
        noise_curvature: variance of uᵀ∇²ℓ u, u the leading mode.
        noise_bulk: variance of ∇ℓ off the tracked modes, tr Cov minus the part of the modes.
    """

    noise_loss: Float[Array, ""]
    noise_along: Float[Array, " modes"]
    noise_curvature: Float[Array, ""]
    noise_bulk: Float[Array, ""]

    @classmethod
    def unknown(cls, modes: int, dtype) -> "Noise":
        """All variances NaN."""
        nan = jnp.asarray(jnp.nan, dtype)
        return cls(nan, jnp.full(modes, nan), nan, nan)


class AbstractBatches(eqx.Module):
    """A stochastic objective: a random loss at every step, whose mean is the full loss.

    An extension must supply the field `objective`, the full loss, which also gives the initial weights, and the methods
    below. A draw is a function of the seed and the integer step only, so that a run can be reproduced and resumed bit
    for bit without storing the state of a generator.
    """

    objective: eqx.AbstractVar[AbstractObjective]

    def __repr__(self) -> str:
        return eqx.tree_pformat(self, width=ONE_LINE)

    @abc.abstractmethod
    def draw(self, seed: Int[Array, ""], t: Int[Array, ""]) -> AbstractObjective:
        """The loss of step t in the run with this seed."""

    @abc.abstractmethod
    def surrogate(self) -> "AbstractBatches":
        """A model of the draws with the same mean and covariance, for theories."""

    @abc.abstractmethod
    def noise(self, weights: Float[Array, " dim"], pairs: Modes, scale: Float[Array, " dim"] | None) -> Noise:
        """The noise at `weights`, with gradients in the coordinates of `scale` if it is given."""


class MiniBatches(AbstractBatches):
    """Mini-batches of a network's data: the loss of step t is the mean over `size` samples.

    Without replacement, each epoch goes through a new random permutation, batch by batch, and omits the last
    n mod size samples. With replacement, batches are drawn independently and may contain a sample more than once.

    Args:
        objective: a `Network`, its loss over all n samples.
        size: number of samples in a batch, an integer in [1, n]. For n it is the full loss, summed in another order.
        replacement: whether to draw with replacement.

    Raises:
        ValueError: an objective that is not a `Network`, or a size out of its range.

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
        """The indices of the samples in the batch of step t."""
        samples = self.objective.x.shape[0]
        key = jax.random.key(seed)
        if self.replacement:
            return jax.random.randint(jax.random.fold_in(key, t), (self.size,), 0, samples)
        passes = samples // self.size
        # The permutation is recomputed at every step, which is cheaper than a gradient and needs no state.
        order = jax.random.permutation(jax.random.fold_in(key, t // passes), samples)
        return jax.lax.dynamic_slice_in_dim(order, (t % passes) * self.size, self.size)

    def draw(self, seed, t):
        return self.objective.on(self.indices(seed, t))

    def surrogate(self):
        samples = self.objective.x.shape[0]
        # Without replacement the variance of the mean is smaller.
        rest = 1.0 if self.replacement else (samples - self.size) / max(samples - 1, 1)
        return GaussianBatches(self.objective, rest / self.size)

    def noise(self, weights, pairs, scale):
        return sample_noise(self.objective, weights, pairs, scale)


class Weighted(AbstractObjective):
    """A network's loss with weighted samples: 1/n Σ_j v_j ℓ_j, and its weight decay."""

    net: Network
    emphasis: Float[Array, " samples"]

    def loss(self, weights):
        return self.net.decay(weights, jnp.mean(self.emphasis * self.net.losses(weights)))

    def initial(self, seed=None):
        return self.net.initial(seed)

    def tree(self, weights):
        return self.net.tree(weights)


class GaussianBatches(AbstractBatches):
    """The full loss with Gaussian noise of the covariance of its samples: L + √(variance) Σ_j ε_j (ℓ_j − L)/√n, ε_j
    independent standard normal numbers. The noises of loss, gradient and Hessian are those of one batch.

    Args:
        objective: a `Network`.
        variance: variance of the mean of a batch over that of a sample, ≥ 0: 1/B, times (n − B)/(n − 1) without
            replacement.
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
    """The `Noise` of a network's samples, by forward derivatives along the modes and one gradient per sample."""

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
