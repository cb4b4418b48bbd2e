"""Phase and orbit diagrams from the command line: check the input, prepare the folder, compute, draw."""

import dataclasses
import json
from importlib.metadata import version
from typing import Any

from eosmodel import _specs
from eosmodel._checks import check_count
from eosmodel.commands.compare import prepare
from eosmodel.commands.options import Orbit, Phase
from eosmodel.results import record
from eosmodel.studies import blocks

FAST_MAP = "fast-map"
_FIELDS = ("A", "kappa", "sharpness", "bulk_gradient_sq")


def run_phase(command: Phase) -> None:
    """Run `eosmodel phase`: phase.nc, and a picture of every observable."""
    _precision(command)
    from eosmodel.analysis.phase import make_plan

    if command.x[0] == command.y[0]:
        raise ValueError(f"--x and --y are both {command.x[0]}")
    axes = {
        name: (low, high, count, "log" if log else "linear")
        for (name, low, high, count), log in ((command.x, command.log_x), (command.y, command.log_y))
    }
    if command.chunk is not None:
        check_count("eosmodel", "--chunk", command.chunk)
    plan = make_plan(
        *_system(command),
        axes,
        steps=command.steps,
        observables=command.observables,
        refine=command.refine,
        bound=command.bound,
    )
    config = _config(command)
    prepare(command, config)
    # The file says what command made it; the plan only knew what it computes.
    plan.dataset.attrs["config"] = json.dumps(config, sort_keys=True)
    found = plan.run(chunk=command.chunk, path=command.out / "phase.nc")
    names = [str(name) for name in found.dataset.data_vars if name not in ("done", "period")]
    for name in names:
        _draw(found.plot(name), command.out / ("phase.png" if name == "regime" else f"phase-{name}.png"))
    if "regime" in names:
        print(_shares(found.dataset))
    print(f"wrote {command.out / 'phase.nc'}")


def run_orbit(command: Orbit) -> None:
    """Run `eosmodel orbit`: orbit.nc and orbit.png."""
    _precision(command)
    from eosmodel import analysis, plotting
    from eosmodel.analysis.parameters import Family, axis

    made = analysis.probe(*_system(command))
    name, low, high, count = command.parameter
    parameter, values = axis(made, name, (low, high, count, "log" if command.log else "linear"))
    check_count("eosmodel", "--burn-in", command.burn_in, 0)
    check_count("eosmodel", "--keep", command.keep, 64)
    config = _config(command)
    prepare(command, config)
    start = made.init()
    found = analysis.orbit_diagram(
        Family(made, parameter), values, start, burn_in=command.burn_in, keep=command.keep, name=parameter.symbol
    )
    found = found.assign_attrs(record.provenance(config))
    record.save(found, command.out / "orbit.nc")
    _draw(plotting.orbit_diagram(found), command.out / "orbit.png")
    print(f"wrote {command.out / 'orbit.nc'}")


def _precision(command) -> None:
    import jax

    if command.dtype == "float64":
        jax.config.update("jax_enable_x64", True)


def _system(command) -> tuple[Any, Any]:
    """System and tuner (None where the system holds it)."""
    from eosmodel.objectives import registry
    from eosmodel.theory import FastMap
    from eosmodel.tuners.registry import from_spec

    tuner = from_spec(command.tuner)
    if command.system.partition(":")[0] != FAST_MAP:
        _specs.look_up(command.system.partition(":")[0], {FAST_MAP: None, **registry.TOYS}, "system")
        return registry.from_spec(command.system, command.dtype), tuner
    _, build, texts = _specs.parse("system", command.system, {FAST_MAP: FastMap}, lambda _: _FIELDS)
    _specs.check_names(f"system {FAST_MAP}", texts, _FIELDS)
    owner = f"system {command.system!r}"
    given = {key: _specs.number(owner, key, text) for key, text in texts.items()}
    return _specs.build(owner, build, {"tuner": tuner, **given}), None


def _config(command) -> dict[str, Any]:
    """What decides the results: everything but where they go, how much at once, and how an old folder is treated."""
    config = dataclasses.asdict(command)
    for name in ("out", "resume", "overwrite", "chunk"):
        config.pop(name, None)
    config |= {"command": type(command).__name__.lower(), "version": version("eosmodel")}
    return blocks.config_of(**config)


def _draw(figure, path) -> None:
    figure.savefig(path, dpi=150)


def _shares(dataset) -> str:
    from eosmodel.analysis import Regime

    regime = dataset.regime.values
    shares = {code: float((regime == code).mean()) for code in Regime}
    return "\n".join(f"{code.label:<20}{share:7.1%}  {code.describe()}" for code, share in shares.items() if share)
