"""Mini-batches: which samples, what a tuner sees, what is recorded beside it, and that runs can be gone on with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel._status import Status
from eosmodel.curvature import Modes
from eosmodel.dynamics import StochasticDescent
from eosmodel.objectives import GaussianBatches, MiniBatches, mlp
from eosmodel.results.measures import band, coverage
from eosmodel.simulation import load, run, save, template
from eosmodel.theory import CenterOscillation

pytestmark = pytest.mark.usefixtures("lightly_compiled")

T = eos.tuners


@pytest.fixture(scope="module")
def net():
    """16 weights: few enough for dense eigenpairs, which compile fast."""
    x = np.random.default_rng(0).normal(size=(24, 3))
    return mlp(eos.data.from_arrays(x, np.sin(x.sum(1))), width=3, depth=1)


def drawn(batches, steps, seed=0):
    return np.stack([np.asarray(batches.indices(seed, t)) for t in range(steps)])


def test_each_pass_without_replacement_sees_every_sample_once_in_a_new_order(net):
    first, second = drawn(MiniBatches(net, 6), 8).reshape(2, 24)
    assert sorted(first) == sorted(second) == list(range(24))
    assert (first != second).any()


def test_what_is_left_over_is_left_out_of_a_pass(net):
    seen = drawn(MiniBatches(net, 7), 3)
    assert len(np.unique(seen)) == 21


def test_with_replacement_samples_recur_and_are_uniform(net):
    batches = MiniBatches(net, 12, replacement=True)
    seen = np.asarray(jax.vmap(lambda t: batches.indices(0, t))(jnp.arange(2000)))
    assert any(len(np.unique(row)) < 12 for row in seen)
    counts = np.bincount(seen.ravel(), minlength=24)
    # Binomial: 24 000 draws with probability 1/24, standard error 31.
    assert (np.abs(counts - 1000) < 5 * 31).all()


def test_seeds_differ_and_repeat(net):
    batches = MiniBatches(net, 6)
    assert (drawn(batches, 4, 0) == drawn(batches, 4, 0)).all()
    assert (drawn(batches, 4, 0) != drawn(batches, 4, 1)).any()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (25, r"MiniBatches: size must lie in \[1, 24\] \(24 samples\), got 25"),
        (0, "MiniBatches: size must lie in"),
        (2.5, "size must be an integer, got 2.5"),
    ],
)
def test_a_batch_of_a_wrong_size_is_an_error(net, size, message):
    with pytest.raises(ValueError, match=message):
        MiniBatches(net, size)
    with pytest.raises(ValueError, match="objective must be a Network, got Valley"):
        MiniBatches(eos.objectives.valley(), 1)


def test_a_batch_of_everything_is_full_batch_descent(net):
    full = eos.simulate(net, T.Constant(0.2), steps=30, progress=False)
    whole = eos.simulate(MiniBatches(net, 24), T.Constant(0.2), steps=30, progress=False)
    for name in ("loss", "stepsize", "gradient_norm", "evaluations"):
        np.testing.assert_allclose(whole[name], full[name], rtol=1e-10)
    np.testing.assert_allclose(whole.batch_loss, whole.loss, rtol=1e-10)


def test_a_tuner_sees_only_its_batch_and_the_record_what_it_says(net):
    """Replayed by hand: Polyak's step on each batch, batch sharpness and alignment by dense algebra."""
    batches = MiniBatches(net, 6)
    made = eos.simulate(batches, T.Polyak(c=2.0, max=0.3), steps=9, seeds=5, track_every=4, progress=False)
    weights = net.initial(5)
    for t in range(9):
        batch = net.on(batches.indices(5, t))
        value, g = jax.value_and_grad(batch)(weights)
        eta = min(float(value / (2 * g @ g)), 0.3)
        np.testing.assert_allclose(made.batch_loss[t], value, rtol=1e-10)
        np.testing.assert_allclose(made.stepsize[t], eta, rtol=1e-10)
        np.testing.assert_allclose(made.gradient_norm[t], jnp.linalg.norm(g), rtol=1e-10)
        tracked = t % 4 == 0
        assert np.isfinite(made.loss[t]) == np.isfinite(made.sharpness[t]) == tracked
        assert np.isfinite(made.batch_sharpness[t]) == tracked
        assert 0 < made.alignment[t] <= 1  # with the eigenvector last solved for
        if tracked:
            np.testing.assert_allclose(made.loss[t], net(weights), rtol=1e-10)
            bend = g @ jax.hessian(batch.loss)(weights) @ g / (g @ g)
            np.testing.assert_allclose(made.batch_sharpness[t], bend, rtol=1e-8)
        weights = weights - eta * g


def test_a_secant_is_that_of_one_batch(net):
    """BB2 replayed by hand: s·y/y·y with both gradients on the batch of the step (two batches would give noise)."""
    batches = MiniBatches(net, 6)
    made = eos.simulate(batches, T.from_spec("bb2"), steps=6, seeds=1, track_every=100, progress=False)
    weights, last = net.initial(1), None
    for t in range(6):
        batch = net.on(batches.indices(1, t))
        g = jax.grad(batch)(weights)
        if last is not None:
            s, y = weights - last, g - jax.grad(batch)(last)
            if float(s @ y) > 0:
                np.testing.assert_allclose(made.stepsize[t], s @ y / (y @ y), rtol=1e-8)
        last, weights = weights, weights - float(made.stepsize[t]) * g


def test_noise_is_the_variance_over_samples(net):
    weights = net.initial()
    values, vectors = np.linalg.eigh(jax.hessian(net.loss)(weights))
    pairs = Modes(jnp.asarray(values[::-1][:2]), jnp.asarray(vectors.T[::-1][:2]))
    scale = jnp.linspace(0.5, 2.0, weights.size)
    for s in (None, scale):
        noise = MiniBatches(net, 4).noise(weights, pairs, s)
        size = 1.0 if s is None else np.asarray(s)
        gradients = np.asarray(jax.jacobian(net.losses)(weights)) * size
        bent = np.asarray(jax.hessian(net.losses)(weights))
        u = np.asarray(pairs.vectors)
        along = np.var(gradients @ u.T, axis=0)
        np.testing.assert_allclose(noise.noise_along, along, rtol=1e-8)
        total = np.trace(np.cov(gradients.T, bias=True))
        np.testing.assert_allclose(noise.noise_bulk, total - along.sum(), rtol=1e-8)
        curvatures = np.einsum("i,nij,j->n", u[0] * size, bent, u[0] * size)
        np.testing.assert_allclose(noise.noise_curvature, np.var(curvatures), rtol=1e-8)
        np.testing.assert_allclose(noise.noise_loss, np.var(net.losses(weights)), rtol=1e-10)


@pytest.mark.parametrize("make", [MiniBatches, lambda n, b: MiniBatches(n, b, True), None], ids=["once", "again", "g"])
def test_draws_have_the_mean_and_the_variance_that_the_surrogate_says(net, make):
    """Of the gradient along a fixed vector; within five standard errors of 4000 draws."""
    batches = MiniBatches(net, 6).surrogate() if make is None else make(net, 6)
    weights, v = net.initial(), jnp.ones(net.initial().size)
    each = jax.jvp(net.losses, (weights,), (v,))[1]

    @jax.jit
    def slope(seed):
        return jax.jvp(batches.draw(seed, jnp.asarray(3)), (weights,), (v,))[1]

    seen = np.asarray(jax.vmap(slope)(jnp.arange(4000)))
    predicted = float(batches.surrogate().variance * jnp.var(each))
    assert abs(seen.mean() - each.mean()) < 5 * np.sqrt(predicted / 4000)
    assert abs(seen.var() / predicted - 1) < 5 * np.sqrt(2 / 4000)


def test_a_batch_of_runs_equals_the_runs_one_by_one(net):
    batches = MiniBatches(net, 6)
    both = eos.simulate(batches, T.Armijo(), steps=25, seeds=[2, 7], track_every=5, progress=False)
    for i, seed in enumerate((2, 7)):
        alone = eos.simulate(batches, T.Armijo(), steps=25, seeds=seed, track_every=5, progress=False)
        np.testing.assert_allclose(both.batch_loss[i], alone.batch_loss, rtol=1e-9)
        np.testing.assert_allclose(both.sharpness[i], alone.sharpness, rtol=1e-7)


def test_a_run_that_fails_leaves_its_neighbours_alone(net):
    """A sample that is NaN ends each run at the step whose batch has it, and no other run."""
    broken = net.x.at[11].set(jnp.nan)
    sick = MiniBatches(eos.objectives.Network(net.model, broken, net.y, net.init_scale, "mse", None), 4)
    well = MiniBatches(net, 4)
    seeds = list(range(6))
    made = eos.simulate(sick, T.Polyak(max=1.0), steps=6, seeds=seeds, track_every=100, progress=False)
    fine = eos.simulate(well, T.Polyak(max=1.0), steps=6, seeds=seeds, track_every=100, progress=False)
    meets = [int(np.flatnonzero((drawn(well, 6, s) == 11).any(1))[0]) for s in seeds]
    assert len(set(meets)) > 1
    for i, first in enumerate(meets):
        assert Status(int(made.status[i])) is Status.NONFINITE
        assert int(made.steps[i]) == first
        np.testing.assert_array_equal(made.batch_loss[i, :first], fine.batch_loss[i, :first])
        assert made.batch_loss[i, first:].isnull().all()


def test_interrupted_and_resumed_is_the_same_to_the_bit(net, tmp_path):
    dynamics = StochasticDescent(MiniBatches(net, 5), T.Armijo(), 2, 3, 3)
    start = (net.initial(1), jnp.asarray(1, jnp.int32))
    whole = run(dynamics, start, 40, rows_per_chunk=10)
    kept = tmp_path / "half.npz"

    class Stopped(Exception):
        pass

    def stop(progress):
        save(kept, progress, {"run": "this"})
        if len(progress.seconds) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        run(dynamics, start, 40, rows_per_chunk=10, after_chunk=stop)
    half = load(kept, template(dynamics, start), {"run": "this"})
    again = run(dynamics, start, 40, rows_per_chunk=10, resume=half)
    for name, values in whole.rows.items():
        np.testing.assert_array_equal(again.rows[name], values, err_msg=name)


def test_on_edge_follows_the_batch_and_single_precision_works(net):
    with jax.enable_x64(False):
        data = eos.data.from_arrays(np.asarray(net.x), np.asarray(net.y)[:, 0])
        small = mlp(data, width=3, depth=1)
        batches = MiniBatches(small, 6)
        made = eos.simulate(batches, T.OnEdge(1.0), steps=5, progress=False)
        assert made.batch_loss.dtype == made.noise_bulk.dtype == np.float32
        batch = small.on(batches.indices(0, 0))
        top = np.linalg.eigvalsh(jax.hessian(batch.loss)(small.initial()))[-1]
        np.testing.assert_allclose(made.stepsize[0], 1 / top, rtol=1e-4)


def test_the_theory_without_noise_is_the_theory_of_the_full_loss(net):
    silent = GaussianBatches(net, 0.0)
    whole = run(CenterOscillation(net, T.Greedy()), net.initial(), 30)
    start = (net.initial(), jnp.asarray(0, jnp.int32))
    quiet = run(CenterOscillation(silent, T.Greedy()), start, 30)
    for name in ("loss", "stepsize"):
        np.testing.assert_allclose(quiet.rows[name][:2], whole.rows[name][:2], rtol=1e-9)
    # From there on its modes are solved for a little elsewhere, as those of a stochastic run are: not where iterates
    # are averaged off the modes.
    for name in ("loss", "stepsize", "sharpness"):
        np.testing.assert_allclose(quiet.rows[name], whole.rows[name], rtol=1e-2)
    # Where the Hessian is one everywhere, that makes no difference.
    data = eos.data.from_arrays(np.asarray(net.x), np.asarray(net.y)[:, 0])
    linear = mlp(data, depth=0)
    whole = run(CenterOscillation(linear, T.Greedy()), linear.initial(), 30)
    start = (linear.initial(), jnp.asarray(0, jnp.int32))
    quiet = run(CenterOscillation(GaussianBatches(linear, 0.0), T.Greedy()), start, 30)
    for name in ("loss", "stepsize", "sharpness", "amplitude"):
        np.testing.assert_allclose(quiet.rows[name], whole.rows[name], rtol=1e-9, atol=1e-14)


def test_an_ensemble_of_the_theory_has_members_from_one_start_that_part(net):
    batches = MiniBatches(net, 6)
    found = eos.predict(batches, T.Constant(0.2), steps=20, seeds=3, members=4, progress=False)
    assert found.loss.dims == ("member", "step")
    first = found.loss[:, 0].values
    np.testing.assert_array_equal(first, first[0])
    np.testing.assert_allclose(first[0], net(net.initial(3)), rtol=1e-9)
    assert len(np.unique(found.loss[:, -1])) == 4


def test_theory_refuses_what_it_does_not_know(net):
    with pytest.raises(ValueError, match="theory 'valley' knows no noise; of a stochastic objective ask oscillation"):
        eos.predict(MiniBatches(net, 6), T.Constant(0.2), theory="valley")
    with pytest.raises(ValueError, match="theory 'valley-frozen' takes one run at a time and has no members"):
        eos.predict(net, T.Constant(0.2), theory="valley-frozen", members=3)
    with pytest.raises(ValueError, match="members and several seeds"):
        eos.predict(MiniBatches(net, 6), T.Constant(0.2), seeds=[0, 1], members=3)


def test_bands_and_coverage():
    """Normal members: the 90 % band is ±1.645σ, and a run of the same law is inside 90 % of the time."""
    rng = np.random.default_rng(0)
    members = xr.DataArray(rng.normal(size=(4000, 50)), dims=("member", "step"), coords={"step": np.arange(50)})
    low, high = band(members)
    np.testing.assert_allclose(-low, 1.645, atol=0.15)
    np.testing.assert_allclose(high, 1.645, atol=0.15)
    runs = [xr.DataArray(rng.normal(size=50), dims="step", coords={"step": np.arange(50)}) for _ in range(100)]
    share = np.mean([coverage(one, members) for one in runs])
    assert abs(share - 0.9) < 5 * np.sqrt(0.09 / 5000)
    assert np.isnan(coverage(runs[0].where(False), members))


def test_members_that_have_ended_leave_the_band_and_nothing_warns():
    members = xr.DataArray([[1.0, 1.0, np.nan], [3.0, np.nan, np.nan]], dims=("member", "step"))
    low, high = band(members)
    np.testing.assert_array_equal(low, [1, 1, np.nan])
    np.testing.assert_array_equal(high, [3, 1, np.nan])


@pytest.mark.parametrize(("members", "share"), [(5, 4 / 6), (19, 0.9), (20, 0.9), (40, 0.9)])
def test_one_more_draw_lies_in_the_band_of_a_few_as_often_as_it_says(members, share):
    rng = np.random.default_rng(2)
    step = np.arange(20000)
    few = xr.DataArray(rng.standard_t(3, size=(members, step.size)), dims=("member", "step"), coords={"step": step})
    one = xr.DataArray(rng.standard_t(3, size=step.size), dims="step", coords={"step": step})
    assert abs(coverage(one, few) - share) < 5 * np.sqrt(share * (1 - share) / step.size)


def test_the_picture_of_an_ensemble_shows_its_band_and_every_run():
    step = np.arange(0, 60)
    rng = np.random.default_rng(1)

    def dataset(lead, size):
        values = np.exp(0.1 * rng.normal(size=(size, 60)))
        return xr.Dataset(dict.fromkeys(("loss", "stepsize", "sharpness"), ((lead, "step"), values)), {"step": step})

    runs, theory = dataset("seed", 2), dataset("member", 300)
    figure = eos.plotting.ensemble(runs, theory)
    for ax in figure.axes:
        assert len(ax.lines) == 3  # a median and two runs
        assert len(ax.collections) == 1
        assert ax.get_title().endswith("inside the 90% band")
        assert ax.get_yscale() == "log"
