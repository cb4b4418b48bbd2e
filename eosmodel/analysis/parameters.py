"""Parameters of a probe by name, and the axes of a phase diagram."""

import dataclasses
import inspect
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from eosmodel import _specs
from eosmodel._checks import check_count, check_range
from eosmodel.analysis.probes import AbstractProbe
from eosmodel.tuners.modifiers import AbstractModifier

SYMBOLS = {
    "sigma": "σ",
    "eps": "ε",
    "step": "η",
    "max": "η_max",
    "f_star": "f*",
    "kappa": "κ",
    "sharpness": "λ",
    "bulk_gradient_sq": "G",
    "mu": "μ",
    "gamma": "γ",
    "sharpness_limit": "λ_∞",
}
"""Symbols of parameters whose symbol differs from their name."""


class Parameter(NamedTuple):
    """The location of a number in a probe: the path of fields, and the index if the last field is a vector.

    Fields
        name: the name as given.
        path: fields from the probe on.
        entry: which number of a vector; None for a scalar.
    """

    name: str
    path: tuple[str, ...]
    entry: int | None

    def get(self, probe: AbstractProbe) -> Array:
        """The current value in the probe."""
        field = follow(probe, self.path)
        return field if self.entry is None else field[self.entry]

    def put(self, probe: AbstractProbe, value: Any) -> AbstractProbe:
        """The probe with another value, which may be traced and is not checked."""
        field = follow(probe, self.path)
        value = jnp.asarray(value, field.dtype)
        new = value if self.entry is None else field.at[self.entry].set(value)
        return eqx.tree_at(lambda probe: follow(probe, self.path), probe, new)

    def check(self, probe: AbstractProbe, value: float) -> None:
        """Raise the ValueError that the class of the probe's part raises for this value, if any.

        The part is rebuilt from its fields, which is possible if all arguments of its class are fields.
        """
        part = follow(self.put(probe, value), self.path[:-1])
        arguments = list(inspect.signature(type(part)).parameters)
        if set(arguments) <= {field.name for field in dataclasses.fields(part)}:
            given = {name: getattr(part, name) for name in arguments}
            try:
                type(part)(**(given if self.entry is not None else given | {self.path[-1]: value}))
            except ValueError as error:
                raise ValueError(f"phase_diagram: axis {self.name} reaches {value:g}: {error}") from None

    @property
    def symbol(self) -> str:
        """The symbol for labels, in mathtext if necessary."""
        symbol = SYMBOLS.get(self.path[-1], self.path[-1])
        return symbol if self.entry is None else f"{symbol}[{self.entry}]"


def find(probe: AbstractProbe, name: str) -> Parameter:
    """The parameter with a name: `field`, or `field[index]` for a vector, after `part.` if two parts have this field.

    Raises:
        ValueError: an unknown parameter (the known ones are listed), one that two parts have, or an index that is
            missing, superfluous or out of range.
    """
    known = {f"{part}.{field}": (path, field) for part, path in _parts(probe) for field in _numbers(probe, path)}
    pattern = re.fullmatch(r"(?:(\w+)\.)?(\w+)(?:\[(\d+)\])?", str(name).strip())
    part, field, index = pattern.groups() if pattern else (None, str(name), None)
    # A name without a part matches the field in every part.
    matches = [key for key in known if key == f"{part}.{field}" or (part is None and key.partition(".")[2] == field)]
    if len(matches) > 1:
        raise ValueError(f"phase_diagram: {field!r} could be {' or '.join(matches)}; write which")
    if not matches:
        listed = [key if _size(probe, place) is None else f"{key}[…]" for key, place in known.items()]
        bare = [key.partition(".")[2] for key in listed]
        _specs.check_names("phase_diagram: the system", [name], bare + listed)
    path = (*known[matches[0]][0], field)
    size = _size(probe, known[matches[0]])
    if size is None and index is not None:
        raise ValueError(f"phase_diagram: {field} is one number, got {name!r}")
    if size is not None and (index is None or int(index) >= size):
        ways = f"{field}[0] … {field}[{size - 1}]"
        raise ValueError(f"phase_diagram: {field} holds {size} numbers, write {ways}, got {name!r}")
    return Parameter(str(name).strip(), path, None if index is None else int(index))


def _parts(probe: AbstractProbe) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The parts that hold numbers: those of the probe, and the inner rule of a modified tuner."""
    for part, path in probe.parts.items():
        yield part, path
        while isinstance(follow(probe, path), AbstractModifier):
            path = (*path, "tuner")
            yield part, path


class Family(eqx.Module):
    """A probe as a family of maps z, p ↦ z', for orbit diagrams, bifurcations and continuation.

    Args:
        probe: the system.
        parameter: the number that p replaces, from `find`.
    """

    probe: AbstractProbe
    parameter: Parameter = eqx.field(static=True)

    def __call__(self, z: Array, p: Array) -> Array:
        return self.parameter.put(self.probe, p)(z)


def axis(probe: AbstractProbe, name: str, values: Any, refine: int = 0) -> tuple[Parameter, np.ndarray]:
    """A parameter and its values along an axis, with every interval halved `refine` times; both ends are checked.

    Args:
        probe: the system.
        name: as for `find`.
        values: (low, high, count), (low, high, count, "log"), or an increasing array.
        refine: number of times that every interval is halved, in the logarithm if the axis is logarithmic.

    Raises:
        ValueError: an unknown name or invalid values.
    """
    parameter = find(probe, name)
    owner, ranged = f"phase_diagram: axis {parameter.name}", isinstance(values, tuple) and len(values) in (3, 4)
    if ranged and isinstance(values[2], int | np.integer) and (len(values) == 3 or isinstance(values[3], str)):
        grid = _range(owner, *values, refine=refine)
    else:
        grid = np.asarray(values, dtype=float)
        if grid.ndim != 1 or grid.size < 2 or not np.all(np.isfinite(grid)) or np.any(np.diff(grid) <= 0):
            wanted = "(low, high, count), or at least 2 increasing finite values"
            raise ValueError(f"{owner} needs {wanted}, got {values!r}")
        places = np.arange((grid.size - 1) * 2**refine + 1) / 2**refine
        grid = np.interp(places, np.arange(grid.size), grid)
    for end in (float(grid[0]), float(grid[-1])):
        parameter.check(probe, end)
    return parameter, grid


def _range(owner, low, high, count, spacing="linear", *, refine):
    check_count(owner, "count", count, 2)
    for end in (low, high):
        check_range(owner, "end", end, low_open=True, high_open=True)
    if not low < high:
        raise ValueError(f"{owner} must go from low to high, got {low!r} to {high!r}")
    if spacing not in ("linear", "log"):
        raise ValueError(f"{owner}: spacing must be linear or log, got {spacing!r}")
    if spacing == "log" and low <= 0:
        raise ValueError(f"{owner}: a logarithmic axis must begin above 0, got {low!r}")
    whole = (int(count) - 1) * 2**refine + 1
    check_fits(owner, whole, 8)
    return (np.geomspace if spacing == "log" else np.linspace)(float(low), float(high), whole)


def check_fits(owner: str, count: int, size: int) -> None:
    """Raise ValueError if `count` values of `size` bytes fill more than half of the machine's memory."""
    if hasattr(os, "sysconf"):  # not on Windows
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if 2 * count * size > memory:
            need, have = (f"{number / 2**30:.3g} GiB" for number in (count * size, memory))
            raise ValueError(f"{owner}: {count} points need {need} for their result, over half of {have} of memory")


def _numbers(probe, path) -> list[str]:
    """The names of the fields that hold a floating-point number or a vector."""
    owner = follow(probe, path)
    values = ((field.name, getattr(owner, field.name)) for field in dataclasses.fields(owner))
    return [name for name, value in values if eqx.is_inexact_array(value) and np.ndim(value) <= 1]


def _size(probe, place) -> int | None:
    value = getattr(follow(probe, place[0]), place[1])
    return value.size if np.ndim(value) else None


def follow(tree: Any, path: tuple[str, ...]) -> Any:
    """The module or the number at the end of a path of fields."""
    for field in path:
        tree = getattr(tree, field)
    return tree
