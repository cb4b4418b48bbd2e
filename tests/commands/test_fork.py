"""`--keep-weights`, `--start` and `eosmodel fork` on a toy: branches and their run, theories from there, refusals."""

import numpy as np
import pytest

from eosmodel.cli import main
from eosmodel.results import record

pytestmark = pytest.mark.usefixtures("lightly_compiled")
TOY = ("--objective", "valley", "--dtype", "float64")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with runs of two tuners, and the whole runs."""
    out = tmp_path_factory.mktemp("forks") / "kept"
    tuners = ("--tuners", "constant:0.02", "armijo", "--keep-weights", "10", "--steps", "30", "--out", str(out))
    main(["train", *TOY, *tuners, "--no-cache"])
    return out, record.load(out / "experiment.nc")


def test_branches_go_on_from_a_kept_step_and_the_one_without_memory_is_the_run(kept, tmp_path, capsys):
    folder, whole = kept
    args = ["--at", "10", "--of", "constant:0.02", "--tuners", "constant:0.02", "polyak", "--no-cache"]
    out = tmp_path / "branches"
    main(["fork", str(folder), *args, "--out", str(out)])
    branches = record.load(out / "experiment.nc").squeeze("seed")
    run = whole.sel(tuner="constant:0.02").squeeze("seed")
    np.testing.assert_allclose(branches.loss.sel(tuner="constant:0.02"), run.loss[10:], rtol=1e-12)
    np.testing.assert_allclose(branches.loss.sel(tuner="polyak")[0], run.loss[10], rtol=1e-12)
    assert branches.sizes["step"] == 20
    said = capsys.readouterr().out
    assert "branch off constant:0.02 at its step 10" in said
    assert "In the same steps, the run itself" in said
    assert "constant:0.02, the run" in said
    assert (out / "fork.png").stat().st_size > 10_000
    assert "Branches off the run under constant:0.02" in (out / "report.html").read_text()
    (out / "fork.png").unlink()
    main(["report", str(out)])  # from its files alone
    assert (out / "fork.png").exists()
    main(["rerun", str(out), "--no-cache"])
    assert "the same numbers" in capsys.readouterr().out


def test_a_run_and_a_theory_of_it_start_from_the_last_weights(kept, tmp_path):
    folder, whole = kept
    args = ("--start", f"{folder}@30@armijo", "--tuners", "constant:0.02", "--steps", "6", "--keep-weights", "3")
    out = tmp_path / "on"
    main(["compare", *TOY, *args, "--theories", "oscillation", "valley", "--out", str(out), "--no-cache"])
    run, theory = (record.load(out / f"{name}.nc").squeeze() for name in ("experiment", "theory"))
    np.testing.assert_array_equal(run.weights[0], whole.weights.sel(tuner="armijo", kept_step=30).squeeze())
    np.testing.assert_allclose(theory.sel(theory="oscillation").weights[0], run.weights[0], rtol=1e-12)
    assert theory.sel(theory="valley").weights.isnull().all()


def test_what_cannot_be_gone_on_from_is_refused_in_one_line(kept, tmp_path, fails):
    folder, _ = kept
    out = ("--out", str(tmp_path / "no"), "--no-cache")
    fork = ("fork", str(folder), "--tuners", "polyak", *out)
    message = fails(*fork, "--at", "15", "--of", "armijo")
    assert "the weights of step 15 were not kept; kept are those of steps 0, 10, 20, 30" in message
    assert "name one, as RUN@STEP@TUNER (fork: --of), of constant:0.02, armijo" in fails(*fork, "--at", "10")
    assert "no step before the end" in fails(*fork, "--at", "30", "--of", "armijo")
    assert "has no experiment.nc" in fails("train", *TOY, "--start", str(tmp_path), *out)
    assert "must be an integer" in fails("train", *TOY, "--start", f"{folder}@last", *out)
    start = ("--start", f"{folder}@10@armijo")
    assert "2 weights are kept there, the objective has" in fails("train", "--objective", "double-well", *start, *out)
    assert "was not written by" in fails("fork", str(tmp_path), "--at", "1", "--tuners", "polyak", *out)
    assert not (tmp_path / "no").exists()
