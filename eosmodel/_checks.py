"""Checks and conversions of hyper-parameters: one message shape, naming the argument, the value and what is allowed."""

import inspect
import operator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def check_range(owner: str, name: str, value, low=-np.inf, high=np.inf, *, low_open=False, high_open=False) -> None:
    """Raise ValueError unless every entry of `value` lies in the interval. Traced values are not checked."""
    if isinstance(value, jax.core.Tracer):
        return
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{owner}: {name} must be a number, got {value!r}") from None
    above = array > low if low_open else array >= low
    below = array < high if high_open else array <= high
    if not np.all(above & below):
        left, right = "(" if low_open else "[", ")" if high_open else "]"
        raise ValueError(f"{owner}: {name} must lie in {left}{low:g}, {high:g}{right}, got {value!r}")


def check_integer(owner: str, name: str, value) -> None:
    """Raise ValueError unless `value` is an integer."""
    try:
        operator.index(value)
    except TypeError:
        raise ValueError(f"{owner}: {name} must be an integer, got {one_line(value)}") from None


def check_count(owner: str, name: str, value, low: int = 1) -> None:
    """Raise ValueError unless `value` is an integer ≥ low."""
    check_integer(owner, name, value)
    check_range(owner, name, value, low)


def check_precision(owner: str, name: str, dtype) -> None:
    """Raise ValueError for a floating type of half precision, in which curvature drowns."""
    if jnp.finfo(dtype).bits < 32:
        raise ValueError(f"{owner}: {name} must be float32 or float64, got {dtype}: curvature is lost in its rounding")


def check_choice(owner: str, name: str, value, allowed) -> None:
    """Raise ValueError unless `value` is one of a few words."""
    if value not in allowed:
        raise ValueError(f"{owner}: {name} must be one of {', '.join(allowed)}, got {value!r}")


def check_distinct(owner: str, name: str, values) -> None:
    """Raise ValueError if there is nothing in a list, or something twice."""
    if not values:
        raise ValueError(f"{owner}: {name} needs at least one value")
    twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
    if twice is not None:
        raise ValueError(f"{owner}: {name} has the same value twice: {twice}")


ONE_LINE = 1 << 20
"""A width at which no `repr` is broken into lines."""


def one_line(value: Any) -> str:
    """What a value is, in a few words for a message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    shown = repr(value)
    if inspect.isroutine(value) or "\n" in shown or len(shown) > 60:
        return f"the {type(value).__name__} {getattr(value, '__name__', '')}".rstrip()
    return shown


def refused(owner: str, name: str, wanted: str, value: Any, hint: str) -> ValueError:
    """The error for an argument of the wrong kind."""
    if isinstance(value, type):
        hint = f"make an instance: {value.__name__}(…)"
    return ValueError(f"{owner}: {name} must be {wanted}, got {one_line(value)}; {hint}")


def floating(value) -> jax.Array:
    """As an array that keeps its floating type; other numbers take jax's default one."""
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))


def as_arrays(tree: Any, dtype) -> Any:
    """The tree with its numbers as arrays of one floating type: other numbers then need no other compilation."""

    def convert(leaf):
        # By hand, because equinox's test for numbers does not know every tracer.
        if eqx.is_array(leaf) or isinstance(leaf, np.ndarray | np.generic):
            number = jnp.issubdtype(leaf.dtype, jnp.inexact)
        else:
            number = isinstance(leaf, int | float) and not isinstance(leaf, bool)
        return jnp.asarray(leaf, dtype) if number else leaf

    return jax.tree.map(convert, tree)
