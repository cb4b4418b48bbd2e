"""The interface of an objective: a loss of one flat array of weights, and its initial weights."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from eosmodel._checks import ONE_LINE, check_precision, one_line


class AbstractObjective(eqx.Module):
    """A loss f(w) of a flat array w of shape (dim,). Its arrays (data, spectra) are fields, so that jitted code takes
    them as arguments and does not embed them as constants.

    An extension must supply `loss` and `initial`.
    """

    @abc.abstractmethod
    def loss(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """f(w), a scalar of the dtype of `weights`."""

    @abc.abstractmethod
    def initial(self, seed: int | None = None) -> Float[Array, " dim"]:
        """The initial weights. `seed=None` gives the objective's own; objectives with a single start ignore `seed`."""

    def tree(self, weights: Float[Array, " dim"]) -> Any:
        """The weights as a tree of the arrays that a direction acts on, in the order of the flat array; by default the
        flat array itself."""
        return weights

    def as_given(self, weights: Float[Array, " dim"]) -> Any:
        """What the objective was made of, with these weights: the user's own tree or model; by default the flat array
        itself."""
        return weights

    def __call__(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        return self.loss(weights)

    def __repr__(self) -> str:
        return eqx.tree_pformat(self, width=ONE_LINE)


class FunctionObjective(AbstractObjective):
    """Any jax function as an objective; see `objective`."""

    fn: Callable = eqx.field(static=True)
    start: Any

    def loss(self, weights):
        return self.fn(self.as_given(weights))

    def initial(self, seed=None):
        del seed
        return ravel_pytree(eqx.filter(self.start, eqx.is_array))[0]

    def tree(self, weights):
        """The weights as a tree of the same structure and shapes as `start`, with None for its functions."""
        return ravel_pytree(eqx.filter(self.start, eqx.is_array))[1](weights)

    def as_given(self, weights):
        """The weights as a tree like `start`, with its functions."""
        return eqx.combine(self.tree(weights), eqx.filter(self.start, eqx.is_array, inverse=True))

    def __repr__(self) -> str:
        start = self.initial()
        return f"objective({getattr(self.fn, '__name__', type(self.fn).__name__)}, {start.size} weights, {start.dtype})"


def objective(fn: Callable, w0) -> FunctionObjective:
    """A scalar jax function of its parameters, with initial weights, as an objective.

    Args:
        fn: f(w), scalar, w with the structure and shapes of `w0`.
        w0: initial weights: an array of any shape, or a tree of arrays (dictionaries, tuples, modules with their
            functions), all of float32 or all of float64. The objective itself takes flat weights, shape (dim,); its
            `tree` restores the structure of `w0`, with None for functions.

    Raises:
        ValueError: a w0 without numbers, of another dtype, or of several.

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> obj = eos.objective(lambda w: jnp.sum(w["a"] ** 4) + w["b"] ** 2, {"a": jnp.ones(3), "b": jnp.asarray(2.0)})
        >>> float(obj(obj.initial()))
        7.0
        >>> {name: value.shape for name, value in obj.tree(obj.initial()).items()}
        {'a': (3,), 'b': ()}
    """
    if not callable(fn) or isinstance(fn, type):
        raise ValueError(f"objective: fn must be a function of the weights, got {one_line(fn)}")
    # Numbers in lists are an array that is written out, not a tree of scalars.
    leaves = [leaf for leaf in jax.tree.leaves(w0) if not callable(leaf)]
    for leaf in leaves:
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float):
            raise ValueError(f"objective: w0 must be an array or a tree of arrays, got {one_line(leaf)}")
    numbers = isinstance(w0, list | tuple) and all(isinstance(leaf, int | float) for leaf in leaves)
    start = jnp.asarray(w0) if numbers else jax.tree.map(lambda v: v if callable(v) else jnp.asarray(v), w0)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(start) if eqx.is_array(leaf)}
    if len(dtypes) != 1 or not jnp.issubdtype(next(iter(dtypes)), jnp.floating):
        names = ", ".join(sorted(map(str, dtypes))) or "no arrays"
        raise ValueError(f"objective: w0 must hold floating-point arrays of one dtype, got {names}")
    check_precision("objective", "the dtype of w0", dtypes.pop())
    value = eqx.filter_eval_shape(fn, start)
    if getattr(value, "shape", None) != ():
        got = f"an array of shape {value.shape}" if hasattr(value, "shape") else one_line(value)
        raise ValueError(f"objective: fn must return a scalar, got {got}")
    return FunctionObjective(fn=fn, start=start)
