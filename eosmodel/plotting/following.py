"""A picture that follows a run while it is under way."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import xarray as xr

from eosmodel.plotting.trajectories import trajectories

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def live(show: "Callable[[Figure], None] | None" = None) -> Callable[[xr.Dataset], None]:
    """A log (see `eosmodel.logs`) that draws the `trajectories` of all rows so far after every chunk of a run.

    Args:
        show: what is done with each picture, as to save it; None to replace the one below the cell of a notebook.

    Raises:
        ModuleNotFoundError: no IPython, where `show` is None.

    Example:
        >>> import eosmodel as eos
        >>> pictures = []
        >>> log = eos.plotting.live(pictures.append)
        >>> run = eos.simulate("valley", "constant:0.1", 250, progress=False, log=log)
        >>> len(pictures)
        3
    """
    show = _in_notebook() if show is None else show
    chunks: list[xr.Dataset] = []

    def log(rows: xr.Dataset) -> None:
        if chunks and rows.step[0] <= chunks[-1].step[-1]:  # of another run
            chunks.clear()
        # A prediction is drawn as a run is, and an ensemble by its first member.
        chunks.append(rows.drop_vars("theory", errors="ignore").isel(member=0, missing_dims="ignore"))
        show(trajectories(xr.concat(chunks, "step", data_vars="minimal", coords="minimal", compat="override")))

    return log


def _in_notebook() -> "Callable[[Figure], None]":
    from IPython.display import DisplayHandle, Image

    handle = DisplayHandle()
    put = handle.display

    def show(figure: "Figure") -> None:
        nonlocal put
        with io.BytesIO() as file:
            figure.savefig(file, format="png")
            put(Image(file.getvalue()))
        put = handle.update

    return show
