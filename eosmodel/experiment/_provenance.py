"""What a result is a result of: the attributes of datasets by which people know it and `compare` checks it."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from eosmodel._origin import Origin
from eosmodel.directions import Direction
from eosmodel.objectives.batches import AbstractBatches
from eosmodel.objectives.networks import Network
from eosmodel.results.sources import IDENTITY
from eosmodel.simulation import digest, loss_identity, rule_identity
from eosmodel.tuners._labels import written
from eosmodel.tuners.base import AbstractTuner

STEEPEST = "steepest descent"


def source_of(objective: Any, weights: Any, seeds: int | list[int] | None) -> Origin:
    """What is run or predicted: the objective, its data, and where it starts.

    Args:
        objective: an objective or stochastic one.
        weights: where it starts, shape (dim,), or (seeds, dim).
        seeds: of these weights, if any.
    """
    inner = objective.objective if isinstance(objective, AbstractBatches) else objective
    data = getattr(inner, "origin", Origin()).facts
    starts = np.asarray(weights).reshape(-1, weights.shape[-1])
    names = seeds if isinstance(seeds, list) else [seeds]
    return Origin(
        objective=" ".join(repr(objective).split()),
        dtype=str(weights.dtype),
        seeds=seeds,
        loss=loss_identity(objective, weights[0] if weights.ndim == 2 else weights),
        starts={str(name): digest(start) for name, start in zip(names, starts, strict=True)},
        **({"data": dict(data)} if data else {}),
        **({"chunk": inner.chunk or "all"} if isinstance(inner, Network) else {}),
    )


def provenance(
    source: Origin,
    result: xr.Dataset,
    tuner: AbstractTuner,
    steps: int,
    direction: Direction | None = None,
    theory: str | None = None,
) -> dict[str, Any]:
    """The attributes of a result: `objective`, `data` (name, SHA-256, samples), `tuner` with all of its parameters,
    `direction`, `seeds`, `steps`, `dtype`, of a network `chunk` (samples in memory at once), of a prediction `theory`,
    and `identity`, the hashes behind these.

    Args:
        source: from `source_of`.
        result: with its labels.
        tuner: in the dtype of the run.
        steps: as asked for.
        direction, theory: of the run, of the prediction.
    """
    facts: Mapping[str, Any] = source.facts
    if not facts:
        return {}
    rule = rule_identity(tuner, facts["dtype"])
    labels = np.atleast_1d(result.tuner.values).tolist() if "tuner" in result.coords else []
    hashes = {"loss": facts["loss"], "starts": facts["starts"], "tuners": dict.fromkeys(labels, rule)}
    attrs = {
        "objective": facts["objective"],
        "tuner": written(tuner),
        "direction": STEEPEST if direction is None else direction.name or "an optax transformation",
        "seeds": json.dumps(facts["seeds"]),
        "steps": steps,
        "dtype": facts["dtype"],
        IDENTITY: json.dumps(hashes, sort_keys=True),
    }
    attrs |= {"data": json.dumps(facts["data"], sort_keys=True)} if "data" in facts else {}
    attrs |= {"chunk": facts["chunk"]} if "chunk" in facts else {}
    return attrs | ({} if theory is None else {"theory": theory})
