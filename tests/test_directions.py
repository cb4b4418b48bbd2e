"""Directions: optax's own loops as the oracle, edges of stability by experiment, the preconditioned Hessian densely."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import eosmodel as eos
from eosmodel import directions
from eosmodel._status import Status
from eosmodel.directions import DIRECTIONS, Direction, from_spec
from eosmodel.objectives import DiagonalQuadratic, mlp
from eosmodel.results.measures import edge_exponent, edge_products

pytestmark = pytest.mark.usefixtures("lightly_compiled")
T = eos.tuners
UNDERSTOOD = [name for name in DIRECTIONS if from_spec(name).understood]


def bowl(*spectrum):
    return DiagonalQuadratic(jnp.asarray(spectrum), jnp.ones(len(spectrum)))


@pytest.fixture(scope="module")
def net():
    """16 weights: few enough for dense eigenpairs, which compile fast."""
    x = np.random.default_rng(0).normal(size=(20, 3))
    return mlp(eos.data.from_arrays(x, np.sin(x.sum(1))), width=3, depth=1)


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_the_edge_is_two_over_the_gain_of_an_alternating_gradient(name):
    """A mode on the edge alternates; what T makes of ±1, ±1, … is then P⁻¹ times 2/edge of it, and ν of it is 1."""
    direction = from_spec(name)
    state = direction.init(jnp.zeros(1))
    step = jax.jit(lambda g, s: direction(g, s, jnp.zeros(1)))
    for t in range(2000):
        sign = jnp.full(1, (-1.0) ** t)
        d, state, _ = step(sign, state)
    np.testing.assert_allclose(-d / sign, 2 / direction.edge, rtol=1e-6)


@pytest.mark.parametrize("spec", ["momentum:0.5", "momentum:0.9", "nesterov:0.5", "nesterov:0.9"])
def test_runs_are_stable_below_the_edge_and_not_above(spec):
    """Quadratic: heavy ball 2(1+β)/λ, Nesterov (2+2β)/((1+2β)λ) (Cohen et al., arXiv 2103.00065)."""
    direction = from_spec(spec)
    for factor, grows in ((0.98, False), (1.02, True)):
        tuner = T.Constant(factor * direction.edge / 4.0)
        run = eos.simulate(bowl(4.0, 1.0), tuner, steps=600, direction=direction, progress=False)
        assert (int(run.status) == int(Status.DIVERGED) or float(run.loss[-1]) > float(run.loss[0])) == grows
        assert (edge_exponent(run) > 0) == grows
        np.testing.assert_allclose(edge_products(run), 2 * factor, rtol=1e-6)


@pytest.mark.parametrize("spec", ["momentum:0.7", "nesterov:0.7"])
@pytest.mark.parametrize("s", [0.5, 1.9, 4.0])
def test_growth_is_that_of_the_companion_matrix(spec, s):
    direction = from_spec(spec)
    beta = direction.decay
    # (x, m) → m' = βm + x; x' = x − s·m', or x − s(x + βm') with Nesterov's.
    forward = np.array([[1.0, beta]])
    pushed = np.array([[1.0, 0.0]]) + beta * forward if direction.nesterov else forward
    matrix = np.concatenate([np.array([[1.0, 0.0]]) - s * pushed, forward])
    run = eos.simulate(bowl(1.0), T.Constant(s), steps=2000, direction=direction, progress=False)
    if int(run.status) == 0:
        np.testing.assert_allclose(edge_exponent(run), np.log(np.abs(np.linalg.eigvals(matrix)).max()), atol=5e-3)
    else:
        assert np.abs(np.linalg.eigvals(matrix)).max() > 1


@pytest.mark.parametrize(
    ("direction", "oracle"),
    [
        (directions.momentum(0.9), optax.sgd(0.05, momentum=0.9)),
        (directions.nesterov(0.8), optax.sgd(0.05, momentum=0.8, nesterov=True)),
        (directions.adam(0.8, 0.95), optax.adam(0.05, 0.8, 0.95)),
        (Direction(optax.scale_by_sign()), optax.sign_sgd(0.05)),
    ],
    ids=["momentum", "nesterov", "adam", "sign"],
)
def test_steps_are_those_of_optax(net, direction, oracle):
    run = eos.simulate(net, T.Constant(0.05), steps=12, direction=direction, progress=False)
    weights = net.initial()
    state, losses = oracle.init(weights), []
    for _ in range(12):
        value, gradient = jax.value_and_grad(net)(weights)
        losses.append(float(value))
        with jax.numpy_dtype_promotion("standard"):
            updates, state = oracle.update(gradient, state, weights)
        weights = weights + updates.astype(weights.dtype)
    np.testing.assert_allclose(run.loss, losses, rtol=1e-9)


@pytest.mark.parametrize("spec", ["adam", "rmsprop:0.9"])
@pytest.mark.parametrize("dim", [8, 40], ids=["dense", "tracker"])
def test_the_sharpness_is_that_of_the_preconditioned_hessian(spec, dim):
    """On a quadratic H is the same everywhere; P from optax's state after its update, replayed by hand."""
    direction, spectrum = from_spec(spec), np.geomspace(0.1, 5.0, dim)
    start = np.random.default_rng(0).normal(size=dim)
    rough = DiagonalQuadratic(jnp.asarray(spectrum), jnp.asarray(start))
    run = eos.simulate(rough, T.Constant(0.1), steps=8, direction=direction, progress=False)
    weights = rough.initial()
    state, tops = direction.init(weights), []
    for _ in range(8):
        d, state, scale = direction(jax.grad(rough)(weights), state, weights)
        tops.append(np.max(spectrum * np.asarray(scale) ** 2))
        weights = weights + 0.1 * d
    np.testing.assert_allclose(run.sharpness, tops, rtol=1e-9 if dim == 8 else 1e-3)
    assert bool(run.converged.all())


def test_muon_orthogonalises_matrices_and_leaves_vectors_to_momentum(net):
    direction = directions.muon()
    gradient = net.tree(jax.grad(net)(net.initial()))
    d, _, scale = direction(gradient, direction.init(gradient), gradient)
    assert scale is None
    assert np.isnan(direction.edge)
    for matrix, made in zip(gradient, jax.tree.leaves(ravel_pytree(gradient)[1](d)), strict=True):
        if matrix.ndim == 2:  # five Newton–Schulz steps bring singular values to about 1
            values = np.linalg.svd(np.asarray(made), compute_uv=False)
            assert 0.5 < np.median(values) < 1.5
        else:
            np.testing.assert_allclose(made, -matrix)


def test_an_unknown_transformation_runs_and_knows_no_edge(net):
    run = eos.simulate(net, T.Constant(0.01), steps=30, direction=optax.scale_by_sign(), progress=False)
    assert int(run.status) == 0
    assert np.isnan(edge_exponent(run))
    assert np.isnan(edge_products(run)).all()
    assert np.isfinite(run.sharpness).all()


def test_a_direction_that_ascends_is_counted_and_each_rule_does_as_documented():
    """Heavy ball on a bowl overshoots: its direction then leads uphill."""
    spectrum = bowl(1.0, 0.2)
    constant = eos.simulate(spectrum, T.Constant(0.5), steps=60, direction=directions.momentum(0.9), progress=False)
    uphill = constant.ascending.values
    assert 0 < uphill.sum() < 60
    assert (constant.stepsize == 0.5).all()  # takes it all the same
    assert not constant.search_failed.any()
    uphill = Direction(optax.scale(-1.0), understood=False)
    for rule in (T.CDAT(1.0), T.Polyak(), T.Armijo()):
        run = eos.simulate(spectrum, rule, steps=5, direction=uphill, progress=False)
        assert run.ascending.all()
        assert run.search_failed.all()
        assert (run.stepsize == 0).all()


def test_on_edge_sits_at_the_edge_of_its_direction():
    direction = directions.momentum(0.9)
    run = eos.simulate(bowl(4.0, 1.0), T.OnEdge(1.5), steps=40, direction=direction, progress=False)
    np.testing.assert_allclose(run.stepsize, 1.5 / 2 * direction.edge / 4, rtol=1e-6)
    np.testing.assert_allclose(edge_products(run), 1.5, rtol=1e-6)


def test_seeds_run_as_a_batch(net):
    both = eos.simulate(net, T.CDAT(1.0), steps=20, direction=directions.adam(), seeds=[3, 4], progress=False)
    alone = eos.simulate(net, T.CDAT(1.0), steps=20, direction=directions.adam(), seeds=4, progress=False)
    np.testing.assert_allclose(both.loss[1], alone.loss, rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("momentom", r"unknown direction 'momentom' \(did you mean momentum\?\)"),
        ("momentum:1.5", r"direction 'momentum:1.5': Direction: decay must lie in \[0, 1\), got 1.5"),
        ("adam:beta=3", "adam has no parameter 'beta'"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        from_spec(spec)
    with pytest.raises(ValueError, match="must be an optax transformation, got 3"):
        Direction(3)
