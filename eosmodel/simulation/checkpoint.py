"""Checkpoints: a run's progress on disk, with the identity of the run, written in linear time.

A checkpoint is two files. The first has a fixed size: it holds the carry and the identity of the run, and is replaced
after every chunk. The second, `.rows`, holds the rows and the time of every chunk, which are appended. Chunks that the
first file does not count are ignored. The weights that a run keeps are appended to a third file, `.weights`.
"""

import contextlib
import glob
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eosmodel.simulation.identity import differences
from eosmodel.simulation.loop import Carry, Progress, Rows

_SECONDS, _COUNT = np.dtype("<f8"), np.dtype("<i8")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, which replaces `path` if the block succeeds and is deleted otherwise."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path, progress: Progress, identity: Mapping[str, str]) -> None:
    """Write `progress` to `path` after a chunk, with the identity of the run.

    Only new chunks are written, so that the checkpoints of a run take linear time.
    """
    path, file = Path(path), _rows_file(path)
    header = _header(path)
    # The file of another run is overwritten.
    written = header["chunks"] if header and header["identity"] == dict(identity) else 0
    layout = _layout(progress)
    with file.open("r+b" if written and file.exists() else "wb") as stream:
        stream.seek(written * _chunk(layout, _length(progress)).itemsize)
        for i in range(written, len(progress.chunks)):
            # Of a full disk `tofile` would say only how many rows were written.
            stream.write(_table(progress.chunks[i], progress.axis, layout).tobytes())
            stream.write(np.asarray(progress.seconds[i], _SECONDS).tobytes())
            stream.write(np.asarray(progress.kept[i].shape[progress.axis] if progress.kept else 0, _COUNT).tobytes())
        stream.truncate()
    _save_kept(_weights_file(path), progress, written)
    header = {
        "identity": dict(identity),
        "chunks": len(progress.chunks),
        "rows": _length(progress),
        "axis": progress.axis,
        "layout": [[name, layout[name].base.str, layout[name].shape] for name in layout.names or ()],
        "compile_seconds": progress.compile_seconds,
        "weights": _kept_layout(progress) if progress.kept else None,
    }
    content: dict[str, Any] = {"header": json.dumps(header)}
    content |= {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(progress.carry))}
    with atomic(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **content)


def load(path: Path, like: Carry, identity: Mapping[str, str]) -> Progress | None:
    """Read a checkpoint back into the structure `like`; None if there is no file.

    Raises:
        ValueError: the file belongs to another run; the message names the file and the differences.
    """
    path = Path(path)
    header = _header(path)
    if header is None:
        return None
    if other := differences(header["identity"], identity):
        raise ValueError(
            f"checkpoint {path} belongs to another run (differs in {other}); delete it, or name another file"
        )
    layout = np.dtype([(name, kind, tuple(shape)) for name, kind, shape in header["layout"]])
    stored = np.fromfile(_rows_file(path), _chunk(layout, header["rows"]), header["chunks"])
    chunks = tuple(_untable(table, header["axis"]) for table in stored["rows"])
    with np.load(path, allow_pickle=False) as content:
        leaves, structure = jax.tree.flatten(like)
        arrays = [jax.numpy.asarray(content[f"leaf{i}"], dtype=leaf.dtype) for i, leaf in enumerate(leaves)]
        carry = jax.tree.unflatten(structure, arrays)
        kept = _load_kept(_weights_file(path), header, stored["kept"])
        return Progress(carry, chunks, header["axis"], stored["seconds"], header["compile_seconds"], kept)


def remove(path: Path) -> None:
    """Delete a checkpoint and the files beside it that continue its name, if they exist."""
    path = Path(path)
    for file in (path, *path.parent.glob(f"{glob.escape(path.name)}.*")):
        file.unlink(missing_ok=True)


def _rows_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.rows")


def _weights_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.weights")


def _save_kept(file: Path, progress: Progress, written: int) -> None:
    """Append the weights that the chunks from the `written`-th on have kept."""
    if not progress.kept:
        return
    axis = progress.axis
    before = sum(kept.shape[axis] for kept in progress.kept[:written])
    with file.open("r+b" if written and file.exists() else "wb") as stream:
        kind, shape = _kept_layout(progress)
        stream.seek(before * np.dtype(kind).itemsize * math.prod(shape))
        for kept in progress.kept[written:]:
            stream.write(np.ascontiguousarray(np.moveaxis(kept, axis, 0)).tobytes())
        stream.truncate()


def _kept_layout(progress: Progress) -> tuple[str, list[int]]:
    """The dtype and the shape of the weights of one kept step, the axes of a batch first."""
    shape = list(progress.kept[0].shape)
    del shape[progress.axis]
    return progress.kept[0].dtype.str, shape


def _load_kept(file: Path, header: Mapping[str, Any], counts: np.ndarray) -> tuple[np.ndarray, ...]:
    if header["weights"] is None:
        return ()
    kind, shape = header["weights"]
    whole = np.fromfile(file, kind, int(counts.sum()) * math.prod(shape)).reshape(-1, *shape)
    return tuple(np.moveaxis(kept, 0, header["axis"]) for kept in np.split(whole, np.cumsum(counts)[:-1]))


def _header(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as content:
        if "header" not in content:
            raise ValueError(f"checkpoint {path} was written by another version; delete it, or name another file")
        return json.loads(str(content["header"]))


def _length(progress: Progress) -> int:
    """The number of rows in a chunk, the same for all chunks."""
    return next(iter(progress.chunks[0].values())).shape[progress.axis]


def _layout(progress: Progress) -> np.dtype:
    """The record type of one row: every variable with its dtype and shape, the axes of a batch first."""
    rows = progress.chunks[0]
    shapes = {name: np.moveaxis(values, progress.axis, 0).shape[1:] for name, values in rows.items()}
    return np.dtype([(name, values.dtype.str, shapes[name]) for name, values in rows.items()])


def _chunk(layout: np.dtype, rows: int) -> np.dtype:
    """The record type of one chunk: its rows, its time, and of how many steps it kept the weights."""
    return np.dtype([("rows", layout, (rows,)), ("seconds", _SECONDS), ("kept", _COUNT)])


def _table(rows: Rows, axis: int, layout: np.dtype) -> np.ndarray:
    table = np.empty(next(iter(rows.values())).shape[axis], layout)
    for name, values in rows.items():
        table[name] = np.moveaxis(values, axis, 0)
    return table


def _untable(table: np.ndarray, axis: int) -> Rows:
    return {name: np.ascontiguousarray(np.moveaxis(table[name], 0, axis)) for name in table.dtype.names or ()}
