"""`eosmodel river` as a user meets it: files, resuming, drawing again, bad input."""

import numpy as np
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel.cli import main
from eosmodel.experiment import load_river

pytestmark = pytest.mark.usefixtures("lightly_compiled")

SMALL = ["--samples", "60", "--width", "4", "--depth", "1", "--steps", "40", "--modes", "1"]


def test_rivers_predictions_and_a_page(tmp_path, capsys):
    out = tmp_path / "out"
    command = ["river", *SMALL, "--tuners", "constant:0.05", "constant:0.1", "constant:99", "--out", str(out)]
    main(command)
    printed = capsys.readouterr().out
    lines = [line.split()[:2] for line in printed.splitlines() if line.strip()[:1] in ("1", "2", "–")]
    assert lines == [["1", "constant:0.1"], ["2", "constant:0.05"], ["–", "constant:99"]]
    said = eos.record.load(out / "predictions.nc")
    river = load_river(out / "rivers" / "seed-0.nc")
    alone = eos.predict(river, "constant:0.1", 40)
    np.testing.assert_array_equal(said.loss.sel(tuner="constant:0.1", seed=0), alone.loss)
    page = (out / "river.html").read_text()
    assert "Lowest predicted loss: constant:0.1" in page
    assert "arXiv" in page
    # What is done is not computed again, and the page is drawn again from the files.
    (out / "river.html").unlink()
    main([*command, "--resume"])
    xr.testing.assert_identical(eos.record.load(out / "predictions.nc").drop_attrs(), said.drop_attrs())
    (out / "river.html").unlink()
    main(["report", str(out)])
    assert (out / "river.html").exists()
    main(["rerun", str(out)])
    assert capsys.readouterr().out.endswith(f"the same numbers as {out}\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--tuners", "armjo"], "did you mean armijo"),
        (["--seeds", "1", "1"], "same value twice"),
        (["--modes", "0"], "[1, inf]"),
        (["--length", "0"], "length must lie in (0, inf)"),
    ],
)
def test_bad_input_is_one_clear_line_and_writes_nothing(tmp_path, fails, args, words):
    assert words in fails("river", *SMALL, "--out", str(tmp_path / "out"), *args)
    assert not (tmp_path / "out").exists()
