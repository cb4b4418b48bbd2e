"""What holds for every tuner: dtype, agreement of eager, jit, scan and vmap, no recompilation, no needless work."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eosmodel.rays import FunctionRay, ray
from eosmodel.tuners import CDAT, REGISTRY, Armijo, ArmijoRestart, Constant, OnEdge, Polyak, from_spec

SPECS = {"schedule": "schedule:cosine_decay_schedule,init_value=0.2,decay_steps=50"}
NAMES = sorted(REGISTRY)
DTYPES = [jnp.float32, jnp.float64]
STEPS = 6
LOOKS_AROUND = {"armijo", "armijo-restart"}
LOOKS_AT_CURVATURE = {"greedy", "cdat"}

each_tuner = pytest.mark.parametrize("name", NAMES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def make(name):
    return from_spec(SPECS.get(name, name))


def loss(w):
    return jnp.sum(jnp.asarray([1.0, 2.0, 4.0], w.dtype) * w**2) + jnp.sum(w**4)


def starts(dtype):
    return jnp.asarray([[0.7, -0.4, 0.2], [-0.1, 0.3, 0.9]], dtype)


def update(tuner, carry, t):
    weights, state = carry
    line = ray(loss, weights, step=t, sharpness=9.2 if tuner.needs_sharpness else None)
    eta, state, info = tuner(line, state)
    return (weights + eta * line.direction, state), (eta, info.evaluations, info.failed)


def loop(tuner, step, weights):
    carry, rows = (weights, tuner.init(weights.dtype)), []
    for t in range(STEPS):
        carry, row = step(tuner, carry, jnp.asarray(t))
        rows.append(row)
    return carry, jax.tree.map(lambda *x: jnp.stack(x), *rows)


def scanned(tuner, weights):
    carry = (weights, tuner.init(weights.dtype))
    return jax.lax.scan(lambda c, t: update(tuner, c, t), carry, jnp.arange(STEPS))


def run(mode, tuner, dtype):
    first = starts(dtype)[0]
    if mode == "eager":
        return loop(tuner, update, first)
    if mode == "jit":
        return loop(tuner, jax.jit(update), first)
    if mode == "scan":
        return jax.jit(scanned)(tuner, first)
    both = jax.jit(jax.vmap(scanned, in_axes=(None, 0)))(tuner, starts(dtype))
    return jax.tree.map(lambda x: x[0], both)


@each_tuner
@each_dtype
def test_every_way_of_running_agrees(name, dtype):
    tuner = make(name)
    reference = run("eager", tuner, dtype)
    (weights, state), (eta, evaluations, failed) = reference
    assert weights.dtype == eta.dtype == dtype
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(state))
    assert evaluations.dtype == jnp.int32
    assert failed.dtype == jnp.bool_
    assert jnp.isfinite(weights).all()
    assert (eta > 0).all()
    assert not failed.any()
    assert (evaluations > 0).all() == (name in LOOKS_AROUND)
    tolerance = 2000 * float(jnp.finfo(dtype).eps)  # a few steps magnify rounding
    for mode in ("jit", "scan", "vmap"):
        other = run(mode, tuner, dtype)
        assert jax.tree.structure(other) == jax.tree.structure(reference)
        for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(reference), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=mode)


@each_tuner
@each_dtype
def test_later_calls_do_not_recompile(name, dtype):
    traces = 0

    @jax.jit
    def step(tuner, carry, t):
        nonlocal traces
        traces += 1
        return update(tuner, carry, t)

    loop(make(name), step, starts(dtype)[0])
    assert traces == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [(Constant(0.1), Constant(0.2)), (Armijo(), Armijo(factor=0.5, max=3.0)), (Polyak(), Polyak(c=0.5, max=1.0))],
)
def test_other_hyper_parameters_do_not_recompile(one, other):
    traces = 0

    @jax.jit
    def step(tuner, carry, t):
        nonlocal traces
        traces += 1
        return update(tuner, carry, t)

    loop(one, step, starts(jnp.float64)[0])
    loop(other, step, starts(jnp.float64)[0])
    assert traces == 1


class Guarded(FunctionRay):
    """A ray that tells which of its costly parts are asked for."""

    asked: set = eqx.field(static=True)

    def curvature(self):
        self.asked.add("curvature")
        return super().curvature()

    def evaluate(self, stepsize):
        self.asked.add("evaluate")
        return super().evaluate(stepsize)


@each_tuner
def test_only_what_is_needed_is_computed(name):
    tuner, asked = make(name), set()
    line = ray(loss, starts(jnp.float64)[0], sharpness=9.2 if tuner.needs_sharpness else None)
    fields = {field: getattr(line, field) for field in FunctionRay.__dataclass_fields__}
    eta, _, _ = tuner(Guarded(**fields, asked=asked), tuner.init())
    needed = {"evaluate"} if name in LOOKS_AROUND else {"curvature"} if name in LOOKS_AT_CURVATURE else set()
    assert asked == needed
    assert jnp.isfinite(eta)
    assert tuner.needs_sharpness == (name == "on-edge")


@each_tuner
@each_dtype
def test_at_a_minimum_no_step_is_infinite(name, dtype):
    tuner = make(name)
    line = ray(loss, jnp.zeros(3, dtype), sharpness=9.2 if tuner.needs_sharpness else None)
    eta, state, info = tuner(line, tuner.init(dtype))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((eta, state)))
    assert not info.failed


@each_tuner
def test_the_default_state_is_of_the_default_type(name):
    assert all(leaf.dtype == jnp.result_type(float) for leaf in jax.tree.leaves(make(name).init()))


GRID = [
    (Constant, "step", [0.1, 0.3]),
    (Armijo, "c", [1e-4, 0.4]),
    (Armijo, "factor", [0.5, 0.8]),
    (Armijo, "max", [0.1, np.inf]),
    (ArmijoRestart, "initial", [0.5, 8.0]),
    (Polyak, "c", [0.4, 1.0]),
    (CDAT, "sigma", [1.0, 2.0]),
    (CDAT, "ema", [0.0, 0.5]),
    (OnEdge, "sigma", [1.0, 2.0]),
]


@each_dtype
@pytest.mark.parametrize(("tuner_class", "name", "values"), GRID, ids=[f"{c.__name__}-{n}" for c, n, _ in GRID])
def test_a_batch_of_hyper_parameters_is_its_members(tuner_class, name, values, dtype):
    first = starts(dtype)[0]
    batch = tuner_class(**{name: jnp.asarray(values, dtype)})
    axes = eqx.if_array(0)
    _, rows = eqx.filter_jit(eqx.filter_vmap(scanned, in_axes=(axes, None)))(batch, first)
    inside = jax.vmap(lambda value: scanned(tuner_class(**{name: value}), first)[1])(jnp.asarray(values, dtype))
    assert rows[0].dtype == dtype
    tolerance = 2000 * float(jnp.finfo(dtype).eps)
    for i, value in enumerate(values):
        _, alone = jax.jit(scanned)(tuner_class(**{name: value}), first)
        for kind in (rows, inside):
            np.testing.assert_allclose(kind[0][i], alone[0], rtol=tolerance)
            np.testing.assert_array_equal(kind[1][i], alone[1])
