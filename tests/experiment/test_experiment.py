"""`simulate` as a user meets it: batches, strides, checkpoints, ends and errors."""

import resource

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel import tuners
from eosmodel.judging import claims
from eosmodel.judging.verdicts import Verdict
from eosmodel.objectives import DiagonalQuadratic
from eosmodel.results.measures import stall_reason

pytestmark = pytest.mark.usefixtures("lightly_compiled")

BOWL = DiagonalQuadratic(jnp.array([4.0, 1.0, 0.5]), start=jnp.array([1.0, 1.0, 1.0]))
CLOCKS = ["seconds_per_step", "compile_seconds"]


@pytest.fixture(scope="module")
def network():
    return eos.objectives.mlp(eos.data.digits(80), width=6, init_scale=0.7)


def test_descent_on_a_quadratic_is_the_closed_form():
    result = eos.simulate(BOWL, tuners.Constant(0.3), 12, progress=False)
    t = np.arange(12)[:, None]
    weights = (1 - 0.3 * np.array([4.0, 1.0, 0.5])) ** t
    np.testing.assert_allclose(result.loss, 0.5 * (weights**2 @ np.array([4.0, 1.0, 0.5])), rtol=1e-12)
    np.testing.assert_allclose(result.sharpness, 4.0, rtol=1e-12)
    np.testing.assert_array_equal(result.step, np.arange(12))
    assert result.attrs["config"]
    assert result.sharpness.attrs["symbol"] == "λ"


def test_matches_optax_sgd_under_a_schedule(network):
    schedule = optax.cosine_decay_schedule(0.5, 40)
    result = eos.simulate(network, tuners.Schedule(schedule), 40, progress=False)
    optimizer = optax.sgd(schedule)
    w = network.initial()
    state, losses = optimizer.init(w), []
    step = eqx.filter_jit(eqx.filter_value_and_grad(lambda w, net: net(w)))
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix integers and floats
        for _ in range(40):
            value, gradient = step(w, network)
            updates, state = optimizer.update(gradient, state)
            w = optax.apply_updates(w, updates)
            losses.append(float(value))
    np.testing.assert_allclose(result.loss, losses, rtol=1e-6)


def test_seeds_and_hyper_parameters_are_batched(network):
    both = eos.simulate(network, tuners.Armijo(), 30, seeds=[3, 5], progress=False)
    assert both.loss.dims == ("seed", "step")
    alone = eos.simulate(network, tuners.Armijo(), 30, seeds=5, progress=False)
    np.testing.assert_allclose(both.loss[1], alone.loss, rtol=1e-6)
    grid = eos.simulate(network, tuners.Constant(jnp.array([0.1, 0.4, 1e4])), 30, progress=False)
    assert grid.loss.dims == ("tuner_step", "step")
    alone = eos.simulate(network, tuners.Constant(0.4), 30, progress=False)
    np.testing.assert_allclose(grid.loss[1], alone.loss, rtol=1e-6)
    # The diverging neighbour is a result of its own.
    assert list(grid.status.values[:2]) == [0, 0]
    assert int(grid.status[2]) != 0
    assert np.isnan(grid.loss[2, int(grid.steps[2]) :]).all()


def test_strides_keep_the_rows_they_name(network):
    every = eos.simulate(network, tuners.Constant(0.4), 40, progress=False)
    some = eos.simulate(network, tuners.Constant(0.4), 40, record_every=4, progress=False)
    np.testing.assert_array_equal(some.step, np.arange(0, 40, 4))
    np.testing.assert_allclose(some.loss, every.loss[::4], rtol=1e-6)
    sparse = eos.simulate(network, tuners.Constant(0.4), 40, track_every=4, progress=False)
    tracked = np.isfinite(sparse.sharpness.values)
    np.testing.assert_array_equal(np.flatnonzero(tracked), np.arange(0, 40, 4))
    np.testing.assert_allclose(sparse.sharpness[::4], every.sharpness[::4], rtol=1e-2)


def test_float32_and_float64_stay_what_they_are():
    for dtype in (jnp.float32, jnp.float64):
        objective = eos.objectives.mlp(eos.data.digits(40), width=4, depth=1, dtype=dtype)
        for tuner in (tuners.Armijo(), tuners.OnEdge(), tuners.CDAT(ema=0.9)):
            result = eos.simulate(objective, tuner, 5, modes=1, progress=False)
            assert result.loss.dtype == dtype
            assert result.stepsize.dtype == dtype
            assert result.sharpness.dtype == dtype


def test_a_tracker_may_be_given(network):
    options = {"steps": 12, "measure_every": 0, "progress": False}
    default, block = (
        eos.simulate(network, tuners.Armijo(), tracker=tracker, **options)
        for tracker in (None, eos.curvature.BlockTracker(3))
    )
    np.testing.assert_array_equal(block.loss, default.loss)
    # One round is not enough for the first steps, which go far: their pairs do not claim to be right.
    right = block.converged.values
    assert not right[0]
    assert right[6:].all()
    np.testing.assert_allclose(block.sharpness[right], default.sharpness[right], rtol=1e-2)
    assert {*block.products.values.tolist()} == {7}
    assert "BlockTracker" in block.attrs["config"]
    with pytest.raises(ValueError, match=r"tracker must be None or a tracker, .* got 3"):
        eos.simulate(network, tuners.Armijo(), tracker=3, **options)


def test_a_checkpoint_is_gone_on_from(tmp_path, network):
    path = tmp_path / "run.npz"
    whole = eos.simulate(network, tuners.Armijo(), 250, progress=False, checkpoint=path)
    again = eos.simulate(network, tuners.Armijo(), 250, progress=False, checkpoint=path)
    xr.testing.assert_identical(whole.drop_vars(CLOCKS).drop_attrs(), again.drop_vars(CLOCKS).drop_attrs())
    with pytest.raises(ValueError, match="another run"):
        eos.simulate(network, tuners.Armijo(c=0.1), 250, progress=False, checkpoint=path)


def test_saved_and_loaded_records_are_the_same(tmp_path):
    result = eos.simulate(BOWL, tuners.Constant(0.3), 12, progress=False)
    eos.record.save(result, tmp_path / "run.nc")
    xr.testing.assert_identical(eos.record.load(tmp_path / "run.nc"), result)
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]


def test_a_limit_on_the_size_of_files_is_an_error_that_names_the_file_and_keeps_the_old_one(tmp_path):
    result = eos.simulate(BOWL, tuners.Constant(0.3), 12, progress=False)
    path = tmp_path / "run.nc"
    eos.record.save(result, path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*run\.nc'"):
            eos.record.save(result, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]


def test_throw_and_bad_arguments(network):
    with pytest.raises(RuntimeError, match=r"diverged|nonfinite"):
        eos.simulate(network, tuners.Constant(1e4), 30, progress=False, throw=True)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        eos.simulate(network, tuners.Constant(0.1), 0)
    with pytest.raises(ValueError, match="modes must lie in"):
        eos.simulate(network, tuners.Constant(0.1), 5, modes=0)
    with pytest.raises(ValueError, match="cannot both be given"):
        eos.simulate(network, tuners.Constant(0.1), 5, seeds=1, start=network.initial())
    with pytest.raises(ValueError, match="at least one seed"):
        eos.simulate(network, tuners.Constant(0.1), 5, seeds=[])


def flat(w):
    return 0.5 * jnp.sum(w**2)


@pytest.mark.parametrize(
    ("fn", "start", "tuner", "reason"),
    [
        (flat, [0.0, 0.0], tuners.Constant(0.1), "zero gradient"),
        (lambda w: w[0] ** 2 - w[1] ** 2, [0.0, 0.0], tuners.Armijo(), "zero gradient"),
        (
            lambda w: flat(w) - 10.0,
            [1.0, 1.0],
            tuners.Polyak(),
            "step size 0, as where the loss is below the tuner's f*",
        ),
        (lambda w: 1e-24 * flat(w), [1.0, 1.0], tuners.Constant(0.1), "steps below the rounding of the weights"),
    ],
    ids=["minimum", "saddle", "loss below f*", "tiny loss"],
)
def test_a_run_that_never_moves_is_stalled_and_judged_by_no_claim(fn, start, tuner, reason):
    run = eos.simulate(eos.objective(fn, jnp.array(start)), tuner, 10, modes=1, progress=False)
    assert eos.Status(int(run.status)) is eos.Status.STALLED
    assert stall_reason(run) == reason
    labelled = run.expand_dims(tuner=["armijo"], seed=[0])
    assert {claim.verdict for claim in claims.evaluate(labelled)} == {Verdict.NOT_TESTED}


def test_a_run_that_moved_once_is_not_stalled():
    run = eos.simulate(eos.objective(flat, jnp.array([1.0])), tuners.Constant(1.0), 10, modes=1, progress=False)
    assert float(run.loss[-1]) == 0
    assert eos.Status(int(run.status)) is eos.Status.OK
    both = eos.simulate(
        eos.objective(flat, jnp.ones(2)), tuners.Polyak(f_star=jnp.array([100.0, 0.0])), 5, progress=False
    )
    assert [eos.Status(int(code)).label for code in both.status] == ["stalled", "ok"]
