"""Pictures and the report: what is drawn is what was recorded, and the page stands alone."""

import html
import json
import re
import shlex
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from eosmodel import Status, plotting
from eosmodel.cli import main
from eosmodel.judging import claims
from eosmodel.judging.scoreboard import compare
from eosmodel.report import write_comparison, write_report
from eosmodel.report.pages import LEVELS, command_line, level
from eosmodel.report.references import cited
from eosmodel.results import record
from eosmodel.results.formatting import number
from eosmodel.theory import THEORIES
from eosmodel.tuners.registry import REGISTRY

pytestmark = pytest.mark.usefixtures("lightly_compiled")

STEPS = 120
TUNERS = ["constant:0.4", "armijo:c=1e-4,factor=0.8", "<b>odd</b>"]


@pytest.fixture(scope="module")
def study():
    """Three tuners and two seeds, one run diverged, λ every third row; two theories, one of them ended early, the other
    leaves out twice the gradient under the second tuner, from step 3 and from step 4."""
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
    share = xr.where((core.tuner == TUNERS[1]) & (core.step >= core.seed - 2), 2.0, 0.01)
    names = xr.IndexVariable("theory", ["oscillation", "my-own"])
    theory = xr.concat([core.assign(left_out=share), early], names, data_vars="all")
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


def test_pictures_say_what_they_are_of(study):
    network = {
        "net": "mlp",
        "width": 8,
        "depth": 2,
        "activation": "tanh",
        "samples": 50,
        "data": "digits",
        "loss": "ce",
    }
    of_a_file = study[0].assign_attrs(config=json.dumps(network | {"dtype": "float32"}))
    of_a_call = study[0].assign_attrs(config="{}", objective="Valley(b=2.0)")
    for draw in (plotting.summary, plotting.trajectories):
        titles = [" ".join(draw(runs).legends[0].get_title().get_text().split()) for runs in (of_a_file, of_a_call)]
        assert titles[0].startswith("mlp of width 8 and depth 2 (tanh) on the first 50 samples of digits")
        assert titles[1] == "Valley(b=2.0)"


def test_a_theory_that_knows_its_uncertainty_has_a_band_of_that_width(study):
    experiment, theory = study
    unsure = theory.sharpness.notnull() * 0.1
    figure = plotting.trajectories(experiment, theory.assign(sharpness_uncertainty=unsure).sel(theory=["my-own"]))
    grid = np.array(figure.axes).reshape(5, len(TUNERS))
    assert not grid[0, 0].collections
    line = grid[2, 0].lines[2]  # after the experiment's two
    (band,) = grid[2, 0].collections
    edges = band.get_paths()[0].vertices
    step, values = line.get_data()
    at_last = np.sort(np.unique(edges[edges[:, 0] == step[-1], 1]))
    np.testing.assert_allclose(at_last, values[-1] * np.exp([-0.1, 0.1]))


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


def test_the_sharpness_of_a_theory_is_not_drawn_as_critical_sharpness(study):
    experiment, theory = study
    critical = experiment.assign(critical_sharpness=experiment.sharpness / 2, sharpness=experiment.sharpness * np.nan)
    count = [len(ax.lines) for ax in plotting.trajectories(critical, theory).axes[:: len(TUNERS)]]
    own = [len(ax.lines) for ax in plotting.trajectories(critical).axes[:: len(TUNERS)]]
    assert [more > least for more, least in zip(count, own, strict=True)][:4] == [True, True, False, False]


def test_a_run_that_diverged_does_not_flatten_the_others(study):
    axis = plotting.summary(study[0]).axes[0]
    assert axis.get_ylim()[1] < 1e3 < max(line.get_ydata().max() for line in axis.lines)


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
        self.sources, self.links, self.tags, self.alts, self.open = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.sources += [attrs["src"]] if "src" in attrs else []
        self.links += [attrs["href"]] if "href" in attrs else []
        if tag == "img":
            self.alts.append(attrs.get("alt"))
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(path):
    """The text of a page, its pictures left out."""
    return re.sub(r"base64,[^\"]+", "", path.read_text())


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "new"
    return write_report(*study, out)


@pytest.fixture(scope="module")
def compared(study, tmp_path_factory):
    """The study beside itself with one seed, another loss, one tuner less and no theory."""
    experiment, theory = study
    attrs = {"config": json.dumps({"objective": "network", "loss": "ce", "steps": STEPS})}
    attrs["objective"] = "Network(MLP, 634 weights, ce, 60 samples, float32)"
    other = experiment.isel(tuner=[0, 2], seed=[0]).assign(loss=experiment.loss / 2).assign_attrs(attrs)
    out = tmp_path_factory.mktemp("comparison") / "new" / "both.html"
    return write_comparison({"first": (experiment, theory), "<i>second</i>": (other, None)}, out)


def test_report_folder_holds_everything_and_no_temporaries(written):
    names = {path.name for path in written.parent.iterdir()}
    assert names == {"summary.png", "trajectories.png", "errors.png", "scoreboard.json", "report.html"}
    assert all((written.parent / name).read_bytes()[:4] == b"\x89PNG" for name in names if name.endswith("png"))


@pytest.mark.parametrize("which", ["written", "compared"])
def test_page_is_well_formed_self_contained_and_escaped(which, request):
    path = request.getfixturevalue(which)
    assert path.stat().st_size < 1.5e6
    text = path.read_text()
    page = Page(text)
    assert page.open == []
    assert all(source.startswith("data:image/webp;base64,") for source in page.sources)
    inner = {link[1:] for link in page.links if link.startswith("#")}
    assert inner
    assert inner <= set(re.findall(r'id="([^"]+)"', text))
    # Links to what is cited are followed by who clicks them; nothing else leads out.
    outer = {link for link in page.links if not link.startswith("#")}
    assert outer == {reference.url for reference in cited([]) if reference.url} | {
        reference.url
        for reference in cited(["tuner:constant", "tuner:armijo", "theory:oscillation", "software:matplotlib"])
        if reference.url
    }
    # One script, the template's own: a name that looks like a tag is text.
    assert page.tags.count("script") == 1
    assert text.count("</script>") == 1
    assert "i" not in page.tags
    assert "&lt;b&gt;odd&lt;/b&gt;" in text
    # The lowest losses, the errors and the classes are numbers of these runs, and the words of each picture differ.
    assert len(page.alts) == len(set(page.alts)) == (3 if which == "written" else 2)
    assert all(re.search(r"\d", alt) for alt in page.alts)


def test_page_says_what_was_done_and_how_it_ended(written):
    text = written.read_text()
    assert "eosmodel compare --steps 120" in re.sub("<[^>]+>", "", text)
    assert "had at the midpoint of two iterates" in text
    for name, entry in (("oscillation", THEORIES["oscillation"]), (TUNERS[1], REGISTRY["armijo"])):
        assert text.index(f"<dt>{name}</dt><dd>{html.escape(entry.description)}</dd>") < text.index('id="summary"')
    assert text.index("The error of a theory") < text.index('id="summary"')
    assert Status.DIVERGED.describe() in text
    assert Status.NONFINITE.describe() not in text
    assert "3 step-size tuners were run in 6 runs of up to 120 steps; 4 of them finished." in text
    assert html.escape(f"more than the gradient (ε > 1) under {TUNERS[1]} (step 3).") in text
    ended = cells(text, "Theories")
    assert [row[-3:-1] for row in ended if row[1:3] == ["5", "oscillation"]] == [
        ["0.010", "–"], ["1.950", "3"], ["0.010", "–"],
    ]  # fmt: skip
    assert "nan" not in re.sub(r"\bNaN\b", "", read(written)).lower()


def test_evidence_is_a_mark_for_every_tuner_and_repeats_no_number_of_the_scoreboard(study, written):
    text = written.read_text()
    assert text.index('id="scoreboard"') < text.index('id="claims"')
    shown = re.findall(r'aria-label="([a-z ]+)">(.)</span><span><b>(.*?)</b>(.*?)</span></li>', text)
    judged = [part for claim in claims.evaluate(*study) for part in claim.evidence]
    assert [(verdict, html.unescape(tuner)) for verdict, _, tuner, _ in shown] == [(p.verdict, p.tuner) for p in judged]
    assert {(verdict, mark) for verdict, mark, _, _ in shown} <= {
        ("supported", "✓"), ("partly", "◐"), ("not supported", "✗"),
    }  # fmt: skip
    assert len({mark for _, mark, _, _ in shown}) > 1
    for part, (*_, numbers) in zip(judged, shown, strict=True):
        facts = html.unescape(re.sub("<[^>]+>", "", numbers))
        assert not re.search("median ηλ|Λ", facts)
        assert all(f"{name} {number(v)}" in facts for name, v in part.numbers.items() if name not in ("median ηλ", "Λ"))
    # Claims name tuners that were not run, which are explained as well.
    others = html.unescape(text[text.index("that were not run") :])
    for name in ("cdat", "greedy", "polyak"):
        assert f"<dt>{name}</dt><dd>{REGISTRY[name].description}</dd>" in others
    assert "<dt>my-own</dt><dd>your own</dd>" in text


def test_of_one_seed_the_errors_are_in_the_table_alone(study, tmp_path):
    experiment, theory = (of.isel(seed=[0]) for of in study)
    page = Page(write_report(experiment, theory, tmp_path).read_text())
    assert len(page.alts) == 2
    assert (tmp_path / "errors.png").exists()


def test_alt_texts_say_what_the_pictures_show(study, written):
    runs, theories, errors = Page(written.read_text()).alts
    for row in compare(*study).rows():
        if row["seed"] == 5:
            loss, product = row["experiment"]["final_loss"], row["experiment"]["median_edge_product"]
            assert f"{row['tuner']} {number(loss)}, " in runs
            assert f", {number(product, '.2f')}" in runs
    assert "(diverged after 60 steps)" in runs
    assert "oscillation and my-own" in theories or "oscillation, my-own" in theories
    assert "of λ from 0.000" in errors


def luminance(colour):
    """Relative luminance of #rrggbb, WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_of_errors_read_in_grey_and_have_contrast(written):
    colours = dict(re.findall(r"\.e(\d) \{ (background: #\w{6}; color: #\w{6});", written.read_text()))
    assert [*colours] == [str(i) for i in range(len(LEVELS) + 1)]
    pairs = [tuple(map(luminance, re.findall(r"#\w{6}", colours[name]))) for name in colours]
    # Steps of lightness L* (CIE), of which 1 can just be seen.
    light = [116 * background ** (1 / 3) - 16 for background, _ in pairs]
    assert min(-np.diff(light)) > 8
    for background, ink in pairs:
        low, high = sorted((background, ink))
        assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "none"), (0.0, "0"), (0.02, "1"), (0.049, "1"), (0.1, "3"), (0.3, "4"), (9.0, "4")]
)
def test_levels_are_half_open(value, expected):
    assert level(value) == expected


def test_the_full_command_gives_the_configuration_back():
    import tyro

    from eosmodel.commands import shared
    from eosmodel.commands.parsing import Command
    from eosmodel.commands.train import config_of

    def parse(line):
        config = (tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff)
        options = tyro.cli(Command, args=shlex.split(line)[1:], config=config)
        return config_of(options, shared.network_options(options))

    for line in (
        "eosmodel compare",
        "eosmodel train --samples all --tuners 'constant:0.5' cdat:sigma=1,ema=0.9 --seeds 1 2 --dtype float64",
        "eosmodel compare --objective valley:modes=4 --steps 50 --theories oscillation",
        "eosmodel train --batch-size 64 --replacement --tuners armijo",
    ):
        config = parse(line)
        assert parse(command_line(config)) == config


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


def cells(text, caption):
    """The body of the table in the box of that name: a list of cells by row."""
    table = text.split(f'aria-label="{caption}"')[1].split("</table>")[0].split("<tbody>")[1]
    return [
        [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        for row in table.split("</tr>")[:-1]
    ]


def test_comparison_puts_folders_side_by_side(study, compared):
    text = read(compared)
    assert cells(text, "By folder: option")[0][0] in ("data", "objective", "loss")
    assert ["loss", "–", "ce"] in cells(text, "By folder: option")
    assert ["steps", "120", "120"] not in cells(text, "By folder: option")
    rows = compare(*study).rows()
    finals = {row[0]: row[1:] for row in cells(text, "Final values")}
    assert [*finals] == [html.escape(tuner) for tuner in TUNERS]
    losses = [row["experiment"]["final_loss"] for row in rows if row["tuner"] == TUNERS[0]]
    assert finals[TUNERS[0]][:2] == [number(np.median(losses)), number(losses[0] / 2)]
    # Run in one folder only; and ended early everywhere.
    assert finals[TUNERS[1]][1] == ""
    assert finals["&lt;b&gt;odd&lt;/b&gt;"][:2] == ["diverged", "diverged"]
    errors = {tuple(row[:2]): row[2:] for row in cells(text, "Errors of the theories")}
    assert errors["oscillation", TUNERS[0]][:2] == ["0.000", "–"]
    assert errors["oscillation", html.escape(TUNERS[2])][0].endswith("*")
    assert "Ended early, and perhaps outside the axes: first (diverged after 60 steps)" in text
    # What a folder is of, beside its name.
    assert "<dt>&lt;i&gt;second&lt;/i&gt;</dt><dd>634 weights</dd>" in text


def test_losses_of_different_things_are_not_ranked(study, compared):
    assert "cannot be ranked across folders that differ in objective, data, loss." in read(compared)
    with pytest.raises(ValueError, match="two folders or more, got 1"):
        write_comparison({"first": study}, compared.parent / "one.html")


def test_several_folders_on_the_command_line(study, written, tmp_path, monkeypatch, capsys, fails):
    monkeypatch.chdir(tmp_path)
    experiment, theory = study
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        record.save(experiment, tmp_path / name / "experiment.nc")
    record.save(theory, tmp_path / "a" / "theory.nc")
    main(["report", "a"])
    own = (tmp_path / "a" / "report.html").read_bytes()
    main(["report", "a", "b"])
    assert capsys.readouterr().out.endswith("wrote comparison.html\n")
    assert "cannot be ranked" not in (tmp_path / "comparison.html").read_text()
    # An earlier comparison is replaced.
    main(["report", "b", "a"])
    assert "b, a compared" in (tmp_path / "comparison.html").read_text()
    # --out is a folder, as of every other command, and replaces nothing but an earlier comparison.
    main(["report", "a", "b", "--out", "runs/both"])
    assert capsys.readouterr().out.endswith("wrote runs/both/comparison.html\n")
    main(["report", "b", "a", "--out", "runs/both"])
    assert "b, a compared" in (tmp_path / "runs" / "both" / "comparison.html").read_text()
    assert "a/report.html is a file; name a folder" in fails("report", "a", "b", "--out", "a/report.html")
    # It may stand in the folder of the folders, as that of `make study-large` does.
    for name in ("a", "b"):
        (tmp_path / "study" / name).mkdir(parents=True)
        record.save(experiment.isel(seed=[0]), tmp_path / "study" / name / "experiment.nc")
    main(["report", "study/a", "study/b", "--out", "study"])
    assert (tmp_path / "study" / "comparison.html").exists()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    assert "was not written by eosmodel" in fails("report", "a", "b", "--out", "foreign")
    (tmp_path / "foreign" / "comparison.html").write_text("mine")
    assert "is not a comparison" in fails("report", "a", "b", "--out", "foreign")
    assert (tmp_path / "a" / "report.html").read_bytes() == own
    assert not (tmp_path / "b" / "report.html").exists()
    assert "--out is for several folders" in fails("report", "a", "--out", "x")
    assert "same folder twice" in fails("report", "a", "a")
    assert "name a folder" in fails("report")
    assert "c is not a folder" in fails("report", "a", "c")
    (tmp_path / "b" / "config.json").write_text('{"command": "sweep"}')
    assert "b was written by `eosmodel sweep`" in fails("report", "a", "b")
