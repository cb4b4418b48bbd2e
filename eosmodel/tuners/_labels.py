"""Names of tuners and of their hyper-parameters, for the coordinates of datasets."""

import dataclasses
import inspect
from collections.abc import Collection
from functools import cache
from typing import Any

import equinox as eqx
import jax
import numpy as np

from eosmodel.tuners.base import AbstractTuner
from eosmodel.tuners.modifiers import Bounded, Scheduled, WarmupCosine
from eosmodel.tuners.registry import MODIFIERS, REGISTRY, Entry, parameters

# Longer vectors are written as their shape; which run has which value is said by coordinates.
_FEW = 8


def spec_of(tuner: AbstractTuner, hide: Collection[str] = ()) -> str:
    """The specification that makes a tuner: its name and the parameters that differ from their defaults.

    Parameters of `hide` are left out. A tuner that no specification makes, such as one of your own class, is written
    as its class and fields.

    Example:
        >>> from eosmodel import tuners
        >>> tuners.spec_of(tuners.Bounded(tuners.Polyak(c=0.5), cap=2.0))
        'polyak:c=0.5,cap=2'
        >>> tuners.spec_of(tuners.from_spec("armijo:c=0.0001"))
        'armijo'
    """
    given: dict[str, Any] = {}
    rule = tuner
    if isinstance(rule, Scheduled) and isinstance(rule.schedule, WarmupCosine):
        given |= dataclasses.asdict(rule.schedule)
        rule = rule.tuner
    if isinstance(rule, Bounded):
        given |= {"floor": rule.floor, "cap": rule.cap}
        rule = rule.tuner
    outer = {key: (given[key], default) for key, (default, _) in MODIFIERS.items() if key in given}
    found = []
    for name, entry in REGISTRY.items():
        if name == "schedule":  # has no defaults
            continue
        prototype, own = _prototype(name, entry)
        if not _is_made_as(rule, own, prototype) or not given.keys().isdisjoint(own):
            continue
        values = {key: (getattr(rule, key), default) for key, default in own.items()} | outer
        listed = {key: value for key, (value, default) in values.items() if not _equal(value, default)}
        listed = {key: value for key, value in listed.items() if key not in hide}
        if all(isinstance(value, str) or np.ndim(value) == 0 for value in listed.values()):
            text = ",".join(f"{key}={_text(value)}" for key, value in listed.items())
            # "greedy" says more than "cdat:sigma=1", and "cdat:sigma=2" more than "greedy:sigma=2".
            rank = len(listed), not inspect.isclass(entry.factory)
            found.append((rank, f"{name}:{text}" if text else name))
    return min(found)[1] if found else written(tuner)


def vectors_of(tuner: AbstractTuner) -> dict[str, np.ndarray]:
    """The hyper-parameters that are vectors, one entry for each run of a batch, by name.

    A name is that of the field; if two parts of a tuner have vectors of one name, it is the whole path to the field.
    """
    leaves = [(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tuner) if _is_vector(leaf)]
    paths = [jax.tree_util.keystr(path, simple=True, separator="_") for path, _ in leaves]
    last = [jax.tree_util.keystr(path[-1:], simple=True) for path, _ in leaves]
    plain = len({*last}) == len(last) and all(name.isidentifier() for name in last)
    return {name: np.asarray(leaf) for name, (_, leaf) in zip(last if plain else paths, leaves, strict=True)}


def members_of(tuner: AbstractTuner) -> list[AbstractTuner]:
    """The tuners of a batch, one for each entry of its vectors; the tuner itself where it has none."""
    vectors = vectors_of(tuner)
    if not vectors:
        return [tuner]
    held = jax.tree.map(lambda leaf: np.asarray(leaf) if eqx.is_array(leaf) else leaf, tuner)

    def member(i):
        return jax.tree.map(lambda leaf: leaf[i] if _is_vector(leaf) else leaf, held)

    return [member(i) for i in range(len(next(iter(vectors.values()))))]


@cache
def _prototype(name: str, entry: Entry) -> tuple[AbstractTuner, dict[str, Any]]:
    """The tuner of an entry's defaults, and these."""
    return entry.factory(), dict(parameters(name))


def _is_made_as(rule: AbstractTuner, own: Collection[str], prototype: AbstractTuner) -> bool:
    """Whether a tuner differs from a prototype in the given parameters alone."""
    if type(rule) is not type(prototype):
        return False
    fixed = [field.name for field in dataclasses.fields(prototype) if field.name not in own]
    return all(_equal(getattr(rule, key), getattr(prototype, key)) for key in fixed)


def _is_vector(leaf: Any) -> bool:
    return eqx.is_array_like(leaf) and np.ndim(leaf) == 1


def _equal(value: Any, default: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic | jax.Array) and isinstance(default, int | float):
        # 0.1 in the precision of a run is the default 0.1.
        return value.ndim == 0 and bool(np.asarray(value) == np.asarray(default, value.dtype))
    return (type(value) is type(default) and value == default) or value is default


def _text(value: Any) -> str:
    """A value as a specification has it; numbers with as few digits as tell them from others of their type."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, str):
        return value
    number = np.asarray(value)[()]
    short = f"{number:g}"
    return short if number.dtype.type(short) == number else str(number)


def written(value: Any) -> str:
    """A tuner as its class and all of its fields, in one line."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (f"{field.name}={written(getattr(value, field.name))}" for field in dataclasses.fields(value))
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(written, value))})"
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 1 and value.size <= _FEW:
        return f"[{', '.join(map(_text, np.asarray(value)))}]"
    if isinstance(value, np.ndarray | jax.Array) and value.ndim:
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, bool | int | float | np.generic | np.ndarray | jax.Array):
        return _text(value)
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__).partition(".<locals>")[0]
    return " ".join(repr(value).split())
