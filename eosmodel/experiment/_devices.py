"""Runs on several devices: the runs of a batch are divided among them, or the samples of every run."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from eosmodel._checks import check_count, refused
from eosmodel.objectives.networks import Network
from eosmodel.objectives.networks.sharding import copied_to, sharded_over
from eosmodel.tuners._labels import vectors_of


class Placed(NamedTuple):
    """Dynamics and start on their devices, and the sharding of what a run carries; None where it stays on one."""

    dynamics: Any
    start: Any
    carry: NamedSharding | None


def as_mesh(owner: str, mesh: Mesh | int | None, name: str = "mesh") -> Mesh | None:
    """A mesh, also from a number of devices, the first ones that there are; None as it is."""
    if mesh is None or isinstance(mesh, Mesh):
        return mesh
    if not isinstance(mesh, int | np.integer) or isinstance(mesh, bool):
        raise refused(owner, name, "a jax.sharding.Mesh or a number of devices", mesh, "jax.make_mesh makes one")
    check_count(owner, name, mesh)
    devices = jax.devices()
    if mesh > len(devices):
        kind = devices[0].platform
        raise ValueError(f"{owner}: {name} must lie in [1, {len(devices)}], the number of {kind} devices, got {mesh}")
    return Mesh(np.asarray(devices[:mesh]), ("devices",))


def for_batch(objective: Any, tuner: Any, seeds: Any, mesh: Mesh | None, members: int | None = None) -> Any:
    """The objective with the networks in it for all runs of a batch at once, see `Network.for_runs`.

    Args:
        objective: as in `simulate`.
        tuner: whose vectors make one run of each entry.
        seeds: a list makes one run of each.
        mesh: devices among which the runs are divided, if their number divides them.
        members: of an ensemble.
    """
    vectors = [values.size for values in vectors_of(tuner).values()]
    runs = members or (len(seeds) if isinstance(seeds, list) else max(vectors, default=1))
    runs //= mesh.size if mesh is not None and runs % mesh.size == 0 else 1
    if runs == 1:
        return objective
    return jax.tree.map(lambda node: node.for_runs(runs) if _is_network(node) else node, objective, is_leaf=_is_network)


def placed(dynamics: Any, start: Any, axes: Any, mesh: Mesh | None) -> Placed:
    """Dynamics and start on the devices of a mesh.

    A batch whose number of runs the number of devices divides is divided among them, if they are all of this machine.
    Otherwise the samples of the networks are, and all devices work on every run.

    Args:
        dynamics, start, axes: as in `simulation.run`.
        mesh: None leaves everything where it is.

    Raises:
        ValueError: neither runs nor samples that could be divided.
    """
    if mesh is None:
        return Placed(dynamics, start, None)
    runs = 1 if axes is None else _runs(dynamics, start, axes)
    divided, whole = sharded_over(mesh), copied_to(mesh)
    # Of runs on other machines this process would not see the rows.
    if axes is not None and runs % mesh.size == 0 and divided.is_fully_addressable:
        of_starts = axes[1] == 0
        vectors, rest = eqx.partition(dynamics.tuner, lambda leaf: not of_starts and eqx.is_array(leaf) and leaf.ndim)
        rule = eqx.combine(eqx.filter_shard(vectors, divided), eqx.filter_shard(rest, whole))
        dynamics = eqx.tree_at(lambda d: d.tuner, eqx.filter_shard(dynamics, whole), rule)
        return Placed(dynamics, eqx.filter_shard(start, divided if of_starts else whole), divided)
    if mesh.size > 1 and not has_samples(dynamics):
        raise ValueError(
            f"mesh: {mesh.size} devices need samples, or a batch of runs that they divide; the objective has no "
            f"samples, and the number of runs is {runs}"
        )
    dynamics = jax.tree.map(
        lambda node: node.over(mesh) if _is_network(node) else eqx.filter_shard(node, whole),
        dynamics,
        is_leaf=_is_network,
    )
    return Placed(dynamics, eqx.filter_shard(start, whole), whole)


def has_samples(dynamics: Any) -> bool:
    """Whether there is a network, whose samples can be divided."""
    return any(map(_is_network, jax.tree.leaves(dynamics, is_leaf=_is_network)))


def _is_network(node: Any) -> bool:
    return isinstance(node, Network)


def _runs(dynamics: Any, start: Any, axes: Any) -> int:
    """The number of runs of a batch: of starts, or of values of the tuner's hyper-parameters."""
    batched = start if axes[1] == 0 else dynamics.tuner
    return max(len(leaf) for leaf in jax.tree.leaves(batched) if eqx.is_array(leaf) and leaf.ndim)
