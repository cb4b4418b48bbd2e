"""What an objective is: a loss of one flat array of weights, and where to start."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class AbstractObjective(eqx.Module):
    """A loss f(w) of a flat array w of shape (dim,). Arrays it holds (data, spectra) are fields, so that jitted code
    takes them as arguments and does not fold them in as constants.

    The least an extension supplies is `loss` and `initial`.
    """

    @abc.abstractmethod
    def loss(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """f(w), a scalar of the dtype of `weights`."""

    @abc.abstractmethod
    def initial(self, seed: int | None = None) -> Float[Array, " dim"]:
        """The starting weights. `seed=None` is the objective's own start; objectives with one start ignore `seed`."""

    def tree(self, weights: Float[Array, " dim"]) -> Any:
        """The weights in the shapes that a direction works on, in the order of the flat array: that array itself,
        unless an objective has better ones."""
        return weights

    def __call__(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        return self.loss(weights)


class FunctionObjective(AbstractObjective):
    """Any jax function as an objective; see `objective`."""

    fn: Callable = eqx.field(static=True)
    start: Float[Array, " dim"]

    def loss(self, weights):
        return self.fn(weights)

    def initial(self, seed=None):
        del seed
        return self.start


def objective(fn: Callable, w0) -> FunctionObjective:
    """Any scalar jax function of a flat array, with its starting point, as an objective.

    Args:
        fn: f(w), scalar.
        w0: where to start, shape (dim,).

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> obj = eos.objective(lambda w: jnp.sum(w**4), jnp.ones(3))
        >>> float(obj(obj.initial()))
        3.0
    """
    start = jnp.asarray(w0)
    if start.ndim != 1 or not jnp.issubdtype(start.dtype, jnp.floating):
        raise ValueError(f"w0 must be a flat floating-point array; got dtype {start.dtype}, shape {start.shape}")
    return FunctionObjective(fn=fn, start=start)
