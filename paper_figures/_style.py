"""One look for all figures: sizes, type, and styles that differ in lightness and in dashes as well as in colour."""

from typing import Any

import matplotlib
from matplotlib.figure import Figure

SINGLE, DOUBLE = 3.3, 6.8
"""Widths of a column and of a page, in inches."""

# Nothing is smaller than 7 points. Type 42 keeps text in the PDF as text.
RC = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.2,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "savefig.dpi": 220,
    "pdf.fonttype": 42,
}
styled = matplotlib.rc_context(RC)
"""Decorator of a `draw` function."""

# Okabe and Ito's palette, from dark to light; neighbours differ in lightness.
BLACK, BLUE, RED, GREEN, PINK, ORANGE, SKY, GREY = (
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a8a8a",
)  # fmt: skip
CYCLE: tuple[dict[str, Any], ...] = (
    {"color": BLACK, "linestyle": "-", "marker": "o"},
    {"color": RED, "linestyle": (0, (5, 1.5)), "marker": "s"},
    {"color": BLUE, "linestyle": (0, (5, 1.5, 1, 1.5)), "marker": "^"},
    {"color": ORANGE, "linestyle": "-", "marker": "D"},
    {"color": GREEN, "linestyle": (0, (1, 1)), "marker": "v"},
    {"color": PINK, "linestyle": (0, (3, 1, 1, 1, 1, 1)), "marker": "P"},
    {"color": SKY, "linestyle": (0, (8, 2)), "marker": "X"},
    {"color": GREY, "linestyle": (0, (2, 2)), "marker": "<"},
)
EDGE: dict[str, Any] = {"color": BLACK, "linewidth": 0.7, "linestyle": (0, (4, 3)), "zorder": 1}
"""The line at s = 2, and the like."""


def look(index: int, marker: bool = False) -> dict[str, Any]:
    """Colour and line style of the index-th thing, or colour and marker."""
    style = CYCLE[index % len(CYCLE)]
    return {key: value for key, value in style.items() if key != ("linestyle" if marker else "marker")}


def sheet(width: float, height: float) -> Figure:
    """A blank figure without pyplot's state."""
    return Figure(figsize=(width, height), layout="constrained")


def legend_above(figure: Figure, handles: dict[str, Any], columns: int | None = None) -> None:
    """One legend above everything, one entry for each label."""
    columns = min(len(handles), 5) if columns is None else columns
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=columns)


def letter(axes) -> None:
    """Letters (a), (b), … before the titles of axes."""
    for i, ax in enumerate(axes):
        title = ax.get_title()
        ax.set_title("")
        ax.set_title(f"({chr(97 + i)}) {title}".rstrip(), loc="left")


def fit_text(figure: Figure, size: float = 7) -> None:
    """Bring the text that a plotting function of the library wrote to the size of a page's column."""
    for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize") and hasattr(artist, "get_text")):
        if text.get_fontsize() > 8:
            text.set_fontsize(size)
