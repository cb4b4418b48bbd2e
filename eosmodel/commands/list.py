"""`eosmodel list`: everything that has a name on the command line, with its meaning and parameters."""

from eosmodel import directions
from eosmodel.commands.options import List
from eosmodel.directions import DIRECTIONS
from eosmodel.objectives import NETWORKS, OBJECTIVES
from eosmodel.objectives import registry as toys
from eosmodel.objectives.data import DATASETS
from eosmodel.studies.validated import TUNERS as VALIDATED_TUNERS
from eosmodel.studies.validated import WORKLOADS
from eosmodel.theory.registry import THEORIES, parameters
from eosmodel.tuners import registry as tuners


def run(options: List) -> None:
    """Print everything that has a name."""
    print(listing())


def listing() -> str:
    """The text of `eosmodel list`."""

    def section(title, entries):
        return [title, *(f"  {name:<26}{text}" for name, text in entries), ""]

    def specified(table, parameters):
        for name, entry in table.items():
            given = ", ".join(f"{key}={_as_text(value)}" for key, value in parameters(name))
            yield name, f"{entry.description} [{given}]"

    def theories():
        for name, entry in THEORIES.items():
            known = {key: "that of --modes" if value is None else value for key, value in parameters(name).items()}
            given = ", ".join(f"{key}={value}" for key, value in known.items())
            yield name, f"{entry.description} [{given}]" if given else entry.description

    lines = section("Tuners (name:parameter=value,…)", specified(tuners.REGISTRY, tuners.parameters))
    modifiers = ((name, f"{text} [{default}]") for name, (default, text) in tuners.MODIFIERS.items())
    lines += section("Parameters of every tuner, beside its own", modifiers)
    lines += section("Directions (--direction name:parameter=value,…)", specified(DIRECTIONS, directions.parameters))
    lines += section("Networks (--net)", [(name, text) for name, (_, text) in NETWORKS.items()])
    title = "Toys (--objective name:parameter=value,…; the numbers of a vector are separated by /)"
    lines += section(title, specified(toys.TOYS, toys.parameters))
    others = {name: text for name, text in OBJECTIVES.items() if name not in {*NETWORKS, *toys.TOYS}}
    lines += section("In the library only", others.items())
    lines += section("Theories (--theories name:parameter=value,…)", theories())
    lines += section("Data sets (--data)", [(name, text) for name, (_, text) in DATASETS.items()])
    networks = {name: ", ".join(f"{k}={v}" for k, v in options.items()) for name, options in WORKLOADS.items()}
    lines += section("Validated networks (eosmodel validate --workloads)", networks.items())
    title = "Validated tuners (eosmodel validate --tuners; inverse is 1/λ, trial 4/λ, move ‖g‖/λ at the start)"
    lines += section(title, VALIDATED_TUNERS.items())
    return "\n".join(lines).rstrip()


def _as_text(default) -> str:
    """A default as it would be written on the command line."""
    if isinstance(default, tuple):
        return "/".join(f"{value:g}" for value in default)
    if isinstance(default, bool):
        return str(default).lower()
    return "…/…" if default is None else str(default)
