"""Numbers and tables as text, the same in messages, reports and pictures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def number(value: float | None, digits: str = ".3g") -> str:
    """A number as text, with a true minus sign, ∞, a space before %, and – for a missing value (None or NaN).

    Args:
        value: the number.
        digits: a format specification of Python: ".3f", "+.3f" for a number with its sign, ".0%", "d".

    Example:
        >>> number(-1234.5), number(-0.0001, "+.3f"), number(0.957, ".0%"), number(float("-inf")), number(None)
        ('−1.23e+03', '+0.000', '96 %', '−∞', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    text = format(value, digits)
    if text.startswith("-") and float(text.rstrip("%")) == 0:
        text = format(0.0, digits)
    return text.replace("-", "−").replace("inf", "∞").replace("%", " %")


def megabytes(size: float) -> str:
    """A number of bytes in megabytes, or gigabytes from a thousand of them on.

    >>> megabytes(65_000), megabytes(123_456_789), megabytes(3.2e9)
    ('0.065 MB', '123 MB', '3.2 GB')
    """
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.2g} MB" if size < 99.5e6 else f"{size / 1e6:.0f} MB"


def aligned(lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Lines of cells as columns, the first line a header with a rule under it.

    Args:
        lines: cells by line, as many in each.
        left: indices of the columns that are aligned to the left; the others are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.insert(1, "─" * max(map(len, text)))
    return "\n".join(text)


def setting(config: Mapping[str, Any]) -> str:
    """The objective in a few words; empty if the configuration does not name it."""
    if config.get("objective", "network") != "network":
        return str(config["objective"])
    if "net" not in config:
        return ""
    count, seed, classes = config["samples"], config.get("subset_seed"), config.get("classes")
    samples = "all samples" if count is None else f"the first {count} samples"
    if count is not None and seed is not None:
        samples = f"{count} random samples (seed {seed})"
    samples += "" if classes is None else f" of classes {classes}"
    size = config.get("batch_size")
    batch = "" if "batch_sizes" in config else ", full batch" if size is None else f", batches of {size}"
    return (
        f"{config['net']} of width {config['width']} and depth {config['depth']} ({config['activation']}) on "
        f"{samples} of {config['data']}, loss {config['loss']}{batch}, {config['dtype']}"
    )
