"""The scoreboard of theories and experiments: errors of moving averages, final values, edge exponents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel._checks import one_line
from eosmodel.results.formatting import aligned, number
from eosmodel.results.labels import ERRORS, label_pair
from eosmodel.results.measures import (
    above_rounding,
    edge_exponent,
    edge_products,
    failed_share,
    final_loss,
    final_mean,
    last_known,
    log_error,
    status_of,
    steps_of,
    weight_distance,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Comparison:
    """An experiment and predictions of it. Made by `compare`; printing it gives the scoreboard as a table.

    Attributes:
        experiment: dataset over (tuner, seed, step).
        theory: dataset over (theory, tuner, seed, step), or None.
    """

    experiment: xr.Dataset
    theory: xr.Dataset | None

    def rows(self) -> list[dict[str, Any]]:
        """The scoreboard: one dictionary per (tuner, seed), ready for JSON (a value that is not finite is None).

        - `sharpness_error`, `stepsize_error`, `loss_error`: median over steps of |ln a − ln b|, with a and b the
          25-step moving averages of experiment and theory over the rows that both have; None without such rows. Rows at
          which both losses are rounding, below ε of the first loss, are not compared (`measures.above_rounding`).
        - `final_loss`, `final_sharpness`: means over the last 25 completed steps; the loss of a run that stopped where
          it was to (status "reached") is its last. Theories beside such a run are compared up to there.
        - `median_edge_product`: median of η_t λ_t over the last half of the completed steps.
        - `edge_exponent`: Λ = ⟨ln|1 − η_t λ_t|⟩ over the same half, rows without λ left out.
        - `accuracy`, `test_loss`, `test_accuracy`: the last ones known, of runs that have them.
        - `failed_share`: share of the steps at which the tuner could not meet its rule (`search_failed`).
        - `left_out`, `left_out_beyond`: mean over steps of the share ε of the gradient that a theory leaves out, and
          the first recorded step at which ε > 1; None for a theory that does not record ε, and without such a step.
        - `weight_distance`: ‖w_run − w_theory‖ over the distance that the run has moved, at the last step whose weights
          both have kept (`measures.weight_distance`); None where weights were not kept.
        """
        return self._rows

    def plot(self, seed: int | None = None) -> "Figure":
        """Experiment and theories on shared axes, one column per tuner; see `plotting.trajectories`."""
        from eosmodel.plotting import trajectories

        return trajectories(self.experiment, self.theory, seed=seed)

    def __str__(self) -> str:
        return table(self.rows())

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return [
            _row(self.experiment, self.theory, tuner, seed)
            for tuner in self.experiment.tuner.values.tolist()
            for seed in self.experiment.seed.values.tolist()
        ]


def compare(experiment: xr.Dataset, theory: xr.Dataset | None = None) -> Comparison:
    """Compare runs with predictions of them.

    Args:
        experiment: from `simulate` or an `experiment.nc`: loss, stepsize and sharpness over step, and over tuner and
            seed where there are several.
        theory: from `predict` or a `theory.nc`: the same variables, over theory too where there are several. Runs are
            matched by tuner and seed, rows by step.

    Raises:
        ValueError: if a variable is missing, theory and experiment have no tuner, seed or step in common, the first is
            a prediction, or the second is of another objective, data, start, direction or tuner than the first, as far
            as both say what they are of.

    Example:
        >>> run = xr.Dataset({name: ("step", np.ones(4)) for name in ("loss", "stepsize", "sharpness")},
        ...                  {"step": np.arange(4)})
        >>> round(compare(run, run * 2).rows()[0]["theories"]["theory"]["loss_error"], 6)  # ln 2
        0.693147
    """
    for name, dataset in {"experiment": experiment, "theory": theory}.items():
        if not isinstance(dataset, xr.Dataset | None):
            raise ValueError(f"compare: {name} must be a dataset of simulate or predict, got {one_line(dataset)}")
    return Comparison(*label_pair(experiment, theory))


def scoreboard(config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of `scoreboard.json`: the configuration and the rows."""
    return {"config": dict(config), "rows": list(rows)}


def _row(experiment: xr.Dataset, theory: xr.Dataset | None, tuner: str, seed: int) -> dict[str, Any]:
    run = experiment.sel(tuner=tuner, seed=seed)
    products = edge_products(run)
    median = float(np.median(products)) if products.size else float("nan")
    row: dict[str, Any] = {
        "tuner": tuner,
        "seed": seed,
        "status": status_of(run).label,
        "steps": steps_of(run),
        "experiment": {
            "final_loss": _finite(final_loss(run)),
            "final_sharpness": _finite(final_mean(run, "sharpness")),
            "median_edge_product": _finite(median),
            "edge_exponent": _finite(edge_exponent(run)),
            "failed_share": _finite(failed_share(run)),
            **{name: _finite(last_known(run, name)) for name in HELD_OUT if name in run},
            "seconds_per_step": _seconds(run),
        },
        "theories": {},
    }
    if theory is None or tuner not in theory.tuner.values or seed not in theory.seed.values:
        return row
    for name in theory.theory.values.tolist():
        prediction = theory.sel(theory=name, tuner=tuner, seed=seed)
        steps = above_rounding(run, prediction)
        row["theories"][name] = {
            **{
                error: _finite(log_error(*(data[name].sel(step=steps) for data in (run, prediction))))
                for error, name in ERRORS.items()
            },
            "final_sharpness": _finite(final_mean(prediction, "sharpness")),
            "edge_exponent": _finite(edge_exponent(prediction)),
            **_left_out(prediction),
            "weight_distance": _weight_distance(run, prediction),
            "seconds_per_step": _seconds(prediction),
            "status": status_of(prediction).label,
        }
    return row


def _left_out(prediction: xr.Dataset) -> dict[str, Any]:
    if "left_out" not in prediction:
        return {"left_out": None, "left_out_beyond": None}
    beyond = prediction.step.values[prediction.left_out.values > 1]
    return {
        "left_out": _finite(float(prediction.left_out.mean())),
        "left_out_beyond": int(beyond[0]) if beyond.size else None,
    }


def _weight_distance(run: xr.Dataset, prediction: xr.Dataset) -> float | None:
    if "weights" not in run or "weights" not in prediction:
        return None
    known = weight_distance(run, prediction).dropna("kept_step")
    return float(known[-1]) if known.size else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _seconds(run: xr.Dataset) -> float | None:
    return _finite(float(run["seconds_per_step"])) if "seconds_per_step" in run else None


HELD_OUT = ("accuracy", "test_loss", "test_accuracy")
"""What a run is evaluated by beside its loss, where samples are held out."""

_HEADER = (
    "tuner",
    "seed",
    "what",
    "status",
    "loss",
    "λ",
    "median ηλ",
    "Λ",
    "failed",
    "error λ",
    "error η",
    "error L",
    "ε",
)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as aligned text: under each experiment its theories, with their errors; and how far their weights are
    apart, Δw, where weights were kept."""
    kept = any(theory["weight_distance"] is not None for row in rows for theory in row["theories"].values())
    lines: list[tuple[str, ...]] = [(*_HEADER, *(["Δw"] if kept else []), "s/step")]
    for row in rows:
        run = row["experiment"]
        values = [
            number(run["final_loss"]),
            number(run["final_sharpness"]),
            number(run["median_edge_product"], ".2f"),
            number(run["edge_exponent"], "+.3f"),
            number(run["failed_share"], ".0%"),
            "",
            "",
            "",
            "",
            *([""] if kept else []),
            number(run["seconds_per_step"], ".1e"),
        ]
        lines.append((row["tuner"], str(row["seed"]), "experiment", row["status"], *values))
        for name, theory in row["theories"].items():
            values = ["", number(theory["final_sharpness"]), "", number(theory["edge_exponent"], "+.3f"), ""]
            values += [number(theory[error], ".3f") for error in ERRORS]
            beyond = theory["left_out_beyond"]
            share = number(theory["left_out"], ".3f") + ("" if beyond is None else f" (> 1 at {beyond})")
            values += [share, *([number(theory["weight_distance"], ".3f")] if kept else [])]
            values += [number(theory["seconds_per_step"], ".1e")]
            lines.append(("", "", name, theory["status"], *values))
    return aligned(lines, left=(0, 2, 3))
