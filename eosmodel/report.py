"""The report of a comparison: figures, `scoreboard.json`, and one HTML page that needs nothing else."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from eosmodel import claims, plotting
from eosmodel._status import Status
from eosmodel.comparison import ERRORS, compare, scoreboard
from eosmodel.measures import WINDOW
from eosmodel.names import VARIABLES
from eosmodel.simulation import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Upper bounds of an error's colour classes, best first; the last class has none.
_LEVELS = (0.02, 0.05, 0.1, 0.3)

_REFERENCES = (
    "V. Roulet, A. Agarwala, F. Pedregosa. On the interplay between stepsize tuning and progressive sharpening. "
    "arXiv:2312.00209.",
    "V. Roulet, A. Agarwala, J.-B. Grill, G. Swirszcz, M. Blondel, F. Pedregosa. Stepping on the edge: curvature aware "
    "learning rate tuners. arXiv:2407.06183.",
    "J. Cohen, S. Kaur, Y. Li, J. Z. Kolter, A. Talwalkar. Gradient descent on neural networks typically occurs at the "
    "edge of stability. arXiv:2103.00065.",
    "A. Damian, E. Nichani, J. D. Lee. Self-stabilization: the implicit bias of gradient descent at the edge of "
    "stability. arXiv:2209.15594.",
    "J. Cohen, A. Damian, A. Talwalkar, J. Z. Kolter, J. D. Lee. Understanding optimization in deep learning with "
    "central flows. arXiv:2410.24206.",
)


def write_report(experiment: xr.Dataset, theory: xr.Dataset | None, out: str | Path) -> Path:
    """Write summary.png, trajectories.png, errors.png, scoreboard.json and report.html into a folder.

    Every file is written whole or not at all. With several seeds the pictures show the first one, and the tables all.
    errors.png is left out where there are no errors to show.

    Args:
        experiment: dataset over (tuner, seed, step), or one run.
        theory: dataset over (theory, tuner, seed, step), or None.
        out: folder; made if it does not exist.

    Returns:
        The path of report.html.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    comparison = compare(experiment, theory)
    experiment, theory, rows = comparison.experiment, comparison.theory, comparison.rows()
    config = json.loads(experiment.attrs.get("config", "{}"))
    figures = _figures(experiment, theory, rows)
    for figure in figures:
        _write(out / f"{figure['name']}.png", figure["png"])
    text = json.dumps(scoreboard(config, rows), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    _write(out / "scoreboard.json", text.encode())
    judged = claims.evaluate(experiment, theory)
    page = _render(
        rows=rows,
        theories=list(dict.fromkeys(name for row in rows for name in row["theories"])),
        errors={error: VARIABLES[name].symbol for error, name in ERRORS.items()},
        claims=judged,
        figures=[f | {"data": base64.b64encode(f["png"]).decode()} for f in figures],
        sentences=_sentences(rows, judged),
        statuses=list(Status),
        seen=_statuses(rows),
        config=config,
        provenance=_provenance(experiment.attrs),
        definition=_definition(experiment),
        variables=[
            (v.symbol, v.meaning) for name, v in VARIABLES.items() if name in {*experiment.data_vars} - {"sharpness"}
        ],
        levels=_LEVELS,
        window=WINDOW,
        references=_REFERENCES,
    )
    _write(out / "report.html", page.encode())
    return out / "report.html"


def _render(**content: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("eosmodel"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "level": _level}
    return environment.get_template("report.html.jinja").render(**content)


def _figures(
    experiment: xr.Dataset, theory: xr.Dataset | None, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    tuners = ", ".join(str(label) for label in experiment.tuner.values)
    seed = experiment.seed.values[0]
    shown = f"Seed {seed}." if experiment.sizes["seed"] > 1 else ""
    figures: list[dict[str, Any]] = [
        {
            "name": "summary",
            "figure": plotting.summary(experiment),
            "caption": f"All tuners: loss, step size, sharpness and their product, as moving averages over {WINDOW} "
            f"steps. Dotted: 2/η of a constant step. Dashed: ηλ = 2. {shown}",
            "alt": f"Loss, step size, sharpness and ηλ against the step, under {tuners}",
        },
        {
            "name": "trajectories",
            "figure": plotting.trajectories(experiment, theory),
            "caption": "Experiment and theories, one column per tuner. Thin light lines: every recorded row; a cross: "
            f"where a run or a theory ended early. ηλ is drawn logarithmically above 4 where it gets there. {shown}",
            "alt": f"Experiment and theories: loss, step size, sharpness, ηλ and alignment under each of {tuners}",
        },
    ]
    if any(said[error] is not None for row in rows for said in row["theories"].values() for error in ERRORS):
        figures.append(
            {
                "name": "errors",
                "figure": plotting.errors(rows),
                "caption": "Errors of the theories, medians over seeds. A dagger: the theory ended early for some "
                "seed, and is compared over what it has. Grey: nothing to compare.",
                "alt": "Heat maps of the errors of sharpness, step size and loss, theory by tuner",
            }
        )
    return [figure | {"png": _png(figure["figure"])} for figure in figures]


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white")
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def _sentences(rows: Sequence[Mapping[str, Any]], judged: Sequence[claims.Claim]) -> list[str]:
    """The result in words, every one made from the numbers."""
    tuners = list(dict.fromkeys(row["tuner"] for row in rows))
    done = sum(row["status"] == Status.OK.label for row in rows)
    steps = max((row["steps"] for row in rows), default=0)
    said = [
        f"{len(tuners)} step-size tuners were run in {len(rows)} runs of up to {steps} steps; {done} of them finished."
    ]
    # A run that diverged has a last loss, but not one to be ranked.
    loss = _medians(rows, "final_loss", finished=True)
    if len(loss) > 1:
        best, worst = min(loss, key=loss.__getitem__), max(loss, key=loss.__getitem__)
        said.append(f"The lowest final loss is {best}'s, {loss[best]:.3g}; the highest {worst}'s, {loss[worst]:.3g}.")
    product = _medians(rows, "median_edge_product", finished=True)
    edge = [f"{name} ({value:.2f})" for name, value in product.items() if abs(value / 2 - 1) <= claims.NEAR]
    if product:
        said.append(
            f"Over the last half of the steps the median of ηλ is within 10 % of 2 for {', '.join(edge)}."
            if edge
            else "Over the last half of the steps the median of ηλ is not within 10 % of 2 for any tuner."
        )
    for theory in dict.fromkeys(name for row in rows for name in row["theories"]):
        entries = [row["theories"][theory] for row in rows if theory in row["theories"]]
        parts = []
        for error, name in ERRORS.items():
            known = [entry[error] for entry in entries if entry[error] is not None]
            parts += [f"{VARIABLES[name].symbol} {np.median(known):.2g}"] if known else []
        if parts:
            early = sum(entry["status"] != Status.OK.label for entry in entries)
            ended = f"; {early} of its {len(entries)} runs ended early" if early else ""
            said.append(f"Median error of the theory “{theory}” over all runs: {', '.join(parts)}{ended}.")
    verdicts = [claim.verdict for claim in judged]
    counts = [
        f"{verdicts.count(v)} {v}" for v in ("supported", "partly", "not supported", "not tested") if v in verdicts
    ]
    said.append(f"Of {len(verdicts)} claims judged from these numbers: {', '.join(counts)}.")
    return said


def _medians(rows: Sequence[Mapping[str, Any]], key: str, finished: bool) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["experiment"][key] is not None and (row["status"] == Status.OK.label or not finished):
            values.setdefault(row["tuner"], []).append(row["experiment"][key])
    return {tuner: float(np.median(known)) for tuner, known in values.items()}


def _statuses(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    return {row["status"] for row in rows} | {said["status"] for row in rows for said in row["theories"].values()}


def _definition(experiment: xr.Dataset) -> str:
    """How the sharpness of the run was had: its own words, else the variable's meaning."""
    attrs = experiment["sharpness"].attrs
    return str(attrs.get("definition", attrs.get("long_name", VARIABLES["sharpness"].meaning)))


def _provenance(attrs: Mapping[str, Any]) -> dict[str, str]:
    known = {key: str(attrs[key]) for key in ("command", "created", "device") if key in attrs}
    if "versions" in attrs:
        known["versions"] = ", ".join(f"{name} {number}" for name, number in json.loads(attrs["versions"]).items())
    return known


def _number(value: float | None, digits: str = ".3g") -> str:
    if value is None:
        return "–"
    # Adding 0 turns a rounded −0 into 0.
    return format(round(value, 3) + 0.0 if digits.endswith("f") else value, digits).replace("-", "−")


def _level(value: float | None) -> str:
    return "none" if value is None else str(sum(value >= bound for bound in _LEVELS))
