"""`eosmodel orbit`: check the input, prepare the folder, compute the orbits, draw."""

from pathlib import Path

from eosmodel import plotting
from eosmodel._checks import check_count
from eosmodel.analysis.orbits import orbit_diagram
from eosmodel.analysis.parameters import Family, axis
from eosmodel.analysis.probes import probe
from eosmodel.commands import shared
from eosmodel.commands.options import Orbit
from eosmodel.commands.phase import system
from eosmodel.results import record

DATASET = "orbit.nc"
OUTPUTS = (DATASET,)


def run(options: Orbit) -> None:
    """Write orbit.nc and orbit.png."""
    with shared.precision(options):
        made = probe(*system(options))
        name, low, high, count = options.parameter
        parameter, values = axis(made, name, (low, high, count, "log" if options.log else "linear"))
        check_count("eosmodel", "--burn-in", options.burn_in, 0)
        check_count("eosmodel", "--keep", options.keep, 64)
        config = shared.config_of(options, log=options.log)  # of the values, and not of the rows
        shared.prepare(options, config)
        diagram = orbit_diagram(
            Family(made, parameter),
            values,
            made.init(),
            burn_in=options.burn_in,
            keep=options.keep,
            name=parameter.symbol,
        )
    diagram.orbit.attrs["first"] = made.first
    shared.save(diagram, options, DATASET, config)
    redraw(options.out)


def redraw(folder: Path) -> None:
    """Draw a diagram again, from its dataset."""
    plotting.orbit_diagram(record.load(folder / DATASET)).savefig(folder / "orbit.png", dpi=150)
    print(f"wrote {folder / DATASET}")
