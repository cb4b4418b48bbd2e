"""Blocks: independent pieces of a study, each a file named by its configuration, computed once and read after that."""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from eosmodel.results import record
from eosmodel.studies.runners import Runner, here

Blocks = Generator[tuple[dict[str, Any], xr.Dataset, bool], None, None]


def config_of(**options: Any) -> dict[str, Any]:
    """A configuration as plain as JSON, as it comes back from a file."""
    return json.loads(json.dumps(options))


def name_of(config: Mapping[str, Any]) -> str:
    """A name that is the same for equal configurations and in every process."""
    return hashlib.sha256(_text(config).encode()).hexdigest()[:20]


def path_of(folder: Path, config: Mapping[str, Any]) -> Path:
    """The file of a block."""
    return folder / f"{name_of(config)}.nc"


def finish(block: xr.Dataset, config: Mapping[str, Any], seconds: float) -> xr.Dataset:
    """Mark a block as computed to its end: variables `done` and `seconds`, and its configuration."""
    done = ((), np.int8(1), {"long_name": "1: this block was computed to its end"})
    taken = ((), seconds, {"long_name": "wall-clock seconds of the block", "units": "s"})
    return block.assign(done=done, seconds=taken).assign_attrs(config=_text(config))


def load(folder: Path, config: Mapping[str, Any]) -> xr.Dataset | None:
    """A block from its file, or None where there is none, none that can be read, or one that is not done."""
    path = path_of(folder, config)
    if not path.exists():
        return None
    try:
        block = record.load(path)
    except (OSError, ValueError):  # not a netCDF file, as after a full disk
        return None
    done = "done" in block and int(block.done) == 1 and block.attrs.get("config") == _text(config)
    return block if done else None


def load_all(folder: Path, configs: Sequence[Mapping[str, Any]]) -> list[xr.Dataset]:
    """Blocks from their files.

    Raises:
        FileNotFoundError: one that is not done.
    """
    found = []
    for config in configs:
        block = load(folder, config)
        if block is None:
            raise FileNotFoundError(f"{path_of(folder, config)} is missing or not done; run its command to the end")
        found.append(block)
    return found


def run(
    compute: Callable[[Mapping[str, Any]], xr.Dataset],
    configs: Sequence[dict[str, Any]],
    folder: Path,
    runner: Runner = here,
) -> Blocks:
    """Every block as it is known: first those that are done already, then the others as they are finished.

    Each is written whole or not at all, by this process, before it is given.

    Args:
        compute: makes a block of its configuration; a function of a module, which `finish`es what it returns.
        configs: the configurations, from `config_of`.
        folder: where the block files are; made if it does not exist.
        runner: where the blocks are computed.

    Returns:
        An iterator over (configuration, block, whether it was computed now).
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for config in configs:
        block = load(folder, config)
        if block is None:
            missing.append(config)
        else:
            yield config, block, False
    with closing(runner(compute, missing)) as results:
        for i, block in results:
            record.save(block, path_of(folder, missing[i]))
            yield missing[i], block, True


def _text(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)
