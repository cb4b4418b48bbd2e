"""Runs with held-out samples, and runs that end where they are good enough."""

import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel._status import Status
from eosmodel.experiment import _running
from eosmodel.judging.scoreboard import compare
from eosmodel.objectives import MiniBatches, cnn, data, mlp
from eosmodel.report import words

pytestmark = pytest.mark.usefixtures("lightly_compiled")

# Without eigenpairs a run compiles in a fraction of the time.
OPTIONS = {"steps": 12, "track": (), "progress": False}


@pytest.fixture(scope="module")
def split():
    return data.digits(40, classes=(0, 1, 2), subset_seed=1, test_samples=30)


@pytest.fixture(scope="module")
def run(split):
    net = mlp(split, width=3, depth=1, weight_decay=0.1)
    return net, eos.simulate(net, "constant:0.2", **OPTIONS, test_every=3, keep_weights=1)


def test_rows_have_loss_and_accuracy_at_the_iterate(split, run):
    net, result = run
    rows = [0, 3, 6, 9]
    assert np.isfinite(result.test_loss.values).nonzero()[0].tolist() == rows
    test = mlp(split.test, width=3, depth=1)  # without weight decay, and of no other number of the training samples
    for row in rows:
        w = jnp.asarray(result.weights.sel(kept_step=row).values)
        np.testing.assert_allclose(result.test_loss[row], test(w), rtol=1e-10)
        np.testing.assert_allclose(result.test_accuracy[row], test.accuracy(w))
        np.testing.assert_allclose(result.accuracy[row], net.accuracy(w))
    assert result.test_loss.attrs["symbol"] == "L_test"
    assert '"held_out": 30' in result.attrs["data"]
    assert '"dynamics": "Descent"' in result.attrs["config"]


def test_a_run_that_is_looked_at_is_the_same_run(split, run):
    _, result = run
    bare = eos.simulate(
        mlp(data.digits(40, classes=(0, 1, 2), subset_seed=1), width=3, depth=1, weight_decay=0.1),
        "constant:0.2",
        **OPTIONS,
    )
    np.testing.assert_allclose(result.loss, bare.loss, rtol=1e-9)
    assert "accuracy" not in bare


def test_it_ends_at_the_first_row_that_is_good_enough(run):
    net, result = run
    bound = float(result.loss[5])
    stopped = eos.simulate(net, "constant:0.2", **OPTIONS, stop_loss=bound)
    assert (Status(int(stopped.status)), int(stopped.steps)) == (Status.REACHED, 6)
    np.testing.assert_allclose(stopped.loss[:6], result.loss[:6], rtol=1e-12)
    assert np.isnan(stopped.loss[6:]).all()
    assert Status.REACHED.ok
    assert "to stop" in Status.REACHED.describe()
    # As good as a whole run to whoever compares and ranks.
    row = compare(stopped).rows()[0]
    assert row["status"] == "reached"
    assert words.finished([row]) == [row]
    np.testing.assert_allclose(row["experiment"]["test_loss"], stopped.test_loss[5])
    never = eos.simulate(net, "constant:0.2", **OPTIONS, stop_loss=-1.0, throw=True)
    assert int(never.status) == 0
    eos.simulate(net, "constant:0.2", **OPTIONS, stop_loss=bound, throw=True)


def test_runs_of_a_batch_end_each_alone_and_go_on_from_a_checkpoint(run, tmp_path, monkeypatch):
    net, _ = run
    whole = eos.simulate(net, "constant:0.2", **OPTIONS, seeds=[0, 1, 2])
    accuracy = whole.accuracy.values
    wanted = float(np.sort(accuracy.max(axis=1))[1])  # two of three get there
    first = [int(np.argmax(a >= wanted)) if (a >= wanted).any() else None for a in accuracy]
    stopped = eos.simulate(net, "constant:0.2", **OPTIONS, seeds=[0, 1, 2], stop_accuracy=wanted)
    assert stopped.steps.values.tolist() == [12 if at is None else at + 1 for at in first]
    assert stopped.status.values.tolist() == [0 if at is None else int(Status.REACHED) for at in first]
    for i, at in enumerate(first):
        rows = slice(0, 12 if at is None else at + 1)
        np.testing.assert_allclose(stopped.loss[i, rows], whole.loss[i, rows], rtol=1e-9)
    path = tmp_path / "run"
    kept = eos.simulate(net, "constant:0.2", **OPTIONS, seeds=[0, 1, 2], stop_accuracy=wanted, checkpoint=path)
    again = eos.simulate(net, "constant:0.2", **OPTIONS, seeds=[0, 1, 2], stop_accuracy=wanted, checkpoint=path)
    for name in ("status", "steps", "loss", "test_accuracy"):
        np.testing.assert_array_equal(kept[name], again[name])
    with pytest.raises(ValueError, match="belongs to another run"):
        eos.simulate(net, "constant:0.2", **OPTIONS, seeds=[0, 1, 2], stop_accuracy=0.5 * wanted, checkpoint=path)


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop", ["loss", "accuracy"])
def test_a_run_killed_before_its_end_goes_on_to_the_same_end(stop, run, tmp_path, monkeypatch):
    """Chunks of four rows; one run that stops in the second, and three seeds that stop in different ones, or never."""
    net, result = run
    monkeypatch.setattr(_running, "_ROWS_PER_CHUNK", 4)
    if stop == "loss":
        options = OPTIONS | {"stop_loss": float(result.loss[5]), "keep_weights": 2}
    else:
        options = OPTIONS | {"seeds": [0, 1, 2], "stop_accuracy": float(result.accuracy.max())}
    whole = eos.simulate(net, "constant:0.2", **options)
    assert int(Status.REACHED) in whole.status
    ends = whole.steps.values

    def go_on(killed_in):
        chunks = []

        def log(rows):
            chunks.append(rows)
            if len(chunks) == killed_in:
                raise Killed

        return eos.simulate(net, "constant:0.2", **options, checkpoint=tmp_path / f"run{killed_in}", log=log)

    for killed_in in range(2, -(-int(ends.max()) // 4) + 1):
        with pytest.raises(Killed):
            go_on(killed_in)
        resumed = eos.simulate(net, "constant:0.2", **options, checkpoint=tmp_path / f"run{killed_in}")
        for name in set(whole.data_vars) - {"seconds_per_step", "compile_seconds"}:
            np.testing.assert_array_equal(resumed[name], whole[name], err_msg=name)


def test_mini_batches_wait_for_the_full_loss(run):
    net, _ = run
    batches = MiniBatches(net, 10)
    whole = eos.simulate(batches, "constant:0.2", **OPTIONS, track_every=2)
    at = 4
    stopped = eos.simulate(batches, "constant:0.2", **OPTIONS, track_every=2, stop_loss=float(whole.loss[at]))
    expected = int(np.argmax(whole.loss.values <= whole.loss.values[at])) + 1
    assert (int(stopped.status), int(stopped.steps)) == (int(Status.REACHED), expected)
    assert np.isfinite(stopped.test_accuracy.values[: int(stopped.steps)]).all()


def test_a_picture_of_what_is_held_out(run):
    _, result = run
    figure = eos.plotting.held_out(result)
    drawn = {tuple(line.get_ydata()) for ax in figure.axes for line in ax.lines}
    for name in ("test_loss", "test_accuracy", "accuracy"):
        assert tuple(result[name].dropna("step").values) in drawn
    assert "classifies" in words.shows_held_out(compare(result).rows())


def test_images_of_one_channel_are_held_out_too():
    d = data.from_arrays(np.random.default_rng(0).normal(size=(12, 5, 5)), np.arange(12) % 2, test_samples=4)
    net = cnn(d, width=2, depth=1)
    assert net.held_out().predictions(net.initial()).shape == (4, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop_accuracy": 1.5}, r"stop_accuracy must lie in \(0, 1\], got 1.5"),
        ({"stop_accuracy": 0.5}, "stop_accuracy needs a network on data with classes"),
        ({"test_every": 0}, r"test_every must lie in \[1, inf\], got 0"),
        ({"stop_loss": "low"}, "stop_loss must be a number"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(options, message):
    with pytest.raises(ValueError, match=f"simulate: {message}"):
        eos.simulate("double-well", "constant:0.1", steps=3, progress=False, **options)
