"""`eosmodel phase`: check the input, prepare the folder, compute the diagram, draw.

A diagram is one array that is refined level by level, each where the one before says so, and not a set of independent
blocks: its points go on from phase.nc itself, see `analysis.phase_diagram`.
"""

from pathlib import Path
from typing import Any

from eosmodel import _specs, plotting
from eosmodel._checks import check_count
from eosmodel.analysis.phase import make_plan
from eosmodel.commands import shared
from eosmodel.commands.options import Map, Phase
from eosmodel.commands.words import FAST_MAP
from eosmodel.objectives import registry
from eosmodel.results import record
from eosmodel.results.regimes import Regime
from eosmodel.theory.fast_map import FastMap
from eosmodel.tuners.registry import from_spec

DATASET = "phase.nc"
OUTPUTS = (DATASET,)
_FIELDS = ("A", "kappa", "sharpness", "bulk_gradient_sq")


def run(options: Phase) -> None:
    """Write phase.nc, and a picture of every observable."""
    if options.x[0] == options.y[0]:
        raise ValueError(f"--x and --y are both {options.x[0]}")
    axes = {
        name: (low, high, count, "log" if log else "linear")
        for (name, low, high, count), log in ((options.x, options.log_x), (options.y, options.log_y))
    }
    if options.chunk is not None:
        check_count("eosmodel", "--chunk", options.chunk)
    with shared.precision(options):
        plan = make_plan(
            *system(options),
            axes,
            steps=options.steps,
            observables=options.observables,
            refine=options.refine,
            bound=options.bound,
        )
        config = shared.config_of(options)
        shared.prepare(options, config)
        diagram = plan.run(chunk=options.chunk, path=options.out / DATASET)
    # The file says what command made it; the plan only knew what it computes.
    shared.save(diagram.dataset, options, DATASET, config)
    redraw(options.out)


def redraw(folder: Path) -> None:
    """Draw a diagram again, from its dataset."""
    dataset = record.load(folder / DATASET)
    names = [str(name) for name in dataset.data_vars if name not in ("done", "period")]
    for name in names:
        figure = plotting.phase_diagram(dataset, name)
        figure.savefig(folder / ("phase.png" if name == "regime" else f"phase-{name}.png"), dpi=150)
    if "regime" in names:
        print(_shares(dataset))
    print(f"wrote {folder / DATASET}")


def system(options: Map) -> tuple[Any, Any]:
    """System and tuner (None where the system holds it), in jax's precision of the moment."""
    tuner = from_spec(options.tuner)
    if options.system.partition(":")[0] != FAST_MAP:
        return registry.from_spec(options.system, options.dtype), tuner
    _, build, texts = _specs.parse("system", options.system, {FAST_MAP: FastMap}, lambda _: _FIELDS)
    _specs.check_names(f"system {FAST_MAP}", texts, _FIELDS)
    owner = f"system {options.system!r}"
    given = {key: _specs.number(owner, key, text) for key, text in texts.items()}
    return _specs.build(owner, build, {"tuner": tuner, **given}), None


def _shares(dataset) -> str:
    regime = dataset.regime.values
    shares = {code: float((regime == code).mean()) for code in Regime}
    return "\n".join(f"{code.label:<20}{share:7.1%}  {code.describe()}" for code, share in shares.items() if share)
