"""Sweeps: grids, blocks, plans on every runner with a worker killed on the way, the findings and the pictures."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import warnings
from functools import partial

import jax
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import eosmodel as eos
from eosmodel import plotting
from eosmodel.judging.batch_sizes import _compare
from eosmodel.studies import blocks
from eosmodel.studies import sweep as sweeps
from eosmodel.studies.plans import run_blocks, run_plan
from eosmodel.studies.runners import cluster, here, processes

pytestmark = pytest.mark.usefixtures("lightly_compiled")

NETWORK = {
    "data": "digits", "samples": 60, "net": "mlp", "width": 4, "depth": 1, "activation": "tanh", "init_scale": 0.5,
    "loss": "mse", "dtype": "float32",
}  # fmt: skip


def small_plan(tuners=("constant:{0.2,0.4}",), sizes=("full", 10), seeds=(0, 1), steps=40):
    return sweeps.make_plan(NETWORK, 60, tuners, sizes, seeds=seeds, steps=steps, modes=1, track_every=5)


def finish(plan, folder, runner=here):
    new = [block for block, _, new in run_blocks(plan.blocks, folder, runner) if new]
    return run_plan(plan, folder), new


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder of compiled code that this process and its children share, only to spare the time."""
    from jax.experimental.compilation_cache import compilation_cache

    folder = str(tmp_path_factory.mktemp("compiled"))
    settings = {"jax_compilation_cache_dir": folder, "jax_persistent_cache_min_compile_time_secs": 0.0}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield {name.upper(): str(value) for name, value in settings.items()}
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, compiled):
    folder = tmp_path_factory.mktemp("whole")
    return finish(small_plan(), folder)[0], folder


def same(a, b):
    xr.testing.assert_identical(a.drop_vars("seconds"), b.drop_vars("seconds"))


# Grids


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("armijo", ["armijo"]),
        ("constant:{0.1, 0.2}", ["constant:0.1", "constant:0.2"]),
        ("cdat:sigma={1,2},ema={0,0.9}", [f"cdat:sigma={s},ema={e}" for s in (1, 2) for e in (0, 0.9)]),
    ],
)
def test_braces_expand_to_the_product(spec, expected):
    assert list(sweeps.expand(spec)) == expected


def test_shells_expand_braces_to_the_same():
    spec = "cdat:sigma={1,1.5},ema={0,0.9}"
    shell = subprocess.run(["bash", "-c", f"echo {spec}"], capture_output=True, text=True, check=True)
    assert tuple(shell.stdout.split()) == sweeps.expand(spec)


@pytest.mark.parametrize("spec", ["cdat:{1,2", "cdat:1}", "cdat:{}", "cdat:{1,}", "cdat:{1,{2,3}}"])
def test_braces_that_make_no_grid(spec):
    with pytest.raises(ValueError, match="braces"):
        sweeps.expand(spec)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizes": (61,)}, r"\[1, 60\], got 61"),
        ({"sizes": ("half",)}, r"\[1, 60\], got 'half'"),
        ({"sizes": (0,)}, "got 0"),
        ({"sizes": ("full", 60)}, "same value twice: full"),
        ({"sizes": ()}, "at least one"),
        ({"tuners": ("armjo",)}, "did you mean armijo"),
        ({"tuners": ("cdat:sigma={1,-1}",)}, "sigma must lie"),
        ({"tuners": ("armijo", "armijo")}, "same value twice: armijo"),
        ({"seeds": (0, 0)}, "same value twice: 0"),
        ({"seeds": (-1,)}, "seed"),
        ({"steps": 0}, "steps"),
    ],
)
def test_plans_name_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        small_plan(**change)


# Blocks


def test_a_block_says_what_the_runs_say():
    """Its numbers against those of runs of one seed each, put together here from their rows."""
    net = NETWORK | {"dtype": "float64", "test_samples": 20}
    made = sweeps.make_block(net, "constant:0.4", 10, seeds=[3, 4], steps=40, modes=1, track_every=5)
    with jax.enable_x64(False):
        block = made.run()
    net = eos.objectives.mlp(eos.data.digits(60, test_samples=20), width=4, depth=1, init_scale=0.5, dtype="float64")
    batches, tuner = eos.objectives.MiniBatches(net, 10), eos.tuners.Constant(0.4)
    # A batch of runs and one run are different machine code.
    close = partial(np.testing.assert_allclose, rtol=1e-6)
    options = {"modes": 1, "track_every": 5, "test_every": 5, "measure_every": 0, "progress": False}
    for seed in (3, 4):
        run = eos.simulate(batches, tuner, 40, seeds=seed, **options)
        got = block.sel(seed=seed)
        rows = run.isel(step=slice(None, None, 5))
        close(got.sharpness, rows.sharpness)
        close(got.loss, rows.loss)
        close(got.initial_sharpness, rows.sharpness[0])
        close(got.max_sharpness, rows.sharpness.max())
        close(got.final_loss, rows.loss.sel(step=slice(15, None)).mean())
        close(got.final_sharpness, rows.sharpness.sel(step=slice(15, None)).mean())
        late = rows.sel(step=slice(20, None))
        close(got.median_edge_product, np.median(late.stepsize * late.sharpness))
        close(got.mean_stepsize, run.stepsize.sel(step=slice(20, None)).mean())
        close(got.failed_share, run.search_failed.mean())
        for name in ("accuracy", "test_loss", "test_accuracy"):
            close(got[name], rows[name])
            close(got[f"final_{name}"], rows[name].sel(step=slice(15, None)).mean())
        assert int(got.status) == 0
        assert int(got.steps) == 40
    assert block.attrs["done"] == 1


def test_a_block_depends_on_its_configuration_alone(whole):
    found, _ = whole
    with jax.enable_x64(False):
        block = small_plan().blocks[1].run()
    assert block.loss.dtype == np.float32
    np.testing.assert_array_equal(block.loss, found.loss.sel(tuner="constant:0.2", batch_size=10))


def test_names_of_blocks_tell_configurations_apart():
    block = small_plan().blocks[0]
    same = dataclasses.replace(block, config=dict(reversed(block.config.items())), label="other")
    assert same.name == block.name
    changed = [dataclasses.replace(block, config=block.config | {key: "other"}) for key in block.config]
    changed += [dataclasses.replace(block, compute=finish), dataclasses.replace(block, needs=(same,))]
    assert len({b.name for b in (block, *changed)}) == len(block.config) + 3


def test_thinned_trajectories_are_rows_of_the_run():
    block = small_plan(steps=1000).blocks[0].run()
    assert block.sizes["step"] == 50
    assert set(np.diff(block.step)) == {20}  # every fourth tracked row, as there are 200
    assert block.sharpness.notnull().all()


def test_a_diverging_block_is_done(whole, tmp_path):
    plan = small_plan(tuners=("constant:50",), sizes=(10,))
    found, _ = finish(plan, tmp_path)
    assert (found.status != 0).all()
    assert (found.steps < 40).all()
    assert finish(plan, tmp_path)[1] == []


# Plans


def test_the_dataset_is_labelled(whole):
    found, _ = whole
    assert found.final_loss.dims == ("tuner", "batch_size", "seed")
    assert found.sharpness.dims == ("tuner", "batch_size", "seed", "step")
    assert found.tuner.values.tolist() == ["constant:0.2", "constant:0.4"]
    assert found.batch_size.values.tolist() == [60, 10]
    np.testing.assert_array_equal(found.tuner_step, [0.2, 0.4])
    block = small_plan().blocks[3].run()
    np.testing.assert_array_equal(found.final_loss.sel(tuner="constant:0.4", batch_size=10), block.final_loss)


def test_parameters_are_the_numbers_of_a_tuner():
    assert sweeps.parameters("constant:0.4,cap=1") == ("constant", {"step": 0.4, "cap": 1.0})
    assert sweeps.parameters("cdat:ema=0.9") == ("cdat", {"sigma": 2.0, "eps": 1e-5, "ema": 0.9})
    assert sweeps.parameters("greedy") == ("greedy", {"sigma": 1.0, "eps": 1e-5, "ema": 0.0})


def test_blocks_that_are_done_are_kept_and_broken_ones_made_again(whole, tmp_path):
    expected, folder = whole
    plan = small_plan()
    paths = [blocks.path_of(folder, block) for block in plan.blocks]
    for path in paths:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / paths[1].name).write_bytes(b"half a file")
    # A file under another's name, as after a collision or a clumsy copy.
    (tmp_path / paths[2].name).write_bytes(paths[0].read_bytes())
    eos.record.save(xr.load_dataset(paths[3]).assign_attrs(done=0), tmp_path / paths[3].name)
    assert blocks.load(tmp_path, plan.blocks[3]) is None
    found, new = finish(plan, tmp_path)
    assert new == list(plan.blocks[1:])
    same(found, expected)
    assert finish(plan, tmp_path)[1] == []
    with pytest.raises(FileNotFoundError, match="not done"):
        blocks.load_all(tmp_path, small_plan(steps=41).blocks)


# Runners: that a lost job is done again is held in test_runners.py, and that processes give the same numbers in
# test_comparison.py.


@pytest.mark.slow
def test_processes_give_the_same_blocks_when_one_is_killed(whole, compiled, tmp_path, monkeypatch):
    expected, _ = whole
    for name, value in compiled.items():
        monkeypatch.setenv(name, value)
    plan, new = small_plan(), 0
    for _ in run_blocks(plan.blocks, tmp_path, processes(2)):
        new += 1
        if new == 1:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    assert new == 4
    same(run_plan(plan, tmp_path), expected)


@pytest.mark.slow
def test_a_cluster_gives_the_same_blocks_when_a_worker_is_killed(whole, compiled, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    expected, _ = whole
    for name, value in compiled.items():
        monkeypatch.setenv(name, value)
    plan, new = small_plan(), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cluster's own, about ports and a worker that is gone
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as local:
            before = {worker.pid for worker in local.workers.values()}
            for _ in run_blocks(plan.blocks, tmp_path, cluster(local.scheduler_address)):
                new += 1
                if new == 1:
                    os.kill(next(iter(local.workers.values())).pid, signal.SIGKILL)
            assert {worker.pid for worker in local.workers.values()} != before
    assert new == 4
    same(run_plan(plan, tmp_path), expected)


# Findings


def made_up(loss, sharpness=None, status=None, tuners=(), sizes=(100, 40, 10), seeds=5):
    shape = (len(tuners), len(sizes), seeds)
    dims = ("tuner", "batch_size", "seed")
    rng = np.random.default_rng(0)
    jitter = 1 + 0.01 * rng.standard_normal(shape)
    data = {
        "final_loss": (dims, np.array(loss)[..., None] * jitter),
        "final_sharpness": (dims, (np.ones(shape) if sharpness is None else np.array(sharpness)[..., None]) * jitter),
        "status": (dims, np.zeros(shape, int) if status is None else status),
    }
    coords = {"tuner": list(tuners), "batch_size": list(sizes), "seed": range(seeds)}
    return xr.Dataset(data, coords, {"samples": 100})


def verdicts(dataset):
    return {finding.id: finding.verdict for finding in sweeps.evaluate(dataset)}


def test_intervals_are_students():
    rng = np.random.default_rng(1)
    a, b = np.exp(rng.standard_normal((2, 7)))
    got = _compare("", a, b)
    low, high = stats.ttest_rel(np.log(a), np.log(b)).confidence_interval(0.9)
    np.testing.assert_allclose(np.log([got.low, got.high]), [low, high], rtol=1e-12)
    np.testing.assert_allclose(got.ratio, stats.gmean(a / b))
    for factor, verdict in ((1e-3, "supported"), (1e3, "not supported")):
        assert _compare("", factor * a, b).verdict == verdict
    assert _compare("", b, b[::-1]).verdict == "undecided"
    a[:3] = np.nan
    assert _compare("", 1e-3 * a, b).verdict == "undecided"


TUNERS = ("constant:0.4", "armijo", "greedy", "cdat:sigma=1.5", "cdat:sigma=2", "cdat:sigma=2,ema=0.9")
# Every statement true by construction: λ falls, Armijo and greedy gain, the best σ is 2, 1.5 and 1, averages help.
LOSS = [[1, 1, 1], [2, 1.5, 1], [2, 1.2, 0.5], [1.5, 1, 1], [1, 1.3, 2], [0.5, 0.6, 1]]
SHARPNESS = [[4, 3, 2]] * 6


def test_findings_follow_the_numbers():
    assert verdicts(made_up(LOSS, SHARPNESS, tuners=TUNERS)) == dict.fromkeys("abcd", "supported")
    # And false: the batch sizes the other way round, and averages that hurt.
    turned = made_up([row[::-1] for row in LOSS[:5]] + [[4, 4, 4]], [row[::-1] for row in SHARPNESS], tuners=TUNERS)
    assert verdicts(turned) == dict.fromkeys("abcd", "not supported")
    half = made_up(LOSS, [[2, 3, 4], *SHARPNESS[1:]], tuners=TUNERS)
    assert verdicts(half)["a"] == "partly"
    few = made_up(LOSS, SHARPNESS, tuners=TUNERS, seeds=4)
    assert verdicts(few) == dict.fromkeys("abcd", "undecided")
    alone = made_up([[1, 1]], tuners=("armijo",), sizes=(100, 10))
    assert verdicts(alone) == dict.fromkeys("abcd", "not tested")
    assert verdicts(made_up(LOSS, tuners=TUNERS, sizes=(90, 40, 10)))["a"] == "not tested"


def test_small_sigmas_are_judged_apart():
    # Under-relaxation wins everything; from σ = 1 on nothing has changed.
    found = sweeps.evaluate(made_up([*LOSS, [0.1, 0.1, 0.1]], tuners=(*TUNERS, "cdat:sigma=0.5")))
    (c,) = (finding for finding in found if finding.id == "c")
    said = {scope: [x.verdict for x in c.evidence if x.what.startswith(scope)] for scope in ("all σ", "σ ≥ 1")}
    assert said == {"all σ": ["undecided"] * 2, "σ ≥ 1": ["supported"] * 2}


def test_runs_that_ended_early_count_as_worst_for_the_best_sigma_alone():
    loss = [*LOSS[:4], [1, 0.1, 0.1], LOSS[5]]
    status = np.zeros((6, 3, 5), int)
    status[4, 1:] = 1
    found = {f.id: f for f in sweeps.evaluate(made_up(loss, SHARPNESS, status, TUNERS))}
    assert found["c"].verdict == "supported"
    assert [x.verdict for x in found["d"].evidence] == ["supported", "undecided", "undecided"]
    assert [x.seeds for x in found["d"].evidence] == [5, 0, 0]
    assert [x.verdict for x in found["a"].evidence] == ["supported"] * 3 + ["undecided"]


# Pictures


def test_maps_write_the_medians_and_frame_the_best():
    loss = [[3.0, 4.0, 5.0], [2.0, 6.0, 7.0]]
    status = np.zeros((2, 3, 5), int)
    status[1, 1, 0], status[1, 2] = 1, 2
    dataset = made_up(loss, status=status, tuners=("constant:0.4", "armijo"))
    dataset["final_loss"][:] = np.array(loss)[..., None]
    ax = plotting.sweep_map(dataset).axes[0]
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["3", "4", "5", "2", "6\n1 of 5 ended early", "–\n5 of 5 ended early"]
    frames = [(round(patch.get_x() + 0.47), round(patch.get_y() + 0.46)) for patch in ax.patches]
    assert frames == [(0, 1), (1, 0), (2, 0)]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["full (100)", "40", "10"]
    with pytest.raises(ValueError, match="final_loss"):
        plotting.sweep_map(dataset, "loss")


def test_the_best_accuracy_is_the_highest():
    loss = [[0.5, 0.9, 0.4], [0.8, 0.7, 0.2]]
    status = np.zeros((2, 3, 5), int)
    status[0, 1] = 1
    dataset = made_up(loss, status=status, tuners=("constant:0.4", "armijo"))
    dataset["final_test_accuracy"] = dataset.final_loss.copy(data=np.repeat(np.array(loss)[..., None], 5, -1))
    ax = plotting.sweep_map(dataset, "final_test_accuracy").axes[0]
    assert ax.texts[1].get_text() == "–\n5 of 5 ended early"
    frames = [(round(patch.get_x() + 0.47), round(patch.get_y() + 0.46)) for patch in ax.patches]
    assert frames == [(0, 1), (1, 1), (2, 0)]


@pytest.mark.parametrize(("low", "high"), [(0.01, 0.013), (2.05, 2.09), (1.999, 2.001), (1e-5, 3.0), (5.0, 5.0)])
def test_ticks_of_the_colours_can_be_told_apart(low, high):
    dataset = made_up(np.ones((2, 3)), tuners=("constant:0.4", "armijo"))
    dataset["final_loss"][:] = np.linspace(low, high, 6).reshape(2, 3, 1)
    figure = plotting.sweep_map(dataset)
    figure.canvas.draw()
    bar = figure.axes[1]
    bottom, top = bar.get_ylim()
    texts = [
        label.get_text()
        for minor in (False, True)
        for place, label in zip(bar.yaxis.get_ticklocs(minor=minor), bar.yaxis.get_ticklabels(minor=minor), strict=True)
        if bottom <= place <= top and label.get_text()
    ]
    assert len(texts) == len(set(texts)) > 1
    # They are the places, with as many digits as it takes.
    assert all(bottom * 0.9 <= float(text) <= top * 1.1 for text in texts)


def test_trajectories_draw_medians_over_seeds(whole):
    found, _ = whole
    figure = plotting.sweep_trajectories(found)
    assert [ax.get_title() for ax in figure.axes] == ["$B$ = full (60)", "$B$ = 10"]
    for j, ax in enumerate(figure.axes):
        for i, line in enumerate(ax.get_lines()):
            expected = found.sharpness.isel(tuner=i, batch_size=j).median("seed")
            np.testing.assert_array_equal(line.get_ydata(), expected)
    with pytest.raises(ValueError, match="stepsize"):
        plotting.sweep_trajectories(found, "final_loss")
