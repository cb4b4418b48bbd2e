"""The identity of a run: hashes of its program and of its arrays, which are the same in every process.

Two runs are identical if the same program is applied to the same numbers. Names and addresses of functions, and the
objects in their closures, do not matter: the traced program (a jaxpr) contains the computation and its constants.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from eosmodel.dynamics import AbstractDynamics
from eosmodel.simulation.loop import chunk_of, initial_carry


def digest(*parts: Any) -> str:
    """A hash of texts and arrays."""
    hashed = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            hashed.update(part.encode())
        else:
            array = np.asarray(part)
            hashed.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return hashed.hexdigest()[:32]


def program(fn: Any, *args: Any) -> str:
    """A hash of the computation of `fn`: the jaxpr of fn(*args) and its constants.

    Args:
        fn: any function that jax can trace.
        args: pytrees. Arrays (or their shapes, `jax.ShapeDtypeStruct`) are arguments of the program, and their values
            do not matter; everything else is part of the program.
    """
    return trace(fn, *args)[0]


def trace(fn: Any, *args: Any) -> tuple[str, Any]:
    """`program`, and the shapes of what `fn` returns, from a single trace."""
    traced, shapes, _ = eqx.filter_make_jaxpr(fn)(*args)
    # In the text of a program only the addresses differ between processes.
    return digest(re.sub(r"0x[0-9a-f]+", "", str(traced)), *_constants(traced)), shapes


def _constants(traced: Any) -> Iterable[Any]:
    """All constants of a program and of the programs nested in it."""
    if hasattr(traced, "consts"):
        yield from traced.consts
        traced = traced.jaxpr
    for equation in traced.eqns:
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(value, "eqns"):
                yield from _constants(value)


def identity(dynamics: AbstractDynamics, start: Any, axes: Any = None, **settings: Any) -> dict[str, str]:
    """The identity of a run by parts. Two runs with equal identities give equal rows.

    Args:
        dynamics, start, axes: as in `simulation.run`.
        settings: plain values of other settings that affect the rows.

    Returns:
        Hashes by name: "program", "start", and one for each array of the dynamics by its path, such as "objective.x".
    """
    parts = {"program": digest(*_programs(dynamics, start, axes)), "start": digest(*jax.tree.leaves(start))}
    arrays = jax.tree_util.tree_leaves_with_path(eqx.filter(dynamics, eqx.is_array))
    parts |= {jax.tree_util.keystr(path, simple=True, separator="."): digest(leaf) for path, leaf in arrays}
    return parts | {name: str(value) for name, value in settings.items()}


def _programs(dynamics, start, axes) -> tuple[str, str]:
    carry = eqx.filter_eval_shape(initial_carry, dynamics, start, axes)
    step = jax.ShapeDtypeStruct((), np.int32)
    chunk = program(chunk_of, dynamics, carry, step, step, 1, 1, axes)
    return program(initial_carry, dynamics, start, axes), chunk


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """The names of the parts in which two identities differ, as text; empty if there are none."""
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    return ", ".join(names)
