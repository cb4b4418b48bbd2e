"""From a sympy expression to a jax function."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import sympy as sp
from jaxtyping import Array


def compile(expr: Any, symbols: Sequence[sp.Symbol]) -> Callable[..., Array]:
    """A jax function of the values of `symbols` that computes `expr`.

    The function can be jitted, vmapped and differentiated, and uses the floating-point dtype of its arguments, float32
    or float64 (jax's default if all are Python numbers). A value that is not real is NaN.

    Args:
        expr: a sympy expression or condition, or a matrix or nested sequence of them.
        symbols: the arguments, in order; every free symbol of `expr` must be among them.

    Returns:
        A function of one number or array per symbol. Arrays are broadcast against each other; the axes of a matrix or
        sequence follow theirs. Conditions give booleans.

    Raises:
        ValueError: a free symbol of `expr` that is not in `symbols`.

    Example:
        >>> import sympy as sp
        >>> from eosmodel.analysis.symbolic import compile
        >>> a, b = sp.symbols("a b")
        >>> float(compile(sp.Rational(1, 2) * a + sp.sqrt(b), (a, b))(1.0, 4.0))
        2.5
    """
    entries = np.asarray(expr, dtype=object)
    flat = [sp.sympify(entry) for entry in entries.ravel()]
    unknown = set().union(*(entry.free_symbols for entry in flat)) - set(symbols)
    if unknown:
        raise ValueError(f"compile: symbols must include {', '.join(sorted(map(str, unknown)))}, got {tuple(symbols)}")
    evaluate = sp.lambdify(tuple(symbols), flat, modules="jax", cse=True)
    logical = not any(isinstance(entry, sp.Expr) for entry in flat)

    def compiled(*values):
        dtype = jnp.result_type(float, *values)
        # sympy combines conditions without broadcasting.
        arrays = jnp.broadcast_arrays(*(jnp.asarray(value, dtype) for value in values))
        shape = arrays[0].shape if arrays else ()
        # An entry without symbols comes back as a Python number.
        parts = [jnp.broadcast_to(jnp.asarray(part, bool if logical else dtype), shape) for part in evaluate(*arrays)]
        return jnp.stack(parts, axis=-1).reshape(shape + entries.shape)

    return compiled
