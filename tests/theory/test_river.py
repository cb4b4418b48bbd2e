"""The river's limits: a valley is itself, frozen springs are the fast map, small kicks the linear response, and a
quadratic answers to nothing."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.optimize import brentq

import eosmodel as eos
from eosmodel._status import Status
from eosmodel.dynamics import Descent
from eosmodel.simulation import run
from eosmodel.theory import FastMap
from eosmodel.theory.complementarity import symmetric_basis
from eosmodel.theory.river import River, RiverFlow, RiverMap, RiverStart, at_step, at_weights, flow_of, stacked
from eosmodel.theory.river.chart import log_fall, matrix_fall
from eosmodel.theory.river.map import largest_eigenvalue

pytestmark = pytest.mark.usefixtures("lightly_compiled")

DTYPES = (jnp.float32, jnp.float64)


def measured(objective, time, modes=1, **options):
    """The river of an objective up to some flow time, and the rows that it was made of."""
    flow = RiverFlow(objective, modes, **{"measure_every": 1} | options)
    start = objective.initial()
    latest, steps = [None], 0
    while latest[-1] is None or latest[-1].rows["tau"][-1] <= time:
        steps += 20
        run(flow, start, steps, rows_per_chunk=20, resume=latest[-1], after_chunk=latest.append)
        assert int(latest[-1].carry.status) == int(Status.OK)
        assert steps < 1000
    progress = latest[-1]
    cap = float(flow.cap)
    return stacked([flow_of(progress.rows, modes, cap, dtype=start.dtype)]), progress.rows


def valley(x0=0.0, dtype=jnp.float64, mu=(0.002, 0.01), z0=-0.5):
    q = jnp.full(len(mu), len(mu) ** -0.5, dtype)
    start = jnp.concatenate([jnp.full(1, x0, dtype), z0 * jnp.ones_like(q)])
    return eos.objectives.Valley(21.0, 4.0, q, mu, start)


def tuner(rule, dtype):
    return jax.tree.map(lambda v: jnp.asarray(v, dtype), rule)


@pytest.mark.parametrize("dtype", DTYPES)
def test_river_of_a_valley_is_known_in_closed_form(dtype):
    # On the floor z_j = z_j(0) e^{−μ_j τ}, λ = λ_∞ + √b q·z, and ln λ has the gradient √b q/λ.
    floor = valley(dtype=dtype)
    river, rows = measured(floor, 200.0)
    assert len(np.unique(rows["tau"])) < 120
    mu, q, z0 = (np.asarray(v, float) for v in (floor.mu, floor.q, floor.start[1:]))
    for tau in (0.0, 3.0, 40.0, 200.0):
        here = river.free.at(jnp.asarray(tau, dtype))
        z = z0 * np.exp(-mu * tau)
        sharpness = 21 + 2 * q @ z
        close = {"rtol": 2e-4}
        np.testing.assert_allclose(here.root[0, 0] ** 2, sharpness, **close)
        np.testing.assert_allclose(here.loss, 0.5 * np.sum(mu * z**2), **close)
        np.testing.assert_allclose(jnp.sum(here.gradient), np.sum((mu * z) ** 2), rtol=5e-3)
        np.testing.assert_allclose(jnp.sum(here.response), 4 / sharpness**2, rtol=2e-3)
        np.testing.assert_allclose(jnp.sum(here.cross), 2 * q @ (mu * z) / sharpness, rtol=5e-3)
        weight = river.free.curvature @ here.response[:, 0, 0]
        np.testing.assert_allclose(weight, np.sum(mu * 4 * q**2) / sharpness**2, rtol=5e-3)


@pytest.mark.parametrize(
    "rule", [eos.tuners.Constant(0.0985), eos.tuners.CDAT(2.0), eos.tuners.Armijo(initial=0.1, factor=0.9)]
)
def test_valley_reproduces_itself(rule):
    # Displacements of ln λ stay below 0.06 here, and ln λ is linear in them up to half their square; ημ is 1e-3.
    floor = valley(x0=1e-3)
    river, _ = measured(floor, 80.0)
    rule = tuner(rule, jnp.float64)
    real = run(Descent(floor, rule, 1, 1, 0), floor.initial(), 600).rows
    said = run(RiverMap(river, rule), at_weights(river), 600).rows
    assert np.abs(np.log(real["sharpness"] / river.free.at(jnp.asarray(59.0)).sharpness)).max() < 0.08
    np.testing.assert_allclose(said["sharpness"], real["sharpness"], rtol=3e-3)
    # The uncertainty grows with the displacement; so close to the river it is more than the error.
    unsure = said["sharpness_uncertainty"]
    assert np.all(np.diff(unsure) >= 0)
    assert unsure[-1] > unsure[0]
    assert np.all(np.abs(np.log(said["sharpness"] / real["sharpness"])) < unsure)
    smooth = np.ones(50) / 50
    for name in ("center_loss", "stepsize"):
        mine, true = (np.convolve(rows[name], smooth, "valid") for rows in (said, real))
        np.testing.assert_allclose(mine, true, rtol=5e-3)


def still_river(dtype, sharpness=4.0, kappa=0.1, bulk=2.0, loss=3.0):
    """A river that goes nowhere and answers to nothing: λ, G and κ are what they are."""
    river, _ = measured(valley(dtype=dtype), 50.0)
    flow = river.free
    places = jax.tree.map(lambda v: jnp.zeros_like(v), flow.places)
    curvature = jnp.asarray([0.0, kappa * sharpness], dtype)
    rows = flow.log_loss.size
    places = places._replace(
        root=places.root + sharpness**0.5,
        sharpness=places.sharpness + sharpness,
        gradient=jnp.tile(jnp.asarray([0.0, bulk], dtype), (rows, 1)),
        cross=places.cross[:, :2],
        response=places.response[:, :2],
        recall=places.recall[:, :2],
    )
    flow = eqx.tree_at(
        lambda f: (f.curvature, f.log_loss, f.log_slope, f.places, f.length),
        flow,
        (
            curvature,
            jnp.full_like(flow.log_loss, np.log(loss)),
            jnp.zeros_like(flow.log_slope),
            places,
            jnp.asarray(1e6, dtype),
        ),
    )
    return stacked([flow])


@pytest.mark.parametrize("rule", [eos.tuners.Polyak(c=0.6), eos.tuners.CDAT(1.5, eps=0.0), eos.tuners.BB2()])
@pytest.mark.parametrize("dtype", DTYPES)
def test_frozen_springs_are_the_fast_map(rule, dtype):
    # λ = 4, G = 2, κ = 0.1, L̄ = 3, so A = λL̄/G = 6; x from r by r = λ²x²/G.
    river = still_river(dtype)
    start = at_weights(river)
    start = eqx.tree_at(lambda s: s.flows.amplitude, start, jnp.full((1, 1), (0.7 * 2.0 / 16) ** 0.5, dtype))
    rule = tuner(rule, dtype)
    rows = run(RiverMap(river, rule), start, 12, rows_per_chunk=12).rows
    fast = FastMap(rule, A=6.0, kappa=0.1, sharpness=4.0, bulk_gradient_sq=2.0)
    z = fast.init(0.7).astype(dtype)
    expected = []
    for _ in range(12):
        expected.append(jnp.exp(z[0]))
        z = fast(z)
    np.testing.assert_allclose(
        16 * rows["amplitude"][:, 0] ** 2 / 2, expected, rtol=2e-3 if dtype == jnp.float32 else 1e-8
    )
    np.testing.assert_allclose(rows["sharpness"], 4, rtol=1e-6)


def test_small_kicks_have_the_linear_response():
    # ln λ − ln λ_r = −Σ_t η E_t K(τ − τ_t), K(t) = Σ_j b q_j² e^{−μ_j t}/λ_r², where λ_r hardly changes.
    floor = valley(mu=(0.02, 0.2), z0=-0.05)
    river, _ = measured(floor, 60.0)
    start = eqx.tree_at(lambda s: s.flows.amplitude, at_weights(river), jnp.full((1, 1), 0.03))
    rate = 0.01
    rows = run(RiverMap(river, eos.tuners.Constant(jnp.asarray(rate))), start, 1000).rows
    tau = rate * np.arange(1000)
    energy = 0.5 * rows["sharpness"] * rows["amplitude"][:, 0] ** 2
    alone = np.asarray(jax.vmap(river.free.at)(jnp.asarray(tau)).root)[:, 0, 0] ** 2
    for t in (10, 100, 400, 999):
        kernel = sum(2 * np.exp(-m * (tau[t] - tau[:t])) for m in (0.02, 0.2)) / (alone[t] * alone[:t])
        expected = -rate * np.sum(kernel * energy[:t])
        assert expected < -5e-7
        np.testing.assert_allclose(np.log(rows["sharpness"][t] / alone[t]), expected, rtol=0.03)


@pytest.mark.parametrize("dtype", DTYPES)
def test_quadratic_answers_to_nothing(dtype):
    # One sharp mode and a slow bulk of 40: the oscillation is descent's own, λ stays, and no spring has a weight.
    curvatures = jnp.concatenate([jnp.asarray([10.0]), jnp.geomspace(0.001, 0.02, 40)]).astype(dtype)
    bowl = eos.objective(lambda w: 0.5 * jnp.sum(curvatures * w**2), jnp.ones(41, dtype))
    river, _ = measured(bowl, 30.0, blocks=4)
    assert float(jnp.max(jnp.abs(river.flows.places.response))) < 1e-6
    rule = tuner(eos.tuners.Constant(0.19), dtype)
    rows = run(RiverMap(river, rule), at_weights(river), 100).rows
    np.testing.assert_allclose(rows["sharpness"], 10, rtol=1e-5)
    assert np.ptp(rows["sharpness_uncertainty"]) < 1e-5  # nothing is displaced
    real = run(Descent(bowl, rule, 1, 1, 0), bowl.initial(), 100).rows
    np.testing.assert_allclose(rows["loss"], real["loss"], rtol=5e-3)
    np.testing.assert_allclose(rows["amplitude"][30:], real["amplitude"][30:], rtol=2e-2, atol=1e-5)


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_capped_flow_slides_along_its_cap(dtype, every):
    # λ = λ_∞ + √b q·z stays at the cap, where the energy E pushes z by −E √b q/λ: z' = −μz − E √b q/λ with q·z' = 0,
    # so E = −λ q·(μz)/(√b q·q), and z moves by −P(μz), P off q.
    floor = valley(mu=(0.02, 0.2, 0.6), dtype=dtype)
    cap = 21 + 2 * float(floor.q @ floor.start[1:]) + 0.2
    flow, _ = measured(floor, 40.0, cap=jnp.asarray(cap, dtype), measure_every=every)
    mu, q, z0 = (np.asarray(v, float) for v in (floor.mu, floor.q, floor.start[1:]))
    free = lambda t: z0 * np.exp(-mu * t)  # noqa: E731
    hit = brentq(lambda t: 21 + 2 * q @ free(t) - cap, 0, 10)
    for tau in (10.0, 40.0):
        here = flow.free.at(jnp.asarray(tau, dtype))
        z = expm((np.outer(q, q) - np.eye(3)) * mu * (tau - hit)) @ free(hit)
        assert q @ (mu * z) < 0  # it would rise, so that it is held
        np.testing.assert_allclose(here.sharpness, cap, rtol=1e-3)
        np.testing.assert_allclose(here.held[0], -cap * (q @ (mu * z)) / 2, rtol=0.05)
        np.testing.assert_allclose(here.loss, 0.5 * np.sum(mu * z**2), rtol=0.01)


def test_a_cap_below_the_first_sharpness_is_reached_as_a_power_of_flow_time():
    floor = valley(mu=(0.02, 0.2, 0.6))
    first = 21 + 2 * float(floor.q @ floor.start[1:])
    flow, rows = measured(floor, 20.0, cap=jnp.asarray(first - 1.0), measure_every=4)
    expected = np.maximum(first * (1 + first * rows["tau"]) ** -0.5, first - 1)
    np.testing.assert_allclose(rows["eigenvalues"][:, 0], expected, rtol=5e-3)
    assert float(flow.free.at(jnp.asarray(20.0)).sharpness) == pytest.approx(first - 1, rel=1e-3)


def network():
    return eos.objectives.mlp(eos.data.digits(60), width=6, depth=1, init_scale=0.5, seed=0)


@pytest.fixture(scope="module")
def small():
    net = network()
    return net, *measured(net, 20.0, **flow_options(net, np.inf))


def flow_options(net, cap):
    """Of a `RiverFlow`: with an array for the cap one compiled program serves all."""
    return {"modes": 2, "blocks": 3, "measure_every": 1, "cap": jnp.asarray(cap, net.initial().dtype)}


def test_flow_is_gradient_flow(small):
    """Against plain steps of a hundredth of the edge: L, λ and λ₂ at the same flow times."""
    net, river, _ = small
    w, fine = net.initial(), 0.002
    step = jax.jit(lambda w: jax.lax.fori_loop(0, 1000, lambda _, w: w - fine * jax.grad(net)(w), w))
    hessian = jax.jit(jax.hessian(net))
    for i in range(1, 10):
        w = step(w)
        here = river.free.at(jnp.asarray(2.0 * i, w.dtype))
        values = jnp.linalg.eigvalsh(hessian(w))[::-1][:2]
        np.testing.assert_allclose(here.loss, net(w), rtol=0.01)
        np.testing.assert_allclose(jnp.linalg.eigvalsh(here.root)[::-1] ** 2, values, rtol=0.03)


def test_response_is_that_of_gradient_flow_to_a_push(small):
    """A launch's toll is g·δ, to first order the change of L: of two flows by plain steps, one pushed off the modes."""
    net, _, rows = small
    j = 3
    born = float(rows["born"][-1, j])
    first, late = (int(np.flatnonzero(rows["tau"] >= time)[0]) for time in (born, 8 * born))
    state = run(RiverFlow(net, **flow_options(net, np.inf)), net.initial(), first + 1, rows_per_chunk=20).carry.state
    grown = float(rows["tau"][first + 1] - born)
    w, push = state.weights, state.launched[j]
    assert float(state.tau) == pytest.approx(born + grown)
    fine = 0.002
    rest = round((float(rows["tau"][late]) - float(state.tau)) / fine)
    step = jax.jit(lambda w: jax.lax.fori_loop(0, rest, lambda _, w: w - fine * jax.grad(net)(w), w))
    size = 0.02 / float(jnp.linalg.norm(push))
    up, down = step(w + size * push), step(w - size * push)
    change = float(net(up) - net(down)) / (2 * size)
    np.testing.assert_allclose(rows["toll"][late, j], change, rtol=0.1)


def test_launch_is_made_of_the_pairs_that_the_springs_answer_to(small):
    """At its own time a launch b = P⊥∇Σλ_i/λ answers to itself by ‖b‖², which the spectral measure has as H·W·H/λ²."""
    _, _, rows = small
    basis = symmetric_basis(2)
    for j, born in enumerate(rows["born"][-1, :6]):
        at = int(np.flatnonzero(rows["tau"] >= born)[0])
        root = rows["root"][at].reshape(2, 2)
        parts = rows["weights"][at].reshape(rows["ritz"].shape[1], -1)[:, :-1]
        own = np.einsum("nij,ij->n", basis, root @ root) / rows["eigenvalues"][at, 0]
        np.testing.assert_allclose(rows["memory"][at, j], np.sum((parts @ own) ** 2), rtol=1e-3)


@pytest.mark.parametrize("cap", [np.inf, 4.8])
def test_a_push_along_a_launch_is_answered_as_was_measured(small, cap):
    """A unit push along b at a launch lowers b·ln H by the measured response to it, where that is not negative."""
    net, river, rows = small
    if np.isfinite(cap):
        river, rows = measured(net, 20.0, **flow_options(net, cap))
        assert np.any(rows["held"] > 0)
    basis, mu = symmetric_basis(2), np.asarray(river.free.curvature, float)
    at = jax.jit(jax.vmap(river.free.at))
    along = lambda root: np.einsum("nij,ij->n", basis, root @ root) / np.linalg.eigvalsh(root)[-1] ** 2  # noqa: E731
    checked = []
    for j, born in enumerate(rows["born"][-1, :6]):
        times = born + np.array([0.0, 0.1, 1.0, 5.0])
        places = jax.tree.map(np.asarray, at(jnp.asarray(times, mu.dtype)))
        since = rows["tau"] >= born
        for i in (1, 2, 3):
            tau = times[i]
            known = np.interp(tau, rows["tau"][since], rows["memory"][since, j])
            springs = np.outer(np.exp(-mu * (tau - born)) + places.recall[i, :, j], along(places.root[0]))
            told = along(places.root[i]) @ np.einsum("bij,bj->i", places.response[i], springs)
            checked += [told / known] if known > 0 else []
    assert len(checked) > 10
    np.testing.assert_allclose(checked, 1, rtol=0.05)


def test_start_on_a_run_meets_it(small):
    net, river, _ = small
    rule = tuner(eos.tuners.Constant(0.5), jnp.float32)
    rows = run(Descent(net, rule, 2, 1, 0), net.initial(), 40).rows
    start = at_step(river, rows, 25)
    assert float(start.flows.tau[0]) == pytest.approx(12.5)
    row = run(RiverMap(river, rule), start, 1).rows
    np.testing.assert_allclose(np.prod(row["eigenvalues"][0]), np.prod(rows["eigenvalues"][25]), rtol=1e-5)
    np.testing.assert_allclose(row["eigenvalues"][0], rows["eigenvalues"][25], rtol=0.02)
    np.testing.assert_allclose(row["center_loss"][0], rows["center_loss"][25], rtol=1e-4)


@pytest.mark.parametrize("sense", [(1, 1), (1, -1), (-1, -1)])
def test_start_has_been_pushed_by_products_of_modes_in_whatever_sense_a_run_has_them(small, sense):
    """A run that is the map's own, where nothing answers: the springs at a step of it are the map's there."""
    _, river, _ = small
    deaf = eqx.tree_at(lambda r: (r.flows.places.response, r.flows.places.cross), river, replace_fn=lambda v: 0 * v)
    rule, steps = tuner(eos.tuners.Constant(0.3), river.dtype), 12
    made = run(RiverMap(deaf, rule), at_weights(deaf), steps, rows_per_chunk=steps)
    ended = made.carry.state.maps
    along = jax.tree.map(np.asarray, jax.vmap(river.free.at)(0.3 * jnp.arange(steps + 1.0)))
    values, turns = (v[..., ::-1] for v in np.linalg.eigh(along.root))
    for t in range(1, steps + 1):
        turns[t] *= np.sign(np.sum(turns[t] * turns[t - 1], axis=0))
    # A run's amplitude is measured from where the gradient along the mode vanishes.
    x = np.concatenate([made.rows["amplitude"], ended.amplitude])
    amplitude = np.einsum("tij,ti->tj", turns, x) + np.einsum("tij,ti->tj", turns, along.pull) / values**2
    rows = {
        "stepsize": np.full(steps + 1, 0.3),
        "eigenvalues": values**2,
        "amplitude": amplitude * sense,
        "center_loss": along.loss,
    }
    told = at_step(deaf, rows, steps).flows
    products = ~np.equal(*np.triu_indices(2))
    assert np.abs(ended.springs[..., products]).max() > 0.1 * np.abs(ended.springs).max()
    np.testing.assert_allclose(told.springs, ended.springs, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(told.amplitude, ended.amplitude, rtol=1e-3, atol=1e-6)


def test_start_at_the_first_step_is_the_one_at_the_weights(small):
    # To within what the tracker's eigenvalues are off by; amplitudes of the run are 0.1 and more there.
    net, river, _ = small
    rows = run(Descent(net, tuner(eos.tuners.Constant(0.5), jnp.float32), 2, 1, 0), net.initial(), 1).rows
    for told, known in zip(jax.tree.leaves(at_step(river, rows, 0)), jax.tree.leaves(at_weights(river)), strict=True):
        np.testing.assert_allclose(told, known, atol=0.01)


def test_loss_that_a_start_does_not_explain_relaxes(small):
    # A quadratic's loss ½μδ² along a direction of curvature μ, under gradient flow; nothing else depends on it.
    _, river, _ = small
    rule = tuner(eos.tuners.Constant(0.5), river.dtype)
    start = at_weights(river)
    mu = np.asarray(river.free.curvature)
    remainder = 1e-3 * np.arange(1.0, 1 + mu.size)
    more = eqx.tree_at(lambda s: s.flows.remainder, start, jnp.asarray(remainder[None], river.dtype))
    with_it, without = (run(RiverMap(river, rule), one, 40).rows for one in (more, start))
    expected = np.exp(-2 * np.outer(0.5 * np.arange(40), mu)) @ remainder
    np.testing.assert_allclose(with_it["center_loss"] - without["center_loss"], expected, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(with_it["sharpness"], without["sharpness"])


def test_status_says_where_the_river_ends(small):
    _, river, _ = small
    rule = tuner(eos.tuners.Constant(0.1), jnp.float32)
    short = run(RiverMap(river, rule), at_weights(river), 1000)
    assert int(short.carry.status) == int(Status.RIVER_ENDED)
    assert "longer" in Status.RIVER_ENDED.describe()
    assert int(short.carry.t) * 0.1 == pytest.approx(float(river.length), abs=0.11)


@pytest.mark.parametrize(
    ("place", "lengths", "ended"),
    [(0.0, (9.0, 0.25), Status.RIVER_ENDED), (0.0, (0.25, 9.0), Status.OK), (2.0, (9.0, 0.25), Status.OK)],
    ids=["the nearest ends", "the farther ends", "the one that has become the farther ends"],
)
def test_a_prediction_is_that_of_the_nearest_flow_and_ends_with_it(place, lengths, ended):
    # A displacement s with W = 0.04 in a direction without curvature stays: ‖δ‖ = 0.2 from the first flow, whose λ = 4
    # falls by (1 + 0.04/2)^{−2}. The centre is on the second, or `place` times as far from it.
    low, high = still_river(jnp.float64, 4.0).free, still_river(jnp.float64, 9.0).free
    low = eqx.tree_at(
        lambda f: (f.cap, f.places.response), low, (jnp.asarray(4.0), low.places.response.at[:, 0].set(0.04))
    )
    high = eqx.tree_at(lambda f: f.places.response, high, low.places.response)
    low, high = (
        eqx.tree_at(lambda f: f.length, flow, jnp.asarray(length))
        for flow, length in zip((low, high), lengths, strict=True)
    )
    both = stacked([low, high])
    start = at_weights(both)
    start = eqx.tree_at(lambda s: s.flows.springs, start, start.flows.springs.at[:, 0].set([[1.0], [place]]))
    told = run(RiverMap(both, tuner(eos.tuners.Constant(0.1), jnp.float64)), start, 6)
    nearest, cap, first = min((0.2, 4.0, 4.0), (0.2 * place, np.inf, 9.0))
    # With a length of 0.25 a flow has three steps of 0.1, from 0 to 0.2.
    rows = 3 if ended == Status.RIVER_ENDED else 6
    assert int(told.carry.status) == int(ended)
    assert int(told.carry.t) == rows
    np.testing.assert_allclose(told.rows["cap"][:rows], cap)
    np.testing.assert_allclose(told.rows["sharpness"][:rows], first * (1 + nearest * 0.2 / 2) ** -2)
    np.testing.assert_allclose(told.rows["displacement"][:rows], nearest, atol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_curvatures_answer_in_their_chart_and_push_by_what_the_loss_falls(small, sign):
    """H^{−1/2} is linear in what lowers the curvatures, ln H in what raises them; and ⟨E, A⟩ = −d/dz ½xᵀH(zA)x."""
    _, river, _ = small
    flow, x = river.free, np.array([0.3, -0.2])
    here = jax.tree.map(lambda a: np.asarray(a, float), flow.at(jnp.asarray(0.0, river.dtype)))
    springs = sign * np.outer(0.5 + np.arange(here.response.shape[0]), np.einsum("nii->n", flow.basis))
    answer = np.einsum("nij,bnm,bm->ij", flow.basis, here.response, springs)
    springs, answer = (v / np.abs(np.linalg.eigvalsh(answer)).max() for v in (springs, answer))
    assert np.all(sign * np.linalg.eigvalsh(answer) > 0.05)

    def energy(z):
        fallen = np.linalg.inv(np.eye(2) + z * answer / 2) if sign > 0 else expm(-z * answer / 2)
        return here.root @ fallen @ fallen @ here.root

    start = at_weights(river)
    start = eqx.tree_at(
        lambda s: (s.flows.springs, s.flows.amplitude),
        start,
        (jnp.asarray(springs[None], river.dtype), jnp.asarray(x[None], river.dtype)),
    )
    rule = tuner(eos.tuners.Constant(1e-2), river.dtype)
    made = run(RiverMap(river, rule), start, 1, rows_per_chunk=1)
    np.testing.assert_allclose(made.rows["eigenvalues"][0], np.linalg.eigvalsh(energy(1.0))[::-1], rtol=1e-5)
    # The first spring has no curvature: a step adds ηE to it.
    pushed = (np.asarray(made.carry.state.maps.springs[0, 0], float) - springs[0]) / 1e-2
    falls = -x @ (energy(1 + 1e-5) - energy(1 - 1e-5)) @ x / 4e-5
    pushed = np.einsum("n,nij->ij", pushed, flow.basis)
    np.testing.assert_allclose(np.sum(pushed * answer), falls, rtol=1e-3)


def test_batches_are_single_runs(small):
    _, river, _ = small
    steps = jnp.asarray([0.1, 0.2, 0.3], jnp.float32)
    many = eqx.tree_at(lambda m: m.tuner.step, RiverMap(river, eos.tuners.Constant(0.1)), steps)
    axes = eqx.tree_at(lambda m: m.tuner.step, jax.tree.map(lambda _: None, many), 0, is_leaf=lambda v: v is None)
    rows = run(many, at_weights(river), 40, axes=(axes, None)).rows
    for i, one in enumerate(steps):
        single = run(RiverMap(river, eos.tuners.Constant(one)), at_weights(river), 40).rows
        np.testing.assert_allclose(rows["sharpness"][i], single["sharpness"], rtol=1e-4)


@pytest.mark.parametrize("begin", [0, 15])
def test_diagonal_is_the_river_whose_products_of_two_modes_answer_to_nothing(small, begin):
    net, river, _ = small
    mixed = np.flatnonzero(~np.equal(*np.triu_indices(2)))
    places = river.flows.places
    silent = places._replace(
        cross=places.cross.at[..., mixed].set(0),
        held=places.held.at[..., mixed].set(0),
        response=places.response.at[..., mixed, :].set(0).at[..., mixed].set(0),
    )
    silent = eqx.tree_at(lambda r: r.flows.places, river, silent)
    rule = tuner(eos.tuners.Polyak(max=1.0), river.dtype)
    rows = run(Descent(net, rule, 2, 1, 0), net.initial(), 20).rows
    said = []
    for one in (silent, river.diagonal()):
        start = at_weights(one) if begin == 0 else at_step(one, rows, begin)
        said.append(run(RiverMap(one, rule), start, 40).rows)
    assert np.isfinite(said[1]["sharpness"][:12]).all()
    for name in ("loss", "stepsize", "eigenvalues", "center_loss", "displacement"):
        np.testing.assert_allclose(said[1][name], said[0][name], rtol=1e-4, atol=1e-7)


def test_diagonal_of_itself_is_itself(small):
    river = small[1].diagonal()
    assert river.pairs == river.modes == 2
    assert river.diagonal() is river


def test_isotropic_is_the_mean_over_all_rotations_of_the_modes(small):
    _, river, _ = small
    basis = symmetric_basis(2)
    turns = []
    # A response turns with up to four times the angle, so that eight angles give its mean exactly.
    for angle in 2 * np.pi * np.arange(8) / 8:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turns.append(np.einsum("mij,ia,nab,jb->mn", basis, turn, basis, turn))
    places, isotropic = river.flows.places, river.isotropic().flows.places
    for name, mean in (
        ("response", np.mean([turn @ np.asarray(places.response) @ turn.T for turn in turns], axis=0)),
        ("cross", np.mean([np.asarray(places.cross) @ turn.T for turn in turns], axis=0)),
    ):
        assert np.max(np.abs(mean - getattr(places, name))) > 1e-2 * np.max(np.abs(mean))
        np.testing.assert_allclose(getattr(isotropic, name), mean, rtol=1e-4, atol=1e-6 * np.max(np.abs(mean)))
    again = river.isotropic().isotropic().flows.places
    np.testing.assert_allclose(again.response, isotropic.response, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="diagonal"):
        river.diagonal().isotropic()


def test_what_holds_a_flow_holds_it_against_the_averaged_response_too(small):
    river, _ = measured(small[0], 20.0, **flow_options(small[0], 4.8))
    isotropic = river.isotropic()
    for one in (river, isotropic):
        assert np.any(np.asarray(one.free.places.held) > 0)
    profile = river.free.profile(river.free.times)
    answers = [
        np.einsum("tb,tbij,tj->ti", profile, *(np.asarray(each, float) for each in (place.response, place.held)))
        for place in (river.free.places, isotropic.free.places)
    ]
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-3, atol=1e-4 * np.max(np.abs(answers[0])))


@pytest.mark.parametrize("reduced", [River.diagonal, River.isotropic])
def test_a_river_of_one_mode_has_nothing_to_reduce(reduced):
    one, _ = measured(valley(), 5.0)
    assert reduced(one) is one


def test_diagonal_keeps_the_lowest_caps_and_the_free_flow(small):
    flow = small[1].free
    river = stacked([eqx.tree_at(lambda f: f.cap, flow, jnp.asarray(cap)) for cap in (1.0, 2.0, 3.0, 4.0, jnp.inf)])
    np.testing.assert_array_equal(river.diagonal().caps, [1, 2, np.inf])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10), st.floats(0, 1), st.floats(-12, 12), st.integers(0, 99), st.sampled_from(DTYPES))
def test_largest_eigenvalue_is_that_of_lapack(size, apart, scale, seed, dtype):
    # Eigenvalues from 1 down to e^{−apart·size}, in any basis: all alike, close, or far apart.
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix = 10.0**scale * (axes * np.exp(-apart * np.arange(size))) @ axes.T
    found = float(largest_eigenvalue(jnp.asarray(matrix, dtype)))
    assert -6e-4 < found / 10.0**scale - 1 < 1e-5


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 3), st.floats(0, 12), st.integers(1, 8), st.integers(0, 99), st.sampled_from(DTYPES))
def test_fall_of_a_matrix_is_that_of_its_eigenvalues(risen, fallen, size, seed, dtype):
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(size, size)))
    values = rng.uniform(-risen, fallen, size) * rng.uniform(0, 1, size)
    change, slope = (np.asarray(m, float) for m in jax.jit(matrix_fall)(jnp.asarray((axes * values) @ axes.T, dtype)))
    falls, slopes = (np.asarray(v, float) for v in log_fall(jnp.asarray(values)))
    np.testing.assert_allclose(np.linalg.eigvalsh(change), np.sort(np.exp(-falls / 2)), rtol=1e-3)
    np.testing.assert_allclose(np.linalg.eigvalsh(slope), np.sort(slopes), atol=5e-3)
    np.testing.assert_allclose(change @ axes, axes * np.exp(-falls / 2), atol=5e-3)


def test_reach_must_exceed_one(small):
    with pytest.raises(ValueError, match="reach"):
        RiverMap(small[1], eos.tuners.Constant(0.1), reach=1.0)
    with pytest.raises(ValueError, match="blocks"):
        RiverFlow(small[0], blocks=0)


def test_starts_are_pytrees_that_jit(small):
    start = at_weights(small[1])
    assert isinstance(jax.jit(lambda s: s)(start), RiverStart)


@pytest.mark.parametrize(
    ("spec", "ended"),
    [("diagonal-quadratic", Status.OK), ("double-well", Status.OUT_OF_RANGE), ("minimum", Status.STALLED)],
)
def test_a_toy_has_a_river_or_a_status(spec, ended):
    # A stiff direction dies within one step of the flow; the double well has one positive curvature; a minimum no flow.
    toy = eos.objectives.registry.from_spec("diagonal-quadratic" if spec == "minimum" else spec)
    start = jnp.zeros_like(toy.initial()) if spec == "minimum" else None
    said = eos.predict(toy, "constant:0.01", 20, theory="river:landing=0", start=start, progress=False)
    assert int(said.status) == int(ended)
    if ended is Status.OK:
        run = eos.simulate(toy, "constant:0.01", 20, progress=False)
        # Off the modes the map is the flow, which descent of this step follows up to ½ημ of each decay.
        np.testing.assert_allclose(said.loss, run.loss, rtol=5e-3)
