"""Held-out samples and runs that stop, from the command line to the report."""

import json

import numpy as np
import pytest

from eosmodel.cli import main
from eosmodel.results import record

pytestmark = pytest.mark.usefixtures("lightly_compiled")

SMALL = ["--samples", "40", "--width", "3", "--depth", "1", "--steps", "8", "--track", "critical", "--no-cache"]


def test_train_stops_and_the_report_shows_what_is_held_out(tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--subset-seed", "3", "--classes", "0,1,2", "--test-samples", "20", "--weight-decay", "0.01"]
    main(["train", *SMALL, *options, "--tuners", "constant:0.2", "--stop-loss", "0.4", "--out", str(out)])
    assert "reached" in capsys.readouterr().out
    run = record.load(out / "experiment.nc").squeeze()
    steps = int(run.steps)
    assert 0 < steps < 8
    assert run.loss[steps - 1] <= 0.4 < run.loss[steps - 2]
    assert np.isfinite(run.test_accuracy.values[:steps]).all()
    config = json.loads((out / "config.json").read_text())
    assert (config["subset_seed"], config["classes"], config["test_samples"]) == (3, "0,1,2", 20)
    main(["report", str(out)])
    page = (out / "report.html").read_text()
    assert (out / "held_out.png").exists()
    assert "loss on held-out samples ends lowest" in page
    assert "test_loss" in json.loads((out / "scoreboard.json").read_text())["rows"][0]["experiment"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stop-accuracy", "2"], "--stop-accuracy must lie in (0, 1]"),
        (["--objective", "double-well", "--stop-accuracy", "0.9"], "--stop-accuracy is for networks alone"),
        (["--objective", "double-well", "--test-samples", "5"], "--test-samples is for networks alone"),
        (["--test-samples", "5000"], "test_samples must lie in"),
        (["--classes", "0,12"], "classes must be among"),
        (["--weight-decay", "-1"], "--weight-decay must lie in"),
    ],
)
def test_what_is_not_allowed_is_one_line(options, message, tmp_path, fails):
    assert message in fails("train", *options, "--out", str(tmp_path / "run"))
