"""Where the command line keeps compiled programs, and when it does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eosmodel.commands import compiled


@pytest.mark.parametrize(
    ("system", "environment", "folder"),
    [
        ("linux", {}, "~/.cache/eosmodel"),
        ("linux", {"XDG_CACHE_HOME": "/scratch/me"}, "/scratch/me/eosmodel"),
        ("linux", {"XDG_CACHE_HOME": "relative/is/ignored"}, "~/.cache/eosmodel"),
        ("darwin", {"XDG_CACHE_HOME": "/scratch/me"}, "~/Library/Caches/eosmodel"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/eosmodel"),
        ("win32", {}, "~/AppData/Local/eosmodel"),
    ],
)
def test_the_folder_follows_the_platform(system, environment, folder):
    assert compiled.cache_folder(environment, system) == Path(folder).expanduser()


def test_the_folder_is_named_once_and_one_that_was_chosen_or_cannot_be_made_is_left(tmp_path, capsys):
    first, second = ({"XDG_CACHE_HOME": str(tmp_path)} for _ in range(2))
    compiled.keep(first)
    assert Path(first[compiled.FOLDER]).parent == tmp_path / "eosmodel"
    assert str(tmp_path) in capsys.readouterr().out
    compiled.keep(second)
    assert second == first
    (tmp_path / "file").write_text("")
    for environment in ({compiled.FOLDER: "/mine"}, {"XDG_CACHE_HOME": str(tmp_path / "file")}):
        before = dict(environment)
        compiled.keep(environment)
        assert environment == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("option", "kept"), [((), True), (("--no-cache",), False)])
def test_commands_keep_what_they_compile_unless_told_otherwise(tmp_path, monkeypatch, fails, option, kept):
    monkeypatch.delenv(compiled.FOLDER, raising=False)
    monkeypatch.delenv(compiled.LEAST_SECONDS, raising=False)
    monkeypatch.setattr(compiled, "cache_folder", lambda environment: tmp_path / "eosmodel")
    assert "armjo" in fails("compare", "--tuners", "armjo", *option)
    assert (compiled.FOLDER in os.environ) == kept == (tmp_path / "eosmodel").exists()


def test_the_list_and_mistyped_names_load_nothing_slow():
    code = """
import os, sys
from eosmodel.cli import main
main(["list"])
for args in (["compare", "--tuners", "armjo"], ["sweep", "--tuners", "armjo"], ["phase", "--system", "vally"]):
    try:
        main([*args, "--no-cache"])
    except SystemExit as end:
        assert end.code == 2
slow = {"xarray", "scipy", "diffrax", "matplotlib", "sklearn", "pandas", "h5netcdf", "sympy"} & set(sys.modules)
assert not slow, slow
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
