"""What holds for every tuner: dtype, agreement of eager, jit, scan and vmap, no recompilation, no needless work, and
the documented answer to a line that ascends and to NaN. Every registered rule has a line in `CONTRACTS`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.analysis import class_check
from eosmodel.commands.list import listing
from eosmodel.rays import QuadraticRay, Secant, ray, steepest
from eosmodel.theory import FastMap, Kind, SlowFlow, classify
from eosmodel.tuners import REGISTRY, AbstractTuner, from_spec
from eosmodel.tuners.base import init_memory, no_evaluations, select_stepsize
from eosmodel.tuners.registry import Entry

SPECS = {"schedule": "schedule:cosine_decay_schedule,init_value=0.2,decay_steps=50"}
NAMES = sorted(REGISTRY)
DTYPES = [jnp.float32, jnp.float64]
STEPS = 4
# How a rule answers a line that ascends, or a number that is NaN.
REFUSED, NAN, BLIND = "η = 0 and failed", "η = NaN, which ends the run with a status", "as if it were not so"


class Contract(NamedTuple):
    """What a rule asks of a ray beyond its loss and its slope, and how it answers, as its docstring says."""

    asks: set
    ascent: str
    nan_loss: str
    nan_slope: str
    nan_curvature: str


SEARCH = Contract({"evaluate"}, ascent=REFUSED, nan_loss=REFUSED, nan_slope=REFUSED, nan_curvature=REFUSED)
POLYAK = Contract(set(), ascent=REFUSED, nan_loss=NAN, nan_slope=NAN, nan_curvature=BLIND)
GREEDY = Contract({"curvature"}, ascent=REFUSED, nan_loss=BLIND, nan_slope=NAN, nan_curvature=NAN)
NORM = Contract(set(), ascent=REFUSED, nan_loss=BLIND, nan_slope=NAN, nan_curvature=BLIND)
SECANT = Contract({"secant"}, ascent=REFUSED, nan_loss=BLIND, nan_slope=BLIND, nan_curvature=BLIND)
CONSTANT = Contract(set(), ascent=BLIND, nan_loss=BLIND, nan_slope=BLIND, nan_curvature=BLIND)
CONTRACTS = {
    "constant": CONSTANT,
    "schedule": CONSTANT,
    "armijo": SEARCH,
    "armijo-restart": SEARCH,
    "zhang-hager": SEARCH,
    "armijo-window": SEARCH,
    "goldstein": SEARCH,
    "strong-wolfe": SEARCH._replace(asks={"evaluate", "slope_at"}),
    "polyak": POLYAK,
    "sps-max": POLYAK,
    "sps-plus": POLYAK,
    "sps-smoothed": POLYAK,
    "greedy": GREEDY,
    "cdat": GREEDY,
    "on-edge": CONSTANT._replace(asks={"sharpness"}),
    "normalized": NORM,
    "clipping": NORM,
    "rmsprop": NORM,
    "adagrad-norm": NORM,
    "adgd": SECANT,
    "bb1": SECANT,
    "bb2": SECANT,
    "edge-hedge": POLYAK._replace(asks={"secant"}),
}
COSTLY = {"curvature", "evaluate", "slope_at", "sharpness", "secant"}

each_tuner = pytest.mark.parametrize("name", NAMES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def make(name):
    return from_spec(SPECS.get(name, name))


def loss(w):
    return jnp.sum(jnp.asarray([1.0, 2.0, 4.0], w.dtype) * w**2) + jnp.sum(w**4)


def starts(dtype):
    return jnp.asarray([[0.7, -0.4, 0.2], [-0.1, 0.3, 0.9]], dtype)


def contract_of(name):
    if name not in CONTRACTS:
        pytest.fail(f"{name} is registered but has no line in CONTRACTS; add one that says what its docstring says")
    return CONTRACTS[name]


class Watched:
    """A ray that records which of its costly parts are used."""

    def __init__(self, line):
        self._line, self.used = line, set()

    def rescaled(self):
        line, unit = self._line.rescaled()
        watched = Watched(line)
        watched.used = self.used
        return watched, unit

    def __getattr__(self, name):
        self.used.update({name} & COSTLY)
        return getattr(self._line, name)


def complete_ray(dtype, **changed):
    """A ray with everything on it that a rule may need."""
    fields = {"sharpness": 9.2, "secant": Secant(*jnp.asarray([1.0, 4.0, 20.0], dtype))} | changed
    return ray(loss, starts(dtype)[0], **fields)


def asked_by(tuner, line):
    watched = Watched(line)
    tuner(watched, tuner.init(line.value.dtype))
    return watched.used


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
    assert (evaluations > 0).all() == ("evaluate" in contract_of(name).asks)
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
@each_dtype
def test_a_rule_asks_for_what_its_contract_says(name, dtype):
    tuner = make(name)
    asked = asked_by(tuner, complete_ray(dtype))
    assert asked == contract_of(name).asks
    assert tuner.needs_sharpness == ("sharpness" in asked)
    assert tuner.needs_secant == ("secant" in asked)


def test_every_contract_is_of_a_registered_rule():
    assert set(CONTRACTS) <= set(REGISTRY)


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
    one, other = (tuner(complete_ray(jnp.float64, **{field: value}), tuner.init())[0] for value in values)
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


def check_answer(name, answer, line, *usual):
    """That a rule answers `line` as stated; BLIND is the step on each of the `usual` lines. Returns the rest."""
    tuner = make(name)
    eta, state, info = tuner(line, tuner.init())
    if answer is REFUSED:
        assert eta == 0
        assert info.failed
    elif answer is NAN:
        assert jnp.isnan(eta)
        assert not info.failed
    else:
        assert answer is BLIND
        assert [tuner(other, tuner.init())[0] for other in usual] == [eta] * len(usual)
        assert not info.failed
    return tuner, state, info


def check_usable(tuner, state):
    """That a search or a run can go on from a state."""
    eta, *_ = tuner(parabola(1.0, -2.0, 3.0), state)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((eta, state)))
    assert eta > 0


@each_tuner
def test_a_line_that_ascends_is_answered_as_documented(name):
    tuner, state, info = check_answer(name, contract_of(name).ascent, parabola(1.0, 2.0, 3.0), parabola(1.0, -2.0, 3.0))
    assert info.evaluations == 0
    check_usable(tuner, state)


@each_tuner
def test_a_loss_that_is_nan_is_answered_as_documented(name):
    usual = [parabola(level, -2.0, 3.0) for level in (1.0, 5.0)]
    tuner, state, _ = check_answer(name, contract_of(name).nan_loss, parabola(np.nan, -2.0, 3.0), *usual)
    check_usable(tuner, state)


@each_tuner
@pytest.mark.parametrize("number", ["slope", "curvature"])
def test_a_slope_or_a_curvature_that_is_nan_is_answered_as_documented(name, number):
    if number == "slope":
        answer, line = contract_of(name).nan_slope, parabola(1.0, np.nan, 3.0)
        usual = [parabola(1.0, slope, 3.0) for slope in (-2.0, -5.0)]
    else:
        answer, line = contract_of(name).nan_curvature, parabola(1.0, -2.0, np.nan)
        usual = [parabola(1.0, -2.0, second) for second in (3.0, 7.0)]
    tuner, state, _ = check_answer(name, answer, line, *usual)
    if answer is not NAN:  # the run has ended otherwise, and a moving average is NaN as well
        check_usable(tuner, state)


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
    monkeypatch.setitem(CONTRACTS, "halving", CONSTANT)


def test_a_registered_rule_without_a_contract_is_told_to_have_one(monkeypatch):
    monkeypatch.setitem(REGISTRY, "halving", Entry(Halving, "halves at every step"))
    for test in (test_a_line_that_ascends_is_answered_as_documented, test_a_loss_that_is_nan_is_answered_as_documented):
        with pytest.raises(pytest.fail.Exception, match="halving is registered but has no line in CONTRACTS"):
            test("halving")
    with pytest.raises(pytest.fail.Exception, match="add one that says what its docstring says"):
        test_a_rule_asks_for_what_its_contract_says("halving", jnp.float64)


@pytest.mark.usefixtures("halving")
def test_a_new_tuner_is_one_class_and_one_line():
    """The contract, the command line, diagrams and theories know it by its line in the registry."""
    test_every_way_of_running_agrees_and_is_compiled_once("halving", jnp.float32)
    test_a_rule_asks_for_what_its_contract_says("halving", jnp.float32)
    test_at_a_minimum_no_step_is_infinite("halving", jnp.float64)
    test_a_line_that_ascends_is_answered_as_documented("halving")
    test_a_loss_that_is_nan_is_answered_as_documented("halving")
    test_a_slope_or_a_curvature_that_is_nan_is_answered_as_documented("halving", "slope")
    assert "halves at every step [scale=0.1]" in listing()
    tuner = from_spec("halving:3,cap=0.5")
    assert tuner(ray(loss, starts(jnp.float64)[0], step=4), ())[0] == 3 / 16
    assert tuner(ray(loss, starts(jnp.float64)[0], step=1), ())[0] == 0.5

    # Frozen at step 0 it is a constant step: s = λ·scale.
    assert Kind(int(classify(FastMap(Halving(0.1), sharpness=19.0)).kind)) is Kind.BELOW_EDGE
    assert Kind(int(classify(FastMap(Halving(0.1), sharpness=21.0)).kind)) is Kind.SELF_STABILISED
    diagram = eos.phase_diagram(
        FastMap(Halving()), scale=(0.5, 1.5, 2), A=(6, 9, 2), steps=100, observables=["s"], progress=False
    )
    np.testing.assert_allclose(diagram.dataset.s, [[0.5, 1.5]] * 2)
    floor = eos.theory.FrozenClosure(
        alpha=1.0, beta=4.0, kappa=0.01, bulk_gradient_sq=0.1, sharpness=18.0, center_loss=10.0
    )
    np.testing.assert_allclose(SlowFlow(Halving(), floor).solve(10).sharpness[-1], 19.0, rtol=1e-5)  # λ' = ηα
    assert "halving" in class_check.default_specs()
    assert eos.tuners.spec_of(Halving(0.3)) == "halving:scale=0.3"


def test_the_name_of_a_rule_follows_the_registry(monkeypatch):
    """Names asked for before a rule is added, or after it is taken away, are not remembered."""
    assert eos.tuners.spec_of(Halving()) == "Halving(scale=0.1)"
    with monkeypatch.context() as patch:
        patch.setitem(REGISTRY, "halving", Entry(Halving, "halves at every step"))
        assert eos.tuners.spec_of(Halving()) == "halving"
    assert eos.tuners.spec_of(Halving()) == "Halving(scale=0.1)"
    assert eos.tuners.spec_of(eos.tuners.Constant(0.3)) == "constant:step=0.3"
