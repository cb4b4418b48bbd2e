"""`eosmodel rerun` makes the results of a folder again; of other commands' folders in the tests of these commands."""

import json

import numpy as np
import pytest
import xarray as xr

from eosmodel.cli import main

pytestmark = pytest.mark.usefixtures("lightly_compiled")

TOY = ["--objective", "double-well", "--tuners", "armijo", "constant:0.1", "--steps", "5"]


def test_a_folder_is_made_again_beside_it_and_its_numbers_are_compared(tmp_path, monkeypatch, capsys, fails):
    out, again = tmp_path / "out", tmp_path / "out-again"
    main(["train", *TOY, "--out", str(out)])
    before = (out / "experiment.nc").read_bytes()
    main(["rerun", str(out)])
    assert capsys.readouterr().out.endswith(f"\nthe same numbers as {out}\n")
    assert (out / "experiment.nc").read_bytes() == before
    one, two = (xr.load_dataset(folder / "experiment.nc") for folder in (out, again))
    xr.testing.assert_equal(one.loss, two.loss)
    # As everywhere, nothing is overwritten unasked; from within, the new folder is beside it too.
    monkeypatch.chdir(out)
    assert f"--out {again} is not empty; --resume goes on with it" in fails("rerun", ".")
    main(["rerun", ".", "--overwrite"])
    assert capsys.readouterr().out.endswith("\nthe same numbers as .\n")
    xr.load_dataset(again / "experiment.nc").assign(loss=2 * two.loss).to_netcdf(again / "experiment.nc")
    main(["rerun", str(again), "--out", str(tmp_path / "third")])
    assert capsys.readouterr().out.endswith(f"\nnot the numbers of {again}: experiment.nc (loss)\n")


def test_a_folder_without_results_is_finished_in_place(tmp_path, capsys):
    out = tmp_path / "out"
    main(["train", *TOY, "--out", str(out)])
    began = json.loads((out / "config.json").read_text())["began"]
    first = xr.load_dataset(out / "experiment.nc")
    (out / "experiment.nc").unlink()
    file = out / "config.json"  # as if the command had been killed yesterday
    file.write_text(file.read_text().replace(began, "2001-01-01T00:00:00+00:00"))
    main(["rerun", str(out), "--out", str(out), "--resume"])
    assert capsys.readouterr().out.endswith("no results to compare with\n")
    again = xr.load_dataset(out / "experiment.nc")
    xr.testing.assert_identical(again.drop_attrs(), first.drop_attrs())
    assert again.attrs["began"] == "2001-01-01T00:00:00+00:00"


def test_what_cannot_be_run_again_is_one_line(tmp_path, capsys, fails):
    assert "nothing to rerun" in fails("rerun", str(tmp_path))
    assert "nothing to rerun" in fails("rerun", str(tmp_path / "nowhere"))
    data, out = tmp_path / "mine.npz", tmp_path / "out"
    x = np.arange(24.0).reshape(8, 3) / 24
    np.savez(data, x=x, y=np.arange(8) % 2)
    small = ["--data", str(data), "--width", "2", "--depth", "1", "--tuners", "constant:0.1", "--steps", "2"]
    main(["train", *small, "--samples", "6", "--test-samples", "2", "--out", str(out)])
    main(["rerun", str(out), "--out", str(tmp_path / "before")])  # samples that are held out belong to the data
    np.savez(data, x=x + 1, y=np.arange(8) % 2)
    capsys.readouterr()
    assert "were replaced" in fails("rerun", str(out))
    assert not (tmp_path / "out-again").exists()
