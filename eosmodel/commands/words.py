"""The names in the options of a command, checked before anything slow is imported: a mistyped tuner is told at once."""

from collections.abc import Mapping
from typing import Any

from eosmodel import _specs
from eosmodel.commands.options import Compare, Map, NetworkOptions, River, Sweep, Train, Validate
from eosmodel.studies.validated import TUNERS

NETWORK = "network"
STEEPEST = "steepest"
FAST_MAP = "fast-map"


def check(options: Any) -> None:
    """Check the tuners, theories, directions, objectives, networks and systems that the options of any command name.

    Raises:
        ValueError: an unknown name, with the one that was meant; a parameter that is not allowed.
    """
    from eosmodel import directions
    from eosmodel.objectives import NETWORKS
    from eosmodel.objectives.registry import TOYS
    from eosmodel.theory.registry import from_spec as theory
    from eosmodel.tuners.grids import expand
    from eosmodel.tuners.registry import from_spec as tuner

    if isinstance(options, NetworkOptions):
        _check_name(options.net, NETWORKS, "network")
    if isinstance(options, Map):
        tuner(options.tuner)
        _check_name(options.system, {FAST_MAP: None, **TOYS}, "system")
    if isinstance(options, River):
        for spec in options.tuners:
            tuner(spec)
    if isinstance(options, Train):
        _check_name(options.objective, {NETWORK: None, **TOYS}, "objective")
        if options.direction != STEEPEST:
            directions.from_spec(options.direction)
        for spec in options.tuners:
            tuner(spec)
    if isinstance(options, Sweep):
        for spec in options.tuners:
            for one in expand(spec):
                tuner(one)
    if isinstance(options, Validate):
        for spec in options.tuners:
            tuner(TUNERS.get(spec, spec).format(inverse=1.0, trial=1.0, move=1.0))
    if isinstance(options, Compare | Validate):
        for spec in options.theories:
            theory(spec)


def _check_name(spec: str, table: Mapping[str, Any], kind: str) -> None:
    name, _ = _specs.split(spec, table)
    if ":" in name:
        _specs.load(kind, name, table)
    else:
        _specs.look_up(name, table, kind)
