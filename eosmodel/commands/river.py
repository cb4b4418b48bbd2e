"""`eosmodel river`: check the input, prepare the folder, measure the rivers, predict the tuners, draw."""

from pathlib import Path

from eosmodel._checks import check_range
from eosmodel.commands import shared
from eosmodel.commands.options import River
from eosmodel.report import write_river
from eosmodel.results import record
from eosmodel.studies import rivers, runners

PREDICTIONS = "predictions.nc"
RIVERS = "rivers"
OUTPUTS = (PREDICTIONS, RIVERS, "river.html", shared.BLOCKS)


def run(options: River) -> None:
    """Write the rivers, the predictions on them, pictures and river.html."""
    for name in ("width", "depth", "steps", "modes"):
        check_range("eosmodel", shared.flag(name), getattr(options, name), 1)
    check_range("eosmodel", "--init-scale", options.init_scale, 0, low_open=True)
    shared.distinct("tuners", options.tuners)
    shared.distinct("seeds", options.seeds)
    net = shared.network_options(options)
    runner = runners.chosen(options.workers, options.scheduler)
    plan = rivers.make_plan(
        net, options.tuners, seeds=options.seeds, steps=options.steps, modes=options.modes, length=options.length
    )
    config = shared.config_of(options, **net)
    shared.prepare(options, config)
    found = shared.compute(plan, options, runner)
    (options.out / RIVERS).mkdir(exist_ok=True)
    for seed, dataset in found.rivers.items():
        shared.save(dataset, options, f"{RIVERS}/seed-{seed}.nc", config)
    shared.save(found.predictions, options, PREDICTIONS, config)
    redraw(options.out)


def redraw(folder: Path) -> None:
    """Write the pictures and the page of a folder again, from its datasets."""
    measured = {int(path.stem.removeprefix("seed-")): record.load(path) for path in (folder / RIVERS).glob("seed-*.nc")}
    predictions = record.load(folder / PREDICTIONS)
    order = rivers.ranking(predictions)
    page = write_river(dict(sorted(measured.items())), predictions, order, folder)
    print(rivers.table(order))
    print(f"\nwrote {page}")
