"""What runs and predictions say that they are of, and whether a theory is of the run that it is held against."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

IDENTITY = "identity"
"""Name of the attribute with the hashes of what a run or a prediction is of: its loss, its starts and its tuners."""
# Hashes by the values of a coordinate.
_LABELLED = (("starts", "seed"), ("tuners", "tuner"))


def check_kinds(experiment: xr.Dataset, theory: xr.Dataset | None) -> None:
    """Raise ValueError where a prediction stands in place of the run."""
    if "theory" not in experiment.coords:
        return
    names = ", ".join(map(str, np.atleast_1d(experiment.theory.values)))
    if theory is None:
        raise ValueError(f"compare: experiment is a prediction ({names}), not a run")
    if "theory" in theory.coords:
        raise ValueError(f"compare: both are predictions, and none is a run; experiment is one of {names}")
    raise ValueError(f"compare: the run comes first, then its theory; experiment is a prediction ({names})")


def check_same(experiment: xr.Dataset, theory: xr.Dataset) -> None:
    """Raise ValueError where a theory is not of the run, as far as both say what they are of. Of the data those that
    are trained on count, for a theory says nothing of what is held out."""
    pair = experiment, theory
    differing = [name for name in ("dtype", "data", "direction") if _unequal(experiment, theory, name)]
    losses = {loss for loss in (_identity(dataset).get("loss") for dataset in pair) if loss is not None}
    if len(losses) > 1 and not {"dtype", "data"} & {*differing}:
        differing.append("objective")
    starts, rules = ([_hashes(dataset, name, of) for dataset in pair] for name, of in _LABELLED)
    if all(len(of) == 1 for of in starts) and any(None in of for of in starts):
        starts = [{None: next(iter(of.values()))} for of in starts]  # a start without a seed is compared with any
    for what, (first, second) in (("start", starts), ("tuner", rules)):
        if any(first[key] != second[key] for key in first.keys() & second.keys()):
            differing.append(what)
    if differing:
        said = (_said(experiment, theory, name) for name in differing)
        raise ValueError(f"compare: the theory is not of this run: it differs in {', '.join(said)}")


def _identity(dataset: xr.Dataset) -> dict[str, Any]:
    return json.loads(dataset.attrs.get(IDENTITY, "{}"))


def _hashes(dataset: xr.Dataset, name: str, label: str) -> dict[str | None, str]:
    """The hashes of the runs that a dataset still has, by label; None for one without."""
    known = _identity(dataset).get(name, {})
    if label not in dataset.coords:
        return {None: known["None"]} if "None" in known else {}
    labels = map(str, np.atleast_1d(dataset[label].values))
    return {value: known[value] for value in labels if value in known}


def common_attrs(datasets: Sequence[xr.Dataset]) -> dict[str, Any]:
    """What several runs or predictions say alike of what they are of, and their hashes together."""
    first = datasets[0].attrs
    names = ("objective", "data", "direction", "dtype", "chunk")
    attrs = {name: first.get(name) for name in names if all(d.attrs.get(name) == first.get(name) for d in datasets)}
    attrs = {name: value for name, value in attrs.items() if value is not None}
    known = [_identity(dataset) for dataset in datasets]
    if len({of.get("loss") for of in known}) > 1 or "loss" not in known[0]:
        return attrs
    parts = {name: {key: value for of in known for key, value in of[name].items()} for name, _ in _LABELLED}
    return attrs | {IDENTITY: json.dumps({"loss": known[0]["loss"], **parts}, sort_keys=True)}


def _unequal(experiment: xr.Dataset, theory: xr.Dataset, name: str) -> bool:
    pair = experiment.attrs, theory.attrs
    if any(name not in attrs for attrs in pair):
        return False
    first, second = (_trained_on(attrs[name]) if name == "data" else attrs[name] for attrs in pair)
    return first != second


def _trained_on(data: str) -> dict[str, Any]:
    """What an attribute `data` says of the samples that are trained on."""
    return {key: value for key, value in json.loads(data).items() if not key.startswith("held_out")}


def _said(experiment: xr.Dataset, theory: xr.Dataset, name: str) -> str:
    """A difference, with both values where their descriptions differ too."""
    if not _unequal(experiment, theory, name):
        return name
    values = [str(dataset.attrs[name]) for dataset in (theory, experiment)]
    if name == "data":
        of = [json.loads(value) for value in values]
        values = [f"{data['name']}, {data['samples']} samples, SHA-256 {data['sha256'][:12]}…" for data in of]
    return f"{name} ({values[0]}, run: {values[1]})"
