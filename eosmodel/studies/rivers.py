"""Rivers of one network from several seeds, and what each says of tuners that are not run: what `eosmodel river` does.

The river of every seed is a block, and so is every tuner's prediction on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.results import measures, record
from eosmodel.results.formatting import aligned, number
from eosmodel.studies.blocks import Block, plain
from eosmodel.studies.comparison import ended, joined, part, prediction, river_block
from eosmodel.studies.plans import Plan
from eosmodel.theory import from_spec

SHOWN = ("final_center_loss", "final_loss", "final_sharpness", "flow_time")
"""Numbers of a ranking that its table shows."""


@dataclass(frozen=True)
class Rivers:
    """What the command computes.

    Attributes:
        rivers: datasets of `experiment.river_dataset` by seed.
        predictions: dataset over (tuner, seed, step), as `simulate` would give of runs.
    """

    rivers: dict[int, xr.Dataset]
    predictions: xr.Dataset


def make_plan(
    objective: Mapping[str, Any],
    tuners: Sequence[str],
    *,
    seeds: Sequence[int],
    steps: int,
    modes: int = 8,
    length: float = 4.0,
) -> Plan[Rivers]:
    """The blocks of rivers and of predictions on them.

    Args:
        objective: as for `studies.comparison.build`.
        tuners: specifications.
        seeds: of the initial weights.
        steps: to predict.
        modes, length: of `theory.RiverTheory`.

    Example:
        >>> network = {"data": "digits", "samples": 60, "width": 4, "depth": 1, "dtype": "float32"}
        >>> plan = make_plan(network, ["armijo", "cdat"], seeds=[0], steps=20)
        >>> [block.label for block in plan.blocks]
        ['river, seed 0', 'armijo, seed 0', 'cdat, seed 0']
    """
    spec = f"river:modes={modes},landing=0,length={length}"
    theory = from_spec(spec)
    rivers = {seed: river_block(objective, theory, seed, steps) for seed in seeds}
    labelled = [
        (
            {"tuner": tuner, "seed": seed},
            Block(
                prediction,
                plain(
                    objective=objective,
                    tuner=tuner,
                    theory=spec,
                    run={"steps": steps, "seeds": seed, "modes": modes, "record_every": 1},
                ),
                f"{tuner}, seed {seed}",
                (river,),
                checkpoints=True,
            ),
        )
        for seed, river in rivers.items()
        for tuner in tuners
    ]

    def combine(datasets: Sequence[xr.Dataset]) -> Rivers:
        measured, said = datasets[: len(rivers)], datasets[len(rivers) :]
        parts = [part(dataset, coords) for dataset, (coords, _) in zip(said, labelled, strict=True)]
        return Rivers(dict(zip(rivers, measured, strict=True)), joined(parts))

    return Plan((*rivers.values(), *(block for _, block in labelled)), combine, ended)


def ranking(predictions: xr.Dataset) -> xr.Dataset:
    """Tuners in the order of their predicted final loss at the oscillation's centre, over (tuner, seed).

    Args:
        predictions: dataset over (tuner, seed, step).

    Returns:
        `final_center_loss` and `final_loss`, NaN where a prediction ended early, `final_sharpness`, `flow_time`,
        `status` and `steps`; the
        tuners sorted by the median of the final loss at the centre over seeds, those without one last.
    """
    values: dict[str, list[list[float]]] = {}
    for tuner in predictions.tuner.values:
        for name, row in _numbers(predictions.sel(tuner=tuner)).items():
            values.setdefault(name, []).append(row)
    dataset = xr.Dataset(
        {name: (("tuner", "seed"), rows) for name, rows in values.items()},
        {name: predictions[name].values for name in ("tuner", "seed")},
    )
    middle = dataset.final_center_loss.median("seed", skipna=False).values
    return record.describe(dataset.isel(tuner=np.argsort(middle, kind="stable")))


def _numbers(of_tuner: xr.Dataset) -> dict[str, list[float]]:
    runs = [of_tuner.isel(seed=i) for i in range(of_tuner.sizes["seed"])]
    finished = [int(run.status) == int(Status.OK) for run in runs]
    return {
        name: [measures.final_mean(run, of) if done else np.nan for run, done in zip(runs, finished, strict=True)]
        for name, of in (("final_center_loss", "center_loss"), ("final_loss", "loss"))
    } | {
        "final_sharpness": [measures.final_mean(run, "sharpness") for run in runs],
        "flow_time": [float(run.stepsize.sum()) if "stepsize" in run else np.nan for run in runs],
        "status": [int(run.status) for run in runs],
        "steps": [int(run.steps) for run in runs],
    }


def table(order: xr.Dataset) -> str:
    """The ranking as text: medians over seeds."""
    lines = [("", "tuner", "L at centre", "L", "λ", "Ση", "ended early")]
    for i, row in enumerate(rows(order), 1):
        numbers = (number(row[name]) for name in SHOWN)
        place = "–" if np.isnan(row["final_center_loss"]) else str(i)
        lines.append((place, row["tuner"], *numbers, row["ended"]))
    return aligned(lines, left=(1, 6))


def rows(order: xr.Dataset) -> list[dict[str, Any]]:
    """A ranking by tuner: medians over seeds, and what ended early, in words."""
    found = []
    for tuner in order.tuner.values.tolist():
        one = order.sel(tuner=tuner)
        early = [
            f"{Status(int(one.status[i])).label} at step {int(one.steps[i])}"
            for i in range(one.sizes["seed"])
            if int(one.status[i]) != int(Status.OK)
        ]
        middle = {name: float(one[name].median(skipna=False)) for name in SHOWN}
        found.append({"tuner": tuner, **middle, "ended": ", ".join(early)})
    return found
