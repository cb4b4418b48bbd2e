"""What holds for every tuner: dtype, agreement of eager, jit, scan and vmap, no recompilation, no needless work."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.analysis import class_check
from eosmodel.commands.listing import listing
from eosmodel.rays import FunctionRay, QuadraticRay, Secant, ray, steepest
from eosmodel.theory import FastMap, Kind, SlowFlow, classify
from eosmodel.tuners import REGISTRY, AbstractTuner, from_spec
from eosmodel.tuners.base import init_memory, no_evaluations, select_stepsize
from eosmodel.tuners.registry import Entry

SPECS = {"schedule": "schedule:cosine_decay_schedule,init_value=0.2,decay_steps=50"}
NAMES = sorted(REGISTRY)
DTYPES = [jnp.float32, jnp.float64]
STEPS = 4
SEARCHES = ["armijo", "armijo-restart", "armijo-window", "zhang-hager", "goldstein", "strong-wolfe"]
SIGHTLESS = ["constant", "schedule", "on-edge", "polyak", "sps-max", "sps-plus", "sps-smoothed", "normalized"]
SIGHTLESS += ["clipping", "rmsprop", "adagrad-norm", "adgd", "bb1", "bb2"]
# What a rule may ask of a ray beyond value and slope; of a rule that is not listed only that it reports what it does.
ASKS = {name: {"evaluate"} for name in SEARCHES} | {name: {"curvature"} for name in ("greedy", "cdat")}
ASKS |= {name: set() for name in SIGHTLESS}

each_tuner = pytest.mark.parametrize("name", NAMES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def make(name):
    return from_spec(SPECS.get(name, name))


def loss(w):
    return jnp.sum(jnp.asarray([1.0, 2.0, 4.0], w.dtype) * w**2) + jnp.sum(w**4)


def starts(dtype):
    return jnp.asarray([[0.7, -0.4, 0.2], [-0.1, 0.3, 0.9]], dtype)


class Guarded(FunctionRay):
    """A ray that tells which of its costly parts are asked for."""

    asked: set = eqx.field(static=True)

    def curvature(self):
        self.asked.add("curvature")
        return super().curvature()

    def evaluate(self, stepsize):
        self.asked.add("evaluate")
        return super().evaluate(stepsize)


def seen(dtype, **known):
    """A ray with everything on it that a rule may need."""
    given = {"sharpness": 9.2, "secant": Secant(*jnp.asarray([1.0, 4.0, 20.0], dtype))} | known
    return ray(loss, starts(dtype)[0], **given)


def asked_by(tuner, line):
    asked = set()
    fields = {field: getattr(line, field) for field in FunctionRay.__dataclass_fields__}
    tuner(Guarded(**fields, asked=asked), tuner.init(line.value.dtype))
    return asked


def update(tuner, carry, t):
    weights, memory = carry
    value, gradient = jax.value_and_grad(loss)(weights)
    sharpness = jnp.asarray(9.2 if tuner.needs_sharpness else jnp.nan, weights.dtype)
    line = steepest(loss, weights, value, gradient, t, sharpness)
    eta, memory, info = select_stepsize(tuner, line, memory, gradient)
    return (weights + eta * line.direction, memory), (eta, info.evaluations, info.failed)


def loop(step, tuner, weights, steps=STEPS):
    carry, rows = (weights, init_memory(tuner, weights)), []
    for t in range(steps):
        carry, row = step(tuner, carry, jnp.asarray(t))
        rows.append(row)
    return carry, jax.tree.map(lambda *x: jnp.stack(x), *rows)


def scanned(tuner, weights):
    carry = (weights, init_memory(tuner, weights))
    return jax.lax.scan(lambda c, t: update(tuner, c, t), carry, jnp.arange(STEPS))


@each_tuner
@each_dtype
def test_every_way_of_running_agrees_and_is_compiled_once(name, dtype):
    tuner, (first, _), traces = make(name), starts(dtype), []

    @jax.jit
    def step(*args):
        traces.append(None)
        return update(*args)

    reference = loop(step, tuner, first)
    assert len(traces) == 1
    (weights, state), (eta, evaluations, failed) = reference
    assert weights.dtype == eta.dtype == dtype
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(state))
    assert evaluations.dtype == jnp.int32
    assert failed.dtype == jnp.bool_
    assert jnp.isfinite(weights).all()
    assert (eta > 0).all()
    assert not failed.any()
    assert (evaluations > 0).all() == ("evaluate" in asked_by(tuner, seen(dtype)))
    batch = jax.jit(jax.vmap(scanned, in_axes=(None, 0)))(tuner, starts(dtype))
    ways = {
        "scan and vmap": (jax.tree.map(lambda x: x[0], batch), reference),
        "eager": (loop(update, tuner, first, 2), loop(step, tuner, first, 2)),
    }
    tolerance = 2000 * float(jnp.finfo(dtype).eps)  # a few steps magnify rounding
    for way, (one, other) in ways.items():
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=way)


@each_tuner
def test_only_what_is_needed_is_computed(name):
    asked = asked_by(make(name), seen(jnp.float64))
    assert asked == ASKS.get(name, asked)


@each_tuner
@pytest.mark.parametrize(
    ("need", "field", "values"),
    [
        ("needs_sharpness", "sharpness", [9.2, 3.1]),
        ("needs_secant", "secant", [Secant(1.0, 4.0, 20.0), Secant(1.0, 3.0, 18.0)]),
    ],
)
def test_needs_are_what_decides(name, need, field, values):
    tuner = make(name)
    one, other = (tuner(seen(jnp.float64, **{field: value}), tuner.init())[0] for value in values)
    assert (one != other) == getattr(tuner, need)


@each_tuner
@each_dtype
def test_at_a_minimum_no_step_is_infinite(name, dtype):
    tuner = make(name)
    line = ray(loss, jnp.zeros(3, dtype), sharpness=9.2)
    eta, state, info = tuner(line, tuner.init(dtype))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((eta, state)))
    assert not info.failed


def parabola(value, slope, second):
    numbers = (jnp.asarray(x, float) for x in (value, slope, second))
    secant = Secant(*jnp.asarray([1.0, 4.0, 20.0]))
    return QuadraticRay(*numbers, step=jnp.asarray(0), sharpness=jnp.asarray(9.2), secant=secant)


@each_tuner
def test_uphill_a_rule_refuses_or_does_not_look(name):
    """η = 0 and `failed`, or what it would do downhill; either way with a state to go on from."""
    tuner = make(name)
    eta, state, info = tuner(parabola(1.0, 2.0, 3.0), tuner.init())
    blind = tuner(parabola(1.0, -2.0, 3.0), tuner.init())
    assert (eta == 0 and info.failed) or (eta == blind[0] and not info.failed)
    again, *_ = tuner(parabola(1.0, -2.0, 3.0), state)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((again, state)))
    assert again > 0


@each_tuner
def test_a_loss_that_is_nan_is_passed_on_refused_or_not_looked_at(name):
    """η is NaN (the run ends with a status), 0 and `failed`, or what it is for any loss; the state stays usable."""
    tuner = make(name)
    eta, state, info = tuner(parabola(np.nan, -2.0, 3.0), tuner.init())
    other = [tuner(parabola(level, -2.0, 3.0), tuner.init())[0] for level in (1.0, 5.0)]
    blind = (eta == other[0]) & (eta == other[1]) & ~info.failed
    assert blind or (eta == 0 and info.failed) or jnp.isnan(eta)
    again, *_ = tuner(parabola(1.0, -2.0, 3.0), state)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((again, state)))
    assert again > 0


@each_tuner
def test_a_slope_that_is_nan_is_no_plain_step(name):
    """NaN, or a step that is `failed`, or the step of a rule that does not look at the slope."""
    tuner = make(name)
    eta, _, info = tuner(parabola(1.0, np.nan, 3.0), tuner.init())
    blind = tuner(parabola(1.0, -2.0, 3.0), tuner.init())[0] == tuner(parabola(1.0, -5.0, 3.0), tuner.init())[0] == eta
    assert jnp.isnan(eta) or info.failed or blind


@each_tuner
def test_the_default_state_is_of_the_default_type(name):
    assert all(leaf.dtype == jnp.result_type(float) for leaf in jax.tree.leaves(make(name).init()))


class Halving(AbstractTuner):
    """A tuner that a user might add: η = scale/2^t."""

    scale: float = 0.1

    def __call__(self, ray, state):
        return self.scale * 0.5 ** ray.step.astype(ray.value.dtype), state, no_evaluations()


@pytest.fixture
def halving(monkeypatch):
    monkeypatch.setitem(REGISTRY, "halving", Entry(Halving, "halves at every step"))


@pytest.mark.usefixtures("halving")
def test_a_new_tuner_is_one_class_and_one_line():
    """The contract, the command line, diagrams and theories know it by its line in the registry."""
    test_every_way_of_running_agrees_and_is_compiled_once("halving", jnp.float32)
    test_only_what_is_needed_is_computed("halving")
    test_at_a_minimum_no_step_is_infinite("halving", jnp.float64)
    test_uphill_a_rule_refuses_or_does_not_look("halving")
    test_a_loss_that_is_nan_is_passed_on_refused_or_not_looked_at("halving")
    assert "halves at every step [scale=0.1]" in listing()
    tuner = from_spec("halving:3,cap=0.5")
    assert tuner(ray(loss, starts(jnp.float64)[0], step=4), ())[0] == 3 / 16
    assert tuner(ray(loss, starts(jnp.float64)[0], step=1), ())[0] == 0.5

    # Frozen at step 0 it is a constant step: s = λ·scale.
    assert Kind(int(classify(FastMap(Halving(0.1), sharpness=19.0)).kind)) is Kind.BELOW_EDGE
    assert Kind(int(classify(FastMap(Halving(0.1), sharpness=21.0)).kind)) is Kind.SELF_STABILISED
    found = eos.phase_diagram(
        FastMap(Halving()), scale=(0.5, 1.5, 2), A=(6, 9, 2), steps=100, observables=["s"], progress=False
    )
    np.testing.assert_allclose(found.dataset.s, [[0.5, 1.5]] * 2)
    floor = eos.theory.FrozenClosure(
        alpha=1.0, beta=4.0, kappa=0.01, bulk_gradient_sq=0.1, sharpness=18.0, center_loss=10.0
    )
    np.testing.assert_allclose(SlowFlow(Halving(), floor).solve(10).sharpness[-1], 19.0, rtol=1e-5)  # λ' = ηα
    assert "halving" in class_check.default_specs()
