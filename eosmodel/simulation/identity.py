"""The identity of a run: hashes of its program and of its arrays, which are the same in every process.

Two runs are identical if the same program is applied to the same numbers. Names and addresses of functions, and the
objects in their closures, do not matter: the traced program (a jaxpr) contains the computation and its constants.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from eosmodel.dynamics import AbstractDynamics
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.batches import AbstractBatches
from eosmodel.objectives.networks import Network
from eosmodel.rays import ray
from eosmodel.simulation.loop import chunk_of, initial_carry
from eosmodel.tuners.base import AbstractTuner, ask, init_state

_ADDRESS = re.compile(r"0x[0-9a-f]+")


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
    traced, shapes, static = eqx.filter_make_jaxpr(fn)(*args)
    # In the text of a program only the addresses differ between processes.
    return digest(_ADDRESS.sub("", str(traced)), *_constants(traced)), eqx.combine(shapes, static)


def _constants(traced: Any) -> Iterable[Any]:
    """All constants of a program and of the programs nested in it."""
    if hasattr(traced, "consts"):
        yield from traced.consts
        traced = traced.jaxpr
    for equation in traced.eqns:
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(value, "eqns"):
                yield from _constants(value)


def loss_identity(objective: AbstractObjective | AbstractBatches, weights: Any) -> str:
    """A hash of a loss as a function of the weights: its program, and the arrays that the value depends on.

    Two losses with equal hashes have equal values everywhere, to rounding. Initial weights that are stored in an
    objective do not count, nor does the chunk of a network. Of a stochastic objective it is the loss of a step, as a
    function of the seed and the step as well.

    Args:
        objective: the loss.
        weights: weights, shape (dim,), or their `jax.ShapeDtypeStruct`.
    """
    arrays, static = eqx.partition(_at_once(objective), eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    count = jax.ShapeDtypeStruct((), np.int32)

    def loss(leaves, weights, seed, step):
        whole = eqx.combine(jax.tree.unflatten(structure, leaves), static)
        return whole.draw(seed, step)(weights) if isinstance(whole, AbstractBatches) else whole(weights)

    traced = jax.make_jaxpr(loss)(leaves, weights, count, count)
    live, used = partial_eval.dce_jaxpr(traced.jaxpr, [True])
    needed = [leaf for leaf, need in zip(leaves, used[: len(leaves)], strict=True) if need]
    return digest(_ADDRESS.sub("", str(live)), *_constants(traced), *needed)


def _at_once(objective: Any) -> Any:
    """The objective with its networks on all samples at once: a chunk is how a loss is computed, and not which loss."""
    return jax.tree.map(
        lambda node: node.at_once() if isinstance(node, Network) else node,
        objective,
        is_leaf=lambda node: isinstance(node, Network),
    )


def rule_identity(tuner: AbstractTuner, dtype: Any) -> str:
    """A hash of the computation of a tuner. Its numbers and vectors are arguments: their values do not matter."""
    leaves, structure = jax.tree.flatten(tuner)
    shapes = tuple(_ofone(leaf) if eqx.is_array(leaf) else leaf for leaf in leaves)
    return _rule_identity(structure, shapes, np.dtype(dtype))


def _ofone(leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape of a hyper-parameter of one run."""
    return jax.ShapeDtypeStruct(() if leaf.ndim == 1 else leaf.shape, leaf.dtype)


@lru_cache(maxsize=256)
def _rule_identity(structure, shapes, dtype) -> str:
    def step(tuner, weights, t, number):
        line = ray(lambda w: 0.5 * jnp.vdot(w, w), weights, step=t, sharpness=number)
        return ask(tuner, line, init_state(tuner, dtype))

    weights, t = jax.ShapeDtypeStruct((2,), dtype), jax.ShapeDtypeStruct((), np.int32)
    return program(step, jax.tree.unflatten(structure, shapes), weights, t, jax.ShapeDtypeStruct((), dtype))


def identity(dynamics: AbstractDynamics, start: Any, axes: Any = None, **settings: Any) -> dict[str, str]:
    """The identity of a run by parts. Two runs with equal identities give equal rows.

    Args:
        dynamics, start, axes: as in `simulation.run`.
        settings: plain values of other settings that affect the rows.

    Returns:
        Hashes by name: "program", "start", and one for each array of the dynamics by its path, such as "objective.x".
    """
    parts = {"program": digest(*_programs(dynamics, start, axes)), "start": digest(*jax.tree.leaves(start))}
    parts |= {name: digest(leaf) for name, leaf in arrays_of(dynamics).items()}
    return parts | {name: str(value) for name, value in settings.items()}


def arrays_of(tree: Any) -> dict[str, Any]:
    """The arrays in a tree by their paths, such as "objective.x"."""
    arrays = jax.tree_util.tree_leaves_with_path(eqx.filter(tree, eqx.is_array))
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in arrays}


def _programs(dynamics, start, axes) -> tuple[str, str]:
    initial, carry = trace(initial_carry, dynamics, start, axes)
    step = jax.ShapeDtypeStruct((), np.int32)
    return initial, program(chunk_of, dynamics, carry, step, step, 1, 1, axes)


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """The names of the parts in which two identities differ, as text; empty if there are none."""
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    return ", ".join(names)
