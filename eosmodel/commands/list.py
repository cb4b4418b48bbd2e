"""`eosmodel list`: everything that has a name on the command line, with its meaning and parameters."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from eosmodel import _specs, directions
from eosmodel.commands.options import List
from eosmodel.directions import DIRECTIONS
from eosmodel.objectives import NETWORKS, OBJECTIVES, recipes
from eosmodel.objectives import registry as toys
from eosmodel.objectives.data import DATASETS
from eosmodel.studies.validated import TUNERS as VALIDATED_TUNERS
from eosmodel.studies.validated import WORKLOADS
from eosmodel.theory.registry import THEORIES, parameters
from eosmodel.tuners import registry as tuners

Named = tuple[str, Mapping[str, Any], Callable[[str], Iterable[tuple[str, Any]]]]
"""An option, what it may name, and the parameters of a name."""

KINDS: dict[str, Named] = {
    "tuner": ("--tuners", tuners.REGISTRY, tuners.parameters),
    "direction": ("--direction", DIRECTIONS, directions.parameters),
    "toy": ("--objective", toys.TOYS, toys.parameters),
    "theory": ("--theories", THEORIES, lambda name: parameters(name).items()),
    "network": ("--net", NETWORKS, recipes.parameters),
    "data set": ("--data", DATASETS, lambda name: ()),
}

_ENTRIES: dict[str, Callable[[str], Any]] = {
    "tuner": tuners.entry_of,
    "toy": toys.entry_of,
    "network": recipes.entry_of,
}


def run(options: List) -> None:
    """Print everything that has a name, or all about a few names."""
    known = {name: kind for kind, (_, table, _) in KINDS.items() for name in table}
    for name in options.names:
        if ":" in name:
            _specs.load("name", name, known)
        else:
            _specs.look_up(name, known, "name")
    print("\n\n\n".join(map(details, options.names)) if options.names else listing())


def details(name: str) -> str:
    """All about a name: how it is written with its defaults, and the documentation of what it stands for."""
    parts = []
    own = _kind_of_own(name) if ":" in name else None
    for kind, (option, table, parameters_of) in KINDS.items():
        if name in table or kind == own:
            factory, description = _ENTRIES[kind](name) if kind == own else table[name]
            given = ",".join(f"{key}={_as_text(value)}" for key, value in parameters_of(name) if value is not None)
            documented = factory.func if isinstance(factory, partial) else factory
            example = f"{option} {name}" + ":" * bool(given) + given
            parts += [f"{name} ({kind}): {description}", "", f"    {example}"]
            parts += ["", text] if (text := inspect.getdoc(documented)) else []
            if kind == "tuner":
                parts += ["", f"Every tuner also takes {', '.join(tuners.MODIFIERS)} (`eosmodel list`)."]
            parts += ["", f"In Python: {documented.__module__}.{documented.__qualname__}", ""]
    return "\n".join(parts).rstrip()


def _kind_of_own(name: str) -> str:
    """What `module:name` makes: a network if it takes data, a tuner if that is what it gives, else an objective."""
    if "data" in inspect.signature(_specs.load("name", name, {})).parameters:
        return "network"
    try:
        tuners.from_spec(name)
    except ValueError:
        return "toy"
    return "tuner"


def listing() -> str:
    """The text of `eosmodel list`."""

    def section(title, entries):
        return [title, *(f"  {name:<26}{text}" for name, text in entries), ""]

    def specified(table, parameters):
        for name, entry in table.items():
            yield name, entry.description + _defaults(parameters(name))

    def theories():
        for name, entry in THEORIES.items():
            known = {key: "that of --modes" if value is None else value for key, value in parameters(name).items()}
            given = ", ".join(f"{key}={value}" for key, value in known.items())
            yield name, f"{entry.description} [{given}]" if given else entry.description

    lines = section("Tuners (name:parameter=value,…)", specified(tuners.REGISTRY, tuners.parameters))
    modifiers = ((name, f"{text} [{default}]") for name, (default, text) in tuners.MODIFIERS.items())
    lines += section("Parameters of every tuner, beside its own", modifiers)
    lines += section("Directions (--direction name:parameter=value,…)", specified(DIRECTIONS, directions.parameters))
    networks = ((name, text + _defaults(recipes.parameters(name))) for name, (_, text) in NETWORKS.items())
    lines += section("Networks (--net name:parameter=value,…)", networks)
    title = "Toys (--objective name:parameter=value,…; the numbers of a vector are separated by /)"
    lines += section(title, specified(toys.TOYS, toys.parameters))
    others = {name: text for name, text in OBJECTIVES.items() if name not in {*NETWORKS, *toys.TOYS}}
    lines += section("In the library only", others.items())
    lines += section("Theories (--theories name:parameter=value,…)", theories())
    lines += section("Data sets (--data)", [(name, text) for name, (_, text) in DATASETS.items()])
    validated = {name: ", ".join(f"{k}={v}" for k, v in options.items()) for name, options in WORKLOADS.items()}
    lines += section("Validated networks (eosmodel validate --workloads)", validated.items())
    title = "Validated tuners (eosmodel validate --tuners; inverse is 1/λ, trial 4/λ, move ‖g‖/λ at the start)"
    lines += section(title, VALIDATED_TUNERS.items())
    return "\n".join(lines).rstrip()


def _defaults(parameters: Iterable[tuple[str, Any]]) -> str:
    """Parameters with their defaults in brackets; nothing where there are none."""
    given = ", ".join(f"{key}={_as_text(value)}" for key, value in parameters)
    return f" [{given}]" if given else ""


def _as_text(default) -> str:
    """A default as it would be written on the command line."""
    if isinstance(default, tuple):
        return "/".join(f"{value:g}" for value in default)
    if isinstance(default, bool):
        return str(default).lower()
    return "…/…" if default is None else str(default)
