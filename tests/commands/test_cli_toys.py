"""Toys on the command line: from a specification to a report, and what a wrong one is told."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel import Status
from eosmodel.cli import main
from eosmodel.commands.list import KINDS
from eosmodel.directions import from_spec as direction
from eosmodel.objectives.registry import TOYS, from_spec
from eosmodel.theory import from_spec as theory
from eosmodel.tuners import Constant
from eosmodel.tuners import from_spec as tuner

pytestmark = pytest.mark.usefixtures("lightly_compiled")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["valey"], ["'valey'", "did you mean valley", "teacher-student"]),
        (["netwrk"], ["'netwrk'", "did you mean network"]),
        (["valley:mods=2"], ["'mods'", "did you mean modes"]),
        (["valley:modes=0"], ["modes must be an integer", "0"]),
        (["double-well:mu=1/2"], ["mu must be a number", "'1/2'"]),
        (["diagonal-quadratic:eigenvalues=a/b"], ["eigenvalues must be numbers separated by /", "'a/b'"]),
        (["network:width=3"], ["--net, --width"]),
        (["valley", "--width", "8", "--init-scale", "1"], ["--width, --init-scale", "networks alone"]),
        (["valley", "--data", "nowhere.npz"], ["--data", "networks alone"]),
        (["valley", "--seeds", "0", "1"], ["one start", "--seeds"]),
        (["two-parameter-regression:start=1/2", "--seeds", "1"], ["a start has no seed"]),
        (["two-layer-scalar", "--seeds", "-1"], ["--seeds", "-1"]),
        (["valley", "--modes", "0"], ["--modes", "[1, inf]"]),
    ],
)
@pytest.mark.parametrize("command", ["compare", "train"])
def test_bad_input_is_one_clear_line_and_writes_nothing(tmp_path, fails, command, args, words):
    out = tmp_path / "out"
    error = fails(command, "--out", str(out), "--objective", *args)
    assert all(word in error for word in words), error
    assert not out.exists()


def test_compare_a_toy_of_one_weight(tmp_path, capsys, fails):
    """The files hold what the library gives, in the precision asked for, and say what was run."""
    out, spec = tmp_path / "run", "double-well:mu=2,start=1.5"
    command = ["compare", "--objective", spec, "--tuners", "constant:0.3", "armijo", "--steps", "40"]
    command += ["--theories", "oscillation", "valley-frozen", "--dtype", "float64", "--out", str(out)]
    main(command)
    assert "has 1 weight: 1 of --modes 3 are followed" in capsys.readouterr().out
    for name in ("report.html", "summary.png", "trajectories.png", "errors.png"):
        assert (out / name).stat().st_size > 0
    assert spec in (out / "report.html").read_text()
    experiment, theory = xr.load_dataset(out / "experiment.nc"), xr.load_dataset(out / "theory.nc")
    assert experiment.sizes == {"tuner": 2, "seed": 1, "step": 40, "mode": 1}
    assert experiment.loss.dtype == np.float64
    assert (theory.status == int(Status.OK)).all()
    run = eos.simulate(from_spec(spec), Constant(0.3), 40, progress=False)
    np.testing.assert_allclose(experiment.loss.sel(tuner="constant:0.3", seed=0), run.loss, rtol=1e-12, atol=1e-25)

    config = json.loads(experiment.attrs["config"])
    assert config["objective"] == spec
    assert not {"data", "samples", "net", "width", "depth", "activation", "init_scale", "loss"} & config.keys()

    before = (out / "scoreboard.json").read_bytes()
    other = [word.replace("mu=2", "mu=3") for word in command]
    assert "differs in objective" in fails(*other, "--resume")
    assert "data" in fails(*[word.replace(spec, "network") for word in command], "--resume")
    main([*command, "--resume"])
    assert (out / "scoreboard.json").read_bytes() == before


def test_seeds_draw_starts_and_none_is_the_own_one(tmp_path):
    out, spec = tmp_path / "run", "diagonal-linear:features=3"
    command = ["train", "--objective", spec, "--tuners", "constant:0.05", "--steps", "5", "--dtype", "float64"]
    main([*command, "--seeds", "3", "4", "--out", str(out)])
    drawn = xr.load_dataset(out / "experiment.nc")
    assert drawn.seed.values.tolist() == [3, 4]
    main([*command, "--out", str(out), "--overwrite"])
    own = xr.load_dataset(out / "experiment.nc")
    toy = from_spec(spec)
    for start, loss in [(None, own.loss[0, 0]), (3, drawn.loss[0, 0]), (4, drawn.loss[0, 1])]:
        assert float(loss[0]) == pytest.approx(float(toy(toy.initial(start))), rel=1e-12)


def test_list_names_every_toy_and_its_parameters(capsys):
    main(["list"])
    text = capsys.readouterr().out
    for name in TOYS:
        assert f"  {name} " in text
    assert "[eigenvalues=10/1, center=…/…, start=…/…]" in text
    assert "signed=true" in text


READ = {"tuner": tuner, "direction": direction, "toy": from_spec, "theory": theory}


@pytest.mark.parametrize("kind", KINDS)
def test_list_of_a_name_tells_its_meaning_and_defaults_which_can_be_given(kind, capsys):
    option, table, parameters = KINDS[kind]
    for name in table:
        main(["list", name])
        text = capsys.readouterr().out
        assert f"{name} ({kind}): {table[name][1]}" in text
        assert f"In Python: eosmodel.{'objectives' if kind in ('toy', 'network', 'data set') else ''}" in text
        given = re.search(rf"^    {option} (\S+)$", text, re.MULTILINE).group(1)
        assert given.partition(":")[0] == name
        if kind in READ and name != "schedule":
            READ[kind](given)
        assert all(f"{key}:" in text or f"{key}=" in text for key, _ in parameters(name))


def test_names_that_are_not_there_and_the_version(capsys, fails):
    assert "unknown name 'armjo' (did you mean armijo?)" in fails("list", "armijo", "armjo")
    main(["--version"])
    assert capsys.readouterr().out == f"eosmodel {eos.__version__}\n"
    pyproject = tomllib.loads((Path(eos.__file__).parents[1] / "pyproject.toml").read_text())
    assert eos.__version__ == pyproject["project"]["version"]
    assert (Path(eos.__file__).parent / "py.typed").exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="completes in bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [("tr", "train"), ("train --tu", "--tuners"), ("sweep --batch", "--batch-sizes"), ("train --net t", "transformer")],
)
def test_words_are_completed_in_bash(words, completed, capsys, tmp_path):
    main(["--completion", "bash"])
    (tmp_path / "completion.sh").write_text(capsys.readouterr().out)
    ask = f"source ./completion.sh; COMP_WORDS=(eosmodel {words}); COMP_CWORD={len(words.split())}; _tyro_eosmodel; "
    ask += 'printf "%s\\n" "${COMPREPLY[@]}"'
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", ask], cwd=tmp_path, env=path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [completed]


def test_help_loads_nothing_but_tyro(capsys, monkeypatch):
    heavy = ("jax", "numpy", "xarray", "equinox", "matplotlib")
    for name in heavy:
        monkeypatch.setitem(sys.modules, name, None)  # an import of it now fails
    with pytest.raises(SystemExit) as end:
        main(["compare", "--help"])
    assert end.value.code == 0
    assert "--objective" in capsys.readouterr().out
