"""Blocks, folders and figures are gone on with only for the data and the numbers that they are of."""

import json

import numpy as np
import pytest

from eosmodel.commands import shared, train, validate
from eosmodel.commands.options import Train, Validate
from eosmodel.objectives import data
from eosmodel.studies import blocks, validation
from eosmodel.studies.validated import WORKLOADS
from paper_figures._command import block_of, hashes_in


class Killed(Exception):
    pass


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A workload on a file, and a function that replaces the file."""
    path = tmp_path / "mine.npz"

    def write(shift):
        x = np.linspace(-1, 1, 60).reshape(20, 3)
        np.savez(path, x=x, y=np.sin(x[:, 0] + shift))

    write(0.0)
    network = {"data": str(path), "samples": 20, "net": "mlp", "width": 2, "depth": 1, "init_scale": 1.0}
    monkeypatch.setitem(WORKLOADS, "mine", network)
    return write


@pytest.fixture
def killed(monkeypatch):
    """Commands that are killed before their first block."""

    def kill(*args):
        raise Killed

    monkeypatch.setattr(shared, "compute", kill)


def plan(*workloads):
    return validation.make_plan(workloads, ["mse"], ["greedy"], ["oscillation", "river"], seeds=[0], steps=20)


def test_blocks_of_a_validation_are_of_their_data(mine):
    before = {block.name for block in plan("mine").blocks}
    assert before == {block.name for block in plan("mine").blocks}
    mine(1.0)
    assert before.isdisjoint(block.name for block in plan("mine").blocks)


def test_a_validation_of_replaced_data_is_not_gone_on_with(mine, killed, tmp_path):
    options = {"losses": ("mse",), "tuners": ("greedy",), "theories": ("oscillation",), "out": tmp_path / "out"}
    with pytest.raises(Killed):
        validate.run(Validate(workloads=("mine",), **options))
    for workloads in (("mine",), ("mine", "sorting"), ("sorting",), ("mine",)):  # more and fewer of them are no other
        with pytest.raises(Killed):
            validate.run(Validate(workloads=workloads, resume=True, **options))
    mine(1.0)
    with pytest.raises(FileExistsError, match=r"another configuration \(differs in data_sha256\)"):
        validate.run(Validate(workloads=("mine", "sorting"), resume=True, **options))


def test_a_folder_of_other_numbers_is_not_gone_on_with_and_one_of_another_version_is(killed, tmp_path):
    options = {"objective": "double-well", "tuners": ("greedy",), "out": tmp_path / "out"}
    with pytest.raises(Killed):
        train.run(Train(**options))
    path = tmp_path / "out" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"version": "0.0.9"}))
    with pytest.raises(Killed):
        train.run(Train(**options, resume=True))
    path.write_text(json.dumps(config | {"version": "0.0.9", "results": 0}))
    with pytest.raises(FileExistsError, match=r"\(differs in results: eosmodel 0\.0\.9 computes other numbers\)"):
        train.run(Train(**options, resume=True))


def test_blocks_of_other_numbers_are_other_blocks(monkeypatch):
    names = []
    for number in (blocks.RESULTS, blocks.RESULTS + 1):
        monkeypatch.setattr(blocks, "RESULTS", number)
        names.append(blocks.Block(plan, blocks.plain(steps=3)).name)
    assert names[0] != names[1]


def test_figures_are_of_their_data(mine):
    for name in ("edge-alone", "period-doubling", "explanations", "batch-sizes"):
        config = block_of(name, quick=True).config
        samples = config["network"]["samples"]
        assert config["data_sha256"] == {f"digits, {samples} samples": data.digits(samples).sha256}
    (validated,) = block_of("theory-experiment", quick=True).config["data_sha256"].values()
    assert validated == data.digits(1000).sha256
    settings = {"networks": {"a": [WORKLOADS["mine"], ["greedy"]]}, "steps": 3}
    before = hashes_in(settings)
    mine(1.0)
    assert len(before) == 1
    assert before != hashes_in(settings)
