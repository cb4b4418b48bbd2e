"""Every figure, by its module: computed once, drawn from the file after that, and described in the manifest."""

import json

import pytest

import paper_figures
from eosmodel.cli import main

pytestmark = pytest.mark.usefixtures("lightly_compiled")

NAMES = list(paper_figures.titles())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("figures")
    main(["figures", "--quick", "--out", str(out)])
    return out


def test_every_figure_is_drawn_and_described(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in NAMES:
        for suffix in ("png", "pdf", "nc"):
            assert (folder / f"{name}.{suffix}").stat().st_size > 1000
        assert name in json.dumps(manifest)


def test_a_second_run_computes_nothing(folder, capsys, monkeypatch):
    for name in NAMES:
        monkeypatch.setattr(paper_figures.load(name), "compute", None)
    main(["figures", "--quick", "--out", str(folder)])
    assert "computed in" not in capsys.readouterr().out


def test_an_unknown_figure_is_named_with_those_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["figures", "nonsense", "--out", str(tmp_path / "new")])
    assert ended.value.code == 2
    assert NAMES[0] in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
