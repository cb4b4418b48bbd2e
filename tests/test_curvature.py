"""The eigenpair tracker against dense solves and scipy; the slow coefficients against closed forms."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, eigsh

from eosmodel.curvature import (
    AbstractTracker,
    BlockTracker,
    Modes,
    Tracker,
    TrackInfo,
    cold_start,
    hvp,
    linearize,
    oscillation,
    sharpness_gradient,
    slow_coefficients,
)
from eosmodel.objectives import Valley
from eosmodel.objectives import data as datasets
from eosmodel.objectives.networks import mlp

pytestmark = pytest.mark.usefixtures("lightly_compiled")


def symmetric(eigenvalues, seed):
    dim = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))
    return (q * eigenvalues) @ q.T


@pytest.fixture(scope="module")
def network():
    return mlp(datasets.digits(200), width=8, depth=2, init_scale=0.5, dtype=jnp.float64)


@partial(jax.jit, static_argnames=("modes", "budget"))
def solve(matrix, guess, modes, budget=400):
    return cold_start(lambda v: matrix @ v, guess, modes, budget=budget)


@partial(jax.jit, static_argnames="tracker")
def follow(matrix, pairs, tracker):
    return tracker.update(lambda v: matrix @ v, pairs)


each_tracker = pytest.mark.parametrize("kind", [Tracker, BlockTracker])


def converged_values(objective, weights, k):
    product = jax.jit(lambda w, v: hvp(objective, w, v))
    operator = LinearOperator(
        (weights.size,) * 2, dtype=float, matvec=lambda v: np.asarray(product(weights, jnp.asarray(v.ravel())))
    )
    return eigsh(operator, k=k, which="LA", tol=1e-10, return_eigenvectors=False)[::-1]


def test_hvp_is_the_dense_hessian(network):
    w = network.initial()
    rng = np.random.default_rng(0)
    v, u = (jnp.asarray(rng.normal(size=w.size)) for _ in range(2))
    step = 1e-5
    gradient = jax.grad(network)
    finite = (gradient(w + step * v) - gradient(w - step * v)) / (2 * step)
    np.testing.assert_allclose(hvp(network, w, v), finite, atol=1e-7 * float(jnp.linalg.norm(finite)))
    np.testing.assert_allclose(u @ hvp(network, w, v), v @ hvp(network, w, u), rtol=1e-10)
    _, _, matvec = linearize(network, w)
    np.testing.assert_allclose(matvec(v), hvp(network, w, v), rtol=1e-10, atol=1e-14)


@each_tracker
@pytest.mark.parametrize("dim", [20, 80])
def test_vectors_keep_their_sense(dim, kind):
    matrix = jnp.asarray(symmetric(np.linspace(-1, 5, dim), 1))
    pairs, _ = solve(matrix, jnp.ones(dim), 3)
    for signs in ([1.0, 1.0, 1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]):
        before = eqx.tree_at(lambda pairs: pairs.vectors, pairs, pairs.vectors * jnp.asarray(signs)[:, None])
        after, _ = follow(matrix, before, kind(3))
        np.testing.assert_allclose(jnp.sum(after.vectors * before.vectors, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("dim", [3, 20, 80])
def test_cold_start_matches_dense(dim, dtype):
    spectrum = np.linspace(-1, 5, dim)
    matrix = jnp.asarray(symmetric(spectrum, 1), dtype)
    pairs, info = solve(matrix, jnp.ones(dim, dtype), 3)
    assert bool(info.converged)
    assert pairs.values.dtype == dtype
    np.testing.assert_allclose(pairs.values, np.sort(spectrum)[::-1][:3], rtol=2e-3)
    np.testing.assert_allclose(pairs.vectors @ pairs.vectors.T, np.eye(3), atol=1e-4)


def test_large_negative_eigenvalues_do_not_mislead():
    spectrum = np.concatenate([np.linspace(-1000, -10, 50), np.linspace(0, 1, 50), [3.0, 4.0]])
    matrix = jnp.asarray(symmetric(spectrum, 2))
    pairs, info = solve(matrix, jnp.ones(102), 2, budget=1000)
    assert bool(info.converged)
    np.testing.assert_allclose(pairs.values, [4, 3], rtol=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_ritz_values_bound_and_residuals_are_true(seed):
    rng = np.random.default_rng(seed)
    spectrum = rng.normal(size=40)
    matrix = jnp.asarray(symmetric(spectrum, seed))
    # Far too small a budget: what it then says of itself must still be true.
    pairs, info = solve(matrix, jnp.ones(40), 2, budget=3)
    u, value = np.asarray(pairs.vectors[0]), float(pairs.values[0])
    residual = np.linalg.norm(matrix @ u - value * u) / abs(value)
    np.testing.assert_allclose(info.residual, residual, rtol=1e-6, atol=1e-9)
    assert value <= spectrum.max() + 1e-9
    assert np.abs(spectrum - value).min() <= residual * abs(value) + 1e-9
    assert int(info.products) == 2 + 3 or bool(info.converged)


@each_tracker
def test_tracks_through_a_crossing(kind):
    """λ_1 and λ_2 swap along a path; the tracker must report the larger one on both sides."""
    base = np.linspace(0, 1, 60)
    q = np.linalg.qr(np.random.default_rng(3).normal(size=(60, 60)))[0]

    def matrix(t):
        spectrum = base.copy()
        spectrum[10], spectrum[20] = 3 - t, 2 + t
        return jnp.asarray((q * spectrum) @ q.T)

    first = matrix(0.0)
    pairs, _ = solve(first, jnp.ones(60), 2)
    for t in np.linspace(0, 1, 41):
        pairs, info = follow(matrix(t), pairs, kind(2))
        np.testing.assert_allclose(pairs.values[0], max(3 - t, 2 + t), rtol=1e-3)
        assert bool(info.converged)


HIDDEN = 1000


@pytest.fixture(scope="module")
def followed():
    """Updates on a diagonal Hessian, whose eigenvectors never mix: leading values, converged and products of each."""
    start = jnp.linspace(-0.5, 0.9, HIDDEN).at[:3].set(jnp.asarray([3.0, 2.9, 2.8]))

    def body(tracker, pairs, curvatures):
        pairs, info = tracker.update(lambda v: curvatures.astype(v.dtype) * v, pairs)
        return pairs, (pairs.values[0], info.converged, info.products)

    @partial(jax.jit, static_argnames=("tracker", "dtype"))
    def run(tracker, dtype, rises):
        weights = jnp.ones(HIDDEN, dtype)
        _, _, pairs = tracker.init(lambda w: 0.5 * jnp.sum(start.astype(dtype) * w**2), weights)
        path = jnp.tile(start, (rises.size, 1)).at[:, -1].set(rises)
        return jax.lax.scan(partial(body, tracker), pairs, path)[1]

    return run


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("modes", [1, 3])
@each_tracker
def test_an_eigenvalue_that_rises_outside_the_modes_is_found(followed, dtype, modes, kind):
    """Its eigenvector is at right angles to all that are followed and H does not turn it towards them."""
    least = 3.1 - 0.1 * modes
    for top in (1.2 * 3.0, 2 * 3.0):
        rises = jnp.full(80, 0.5).at[20:].set(top)
        values, converged, products = followed(kind(modes), dtype, rises)
        within = 2 * np.log(2 * np.sqrt(HIDDEN)) / np.arccosh(top / least) + 6
        np.testing.assert_allclose(values[:20], 3.0, rtol=1e-3)
        np.testing.assert_allclose(values[20 + int(within) :], top, rtol=1e-3)
        assert converged[20 + int(within) :].all()
        assert float(jnp.mean(products[:20])) == (modes + 0.5 if kind is Tracker else 2 * modes + 1)


@each_tracker
def test_an_eigenvalue_that_rises_slowly_is_found_before_it_leads(followed, kind):
    """It is taken into the modes when it passes λ_3, so the flag is not wrong at any step."""
    rises = jnp.linspace(2.0, 4.0, 600)
    values, converged, _ = followed(kind(3), jnp.float64, rises)
    wrong = np.abs(values / np.maximum(3.0, rises) - 1) > 0.015
    assert not (converged & wrong).any()


@each_tracker
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), lowest=st.sampled_from([0.0, -1.0, -10.0]), begin=st.integers(2, 38))
def test_converged_means_right_from_any_invariant_subspace(kind, seed, lowest, begin):
    """Started from exact eigenvectors that are not the leading ones, whose residuals are 0."""
    spectrum = np.sort(np.random.default_rng(seed).uniform(lowest, 1, 40))[::-1] - 0.3 * (seed % 3 == 0)
    axes = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(40, 40)))[0]
    pairs, converged = settled(
        kind(2), jnp.asarray((axes * spectrum) @ axes.T), spectrum[begin : begin + 2], axes.T[begin : begin + 2]
    )
    assert not converged or abs(float(pairs.values[0]) - spectrum[0]) <= 0.015 * abs(spectrum[0])
    assert bool(converged) or spectrum[0] < 0.1


@partial(jax.jit, static_argnames="tracker")
def settled(tracker, matrix, values, vectors):
    _, _, begin = tracker.init(lambda w: 0.5 * w @ matrix @ w, jnp.ones(40))
    begin = eqx.tree_at(lambda p: (p.values, p.vectors), begin, (values, vectors))
    if begin.start is not None:
        begin = eqx.tree_at(lambda p: p.start, begin, vectors)

    def body(pairs, _):
        pairs, info = tracker.update(lambda v: matrix @ v, pairs)
        return pairs, info.converged

    pairs, converged = jax.lax.scan(body, begin, length=200)
    return pairs, converged[-1]


@each_tracker
def test_tracker_along_training_matches_scipy(network, kind):
    """At the edge of stability included: constant η = 0.9 on digits ends there."""
    from eosmodel.dynamics import Descent
    from eosmodel.tuners import Constant

    dynamics = Descent(network, Constant(jnp.asarray(0.9)), kind(3), 1, 0)
    step = eqx.filter_jit(dynamics.step)
    state = dynamics.init(network.initial())
    errors, products = [], []
    for t in range(300):
        new, row, _ = step(state, jnp.asarray(t))
        if t % 20 == 0:
            # The centre as the step computes it, from the pairs that it was given.
            center = state.weights - oscillation(jax.grad(network)(state.weights), state.center) @ state.center.vectors
            exact = converged_values(network, center, 3)
            errors.append(abs(float(row["sharpness"]) / exact[0] - 1))
        products.append(int(row["products"]))
        state = new
    assert np.median(errors) < 1e-3
    assert np.max(errors) < 1e-2
    assert np.mean(products) < 7 if kind is Tracker else {*products} == {7}


def test_sharpness_gradient_is_the_gradient_of_the_eigenvalue(network):
    w = network.initial()
    vectors = jnp.linalg.eigh(jax.jit(jax.hessian(network))(w))[1]
    gradient = sharpness_gradient(network, w, vectors[:, -1])
    direction = jnp.asarray(np.random.default_rng(0).normal(size=w.size))
    direction /= jnp.linalg.norm(direction)
    step = 1e-4

    @jax.jit
    def top(w):
        return jnp.linalg.eigvalsh(jax.hessian(network)(w))[-1]

    finite = (top(w + step * direction) - top(w - step * direction)) / (2 * step)
    np.testing.assert_allclose(gradient @ direction, finite, rtol=1e-5)


def test_slow_coefficients_of_the_valley_are_closed_forms():
    valley = Valley(
        sharpness_limit=10.0,
        b=4.0,
        q=jnp.array([0.6, 0.8]),
        mu=jnp.array([0.5, 0.2]),
        start=jnp.array([0.3, -1.0, -2.0]),
    )
    floor = jnp.array([0.0, -1.0, -2.0])
    _, gradient, matvec = linearize(valley, floor)
    pairs, _ = cold_start(matvec, gradient, 1)
    slow = slow_coefficients(valley, floor, gradient, pairs)
    np.testing.assert_allclose(pairs.values[0], valley.sharpness(floor), rtol=1e-12)
    np.testing.assert_allclose(slow.alpha, valley.alpha(floor), rtol=1e-12)
    np.testing.assert_allclose(slow.beta, 4.0, rtol=1e-12)
    np.testing.assert_allclose(slow.bulk_gradient_sq, valley.bulk_gradient_sq(floor), rtol=1e-12)
    np.testing.assert_allclose(slow.kappa, valley.kappa(floor), rtol=1e-12)
    # One Newton step along the mode finds the floor of a valley whose oscillation is harmonic.
    at_start = oscillation(jax.grad(valley)(valley.initial()), pairs)
    np.testing.assert_allclose(at_start[0], 0.3, rtol=1e-12)


class Pairs(eqx.Module):
    """The state of `PowerTracker`: what `Modes` has, and a counter."""

    values: jax.Array
    vectors: jax.Array
    updates: jax.Array


class PowerTracker(AbstractTracker):
    """A fixed amount of work: three products a pair, and a random direction at every fourth update."""

    modes: int = eqx.field(static=True, default=2)

    def init(self, fn, weights):
        value, gradient, pairs = Tracker(self.modes).init(fn, weights)
        return value, gradient, Pairs(pairs.values, pairs.vectors, jnp.asarray(0))

    def update(self, matvec, pairs, elapsed=1):
        key = jax.random.fold_in(jax.random.key(0), pairs.updates)
        random = jax.random.normal(key, pairs.vectors[-1].shape, pairs.vectors.dtype)
        vectors = pairs.vectors + jnp.where(pairs.updates % 4 == 3, 1e-3, 0) * random
        for _ in range(3):
            basis = jnp.linalg.qr(jnp.concatenate([vectors, jax.vmap(matvec)(vectors)]).T)[0].T
            inner = basis @ jax.vmap(matvec)(basis).T
            values, axes = jnp.linalg.eigh(0.5 * (inner + inner.T))
            vectors = (axes.T @ basis)[::-1][: self.modes]
        values = values[::-1][: self.modes]
        residual = jnp.linalg.norm(matvec(vectors[0]) - values[0] * vectors[0]) / values[0]
        info = TrackInfo(residual, jnp.asarray(9 * self.modes + 1, jnp.int32), residual < 1e-2)
        return Pairs(values, vectors, pairs.updates + 1), info


@pytest.mark.parametrize("track_every", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_tracker_of_ones_own_follows_a_run_as_the_default_does(network, track_every):
    """With a state of its own, also where the eigenpairs are updated only now and then, and in a theory."""
    from eosmodel.dynamics import Descent
    from eosmodel.simulation import run
    from eosmodel.theory import CenterOscillation
    from eosmodel.tuners import OnEdge

    tuner = OnEdge(jnp.asarray(1.0))
    progress, default = (
        run(Descent(network, tuner, tracker, track_every, 0), network.initial(), 20)
        for tracker in (PowerTracker(), Tracker(2, rtol=1e-3, budget=50))
    )
    assert int(progress.carry.state.center.updates) == len(range(0, 20, track_every))
    for name in ("sharpness", "iterate_sharpness", "loss"):
        np.testing.assert_allclose(progress.rows[name], default.rows[name], rtol=2e-2)
    model, default = (
        run(CenterOscillation(network, tuner, tracker), network.initial(), 20).rows
        for tracker in (PowerTracker(), Tracker(2, rtol=1e-3, budget=50))
    )
    np.testing.assert_allclose(model["sharpness"], default["sharpness"], rtol=2e-2)


def test_a_tracker_checks_its_numbers_and_a_count_stands_for_the_default():
    from eosmodel.dynamics import Descent
    from eosmodel.theory import RodFlow
    from eosmodel.tuners import Constant

    for name, value in (("modes", 0), ("modes", 1.5), ("rtol", 0.0), ("budget", 0)):
        with pytest.raises(ValueError, match=f"Tracker: {name}"):
            Tracker(**{name: value})
    for name, value in (("modes", 0), ("rtol", 0.0), ("rounds", 0)):
        with pytest.raises(ValueError, match=f"BlockTracker: {name}"):
            BlockTracker(**{name: value})
    assert Descent(None, Constant(0.1), 2).tracker == Tracker(2, budget=8)
    assert RodFlow(None, Constant(0.1), 2).tracker == Tracker(2, budget=4)


def test_what_is_spent_on_an_update_grows_with_the_steps_since_the_last_up_to_five():
    matrix = jnp.asarray(symmetric(np.linspace(0, 1, 60) ** 0.1, 4))
    rough = Modes(jnp.zeros(1), jnp.ones((1, 60)) / jnp.sqrt(60.0))
    for elapsed, expansions in ((1, 3), (2, 6), (5, 15), (9, 15)):
        info = Tracker(1, rtol=1e-9, budget=3).update(lambda v: matrix @ v, rough, elapsed)[1]
        assert int(info.products) == 1 + expansions
        info = BlockTracker(1, rounds=2).update(lambda v: matrix @ v, rough, elapsed)[1]
        assert int(info.products) == 1 + (2 if elapsed == 1 else 3)


def test_a_tracker_of_fixed_work_decides_nothing_and_finds_what_the_default_finds():
    """Its program has no loop that depends on numbers, and its products come in two batches of one round each."""
    matrix = jnp.asarray(symmetric(np.linspace(0, 1, 60) ** 2, 5))
    tracker = BlockTracker(3)
    _, _, pairs = tracker.init(lambda w: 0.5 * w @ matrix @ w, jnp.ones(60))
    shapes = []

    def matvec(v):
        shapes.append(v.shape)
        return matrix @ v

    program = str(jax.make_jaxpr(lambda pairs: tracker.update(matvec, pairs))(pairs))
    assert shapes == [(60,), (60,)]
    assert "while" not in program
    assert "cond" not in program
