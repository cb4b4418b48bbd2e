"""Logs: where the rows of a run go while it is under way. A log is a function that is called with every chunk.

A log of your own is any function of a dataset, whose variables are those of the result:

    eos.simulate(net, "armijo", log=lambda rows: print(float(rows.loss[-1])))
"""

import importlib.util
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import xarray as xr

from eosmodel.results import record
from eosmodel.simulation import atomic

Log = Callable[[xr.Dataset], None]


def jsonl(path: str | Path) -> Log:
    """A log of lines of JSON, one for each step: {"step": 0, "loss": 0.5, …}, without what was not measured.

    A run that goes on from its checkpoint goes on in the file, and a new run replaces it: at the first chunk the lines
    from its first step on are removed.

    Example:
        >>> import tempfile
        >>> import eosmodel as eos
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "run.jsonl"
        ...     run = eos.simulate("double-well", "constant:0.1", 3, progress=False, log=jsonl(path))
        ...     [json.loads(line)["step"] for line in path.read_text().splitlines()]
        [0, 1, 2]
    """
    path = Path(path)
    fresh = True

    def log(rows: xr.Dataset) -> None:
        nonlocal fresh
        if fresh:
            path.parent.mkdir(parents=True, exist_ok=True)
            _keep_before(path, int(rows.step[0]))
            fresh = False
        with path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows_of(rows))

    return log


def tensorboard(folder: str | Path) -> Log:
    """A log for TensorBoard, which shows `folder` and all below it; needs `pip install eosmodel[tensorboard]`."""
    _check_installed("tensorboard")
    from tensorboard.summary import Writer  # type: ignore[import-not-found]

    writer = Writer(str(folder))

    def log(rows: xr.Dataset) -> None:
        for step, values in numbers_of(rows).items():
            for name, value in values.items():
                writer.add_scalar(name, value, step)
        writer.flush()

    return log


def wandb(name: str | None = None, project: str = "eosmodel", **options: Any) -> Log:
    """A log for Weights & Biases, one run of the project; needs `pip install eosmodel[wandb]`. The options are those of
    `wandb.init`."""
    _check_installed("wandb")
    import wandb  # type: ignore[import-not-found]

    run = wandb.init(project=project, name=name, reinit="create_new", **options)

    def log(rows: xr.Dataset) -> None:
        for step, values in numbers_of(rows).items():
            run.log(values, step=step)

    return log


KINDS = ("jsonl", "tensorboard", "wandb")
"""What `--log` may be."""


def check(kind: str) -> None:
    """Raise ValueError if what a log needs is not installed."""
    if kind != "jsonl":
        _check_installed(kind)


def log_to(kind: str, folder: Path, name: str) -> Log:
    """The log of a run of a command: a file or a folder of this name in `folder`, or a run of this name."""
    file = re.sub(r"[^\w.=+-]+", "_", name)
    if kind == "jsonl":
        return jsonl(folder / f"{file}.jsonl")
    return tensorboard(folder / file) if kind == "tensorboard" else wandb(name, dir=str(folder))


def rows_of(rows: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Every step of every run as plain values by name; what is not a finite number is left out."""
    for row in record.table(rows).to_dict("records"):
        plain = {str(key): value.item() if hasattr(value, "item") else value for key, value in row.items()}
        yield {key: value for key, value in plain.items() if not isinstance(value, float) or math.isfinite(value)}


def numbers_of(rows: xr.Dataset) -> dict[int, dict[str, float]]:
    """The numbers by step; of several runs a name says which, as "loss/seed 0".

    Example:
        >>> rows = xr.Dataset({"loss": (("seed", "step"), [[1.0], [2.0]])}, {"seed": [3, 4], "step": [7]})
        >>> numbers_of(rows)
        {7: {'loss/seed 3': 1.0, 'loss/seed 4': 2.0}}
    """
    batch = [str(dim) for dim in rows.loss.dims if dim != "step"]
    steps: dict[int, dict[str, float]] = {}
    for row in rows_of(rows):
        step, which = row.pop("step"), "".join(f"/{dim} {row.pop(dim)}" for dim in batch)
        numbers = {name + which: value for name, value in row.items() if isinstance(value, int | float)}
        steps.setdefault(step, {}).update(numbers)
    return steps


def _keep_before(path: Path, step: int) -> None:
    """Keep the lines of a file of an earlier part of the run."""
    kept = []
    if path.exists() and step > 0:
        kept = [line for line in path.read_text().splitlines() if json.loads(line)["step"] < step]
    with atomic(path) as temporary:
        temporary.write_text("".join(line + "\n" for line in kept))


def _check_installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"a log for {package} needs its package: pip install 'eosmodel[{package}]'")
