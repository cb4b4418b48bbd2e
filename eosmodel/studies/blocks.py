"""Blocks: the pieces of a study, each a file named by what it is, computed once and read after that."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from eosmodel._specs import sources
from eosmodel.logs import Log
from eosmodel.results import record

RESULTS = 1
"""Version of the numbers: it is raised with every change of eosmodel by which a configuration that was computed before
gives other numbers. Blocks and folders of another one are not gone on with."""


HOW = ("chunk", "mesh")
"""Entries of a configuration that say how a result is computed, and on which it depends by rounding alone."""


def _of_result(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without `HOW`, which may be in the part of it that is the objective's."""
    kept = {name: value for name, value in config.items() if name not in HOW}
    return {name: _of_result(value) if isinstance(value, Mapping) else value for name, value in kept.items()}


def plain(**options: Any) -> dict[str, Any]:
    """A configuration as plain as JSON, as it comes back from a file.

    Example:
        >>> plain(steps=10, seeds=(0, 1))
        {'steps': 10, 'seeds': [0, 1]}
    """
    return json.loads(json.dumps(options))


@dataclass(frozen=True, eq=False)
class Block:
    """A function and the plain configuration that it is called with: one piece of a study.

    Attributes:
        compute: makes the dataset, as compute(config, *needed), and depends on nothing else: not on the precision that
            jax is set to, nor on other blocks. A function of a module, so that it can be sent to another process.
        config: from `plain`.
        label: what to call the block on the screen.
        needs: blocks whose datasets `compute` is given too.
        checkpoints: `compute` also takes the keywords `checkpoint`, a file to write while it is under way and to go on
            from if it exists (or None), and `progress`, the label of a bar that shows its steps (or False).
        logs: `compute` also takes the keyword `log`, which is called with every chunk of its rows (or None).

    Example:
        >>> import xarray as xr
        >>> block = Block(lambda config: xr.Dataset({"twice": 2 * config["number"]}), plain(number=3))
        >>> int(block.run().twice)
        6
    """

    compute: Callable[..., xr.Dataset]
    config: dict[str, Any]
    label: str = ""
    needs: tuple["Block", ...] = ()
    checkpoints: bool = False
    logs: bool = False

    @cached_property
    def identity(self) -> str:
        """What decides the result, as text: function, configuration but for `HOW`, what it needs, and `RESULTS`."""
        content = {
            "compute": f"{self.compute.__module__}.{self.compute.__qualname__}",
            "config": _of_result(self.config),
            "needs": [block.identity for block in self.needs],
            "results": RESULTS,
        }
        if code := sources(self.config):  # a module of the user's own may change
            content["code"] = code
        return json.dumps(content, sort_keys=True)

    @property
    def name(self) -> str:
        """A hash of the identity, the same in every process."""
        return hashlib.sha256(self.identity.encode()).hexdigest()[:20]

    def run(
        self, *needed: xr.Dataset, checkpoint: Path | None = None, progress: bool | str = False, log: Log | None = None
    ) -> xr.Dataset:
        """Compute the block; see `needs`, `checkpoints` and `logs` for the arguments.

        Returns:
            What `compute` gives, with the attributes `done`, 1; `seconds`, the wall-clock time; `block`, the identity.
        """
        begin = time.perf_counter()
        options: dict[str, Any] = {"checkpoint": checkpoint, "progress": progress} if self.checkpoints else {}
        options |= {"log": log} if self.logs else {}
        result = self.compute(self.config, *needed, **options)
        return result.assign_attrs(done=1, seconds=time.perf_counter() - begin, block=self.identity)


def timed(block: xr.Dataset) -> xr.Dataset:
    """A block with its wall-clock time as the variable `seconds` and without its attributes, to be combined."""
    seconds = ((), block.attrs["seconds"], {"long_name": "wall-clock seconds of the block", "units": "s"})
    return block.drop_attrs(deep=False).assign(seconds=seconds)


def path_of(folder: Path, block: Block) -> Path:
    """The file of a block."""
    return folder / f"{block.name}.nc"


def checkpoint_of(folder: Path, block: Block) -> Path:
    """The file that a block with checkpoints keeps while it is under way."""
    return folder / f"{block.name}.checkpoint.npz"


def load(folder: Path, block: Block) -> xr.Dataset | None:
    """A block from its file, or None where there is none, none that can be read, or one that is not done."""
    path = path_of(folder, block)
    if not path.exists():
        return None
    try:
        dataset = record.load(path)
    except (OSError, ValueError):  # not a netCDF file, as after a full disk
        return None
    done = dataset.attrs.get("done") == 1 and dataset.attrs.get("block") == block.identity
    # How it lay in this file is nothing that a dataset made of it should be written by.
    return dataset.drop_encoding() if done else None


def load_all(folder: Path, blocks: Sequence[Block]) -> list[xr.Dataset]:
    """Blocks from their files.

    Raises:
        FileNotFoundError: one that is not done.
    """
    datasets = []
    for block in blocks:
        dataset = load(folder, block)
        if dataset is None:
            raise FileNotFoundError(f"{path_of(folder, block)} is missing or not done; run its command to the end")
        datasets.append(dataset)
    return datasets
