"""Runs of one objective under several tuners and seeds, and the theories beside them: what `compare` and `train` do.

Every run of a tuner from a seed is a block, every theory of it too, and the river of a seed, measured once for all
tuners. Those of several seconds keep a checkpoint while they are under way.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from eosmodel import directions
from eosmodel._status import Status
from eosmodel.experiment import kept_weights, predict, river_dataset, river_from, river_in, simulate, weights_of
from eosmodel.logs import Log
from eosmodel.objectives import MiniBatches
from eosmodel.objectives import registry as toys
from eosmodel.objectives.recipes import network
from eosmodel.results import record
from eosmodel.results.formatting import number
from eosmodel.results.measures import failed_share, last_known, stall_reason
from eosmodel.results.sources import common_attrs
from eosmodel.studies.blocks import Block, plain
from eosmodel.studies.plans import Plan
from eosmodel.theory import from_spec as theory_from_spec
from eosmodel.tuners.registry import from_spec

# Stands for every tuner in the blocks of theories that ignore it.
_ANY_TUNER = "on-edge"


@dataclass(frozen=True)
class Runs:
    """What a comparison computes.

    Attributes:
        experiment: dataset over (tuner, seed, step).
        theory: dataset over (theory, tuner, seed, step), or None without theories.
    """

    experiment: xr.Dataset
    theory: xr.Dataset | None


def build(objective: Mapping[str, Any]) -> Any:
    """The objective of a configuration, in jax's precision of the moment.

    Args:
        objective: {"toy": specification, "dtype": …}, or the arguments of `objectives.recipes.network`, the seed left
            out. For mini-batches also `batch_size` and `replacement`.

    Raises:
        ValueError: an unknown name, or an option that is not allowed.
    """
    return _built(json.dumps(objective, sort_keys=True))


# All blocks of a plan share one objective, and so what is compiled for it.
@lru_cache(maxsize=1)
def _built(text: str) -> Any:
    options = json.loads(text)
    if "toy" in options:
        return toys.from_spec(options["toy"], options["dtype"])
    size, replacement = options.pop("batch_size", None), options.pop("replacement", False)
    net = network(**options)
    return net if size is None else MiniBatches(net, size, replacement)


def _stored(start: Mapping[str, Any] | None) -> tuple[xr.Dataset, int] | None:
    """The run and the step that a block goes on from, as `simulate` takes them; None where it begins anew."""
    if start is None:
        return None
    return record.load(Path(start["file"])).sel(tuner=start["tuner"], seed=start["seed"]), start["step"]


def experiment(
    config: Mapping[str, Any],
    *,
    checkpoint: Path | None = None,
    progress: bool | str = False,
    log: Log | None = None,
) -> xr.Dataset:
    """A run; the configuration is that of a block of `make_plan`."""
    with jax.enable_x64(config["objective"]["dtype"] == "float64"):
        direction = None if config["direction"] is None else directions.from_spec(config["direction"])
        return simulate(
            build(config["objective"]),
            from_spec(config["tuner"]),
            direction=direction,
            **config["run"],
            start=_stored(config.get("start")),
            checkpoint=checkpoint,
            progress=progress,
            log=log,
        )


def river(config: Mapping[str, Any], *, checkpoint: Path | None = None, progress: bool | str = False) -> xr.Dataset:
    """The river from a seed's weights, for all tuners."""
    with jax.enable_x64(config["objective"]["dtype"] == "float64"):
        objective = build(config["objective"])
        begun = _stored(config.get("start"))
        given = None if begun is None else kept_weights("river", *begun)[0]
        start = weights_of(objective, config["seed"], given)
        length = config["length"] * config["steps"]
        return river_dataset(river_from(objective, start, config["modes"], None, length, progress, checkpoint))


def prediction(
    config: Mapping[str, Any],
    *needed: xr.Dataset,
    checkpoint: Path | None = None,
    progress: bool | str = False,
    log: Log | None = None,
) -> xr.Dataset:
    """What a theory says of a run; the run itself, or the river, is given to theories that need it."""
    theory = theory_from_spec(config["theory"])
    with jax.enable_x64(config["objective"]["dtype"] == "float64"):
        return predict(
            build(config["objective"]),
            from_spec(config["tuner"]),
            theory=config["theory"],
            experiment=needed[0] if theory.needs_run else None,
            river=river_in(needed[0]) if theory.needs_river else None,
            **config["run"],
            start=_stored(config.get("start")),
            checkpoint=checkpoint,
            progress=progress,
            log=log,
        )


def make_plan(
    objective: Mapping[str, Any],
    tuners: Sequence[str],
    theories: Sequence[str] = (),
    *,
    seeds: Sequence[int | None],
    steps: int,
    modes: int = 3,
    track_every: int = 1,
    record_every: int = 1,
    track: Sequence[str] = ("sharpness",),
    keep_weights: int = 0,
    start: Mapping[str, Any] | None = None,
    diverged_at: float = 1e6,
    direction: str | None = None,
    test_every: int = 1,
    stop_loss: float | None = None,
    stop_accuracy: float | None = None,
    devices: int | None = None,
) -> Plan[Runs]:
    """The blocks of a comparison, and how they make the datasets of `simulate` and `predict`.

    Args:
        objective: as for `build`.
        tuners, theories: specifications.
        seeds: of the initial weights and of the batches; None is the objective's own start, labelled 0.
        steps, modes, track, track_every, record_every, diverged_at: as in `simulate`.
        keep_weights: as in `simulate`; of theories too that have weights.
        start: where all runs begin in place of the initial weights: `file`, of runs over tuner and seed; `tuner` and
            `step` in it; and `weights`, a hash of the weights by seed.
        direction: a specification, or None for steepest descent.
        test_every, stop_loss, stop_accuracy: as in `simulate`, of the runs; theories take all steps.
        devices: how many devices every run is computed on; None for jax's default one.

    Example:
        >>> plan = make_plan({"toy": "valley", "dtype": "float32"}, ["armijo", "cdat"], ["edge-only"], seeds=[None],
        ...                  steps=20)
        >>> len(plan.blocks)  # two runs, and what the edge alone says of both
        3
    """
    watched = {"test_every": (test_every, 1), "stop_loss": (stop_loss, None), "stop_accuracy": (stop_accuracy, None)}
    # What is off is left out, so that blocks computed before there was such an option keep their names.
    asked = {name: value for name, (value, off) in watched.items() if value != off}
    labelled: list[tuple[dict[str, Any], Block]] = []
    rivers: list[Block] = []
    for seed in seeds:
        run: dict[str, Any] = {"steps": steps, "seeds": seed, "modes": modes, "record_every": record_every}
        run["diverged_at"] = diverged_at
        begun = _begun(start, seed)
        run |= {"seeds": None} if begun else {}
        keeping = {"keep_weights": keep_weights} if keep_weights else {}
        run |= {} if devices is None else {"mesh": devices}
        for tuner in tuners:
            label = tuner if seed is None else f"{tuner}, seed {seed}"
            coords = {"tuner": tuner, "seed": seed or 0}
            tracked = run | {"track": track, "track_every": track_every} | keeping | asked
            config = plain(objective=objective, tuner=tuner, direction=direction, run=tracked, **begun)
            block = Block(experiment, config, label, checkpoints=True, logs=True)
            labelled.append((coords, block))
            for theory in theories:
                entry = theory_from_spec(theory)
                under = _ANY_TUNER if entry.ignores_tuner else tuner
                of_theory = run | (keeping if entry.has_weights else {})
                config = plain(objective=objective, tuner=under, theory=theory, run=of_theory, **begun)
                needs = (block,) if entry.needs_run else ()
                if entry.needs_river:
                    needs = (river_block(objective, entry, seed, steps, begun),)
                    rivers.append(needs[0])
                of_it = Block(prediction, config, f"{label}: {theory}", needs, checkpoints=True, logs=True)
                labelled.append(({"theory": theory} | coords, of_it))
    blocks: dict[str, Block] = {}
    for block in (*rivers, *(block for _, block in labelled)):
        blocks.setdefault(block.name, block)

    def combine(datasets: Sequence[xr.Dataset]) -> Runs:
        by_name = dict(zip(blocks, datasets, strict=True))
        pieces = [part(by_name[block.name], coords) for coords, block in labelled]
        predicted = [piece for piece in pieces if "theory" in piece.dims]
        measured = [piece for piece in pieces if "theory" not in piece.dims]
        return Runs(joined(measured), joined(predicted) if predicted else None)

    return Plan(tuple(blocks.values()), combine, ended)


def _begun(start: Mapping[str, Any] | None, seed: int | None) -> dict[str, Any]:
    """The start of the blocks of a seed, as part of their configuration."""
    if start is None:
        return {}
    return {"start": {**start, "seed": seed or 0, "weights": start["weights"][str(seed or 0)]}}


def river_block(
    objective: Mapping[str, Any],
    theory: Any,
    seed: int | None,
    steps: int,
    begun: Mapping[str, Any] | None = None,
) -> Block:
    """The river that a theory needs of an objective, from a seed's weights, or from where `begun` says."""
    config = plain(objective=objective, seed=seed, modes=theory.modes, length=theory.length, steps=steps, **begun or {})
    return Block(river, config, "river" if seed is None else f"river, seed {seed}", checkpoints=True)


def ended(run: xr.Dataset) -> str:
    """How a run, a theory of it, or a river ended: its status, and the last values that are known."""
    if "loss" not in run or "row" in run.dims:
        status = Status(int(run.status))
        return status.label if "length" not in run else f"flow time {float(run.length[-1]):.4g}"
    loss = run.loss.dropna("step")
    last = float(loss[-1]) if loss.size else float("nan")
    status = Status(int(run.status))
    label = f"{status.label}: {stall_reason(run)}" if status is Status.STALLED else status.label
    words = [label, f"{int(run.steps)} steps", f"loss {last:.4g}"]
    share = failed_share(run)
    words += [f"rule not met in {number(share, '.1%')} of them"] if share > 0 else []
    sharpness, product = (values.dropna("step") for values in (run.sharpness, run.stepsize * run.sharpness))
    if product.size:  # tracked, and with a step size
        words += [f"λ {float(sharpness[-1]):.3g}", f"ηλ {float(product[-1]):.3g}"]
    words += (
        [f"test accuracy {number(held_out, '.1%')}"]
        if np.isfinite(held_out := last_known(run, "test_accuracy"))
        else []
    )
    return ", ".join(words)


def part(block: xr.Dataset, coords: Mapping[str, Any]) -> xr.Dataset:
    """The dataset of a block with its place in the whole."""
    return block.expand_dims({name: [value] for name, value in coords.items()})


def joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Parts as one dataset, in their order along theory, tuner and seed."""
    # Theories differ in the variables and in the number of modes that they have: the union, blank where missing.
    whole = xr.combine_by_coords(parts, join="outer", compat="no_conflicts", combine_attrs="override")
    assert isinstance(whole, xr.Dataset)
    whole.attrs = common_attrs(parts)
    order = {
        name: list(dict.fromkeys(piece[name].item() for piece in parts))
        for name in ("theory", "tuner", "seed")
        if name in whole.dims
    }
    return record.describe(whole.sel(order))
