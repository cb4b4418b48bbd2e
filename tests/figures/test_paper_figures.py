"""Every figure, by its module: computed once, drawn from the file after that, and described in the manifest."""

import json

import pytest

import paper_figures
from paper_figures._command import main

pytestmark = pytest.mark.usefixtures("lightly_compiled")

NAMES = list(paper_figures.titles())
# One that is soon drawn stands for all. `make test-slow` draws the others; most of the time is that of networks.
ONE = "responses"
STUDIES = (
    "batch-sizes",
    "cdat",
    "edge-alone",
    "edge-exponents",
    "explanations",
    "flow-time",
    "period-doubling",
    "river-diagrams",
    "theory-experiment",
)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param([ONE], id="one"),
        pytest.param([name for name in NAMES if name not in (ONE, *STUDIES)], id="others", marks=pytest.mark.slow),
        pytest.param(list(STUDIES), id="studies", marks=pytest.mark.slow),
    ],
)
def drawn(request, tmp_path_factory):
    """A folder, and the figures that were drawn there."""
    out = tmp_path_factory.mktemp("figures")
    main([*request.param, "--quick", "--out", str(out)])
    return out, request.param


def test_every_figure_is_drawn_and_described(drawn):
    folder, names = drawn
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in names:
        for suffix in ("png", "pdf", "nc"):
            assert (folder / f"{name}.{suffix}").stat().st_size > 1000
        assert name in json.dumps(manifest)


def test_a_second_run_computes_nothing(drawn, capsys, monkeypatch):
    folder, names = drawn
    for name in names:
        monkeypatch.setattr(paper_figures.load(name), "compute", None)
    main([*names, "--quick", "--out", str(folder)])
    assert "computed in" not in capsys.readouterr().out


def test_an_unknown_figure_is_named_with_those_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["nonsense", "--out", str(tmp_path / "new")])
    assert ended.value.code == 2
    assert NAMES[0] in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_names_and_titles_are_listed(capsys):
    main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert all(line.endswith(title) for line, title in zip(lines, paper_figures.titles().values(), strict=True))
