"""Checkpoints: a run's progress in one `.npz` file, written atomically, tied to the run that it belongs to."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eosmodel.simulation.loop import Carry, Progress


def fingerprint(*parts: Any) -> str:
    """A hash of trees of arrays and settings, the same in every process: equal runs have equal fingerprints."""
    digest = hashlib.sha256()
    for part in parts:
        leaves, structure = jax.tree.flatten(part)
        # A function's address is the one thing in a tree's description that differs between processes.
        digest.update(re.sub(r"0x[0-9a-f]+", "", str(structure)).encode())
        for leaf in leaves:
            if hasattr(leaf, "dtype"):
                array = np.asarray(leaf)
                digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
            else:
                digest.update(repr(leaf).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, moved onto `path` in one step if the block succeeds, deleted if not."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path, progress: Progress, tag: str) -> None:
    """Write `progress` to `path`, marked as belonging to the run whose fingerprint is `tag`."""
    content: dict[str, Any] = {"tag": tag, "seconds": progress.seconds, "compile": progress.compile_seconds}
    content |= {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(progress.carry))}
    content |= {f"row_{name}": value for name, value in progress.rows.items()}
    with atomic(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **content)


def load(path: Path, like: Carry, tag: str) -> Progress | None:
    """Read a checkpoint back into the structure `like`; None if there is no file.

    Raises:
        ValueError: if the file belongs to another run, naming the file.
    """
    if not Path(path).exists():
        return None
    with np.load(path, allow_pickle=False) as content:
        if str(content["tag"]) != tag:
            raise ValueError(f"checkpoint {path} belongs to another run; delete it, or name another file")
        leaves, structure = jax.tree.flatten(like)
        arrays = [jax.numpy.asarray(content[f"leaf{i}"], dtype=leaf.dtype) for i, leaf in enumerate(leaves)]
        carry = jax.tree.unflatten(structure, arrays)
        rows = {name.removeprefix("row_"): content[name] for name in content.files if name.startswith("row_")}
        return Progress(carry, rows, content["seconds"], float(content["compile"]))
