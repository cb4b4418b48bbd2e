"""`eosmodel compare`: the runs of `train` and the theories beside them, the scoreboard and the report."""

from eosmodel.commands import shared, train
from eosmodel.commands.options import Compare
from eosmodel.commands.words import STEEPEST
from eosmodel.theory import THEORIES, from_spec

OUTPUTS = (*train.OUTPUTS, train.THEORY)
redraw = train.redraw


def run(options: Compare) -> None:
    """Write experiment.nc, theory.nc, scoreboard.json, the figures and report.html."""
    _check(options)
    train.compute(options, options.theories)
    redraw(options.out)


def _check(options: Compare) -> None:
    """What can be wrong with the theories; the rest is checked as for `train`."""
    shared.distinct("theories", options.theories)
    asked = {spec: from_spec(spec) for spec in options.theories}
    whole_record = [spec for spec, theory in asked.items() if theory.needs_every_row]
    if options.record_every > 1 and whole_record:
        raise ValueError(f"--theories {whole_record[0]} reads the run row by row and needs --record-every 1")
    if options.direction != STEEPEST:
        raise ValueError(f"--direction {options.direction}: theories know steepest descent alone; use `eosmodel train`")
    fitted = [spec for spec, theory in asked.items() if theory.needs_run]
    if fitted and "sharpness" not in options.track:
        raise ValueError(f"--theories {fitted[0]} takes its coefficients from the run; add sharpness to --track")
    unknown = [spec for spec, theory in asked.items() if not theory.knows_noise]
    if options.batch_size is not None and unknown:
        known = " ".join(name for name, entry in THEORIES.items() if entry.factory.knows_noise)
        raise ValueError(f"--batch-size: no stochastic theory {', '.join(unknown)}; add --theories {known}")
