"""`eosmodel fork`: `train --start` with the options of an earlier folder, under other tuners."""

import dataclasses

from eosmodel.commands import config_file, shared, train, words
from eosmodel.commands.options import Fork, Train
from eosmodel.commands.parsing import parse


def run(options: Fork) -> None:
    """Write what `train` writes, trunk.nc and the report with fork.png."""
    folder = options.dir
    config = shared.config_in(folder)
    file = folder / shared.CONFIG_FILE
    if config is None or config["command"] not in ("train", "compare") or not file.is_file():
        raise FileNotFoundError(f"fork: {folder} was not written by `eosmodel train` or `compare`")
    before = parse(config_file.expand(["--config", str(file)]))
    given = {field.name: getattr(before, field.name) for field in dataclasses.fields(Train)}
    left = before.steps - options.at if options.steps is None else options.steps
    if left < 1:
        raise ValueError(f"fork: --at {options.at} is no step before the end of {folder}; give --steps")
    given |= {
        "tuners": options.tuners,
        "seeds": options.seeds,
        "steps": left,
        "start": f"{folder}@{options.at}" + ("" if options.of is None else f"@{options.of}"),
        "keep_weights": 0,
        "log": None,
    }
    kept = ("workers", "scheduler", "out", "resume", "overwrite", "no_cache")
    branches = Train(**given | {name: getattr(options, name) for name in kept})
    words.check(branches)
    train.compute(branches)
    train.redraw(branches.out)
