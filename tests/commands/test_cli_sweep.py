"""`eosmodel sweep` as a user meets it: files, exit codes, resuming after a kill, growing."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

from eosmodel.cli import main

pytestmark = pytest.mark.usefixtures("lightly_compiled")

SMALL = ["--samples", "60", "--width", "4", "--depth", "1", "--steps", "40", "--track-every", "5", "--modes", "1"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--batch-sizes", "full", "1001"], ["[1, 1000]", "1001"]),
        (["--batch-sizes", "16", "16"], ["same value twice"]),
        (["--tuners", "armijo", "armijo"], ["same value twice"]),
        (["--tuners", "armjo"], ["did you mean armijo"]),
        (["--tuners", "cdat:sigma={1,2"], ["braces"]),
        (["--samples", "9999"], ["9999", "1797"]),
        (["--workers", "0"], ["workers", "[1, inf]"]),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], ["--workers and --scheduler"]),
        (["--resume", "--overwrite"], ["--resume and --overwrite"]),
    ],
)
def test_bad_input_is_one_clear_line_and_writes_nothing(tmp_path, fails, args, words):
    error = fails("sweep", "--out", str(tmp_path / "out"), *args)
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_is_not_there(tmp_path):
    """In a process of its own: a client that found nobody leaves threads behind."""
    pytest.importorskip("distributed")
    command = [
        sys.executable,
        "-m",
        "eosmodel",
        "sweep",
        *SMALL,
        "--batch-sizes",
        "full",
        "--out",
        str(tmp_path / "out"),
    ]
    ended = subprocess.run([*command, "--scheduler", "tcp://127.0.0.1:1"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "eosmodel: no Dask scheduler answers at 'tcp://127.0.0.1:1'; it looks like tcp://host:8786\n"
    assert not (tmp_path / "out").exists()


def test_a_killed_sweep_loses_nothing_done_and_grows(tmp_path, capsys, fails):
    out, whole = tmp_path / "out", tmp_path / "whole"
    options = [
        *SMALL,
        "--tuners",
        "constant:{0.2,0.4}",
        "--batch-sizes",
        "full",
        "10",
        "--seeds",
        "0",
        "1",
        "--test-samples",
        "10",
        "--log",
        "jsonl",
    ]
    command = ["sweep", *options, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "eosmodel", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not list(out.glob("blocks/*.nc")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("blocks/*.nc")}
    assert len(kept) < 4
    assert not (out / "sweep.nc").exists()
    assert "--resume" in fails(*command)
    main([*command, "--resume"])
    assert "Sharpening is weaker" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    names = {path.name for path in out.iterdir()}
    pictures = {"sweep-loss.png", "sweep-sharpness.png", "sweep-trajectories.png", "sweep-losses.png"}
    pictures |= {"sweep-test-loss.png", "sweep-test-accuracy.png", "sweep-test-losses.png"}
    assert names == {"config.json", "run.toml", "blocks", "log", "sweep.nc", "findings.json", "sweep.html"} | pictures
    logged = {path.name: list(map(json.loads, path.read_text().splitlines())) for path in (out / "log").iterdir()}
    assert len(logged) == 4
    for rows in logged.values():
        assert [row["seed"] for row in rows] == [0] * (len(rows) // 2) + [1] * (len(rows) // 2)
    main(["rerun", str(out), "--out", str(whole)])
    assert capsys.readouterr().out.endswith(f"the same numbers as {out}\n")
    found, expected = (xr.load_dataset(folder / "sweep.nc").drop_vars("seconds") for folder in (out, whole))
    xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())
    assert json.loads(found.attrs["config"])["width"] == 4
    assert "not tested" in (out / "sweep.html").read_text()
    assert {finding["id"] for finding in json.loads((out / "findings.json").read_text())} == set("abcd")
    assert np.isfinite(found.final_test_accuracy).all()
    page = (out / "sweep.html").read_text()
    assert page.count("the loss on held-out samples ends lowest") == 2
    (out / "sweep.html").unlink()
    main(["report", str(out)])
    assert (out / "sweep.html").read_text() == page

    capsys.readouterr()
    # Other steps are another sweep; another tuner is more of the same.
    assert "steps" in fails(*command, "--resume", "--steps", "50")
    main([*command, "--resume", "--batch-sizes", "full", "--tuners", "constant:0.4", "constant:0.3"])
    assert capsys.readouterr().out.count("constant:0.3, B = full") == 1
    assert xr.load_dataset(out / "sweep.nc").tuner.values.tolist() == ["constant:0.4", "constant:0.3"]
    assert len(list(out.glob("blocks/*.nc"))) == 5
    main([*command, "--overwrite"])
    assert len(list(out.glob("blocks/*.nc"))) == 4
