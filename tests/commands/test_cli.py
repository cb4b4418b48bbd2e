"""The command line as a user meets it: files, exit codes, resuming after a kill."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

from eosmodel.cli import main
from eosmodel.studies import comparison
from eosmodel.studies.blocks import checkpoint_of

pytestmark = pytest.mark.usefixtures("lightly_compiled")

SMALL = ["--samples", "60", "--width", "6", "--steps", "130", "--init-scale", "0.7"]
CLOCKS = ["seconds_per_step", "compile_seconds"]


def same(a: Path, b: Path):
    for name in ("experiment.nc", "theory.nc"):
        left, right = xr.load_dataset(a / name), xr.load_dataset(b / name)
        xr.testing.assert_identical(left.drop_vars(CLOCKS).drop_attrs(), right.drop_vars(CLOCKS).drop_attrs())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--tuners", "armjo"], ["armjo", "did you mean armijo", "polyak"]),
        (["--tuners", "armijo:c=2"], ["c must lie in (0, 1)", "2"]),
        (["--tuners", "cdat:sgma=2"], ["sgma", "sigma"]),
        (["--data", "mnist"], ["mnist", "digits", "fashion-mnist"]),
        (["--data", "nowhere.npz"], ["nowhere.npz"]),
        (["--samples", "99999"], ["99999", "1797"]),
        (["--samples", "0"], ["samples"]),
        (["--steps", "0"], ["--steps", "[1, inf]", "0"]),
        (["--init-scale", "-1"], ["--init-scale"]),
        (["--width", "0"], ["--width"]),
        (["--seeds", "1", "1"], ["same value twice"]),
        (["--resume", "--overwrite"], ["--resume", "--overwrite"]),
        (["--record-every", "5"], ["--record-every 1"]),
        (["--batch-size", "1001", "--theories", "oscillation"], ["size must lie in [1, 1000]", "1001"]),
        (["--batch-size", "10"], ["no stochastic theory", "valley", "--theories oscillation"]),
        (["--batch-size", "10", "--objective", "valley", "--theories", "oscillation"], ["valley has no samples"]),
        (["--replacement"], ["--replacement", "--batch-size"]),
        (["--direction", "adam"], ["--direction adam", "eosmodel train"]),
        (["--direction", "adm"], ["unknown direction 'adm'", "did you mean adam"]),
    ],
)
def test_bad_input_is_one_clear_line_and_writes_nothing(tmp_path, fails, args, words):
    out = tmp_path / "out"
    error = fails("compare", "--out", str(out), *args)
    assert all(word in error for word in words), error
    assert not out.exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["trian"], ["unknown command 'trian'", "did you mean train"]),
        (["train", "--seeds", "0,1,2"], ["--seeds 0 1 2"]),
        (["train", "--tuners", "constant=0.1"], ["constant:0.1"]),
        (["compare", "--theories", "oscillation=6"], ["theory 'oscillation=6'", "oscillation:6"]),
    ],
)
def test_mistakes_of_writing_get_the_words_that_were_meant(fails, args, words):
    error = fails(*args)
    assert all(word in error for word in words), error


def test_a_full_disk_is_one_line_after_the_progress(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", str(tmp_path / "experiment.nc"))

    monkeypatch.setattr("eosmodel.results.record.save", full)
    toy = ["--objective", "double-well", "--steps", "3", "--tuners", "armijo"]
    with pytest.raises(SystemExit) as end:
        main(["train", *toy, "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"eosmodel: .*No space left on device.*experiment\.nc.*; what is done is kept", last)


@pytest.mark.parametrize("asked", [[], ["--samples", "all"]])
def test_what_is_wrong_with_data_names_what_was_asked(tmp_path, fails, asked):
    file = tmp_path / "one.npz"
    np.savez(file, x=np.eye(3), y=np.zeros(3, int))
    for path, what in ((file, "all labels in y are 0"), (tmp_path / "none.npz", "there is no file")):
        error = fails("train", "--data", str(path), *asked, "--out", str(tmp_path / "out"))
        assert error.startswith(f"eosmodel: {' '.join(['--data', str(path), *asked])}: ")
        assert what in error


def test_nan_in_the_data_is_refused(tmp_path, fails):
    x = np.ones((10, 3))
    x[4, 1] = np.nan
    np.savez(tmp_path / "bad.npz", x=x, y=np.arange(10) % 2)
    assert "x" in fails("train", "--data", str(tmp_path / "bad.npz"), "--samples", "10", "--out", str(tmp_path / "o"))


def test_foreign_folders_are_left_alone(tmp_path, fails):
    (tmp_path / "thesis.tex").write_text("years of work")
    for flag in ([], ["--resume"], ["--overwrite"]):
        assert "not empty" in fails("train", "--out", str(tmp_path), *flag)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    # Other programs have a config.json too.
    for content in ('{"width": 3}', '{"command": "shared"}', "[]", "width: 3"):
        (tmp_path / "config.json").write_text(content)
        assert "not written by eosmodel" in fails("train", "--out", str(tmp_path), "--overwrite")
        assert (tmp_path / "config.json").read_text() == content


def test_compare_train_report_and_list(tmp_path, capsys, fails):
    out = tmp_path / "run"
    command = ["compare", *SMALL, "--tuners", "armijo", "armijo:c=0.1", "--seeds", "0", "1", "--out", str(out)]
    main(command)
    assert "armijo" in capsys.readouterr().out
    for name in ("report.html", "experiment.nc", "theory.nc", "scoreboard.json", "summary.png", "trajectories.png"):
        assert (out / name).stat().st_size > 0
    board = json.loads((out / "scoreboard.json").read_text())
    assert len(board["rows"]) == 4
    row = board["rows"][0]
    assert set(row) == {"tuner", "seed", "status", "steps", "experiment", "theories"}
    assert set(row["experiment"]) == {
        "final_loss", "final_sharpness", "median_edge_product", "edge_exponent", "failed_share", "seconds_per_step",
    }  # fmt: skip
    assert set(row["theories"]) == {"oscillation", "valley", "valley-frozen", "edge-only", "gradient-flow"}
    assert set(row["theories"]["oscillation"]) == {
        "sharpness_error", "stepsize_error", "loss_error", "final_sharpness", "edge_exponent", "left_out",
        "left_out_beyond", "weight_distance", "seconds_per_step", "status",
    }  # fmt: skip
    experiment = xr.load_dataset(out / "experiment.nc")
    assert experiment.sizes == {"tuner": 2, "seed": 2, "step": 130, "mode": 3}
    assert json.loads(experiment.attrs["config"])["width"] == 6
    # Two runs and four theories of each at two seeds, and what the edge alone says for both tuners.
    assert len(list((out / "blocks").glob("*.nc"))) == 2 * (2 * 5 + 1)
    assert not list((out / "blocks").glob("*.checkpoint.npz"))

    page = (out / "report.html").read_text()
    made_of = dict(re.findall(r"<tr><th>(\w+)</th><td>(.*)</td></tr>", page[page.index('id="again"') :]))
    attrs = experiment.attrs
    assert attrs["began"] <= attrs["created"]
    assert made_of["data"] == f"digits, 60 samples, SHA-256 {json.loads(attrs['config'])['data_sha256']}"
    assert made_of["seeds"] == "0 1"
    assert set(made_of["device"].split(": ")) == set(attrs["device"].split(": "))
    assert all(f"{name} {value}" in made_of["versions"] for name, value in json.loads(attrs["versions"]).items())
    for name, key in (("began", "began"), ("ended", "created")):
        assert made_of[name] == attrs[key].replace("T", " ").replace("+00:00", " UTC")
    assert "eosmodel rerun ." in page

    before = (out / "scoreboard.json").read_bytes()
    assert "--resume" in fails(*command)
    assert "width" in fails(*command, "--resume", "--width", "7")
    assert (out / "scoreboard.json").read_bytes() == before
    main([*command, "--resume"])
    assert (out / "scoreboard.json").read_bytes() == before
    (out / "report.html").unlink()
    main(["report", str(out)])
    assert (out / "report.html").exists()

    main(["train", *SMALL, "--tuners", "polyak:max=1", "--out", str(out), "--overwrite"])
    assert not (out / "theory.nc").exists()
    assert list(xr.load_dataset(out / "experiment.nc").tuner.values) == ["polyak:max=1"]
    main(["list"])
    assert "sps-max" in capsys.readouterr().out


def test_a_diverging_run_is_a_result(tmp_path, capsys):
    out = tmp_path / "run"
    main(
        [
            "compare",
            *SMALL,
            "--tuners",
            "constant:50",
            "armijo",
            "--theories",
            "oscillation",
            "valley",
            "--out",
            str(out),
        ]
    )
    rows = {row["tuner"]: row for row in json.loads((out / "scoreboard.json").read_text())["rows"]}
    assert rows["constant:50"]["status"] in ("diverged", "nonfinite")
    assert 0 < rows["constant:50"]["steps"] < 130
    assert rows["armijo"]["status"] == "ok"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    """Killed while starting, between two checkpoints of the first block, and in a later block."""
    # Of a toy, so that a process is mostly its start, with so many steps that a kill lands inside a block.
    spec = "two-layer-scalar:width=3"
    arguments = ["--objective", spec, "--seeds", "0", "--steps", "6000", "--tuners", "armijo"]
    arguments += ["--theories", "oscillation"]
    environment = os.environ | {"PYTHONWARNINGS": "default"}

    def start(out, *extra):
        command = [sys.executable, "-m", "eosmodel", "compare", *arguments, "--out", str(out), *extra]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)

    def finish(process):
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error.decode()

    main(["compare", *arguments, "--out", str(tmp_path / "whole")])

    broken = tmp_path / "broken"
    toy = {"toy": spec, "dtype": "float32"}
    plan = comparison.make_plan(toy, ["armijo"], ["oscillation"], seeds=[0], steps=6000)
    moments = ["config.json", *(checkpoint_of(Path("blocks"), block) for block in plan.blocks)]
    killed = 0
    for moment in moments:
        process = start(broken, "--resume")
        deadline = time.monotonic() + 200
        while not (broken / moment).exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        killed += process.poll() is None
        process.kill()
        process.communicate()
    assert killed >= 2
    finish(start(broken, "--resume"))
    same(tmp_path / "whole", broken)


def test_mini_batches_and_a_direction_from_the_command_line(tmp_path):
    """The file holds what `simulate` gives, and a resumed command computes nothing again."""
    import eosmodel as eos
    from eosmodel.directions import from_spec

    out = tmp_path / "out"
    args = ["train", "--samples", "60", "--width", "2", "--depth", "1", "--steps", "12", "--track-every", "4"]
    args += ["--batch-size", "20", "--direction", "momentum:0.5", "--tuners", "cdat:1", "--out", str(out)]
    main(args)
    found = xr.load_dataset(out / "experiment.nc").isel(tuner=0, seed=0)
    # In the precision of the command: a program in which float64 exists may be compiled another way.
    with jax.enable_x64(False):
        net = eos.objectives.mlp(eos.data.digits(60), width=2, depth=1, init_scale=0.5, dtype="float32")
        batches = eos.objectives.MiniBatches(net, 20)
        options = {"direction": from_spec("momentum:0.5"), "seeds": 0, "track_every": 4, "progress": False}
        run = eos.simulate(batches, eos.tuners.CDAT(1.0), steps=12, **options)
    for name in ("batch_loss", "loss", "stepsize", "sharpness"):
        np.testing.assert_array_equal(found[name], run[name])
    assert float(found.edge) == 3.0
    before = (out / "experiment.nc").stat().st_mtime_ns, next((out / "blocks").glob("*.nc")).stat().st_mtime_ns
    main([*args, "--resume"])
    assert before[1] == next((out / "blocks").glob("*.nc")).stat().st_mtime_ns


def test_data_that_were_replaced_are_refused(tmp_path, fails, capsys):
    file, out = tmp_path / "d.npz", str(tmp_path / "out")
    rng = np.random.default_rng(0)
    command = ["train", "--data", str(file), "--width", "2", "--depth", "1", "--steps", "3", "--tuners", "armijo"]
    np.savez(file, x=rng.normal(size=(20, 2)), y=np.arange(20) % 2)
    main([*command, "--out", out])
    main([*command, "--out", out, "--resume"])
    np.savez(file, x=rng.normal(size=(20, 2)), y=np.arange(20) % 2)
    capsys.readouterr()
    assert "differs in data_sha256" in fails(*command, "--out", out, "--resume")


@pytest.mark.parametrize(("given", "count"), [((), 120), (("--samples", "all"), 120), (("--samples", "7"), 7)])
def test_samples_of_a_small_file(tmp_path, given, count):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(120, 2)), y=np.arange(120) % 2)
    out = tmp_path / "out"
    main(["train", "--data", str(tmp_path / "d.npz"), *given, "--width", "2", "--depth", "1", "--steps", "3",
          "--tuners", "armijo", "--out", str(out)])  # fmt: skip
    assert json.loads((out / "config.json").read_text())["samples"] == count
