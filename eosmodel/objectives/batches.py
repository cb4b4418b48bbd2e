"""Losses that are drawn anew at every step: mini-batches of a data set, and whatever else is noisy in a known way."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel._checks import check_count
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.networks import Network


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
        chosen = self.indices(seed, t)
        full = self.objective
        return eqx.tree_at(lambda net: (net.x, net.y), full, (full.x[chosen], full.y[chosen]))


def deviations(losses, weights: Float[Array, " dim"], vectors: Float[Array, "modes dim"]) -> Float[Array, "modes n"]:
    """u_i·(∇ℓ_j − ∇L) of every sample j along every row u_i: one forward sweep of the losses a row."""
    along = jax.vmap(lambda v: jax.jvp(losses, (weights,), (v,))[1])(vectors)
    return along - jnp.mean(along, axis=1, keepdims=True)
