"""Tuners and objectives of the user's own modules on the command line."""

import sys

import numpy as np
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel.cli import main
from eosmodel.studies.blocks import Block, plain
from eosmodel.tuners.grids import parameters

pytestmark = pytest.mark.usefixtures("lightly_compiled")

MODULE = """
import jax.numpy as jnp
import eosmodel as eos
from eosmodel.tuners import AbstractTuner, TunerInfo

class Mine(AbstractTuner):
    step: float = 0.1
    def __call__(self, ray, state):
        return self.step, state, TunerInfo(0, False)

def bowl(width: int = 2):
    return eos.objective(lambda w: 0.5 * jnp.sum(w**2), jnp.ones(width))

def nothing():
    return 3

LIMIT = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "mymodule.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mymodule", None)


def test_a_tuner_and_an_objective_of_ones_own_run_as_registered_ones(own, capsys):
    command = ["train", "--objective", "mymodule:bowl:width=3", "--steps", "4", "--modes", "1"]
    main([*command, "--tuners", "mymodule:Mine:step=0.25", "constant:0.25", "mymodule:Mine:cap=0.25,step=1"])
    run = xr.load_dataset(own / "runs" / "latest" / "experiment.nc")
    np.testing.assert_allclose(run.loss[0, 0], 1.5 * 0.75 ** (2 * np.arange(4)), rtol=1e-6)
    for other in (1, 2):
        np.testing.assert_array_equal(run.loss[0], run.loss[other])
    main(["report", "runs/latest"])
    assert "mymodule:Mine:step=0.25" in capsys.readouterr().out
    in_python = eos.simulate("mymodule:bowl", "mymodule:Mine", 4, progress=False)
    np.testing.assert_allclose(in_python.loss, 0.9 ** (2 * np.arange(4)), rtol=1e-6)


def test_list_tells_about_ones_own(own, capsys, fails):
    main(["list", "mymodule:Mine", "mymodule:bowl"])
    said = capsys.readouterr().out
    assert "mymodule:Mine (tuner): a tuner of your own\n\n    --tuners mymodule:Mine:step=0.1\n" in said
    assert "mymodule:bowl (toy): an objective of your own\n\n    --objective mymodule:bowl:width=2\n" in said
    assert "did you mean Mine" in fails("list", "mymodule:Mime")
    with (own / "mymodule.py").open("a") as file:
        file.write("def build(data, width=4, patch=2):\n    '''A network of patches.'''\n")
    sys.modules.pop("mymodule")
    main(["list", "mymodule:build"])
    said = capsys.readouterr().out
    assert "mymodule:build (network): a network of your own" in said
    assert "--net mymodule:build:patch=2" in said
    assert "A network of patches." in said


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--tuners", "mymodule:Mine:sgma=2"], ["no parameter 'sgma'", "step, cap"]),
        (["--tuners", "mymodule:Mne"], ["no class or function Mne (did you mean Mine?)"]),
        (["--tuners", "mymodule:LIMIT"], ["no class or function LIMIT"]),
        (["--tuners", "mymodule:nothing"], ["tuner must be a step-size rule", "got 3"]),
        (["--tuners", "elsewhere:Mine"], ["unknown tuner 'elsewhere', nor is there a module of that name"]),
        (["--tuners", "armjo:c"], ["did you mean armijo"]),
        (["--objective", "mymodule:nothing"], ["must be an objective, got 3"]),
        (["--objective", "broken:bowl"], ["broken fails: SyntaxError"]),
    ],
)
def test_what_is_wrong_with_it_is_one_line(own, fails, args, words):
    (own / "broken.py").write_text("def bowl(:\n")
    error = fails("train", *args)
    assert all(word in error for word in words), error
    assert not (own / "runs").exists()


def test_a_module_that_changed_makes_other_blocks_and_reading_a_label_imports_nothing(own):
    config = plain(tuner="mymodule:Mine:step=0.5", objective={"toy": "mymodule:bowl"})
    before = Block(xr.Dataset, config).name
    assert before == Block(xr.Dataset, config).name
    (own / "mymodule.py").write_text(MODULE.replace("0.5 *", "0.25 *"))
    assert Block(xr.Dataset, config).name != before
    assert parameters("mymodule:Mine:step=0.5,word=x") == ("mymodule:Mine", {"step": 0.5})
    assert "mymodule" not in sys.modules
