"""Comparisons: their blocks against `simulate` and `predict`, what they share, workers, resuming from a checkpoint."""

import jax
import numpy as np
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel.experiment import _running
from eosmodel.studies import blocks, comparison
from eosmodel.studies.plans import Plan, run_blocks, run_plan
from eosmodel.studies.runners import processes

pytestmark = pytest.mark.usefixtures("lightly_compiled")

TOY = {"toy": "two-layer-scalar:width=3", "dtype": "float64"}
THEORIES = ("valley", "edge-only")


def plan(tuners=("constant:0.2", "armijo"), seeds=(1, 2)):
    return comparison.make_plan(TOY, tuners, THEORIES, seeds=seeds, steps=40, modes=1)


@pytest.fixture(scope="module")
def whole():
    return run_plan(plan())


def same(a, b):
    clocks = ["seconds_per_step", "compile_seconds"]
    for left, right in ((a.experiment, b.experiment), (a.theory, b.theory)):
        xr.testing.assert_identical(left.drop_vars(clocks).drop_attrs(), right.drop_vars(clocks).drop_attrs())


def test_a_run_and_its_theories_are_what_the_library_gives(whole):
    toy = comparison.build(TOY)
    options = {"steps": 40, "seeds": 2, "modes": 1, "progress": False}
    run = eos.simulate(toy, eos.tuners.Armijo(), **options)
    got = whole.experiment.sel(tuner="armijo", seed=2)
    for name in ("loss", "stepsize", "sharpness"):
        np.testing.assert_allclose(got[name], run[name], rtol=1e-12)
    for theory in THEORIES:
        expected = eos.predict(toy, eos.tuners.Armijo(), theory=theory, experiment=run, **options)
        got = whole.theory.sel(theory=theory, tuner="armijo", seed=2)
        np.testing.assert_allclose(got.loss, expected.loss, rtol=1e-9)


def test_theories_that_need_the_run_say_so_and_those_that_ignore_the_tuner_are_one():
    made = plan().blocks
    # At each seed two runs, a valley for each, and one prediction of the edge alone for both.
    assert len(made) == 2 * (2 + 2 + 1)
    for block in made:
        theory = block.config.get("theory")
        assert [need.compute for need in block.needs] == [comparison.experiment] * (theory == "valley")
    assert sum(block.config.get("theory") == "edge-only" for block in made) == 2


def test_a_river_is_measured_once_for_all_tuners_of_a_seed():
    options = {"steps": 12, "seeds": 2, "modes": 1, "progress": False}
    alone = "river:modes=1,landing=0"
    made = comparison.make_plan(TOY, ["constant:0.2", "armijo"], [alone], seeds=(1, 2), steps=12, modes=1)
    rivers = [block for block in made.blocks if block.compute is comparison.river]
    assert [block.label for block in rivers] == ["river, seed 1", "river, seed 2"]
    needs = [need.label for block in made.blocks for need in block.needs]
    assert needs == ["river, seed 1"] * 2 + ["river, seed 2"] * 2
    theory = run_plan(made).theory
    toy = comparison.build(TOY)
    river = eos.measure_river(toy, steps=12, seed=2, modes=1, progress=False)
    for said in (
        eos.predict(toy, eos.tuners.Armijo(), theory=alone, **options),
        eos.predict(toy, eos.tuners.Armijo(), theory=alone, river=river, **options),
        eos.predict(river, eos.tuners.Armijo(), 12),
    ):
        assert int(said.status) == 0
        np.testing.assert_array_equal(theory.sel(theory=alone, tuner="armijo", seed=2).loss, said.loss)


def test_blocks_depend_on_their_configuration_alone(whole, tmp_path):
    """Other precision outside, another order, other processes: the same numbers."""
    with jax.enable_x64(False):
        same(run_plan(plan(), tmp_path / "narrow"), whole)
    backwards = plan()
    assert len(list(run_blocks(backwards.blocks[::-1], tmp_path / "backwards"))) == len(backwards.blocks)
    same(run_plan(backwards, tmp_path / "backwards"), whole)
    part = run_plan(plan(["armijo"], [2]), tmp_path / "workers", processes(2))
    same(
        part,
        comparison.Runs(*(dataset.sel(tuner=["armijo"], seed=[2]) for dataset in (whole.experiment, whole.theory))),
    )


def test_a_block_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    """Interrupted after its first chunk of a hundred rows, the run computes the rest, and leaves no checkpoint."""
    made = comparison.make_plan(TOY, ["constant:0.2"], seeds=[1], steps=250, modes=1)
    (block,) = made.blocks
    path = blocks.checkpoint_of(tmp_path, block)
    uninterrupted = block.run()

    save = _running.save

    def save_and_stop(*args):
        save(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_running, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run_plan(made, tmp_path)
    assert path.exists()
    resumed = run_plan(made, tmp_path).experiment.isel(tuner=0, seed=0)
    for name in ("loss", "stepsize", "sharpness"):
        np.testing.assert_array_equal(resumed[name], uninterrupted[name])
    assert [file.name for file in tmp_path.iterdir()] == [blocks.path_of(tmp_path, block).name]


def test_blocks_wait_for_those_that_they_need(tmp_path):
    first = blocks.Block(one, {"value": 3})
    second = blocks.Block(add, {"value": 4}, needs=(first,))
    third = blocks.Block(add, {"value": 5}, needs=(second, first))
    backwards = Plan((third, second, first), lambda found: [int(block.value) for block in found])
    assert run_plan(backwards) == [15, 7, 3]
    with pytest.raises(FileNotFoundError, match="not done"):
        list(run_blocks([second], tmp_path))


def one(config):
    return xr.Dataset({"value": config["value"]})


def add(config, *needed):
    return xr.Dataset({"value": config["value"] + sum(int(dataset.value) for dataset in needed)})
