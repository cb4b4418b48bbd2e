"""Kept weights: iterates of a known orbit, of a batch, of theories; checkpoints; the user's own trees and models."""

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eosmodel as eos
from eosmodel.dynamics import AbstractDynamics
from eosmodel.results import record
from eosmodel.simulation import identity, load, run, save, template

pytestmark = pytest.mark.usefixtures("lightly_compiled")

BOWL = eos.objective(lambda w: 0.5 * jnp.sum(w**2), jnp.asarray([1.0, -2.0]))


class Halving(AbstractDynamics):
    """w' = w/2."""

    def init(self, start):
        return start

    def weights(self, state):
        return state

    def step(self, state, t):
        return 0.5 * state, {"x": state[0]}, jnp.asarray(0, jnp.int32)


@settings(max_examples=15, deadline=None)
@given(
    steps=st.integers(1, 30),
    every=st.integers(1, 4),
    keep=st.integers(1, 12),
    stop=st.integers(0, 3),
    two=st.booleans(),
)
def test_iterates_are_kept_at_their_steps_whatever_the_rows_and_a_run_that_was_killed_goes_on(
    tmp_path_factory, steps, every, keep, stop, two
):
    start = jnp.asarray([[1.0, 3.0], [2.0, 5.0]]) if two else jnp.asarray([1.0, 3.0])
    axes = (None, 0) if two else None
    options = {"record_every": every, "rows_per_chunk": 3, "keep_weights": keep, "axes": axes}
    path, known = tmp_path_factory.mktemp("kept") / "run.npz", identity(Halving(), start, axes)

    def killed(progress):
        save(path, progress, known)
        if len(progress.chunks) > stop:
            raise InterruptedError

    with contextlib.suppress(InterruptedError):
        run(Halving(), start, steps, after_chunk=killed, **options)
    resume = load(path, template(Halving(), start, axes), known)
    resumed = run(Halving(), start, steps, resume=resume, after_chunk=lambda p: save(path, p, known), **options)
    (kept,) = resumed.kept
    exact = 0.5 ** np.arange(0, steps + 1, keep)[:, None] * np.asarray(start)[..., None, :]
    np.testing.assert_array_equal(kept, exact)


def test_what_is_kept_of_a_step_starts_the_rest_of_the_run():
    whole = eos.simulate("valley", "polyak", 40, keep_weights=10, progress=False)
    assert whole.kept_step.values.tolist() == [0, 10, 20, 30, 40]
    rest = eos.simulate("valley", "polyak", 20, start=whole.weights.sel(kept_step=20).values, progress=False)
    np.testing.assert_allclose(rest.loss, whole.loss[20:], rtol=1e-12)


def test_of_a_run_that_ends_the_later_ones_are_blank_and_a_file_holds_them(tmp_path):
    steps = jnp.asarray([0.5, 3.0])
    runs = eos.simulate(BOWL, eos.tuners.Constant(steps), 40, diverged_at=100, keep_weights=4, progress=False)
    record.save(runs, tmp_path / "runs.nc")
    runs = record.load(tmp_path / "runs.nc")
    assert runs.weights.dims == ("tuner_step", "kept_step", "weight")
    exact = (1 - np.asarray(steps)[:, None]) ** np.arange(0, 41, 4)
    np.testing.assert_allclose(runs.weights[0, :, 1], -2 * exact[0], rtol=1e-12)
    ended = int(runs.steps[1]) // 4 + 1
    np.testing.assert_allclose(runs.weights[1, :ended, 0], exact[1, :ended], rtol=1e-12)
    assert runs.weights[1, ended:].isnull().all()
    with pytest.raises(ValueError, match=r"step 40 were not kept; kept are those of steps 0, 4"):
        eos.weights(runs.isel(tuner_step=1), BOWL, at=40)
    assert "weights" not in record.table(runs).columns.str.cat()


@pytest.mark.parametrize("theory", ["oscillation", "oscillation:after=2", "edge-flow", "rod-flow", "gradient-flow"])
def test_a_theory_keeps_its_modelled_iterates(theory):
    prediction = eos.predict(BOWL, "constant:0.1", 6, theory=theory, keep_weights=3, progress=False)
    factor = np.exp(-0.1) if theory == "gradient-flow" else 0.9  # all that are exact on quadratics: descent
    exact = factor ** np.asarray([0, 3, 6])[:, None] * np.asarray([1.0, -2.0])
    np.testing.assert_allclose(prediction.weights, exact, rtol=0.01 if theory == "rod-flow" else 1e-12)


def test_a_theory_without_weights_says_which_have_some():
    with pytest.raises(ValueError, match="theory 'valley' has no weights to keep; oscillation, central-flow"):
        eos.predict("valley", "armijo", 5, theory="valley", keep_weights=1)


def test_weights_are_given_back_as_what_the_objective_was_made_of():
    model = eqx.nn.MLP(3, 2, 3, 1, jax.nn.tanh, key=jax.random.key(0), dtype="float32")
    x = np.linspace(-1, 1, 30).reshape(10, 3)
    net = eos.objectives.network(model, eos.data.from_arrays(x, x[:, :2] ** 2))
    run = eos.simulate(net, "constant:0.1", 2, keep_weights=2, modes=1, progress=False)
    assert eqx.tree_equal(eos.weights(run, net, at=0), model)
    last = eos.weights(run, net)
    assert isinstance(last, eqx.nn.MLP)
    residual = jax.vmap(last)(net.x) - net.y
    np.testing.assert_allclose(0.5 * jnp.mean(jnp.sum(residual**2, -1)), net(run.weights.values[-1]), rtol=1e-6)

    tree = {"a": jnp.asarray(1.0), "f": jnp.tanh, "b": jnp.ones((2, 1))}
    own = eos.objective(lambda w: jnp.sum(w["f"](w["b"]) ** 2) + w["a"] ** 2, tree)
    run = eos.simulate(own, "constant:0.1", 1, keep_weights=1, progress=False)
    assert eqx.tree_equal(eos.weights(run, own, at=0), tree)


def test_a_gigabyte_is_announced(monkeypatch):
    large = eos.objective(lambda w: jnp.sum(w**2), jnp.zeros(1000))
    monkeypatch.setattr("eosmodel.experiment._running.run", lambda *_, **__: (_ for _ in ()).throw(StopIteration))
    with pytest.warns(UserWarning, match=r"keep_weights=1 keeps 8.0 GB"), pytest.raises(RuntimeError, match="StopIt"):
        eos.simulate(large, "constant:0.1", 10**6, keep_weights=1, progress=False)


def test_a_run_goes_on_from_a_kept_step_with_the_batches_that_follow():
    net = eos.objectives.mlp(eos.data.digits(12), width=2, depth=0)
    batches = eos.objectives.MiniBatches(net, 4)
    options = {"modes": 1, "measure_every": 0, "progress": False}
    whole = eos.simulate(batches, "constant:0.01", 9, seeds=[1, 2], keep_weights=3, **options).sel(seed=2)
    for at, rest in {3: 6, 6: 3}.items():
        run = eos.simulate(batches, "constant:0.01", rest, start=(whole, at), **options)
        np.testing.assert_allclose(run.batch_loss, whole.batch_loss[at:], rtol=1e-9)
        assert int(run.seed) == 2
    last = eos.simulate(batches, "constant:0.01", 1, start=whole, **options)
    np.testing.assert_allclose(last.loss[0], net(whole.weights.values[-1]), rtol=1e-9)


def test_a_theory_starts_where_its_run_does():
    whole = eos.simulate(BOWL, "constant:0.1", 6, keep_weights=3, progress=False)
    run = eos.simulate(BOWL, "constant:0.1", 3, start=(whole, 3), progress=False)
    theory = eos.predict(BOWL, "constant:0.1", 3, start=(whole, 3), progress=False)
    assert eos.compare(run, theory).rows()[0]["theories"]["oscillation"]["loss_error"] < 1e-9
    np.testing.assert_allclose(run.loss, whole.loss[3:], rtol=1e-12)
    with pytest.raises(ValueError, match=r"weights of step 2 were not kept; kept are those of steps 0, 3, 6"):
        eos.simulate(BOWL, "constant:0.1", 3, start=(whole, 2))
    with pytest.raises(ValueError, match="has no weights"):
        eos.simulate(BOWL, "constant:0.1", 3, start=run)


def test_the_distance_in_weight_space_is_relative_to_how_far_the_run_has_moved():
    run = eos.simulate(BOWL, "constant:0.1", 6, keep_weights=2, progress=False)
    flow = eos.predict(BOWL, "constant:0.1", 6, theory="gradient-flow", keep_weights=3, progress=False)
    distance = eos.measures.weight_distance(run, flow)  # at 0 nothing has moved; steps 2 and 3 only one has kept
    assert distance.kept_step.values.tolist() == [0, 6]
    np.testing.assert_allclose(distance, [np.nan, (np.exp(-0.6) - 0.9**6) / (1 - 0.9**6)], rtol=1e-9)
    comparison = eos.compare(run, flow)
    assert comparison.rows()[0]["theories"]["gradient-flow"]["weight_distance"] == float(distance[-1])
    assert "Δw" in str(comparison)
    bare = eos.compare(run.drop_dims("kept_step"), flow)
    assert bare.rows()[0]["theories"]["gradient-flow"]["weight_distance"] is None
    assert "Δw" not in str(bare)
