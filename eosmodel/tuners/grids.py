"""Grids of specifications: `cdat:sigma={1,2},ema={0,0.9}` stands for four tuners."""

import itertools
import re
from typing import Any

from eosmodel import _specs
from eosmodel.tuners import registry

_BRACES = re.compile(r"\{([^{}]*)\}")


def expand(spec: str) -> tuple[str, ...]:
    """All specifications that a specification with lists in braces stands for; the last list changes fastest.

    A specification without braces stands for itself. A shell that expands braces gives the same specifications.

    Args:
        spec: a specification in which any text may be a list {value,value,…}.

    Raises:
        ValueError: braces that do not match, that are empty, or that hold an empty value.

    Example:
        >>> expand("cdat:sigma={1,2},ema={0,0.9}")
        ('cdat:sigma=1,ema=0', 'cdat:sigma=1,ema=0.9', 'cdat:sigma=2,ema=0', 'cdat:sigma=2,ema=0.9')
    """
    # A split at a captured group returns texts and lists alternately.
    pieces = _BRACES.split(spec)
    texts, lists = pieces[::2], [[value.strip() for value in piece.split(",")] for piece in pieces[1::2]]
    if any(brace in text for text in texts for brace in "{}"):
        raise ValueError(f"tuner {spec!r}: braces must come in pairs and not within each other")
    if any(not value for values in lists for value in values):
        raise ValueError(f"tuner {spec!r}: braces must hold values separated by commas, as in sigma={{1,2}}")
    return tuple(
        "".join(itertools.chain(*itertools.zip_longest(texts, values, fillvalue="")))
        for values in itertools.product(*lists)
    )


def parameters(spec: str) -> tuple[str, dict[str, float]]:
    """The name of a tuner and its numeric hyper-parameters: its own ones with defaults, and the modifiers given.

    Args:
        spec: a specification that `tuners.registry.from_spec` takes.

    Example:
        >>> parameters("cdat:ema=0.9")
        ('cdat', {'sigma': 2.0, 'eps': 1e-05, 'ema': 0.9})
    """
    name, rest = _specs.split(spec, registry.REGISTRY)
    if ":" in name:  # of the user's own: nothing is imported to read a label
        pairs = (item.partition("=") for item in rest.split(","))
        own: dict[str, Any] = {}
        texts = {key.strip(): text for key, equals, text in pairs if equals}
    else:
        own = dict(registry.parameters(name))
        _, _, texts = _specs.parse("tuner", spec, registry.REGISTRY, lambda _: own)
    numbers = {key: _number(value) for key, value in (own | texts).items()}
    return name, {key: number for key, number in numbers.items() if number is not None}


def _number(value) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
