"""Records: the rows of a run as a labelled dataset with all that is needed to reproduce it."""

import datetime
import functools
import itertools
import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel._status import Status
from eosmodel.results.names import VARIABLES
from eosmodel.simulation import Progress, atomic

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]


# Reading a package's metadata takes a millisecond, a prediction on a river some twenty.
_version = functools.cache(version)


def provenance(config: Mapping[str, Any]) -> dict[str, str]:
    """What is needed to reproduce a result: configuration, versions, device, command, and the time."""
    import jax

    packages = ("eosmodel", "jax", "numpy", "equinox", "optax", "xarray")
    device = jax.devices()[0]
    return {
        "config": json.dumps(config, sort_keys=True),
        "versions": json.dumps({"python": platform.python_version()} | {name: _version(name) for name in packages}),
        "device": f"{device.platform}: {device.device_kind}",
        "command": " ".join(Path(word).name if i == 0 else word for i, word in enumerate(sys.argv)),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def to_dataset(progress: Progress, record_every: int, lead: tuple[str, ...] = (), keep_weights: int = 0) -> xr.Dataset:
    """Label the rows of a run.

    Args:
        progress: from `simulate.run`.
        record_every: steps between rows.
        lead: names of the batch dimensions in front of the rows.
        keep_weights: steps between kept weights, 0 where there are none.

    Returns:
        A dataset over (*lead, step), (*lead, step, mode) and of weights (*lead, kept_step, weight), with `status`,
        `steps` (completed), `seconds_per_step` and `compile_seconds` (NaN for a batch) per run.
    """
    data: dict[str, Any] = {}
    rows = progress.rows
    batch = len(lead)
    for name, values in rows.items():
        if name == "moved":
            continue
        inner = ("mode",) if values.ndim - batch == 2 else ()
        data[name] = ((*lead, "step", *inner), values)
    count = next(iter(rows.values())).shape[batch]
    status = np.asarray(progress.carry.status)
    data["status"] = (lead, np.where((status == int(Status.OK)) & ~_moved(rows, batch), int(Status.STALLED), status))
    data["steps"] = (lead, np.asarray(progress.carry.t))
    shape = np.shape(progress.carry.status)
    data["seconds_per_step"] = (lead, np.full(shape, _seconds_per_step(progress)))
    data["compile_seconds"] = (lead, np.full(shape, progress.compile_seconds))
    coords: dict[str, Any] = {"step": np.arange(count) * record_every}
    if "eigenvalues" in rows:
        coords["mode"] = np.arange(1, rows["eigenvalues"].shape[-1] + 1)
    if keep_weights:
        (kept,) = progress.kept
        data["weights"] = ((*lead, "kept_step", "weight"), kept)
        coords["kept_step"] = np.arange(kept.shape[batch]) * keep_weights
    return describe(xr.Dataset(data, coords))


def latest(progress: Progress, steps: int, record_every: int, lead: tuple[str, ...] = ()) -> xr.Dataset:
    """The rows of the last chunk of a run of so many steps, as in `to_dataset`, without what is known at the end."""
    axis = progress.axis
    length = next(iter(progress.chunks[-1].values())).shape[axis]
    first = (len(progress.chunks) - 1) * length
    count = min(length, -(-steps // record_every) - first)
    rows = {name: np.take(values, range(count), axis) for name, values in progress.chunks[-1].items()}
    dataset = to_dataset(progress._replace(chunks=(rows,)), record_every, lead)
    kept = [name for name in rows if name in dataset]  # some say only how the run ended
    return dataset[kept].assign_coords(step=dataset.step + first * record_every)


def _moved(rows: Mapping[str, np.ndarray], batch: int) -> np.ndarray:
    """Whether the weights moved at any recorded step, per run; a theory may not say, nor how large its gradient was."""
    if "moved" in rows:
        return np.asarray(rows["moved"].any(axis=batch))
    if "stepsize" not in rows:
        return np.asarray(True)
    moves = rows["stepsize"] * rows.get("gradient_norm", 1.0)
    return (np.nan_to_num(moves) != 0).any(axis=batch)


def _seconds_per_step(progress: Progress) -> float:
    """Seconds per step over all chunks; of a batch over all but the first, which compiles, if there are others."""
    batched = np.ndim(progress.carry.status) > 0
    skipped = 1 if batched and len(progress.seconds) > 1 else 0
    share = (len(progress.seconds) - skipped) / len(progress.seconds)
    return float(progress.seconds[skipped:].sum() / max(share * np.max(np.asarray(progress.carry.t)), 1))


def describe(dataset: xr.Dataset) -> xr.Dataset:
    """Attach symbol, unit and meaning to every known variable, and the meaning of the status codes."""
    for name in [*dataset.data_vars, *dataset.coords]:
        if name in VARIABLES:
            dataset[name].attrs |= VARIABLES[name].attrs()
    if "status" in dataset:
        dataset["status"].attrs |= {
            "flag_values": [int(s) for s in Status],
            "flag_meanings": " ".join(s.label for s in Status),
        }
    return dataset


def save(dataset: xr.Dataset, path: Path) -> None:
    """Write a netCDF file atomically: a reader sees the old file or the complete new one."""
    with atomic(Path(path)) as temporary:
        # HDF5 itself crashes the process when it closes a file on a full disk; a plain write says what is wrong.
        temporary.write_bytes(dataset.to_netcdf(engine="h5netcdf"))


def load(path: Path) -> xr.Dataset:
    """Read a dataset into memory and close the file.

    Raises:
        FileNotFoundError: naming the file and the commands that write it.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist; `eosmodel compare` and `eosmodel train` write such files")
    return xr.load_dataset(path, engine="h5netcdf")


def to_csv(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a dataset as a table of comma-separated values: a row for each step of each run, a column for each
    variable.

    Vectors have a column for each entry, as amplitude_1, amplitude_2. Statuses are words. Weights, and rows after the
    end of a run, which hold nothing, are left out. The file is written atomically.

    Args:
        dataset: from `simulate`, `predict` or any file of the command line. Without steps, as of a phase diagram, there
            is a row for each entry of its grid.
        path: the file; an earlier one is replaced.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> run = xr.Dataset({"loss": ("step", [1.0, 0.5]), "amplitude": (("step", "mode"), [[3.0, 4.0], [5.0, 6.0]])},
        ...                  {"step": [0, 1], "mode": [1, 2]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(to_csv(run, Path(folder) / "run.csv").read_text())
        step,loss,amplitude_1,amplitude_2
        0,1.0,3.0,4.0
        1,0.5,5.0,6.0
        <BLANKLINE>
    """
    with atomic(Path(path)) as temporary:
        table(dataset).to_csv(temporary, index=False)
    return Path(path)


def table(dataset: xr.Dataset) -> "pd.DataFrame":
    """A dataset as the table that `to_csv` writes."""
    dataset = dataset.drop_dims("kept_step", errors="ignore")
    rows = dataset["loss"].dims if "loss" in dataset else tuple(map(str, dataset.dims))
    columns: dict[str, xr.DataArray] = {}
    for name, variable in dataset.data_vars.items():
        inner = [dim for dim in variable.dims if dim not in rows]
        for place in itertools.product(*(range(variable.sizes[dim]) for dim in inner)):
            at = dict(zip(inner, place, strict=True))
            labels = [str(variable[dim].values[i]) if dim in variable.coords else str(i) for dim, i in at.items()]
            columns["_".join([str(name), *labels])] = variable.isel(at).drop_vars(inner, errors="ignore")
    if "status" in columns:
        words = {int(status): status.label for status in Status}
        columns["status"] = columns["status"].copy(data=np.vectorize(words.get, otypes=[object])(columns["status"]))
    whole = xr.Dataset(columns)
    stepwise = [name for name, column in whole.data_vars.items() if "step" in column.dims and column.dtype.kind == "f"]
    frame = whole.to_dataframe(dim_order=list(rows)) if rows else whole.expand_dims("run").to_dataframe()
    return (frame.dropna(how="all", subset=stepwise) if stepwise else frame).reset_index()
