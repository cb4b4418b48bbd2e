"""`eosmodel phase` and `eosmodel orbit` as a user meets them: files, exit codes, resuming."""

import json
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from eosmodel.analysis import phase
from eosmodel.cli import main

pytestmark = pytest.mark.usefixtures("lightly_compiled")

SMALL = ["--x", "c", "0.3", "1", "8", "--y", "A", "4", "40", "6", "--log-y", "--steps", "200"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--x", "sigma", "1", "2", "5"], ["no parameter 'sigma'", "tuner.c"]),
        (["--x", "c", "2", "1", "5"], ["axis c", "2.0 to 1.0"]),
        (["--x", "c", "1", "2", "0"], ["axis c", "count"]),
        (["--x", "A", "1", "2", "5"], ["--x and --y are both A"]),
        (["--x", "c", "-1", "2", "5"], ["reaches -1", "c must lie in"]),
        (["--y", "A", "0", "2", "5", "--log-y"], ["above 0"]),
        (["--x", "c", "0.3", "1", "9000000", "--y", "A", "4", "40", "9000000"], ["memory"]),
        (["--system", "vally"], ["unknown system", "did you mean valley", "fast-map"]),
        (["--system", "fast-map:kapa=1"], ["kapa", "did you mean kappa"]),
        (["--system", "fast-map:kappa=1"], ["kappa must lie in [0, 1)"]),
        (["--tuner", "polyac"], ["did you mean polyak"]),
        (["--observables", "regime", "entropy"], ["entropy", "lyapunov"]),
        (["--steps", "3"], ["steps", "64"]),
        (["--chunk", "0"], ["--chunk"]),
        (["--resume", "--overwrite"], ["--resume and --overwrite"]),
    ],
)
def test_bad_input_is_one_clear_line_and_writes_nothing(tmp_path, fails, args, words):
    out = tmp_path / "out"
    error = fails("phase", "--out", str(out), *args)
    assert all(word in error for word in words), error
    assert not out.exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--parameter", "sigma", "1", "2", "9"], ["sigma"]),
        (["--parameter", "c", "1", "0.5", "9"], ["axis c"]),
        (["--keep", "5"], ["--keep", "64"]),
        (["--burn-in", "-1"], ["--burn-in"]),
    ],
)
def test_bad_input_of_orbit(tmp_path, fails, args, words):
    error = fails("orbit", "--out", str(tmp_path / "out"), *args)
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_phase_writes_resumes_and_guards_its_folder(tmp_path, capsys, fails, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    main(["phase", *SMALL, "--out", str(whole)])
    assert "periodic" in capsys.readouterr().out
    names = {path.name for path in whole.iterdir()}
    assert names == {
        "config.json",
        "run.toml",
        "phase.nc",
        "phase.png",
        "phase-edge_exponent.png",
        "phase-lyapunov.png",
    }
    (whole / "phase.png").unlink()
    main(["report", str(whole)])
    assert (whole / "phase.png").stat().st_size > 1000
    found = xr.load_dataset(whole / "phase.nc")
    assert found.regime.dims == ("A", "c")
    np.testing.assert_allclose(found.A, np.geomspace(4, 40, 6))
    config = json.loads(found.attrs["config"])
    assert (config["command"], config["system"], config["tuner"]) == ("phase", "fast-map", "polyak")

    sweep = phase.sweep

    def interrupted(*args, **kwargs):
        yield next(sweep(*args, **kwargs))
        raise KeyboardInterrupt

    monkeypatch.setattr(phase, "sweep", interrupted)
    with pytest.raises(SystemExit) as end:
        main(["phase", *SMALL, "--chunk", "20", "--out", str(out)])
    assert end.value.code == 130
    assert "--resume" in capsys.readouterr().err
    monkeypatch.undo()
    assert "--resume" in fails("phase", *SMALL, "--out", str(out))
    assert "steps" in fails("phase", *SMALL[:-1], "300", "--out", str(out), "--resume")
    main(["phase", *SMALL, "--chunk", "20", "--out", str(out), "--resume"])
    again = xr.load_dataset(out / "phase.nc")
    xr.testing.assert_identical(again.drop_attrs(), found.drop_attrs())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    capsys.readouterr()
    assert "not empty" in fails("phase", *SMALL, "--out", str(tmp_path / "thesis"), "--overwrite")
    main(["orbit", "--parameter", "c", "0.3", "0.6", "7", "--out", str(out), "--overwrite"])
    assert {path.name for path in out.iterdir()} == {"config.json", "run.toml", "orbit.nc", "orbit.png"}
    found = xr.load_dataset(out / "orbit.nc")
    # At A = 10 the flip is at c = 0.5359.
    assert found.period.values.tolist() == [1, 1, 1, 1, 1, 2, 2]
    assert found.p.attrs["symbol"] == "c"
    for folder, files in ((whole, ["phase.nc"]), (out, ["orbit.nc"])):
        main(["rerun", str(folder)])
        assert capsys.readouterr().out.endswith(f"the same numbers as {folder}\n")
        assert [path.name for path in folder.with_name(f"{folder.name}-again").glob("*.nc")] == files


def test_phase_of_a_toy(tmp_path):
    out = tmp_path / "toy"
    axes = ["--x", "step", "0.3", "1.7", "3", "--y", "start[0]", "-1.1", "-0.9", "2"]
    system = ["--system", "double-well:mu=1.4", "--tuner", "constant", "--observables", "regime", "final_sharpness"]
    main(["phase", *axes, *system, "--dtype", "float64", "--steps", "500", "--out", str(out)])
    found = xr.load_dataset(out / "phase.nc")
    assert found.regime.values.tolist() == [[0, 6, 7]] * 2
    assert found.final_sharpness.dtype == np.float64
    np.testing.assert_allclose(found.final_sharpness[:, 0], 2.8, rtol=1e-6)


def test_help_imports_nothing_slow():
    code = (
        "import sys\n"
        "from eosmodel.cli import main\n"
        "try: main(['phase', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'jax', 'xarray', 'matplotlib', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
