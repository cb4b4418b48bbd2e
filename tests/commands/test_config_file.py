"""A run.toml is the command that wrote it; what is wrong in one is told in one line."""

from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr

from eosmodel.cli import main, parse
from eosmodel.commands import config_file
from eosmodel.commands.options import COMMANDS, Compare, Fork, Orbit, Phase, Rerun, Train

pytestmark = pytest.mark.usefixtures("lightly_compiled")

OPTIONS = [
    *(option() for option in COMMANDS.values() if hasattr(option, "resume") and option not in (Fork, Rerun)),
    Train(seeds=(0, 3), batch_size=16, replacement=True, samples=50, init_scale=1.5, out=Path("runs/ä b"), workers=2),
    Compare(
        theories=("oscillation:modes=2,force=cubic",), tuners=('schedule:name="x"', "armijo:max=inf"), samples="all"
    ),
    Phase(x=("c", -0.25, 1e-7, 30), log_x=True, bound=float("inf"), observables=("regime",)),
    Orbit(system="fast-map:kappa=0.1", parameter=("sigma", 0.5, 2.0, 8), dtype="float64"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: type(options).__name__)
def test_what_is_written_is_read_back(options, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(config_file.written(options))
    command = type(options).__name__.lower()
    for args in (["--config", str(file)], [command, f"--config={file}"]):
        assert parse(config_file.expand(args)) == options
    assert parse(config_file.expand([command, "--out", "other", "--config", str(file)])) == replace(
        options, out=Path("other")
    )


def test_a_run_is_made_again_from_its_file(tmp_path, capsys):
    out, again = tmp_path / "out", tmp_path / "again"
    main(["train", "--objective", "double-well", "--tuners", "armijo", "--steps", "3", "--out", str(out)])
    main(["--config", str(out / "run.toml"), "--out", str(again)])
    one, two = (xr.load_dataset(folder / "experiment.nc") for folder in (out, again))
    xr.testing.assert_equal(one.loss, two.loss)
    main(["train", "--config", str(out / "run.toml"), "--overwrite"])
    assert capsys.readouterr().out.endswith(f"wrote {out / 'experiment.nc'}; eosmodel report {out} draws it\n")


@pytest.mark.parametrize(
    ("text", "command", "message"),
    [
        ("stepz = 3", ["train"], "train has no parameter 'stepz' (did you mean steps?)"),
        ("steps = 3", [], "does not say its command"),
        ('command = "sweep"', ["train"], "is of the command sweep, not of train"),
        ('command = "trian"', [], "did you mean train"),
        ("steps 3", ["train"], "Expected '='"),
        (None, ["train"], "No such file"),
    ],
)
def test_mistakes_are_named(text, command, message, tmp_path, fails):
    file = tmp_path / "run.toml"
    if text is not None:
        file.write_text(text)
    error = fails(*command, "--config", str(file))
    assert message in error
    assert "needs a file" in fails("train", "--config")


def test_values_are_checked_as_on_the_command_line(tmp_path, capsys, fails):
    file = tmp_path / "run.toml"
    file.write_text('command = "train"\nsteps = "many"\n')
    with pytest.raises(SystemExit) as end:
        main(["--config", str(file)])
    assert end.value.code == 2
    assert "steps" in capsys.readouterr().err
    file.write_text('tuners = ["armjo"]\n')
    assert "did you mean armijo" in fails("train", "--config", str(file))
