"""The sheet that every picture is drawn on, and what several pictures have in common."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel.results.formatting import number, setting
from eosmodel.theory import THEORIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by all; line styles tell them apart in print. The first theory of the registry has
# the first style, and so on.
_THEORY_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "linestyle": "-"},
    {"color": "#D55E00", "linestyle": (0, (5, 1.5))},
    {"color": "#E69F00", "linestyle": (0, (5, 1.5, 1, 1.5))},
    {"color": "#6A3D9A", "linestyle": "-"},
    {"color": "#56B4E9", "linestyle": (0, (4, 1, 1, 1))},
    {"color": "#000000", "linestyle": (0, (4, 1, 1, 1))},
    {"color": "#999933", "linestyle": (0, (4, 1, 1, 1))},
    {"color": "#009E73", "linestyle": (0, (1, 1))},
    {"color": "#CC79A7", "linestyle": (0, (3, 1, 1, 1, 1, 1))},
)
_SPARE_COLORS = ("#882255", "#56B4E9", "#000000", "#999933")


# Coordinates that name what a single run or cell is of.
_PLACES = ("workload", "loss_function", "tuner")

_TUNER_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")


def new_figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def name_subject(figure: "Figure", dataset: xr.Dataset) -> None:
    """Write above a figure what it shows, if the dataset says so."""
    text = subject(figure, dataset)
    if text:
        figure.suptitle(text, fontsize=10)


def subject(figure: "Figure", dataset: xr.Dataset) -> str:
    """What a dataset is of, in lines as wide as a figure: system and tuner, or the objective of runs and the tuner of a
    single one; empty if it does not say so."""
    config = json.loads(dataset.attrs.get("config", "{}"))
    names = [config[key] for key in ("system", "tuner") if isinstance(config.get(key), str)]
    if not names:
        names = [str(dataset[name].item()) for name in _PLACES if name in dataset.coords and dataset[name].ndim == 0]
        names = [setting(config) or str(dataset.attrs.get("objective", "")), *names]
    # Of a part of a figure as well, which has no size of its own in inches.
    width = round(12 * figure.bbox.width / figure.dpi)
    return textwrap.fill(textwrap.shorten(", ".join(filter(None, names)), 2 * width, placeholder=" …"), width)


def tuner_style(i: int) -> dict[str, Any]:
    """Colour and dashes of the i-th tuner."""
    return {"color": _TUNER_COLORS[i % 8], "linestyle": ("-", "--", ":")[i // 8 % 3]}


def theory_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and line of theories, those with a style of their own first and in the registry's order."""
    names = list(names)
    # A registered theory beyond the last style gets a spare one, as a theory with parameters does.
    known = {name: style for name, style in zip(THEORIES, _THEORY_STYLES, strict=False) if name in names}
    others = [name for name in names if name not in known]
    return known | {n: {"color": _SPARE_COLORS[i % 4], "linestyle": (0, (4, 1, 1, 1))} for i, n in enumerate(others)}


def error_map(ax: "Axes", values: np.ndarray, marks: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Any:
    """Errors as colours on a log scale and written, each with its mark; the image, for a colour bar."""
    from matplotlib.colors import LogNorm

    image = ax.imshow(np.maximum(values, 1e-12), norm=LogNorm(0.005, 1.0, clip=True), cmap="YlOrBr", aspect="auto")
    ax.set_facecolor("#eeeeee")
    ax.grid(False)
    for (i, j), value in np.ndenumerate(values):
        dark = not np.isnan(value) and value > 0.2
        text = _cell(value) + str(marks[i, j])
        ax.text(j, i, text, ha="center", va="center", fontsize=8.5, color="w" if dark else "k")
    ax.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, labelsize=9)
    ax.spines[:].set_visible(False)
    return image


def _cell(value: float) -> str:
    return number(value, ".3f" if value < 0.01 else "#.2g" if value < 10 else ".0f")
