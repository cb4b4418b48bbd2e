"""Pictures and the report: what is drawn is what was recorded, and the page stands alone."""

import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from eosmodel import Status, plotting
from eosmodel.comparison import compare
from eosmodel.report import write_report

STEPS = 120
TUNERS = ["constant:0.4", "armijo:c=1e-4,factor=0.8", "<b>odd</b>"]


@pytest.fixture(scope="module")
def study():
    """Three tuners and two seeds, one run diverged, λ every third row; two theories, one of them ended early."""
    rng = np.random.default_rng(0)
    step = np.arange(STEPS)
    shape = (len(TUNERS), 2, STEPS)
    loss = np.exp(-step / 50 + 0.1 * rng.standard_normal(shape))
    stepsize = np.full(shape, 0.4)
    stepsize[1] = np.exp(rng.standard_normal(shape[1:]) * 3)
    sharpness = np.where(step % 3 == 0, 5 + 0.1 * rng.standard_normal(shape), np.nan)
    status, steps = np.zeros(shape[:2], dtype=int), np.full(shape[:2], STEPS)
    status[2], steps[2] = Status.DIVERGED, 60
    loss[2, :, 40:] = 1e30
    for values in (loss, stepsize, sharpness):
        values[2, :, 60:] = np.nan
    dims = ("tuner", "seed", "step")
    attrs = {
        "config": json.dumps({"data": "<script>alert(1)</script>", "steps": STEPS}),
        "command": "eosmodel compare --steps 120",
    }
    values = {"loss": loss, "stepsize": stepsize, "sharpness": sharpness, "alignment": rng.random(shape)}
    experiment = xr.Dataset(
        {name: (dims, v) for name, v in values.items()}
        | {
            "status": (dims[:2], status),
            "steps": (dims[:2], steps),
            "seconds_per_step": (dims[:2], np.ones(shape[:2])),
        },
        {"tuner": TUNERS, "seed": [5, 6], "step": step},
        attrs,
    )
    experiment["sharpness"].attrs["definition"] = "had at the midpoint of two iterates"
    core = experiment[["loss", "stepsize", "sharpness", "status", "steps"]]
    early = core.where(core.step < 30).assign(
        status=core.status * 0 + int(Status.OUT_OF_RANGE), steps=core.steps * 0 + 30
    )
    theory = xr.concat([core, early], xr.IndexVariable("theory", ["oscillation", "my-own"]), data_vars="all")
    return experiment, theory.transpose("theory", *dims).assign_attrs(attrs)


def test_trajectories_have_a_column_per_tuner_and_every_theory_on_shared_axes(study):
    figure = plotting.trajectories(*study)
    grid = np.array(figure.axes).reshape(5, len(TUNERS))
    assert grid[0, 0].get_ylim() == grid[0, 1].get_ylim()
    # Raw and smoothed experiment and two theories; the early one also has its cross.
    assert len(grid[0, 0].lines) == 5
    assert "diverged at step 60" in grid[0, 2].get_title()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["experiment", "oscillation", "my-own", "experiment, every row"]


def test_raw_line_is_the_record_where_it_is_known(study):
    experiment, _ = study
    figure = plotting.trajectories(experiment, seed=6)
    line = np.array(figure.axes).reshape(5, -1)[2, 0].lines[0]
    known = experiment.sharpness.sel(tuner=TUNERS[0], seed=6).dropna("step")
    np.testing.assert_array_equal(line.get_xdata(), known.step)
    np.testing.assert_array_equal(line.get_ydata(), known)


def test_wild_products_stay_on_a_readable_axis(study):
    figure = plotting.trajectories(*study)
    ax = np.array(figure.axes).reshape(5, -1)[3, 0]
    low, high = ax.get_ylim()
    assert low == 0
    assert 3 <= high <= 1e6
    assert any(np.allclose(line.get_ydata(), 2) for line in ax.lines)


def test_drawing_on_given_axes_and_a_single_run(study):
    from matplotlib.figure import Figure

    experiment, _ = study
    run = experiment.isel(tuner=0, seed=0)
    figure = Figure()
    assert plotting.trajectories(run, axes=figure.subplots(5, 1)) is figure
    figure = Figure()
    assert plotting.summary(run, axes=figure.subplots(2, 2)) is figure
    assert compare(run).plot(seed=5).axes
    with pytest.raises(ValueError, match="seed must be one of 5, 6, got 7"):
        plotting.trajectories(experiment, seed=7)


def test_a_run_without_rows_does_not_break_the_pictures(study):
    experiment, _ = study
    empty = experiment.isel(tuner=[0]).map(lambda values: values * np.nan if "step" in values.dims else values)
    empty = empty.assign(steps=empty.steps * 0, status=empty.status * 0 + int(Status.NONFINITE))
    for figure in (plotting.trajectories(empty), plotting.summary(empty)):
        figure.canvas.draw()


def test_summary_draws_the_edge_of_the_constant_step(study):
    figure = plotting.summary(study[0])
    assert any(np.allclose(line.get_ydata(), 2 / 0.4) for line in figure.axes[2].lines)
    assert "2/η of the constant step" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_error_maps_show_the_median_over_seeds(study):
    rows = compare(*study).rows()
    figure = plotting.errors(rows)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert len(texts) == 2 * len(TUNERS)
    assert texts[0] == "0.000"
    # The second theory ended early everywhere, the first where the run did.
    assert ["†" in text for text in texts] == [False, False, True, True, True, True]


def test_no_pyplot_and_nothing_left_open(study):
    plotting.summary(study[0])
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


class Page(HTMLParser):
    """What a page refers to, and its words."""

    def __init__(self, text):
        super().__init__()
        self.links, self.tags, self.alts, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.links += [attrs[name] for name in ("src", "href") if name in attrs]
        if tag == "img":
            self.alts.append(attrs.get("alt"))
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "new"
    return write_report(*study, out)


def test_report_folder_holds_everything_and_no_temporaries(written):
    names = {path.name for path in written.parent.iterdir()}
    assert names == {"summary.png", "trajectories.png", "errors.png", "scoreboard.json", "report.html"}
    assert all((written.parent / name).read_bytes()[:4] == b"\x89PNG" for name in names if name.endswith("png"))


def test_page_is_well_formed_self_contained_and_escaped(written):
    text = written.read_text()
    page = Page(text)
    assert page.open == []
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(re.findall(r'id="([^"]+)"', text))
    assert not re.search(r"(?:https?:)?//\w", re.sub(r"base64,[^\"]+", "", text))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert len(page.alts) == 3
    assert all(page.alts)


def test_page_says_what_was_done_and_how_it_ended(written):
    text = written.read_text()
    assert "eosmodel compare --steps 120" in text
    assert "had at the midpoint of two iterates" in text
    assert Status.DIVERGED.describe() in text
    assert "3 step-size tuners were run in 6 runs of up to 120 steps; 4 of them finished." in text
    assert "nan" not in re.sub(r"base64,[^\"]+", "", text).lower().replace("became nan", "").replace("for nan", "")


def test_scoreboard_file_is_strict_json_and_equals_the_rows(study, written):
    def refuse(name):
        raise AssertionError(name)

    board = json.loads((written.parent / "scoreboard.json").read_text(), parse_constant=refuse)
    assert board["config"]["steps"] == STEPS
    assert board["rows"] == compare(*study).rows()


def test_report_without_theory(study, tmp_path):
    write_report(study[0], None, tmp_path)
    assert not (tmp_path / "errors.png").exists()
    assert "not tested" in (tmp_path / "report.html").read_text()
