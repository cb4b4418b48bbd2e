"""Parts of all pages: pictures, options as text, how to reproduce the results, and what to cite."""

import base64
import io
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from eosmodel.report.references import Reference, cited
from eosmodel.results.formatting import number
from eosmodel.simulation import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (0.02, 0.05, 0.1, 0.3)
"""Upper bounds of the colour classes of errors, smallest errors first; the last class has no bound."""

# Sharp at three times the size on the page. Lossless WebP takes half of what PNG does, and a third of SVG, which
# draws every step of every run.
_DPI = 220
# WebP ends at 16383 pixels, and phones well before.
_LONGEST = 8000


@dataclass(frozen=True)
class Picture:
    """A figure on a page.

    Attributes:
        name: of its file, without the suffix.
        figure: what is drawn.
        caption: how to read it.
        alt: what it shows, in words made from the numbers.
    """

    name: str
    figure: "Figure"
    caption: str
    alt: str

    def png(self, dpi: int = 110) -> bytes:
        """The figure for a file of its own."""
        return self._drawn("png", dpi)

    @property
    def uri(self) -> str:
        """The figure for the page, sharp enough to be looked at closely."""
        dpi = min(_DPI, _LONGEST / max(self.figure.get_size_inches()))
        content = self._drawn("webp", dpi, pil_kwargs={"lossless": True})
        return f"data:image/webp;base64,{base64.b64encode(content).decode()}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in CSS pixels."""
        width, height = (round(96 * inches) for inches in self.figure.get_size_inches())
        return width, height

    def _drawn(self, kind: str, dpi: float, **options: Any) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white", **options)
        self.figure.set_layout_engine("none")  # what the first drawing laid out holds for the next
        return buffer.getvalue()


def render(template: str, **content: Any) -> bytes:
    """A page from a template of the package."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("eosmodel"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "milliseconds": _milliseconds, "level": level, "words": words}
    return environment.get_template(template).render(levels=LEVELS, **content).encode()


def write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def level(value: float | None) -> str:
    """Colour class of an error."""
    return "none" if value is None else str(sum(value >= bound for bound in LEVELS))


def words(value: Any) -> str:
    """A value of the configuration as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def command_line(config: Mapping[str, Any]) -> str | None:
    """The command that a configuration came from, every option written out; None if it came from none.

    Defaults may change with the version; this command does not depend on them. What the command finds out by itself,
    such as the hash of the data, is no option.

    >>> command_line({"command": "train", "steps": 50, "tuners": ["cdat:sigma=1"], "batch_size": None, "seeds": []})
    'eosmodel train --steps 50 --tuners cdat:sigma=1 --batch-size None'
    """
    if "command" not in config:
        return None
    line = ["eosmodel", config["command"]]
    for name, value in config.items():
        if name in ("command", "version", "results", "data_sha256") or value is False or value == []:
            continue
        line.append(f"--{name.replace('_', '-')}")
        if value is not True:
            line += map(str, value) if isinstance(value, list) else [str(value)]
    return shlex.join(line)


def origin(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """What a dataset knows of how it was made: configuration, commands, device and versions, data, seeds, and when."""
    config = json.loads(attrs.get("config", "{}"))
    times = {"began": _time(attrs.get("began", "")), "ended": _time(attrs.get("created", ""))}
    environment = {name: attrs[name] for name in ("device",) if name in attrs} | json.loads(attrs.get("versions", "{}"))
    facts = {
        "data": _data(config),
        "seeds": words(config.get("seeds", "")) or "the objective's own start",
        "device": _device(environment.get("device", "")),
        "versions": ", ".join(f"{name} {value}" for name, value in environment.items() if name != "device"),
    }
    return {
        "config": config,
        "typed": attrs.get("command"),
        "command": command_line(config),
        "created": times["ended"],
        "times": times,
        "environment": environment,
        "facts": {name: text for name, text in (facts | times).items() if text},
    }


def _device(text: str) -> str:
    """A platform and the kind of device, which jax calls alike where it is the processor."""
    platform, _, kind = text.partition(": ")
    return platform if kind == platform else text


def _time(text: str) -> str:
    """A time as people write it."""
    return text.replace("T", " ").replace("+00:00", " UTC")


def _data(config: Mapping[str, Any]) -> str:
    """The data sets of a configuration and their SHA-256; empty if there are none."""
    hashes = config.get("data_sha256")
    if isinstance(hashes, Mapping):
        return "; ".join(f"{name}, SHA-256 {digest}" for name, digest in hashes.items())
    return f"{config['data']}, {config['samples']} samples, SHA-256 {hashes}" if hashes else ""


def meanings(specs: Iterable[str], registry: Mapping[str, Any]) -> dict[str, str]:
    """What each tuner or theory is, in one line."""
    entries = {spec: registry.get(spec.partition(":")[0]) for spec in specs}
    return {spec: "your own" if entry is None else entry.description for spec, entry in entries.items()}


def references(datasets: Iterable[xr.Dataset | None]) -> tuple[Reference, ...]:
    """What to cite for these results."""
    names: set[str] = {"software:matplotlib"}
    for dataset in datasets:
        if dataset is None:
            continue
        of = origin(dataset.attrs)
        config = {"objective": "network", "direction": "steepest", "batch_size": None} | of["config"]
        names |= {f"software:{name}" for name in of["environment"]}
        names |= {f"{kind}:{_base(value)}" for kind in ("tuner", "theory") for value in _values(dataset, kind)}
        names |= {f"{kind}:{_base(config[kind])}" for kind in ("objective", "direction", "data") if kind in config}
        names |= {"mini-batches"} if "batch_sizes" in config or config["batch_size"] is not None else set()
    return cited(names)


def _values(dataset: xr.Dataset, name: str) -> list[Any]:
    return dataset[name].values.ravel().tolist() if name in dataset.coords else []


def _base(spec: Any) -> str:
    return str(spec).partition(":")[0]
