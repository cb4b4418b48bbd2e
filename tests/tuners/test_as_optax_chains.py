"""`as_optax` among optax's own transformations, each against a computation without them; and what it asks for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from optax.tree_utils import tree_get

import eosmodel as eos
from eosmodel.tuners import REGISTRY, AdGD, Armijo, Constant, Greedy, OnEdge, Polyak, as_optax, from_spec

pytestmark = pytest.mark.usefixtures("lightly_compiled")

STEPS = 8
START = {"a": jnp.array([0.7, -0.4, 0.3]), "b": jnp.array([[0.2, -0.1], [0.3, 0.9]])}
POLYAK = Polyak(c=0.7)


@pytest.fixture(autouse=True)
def _standard_promotion():
    # Optax mixes types in its counters.
    with jax.numpy_dtype_promotion("standard"):
        yield


def loss(w, x=0.0):
    return 0.5 * jnp.sum(jnp.array([1.0, 2.0, 4.0]) * (w["a"] - x) ** 2) + jnp.sum(w["b"] ** 4) * (1 + w["a"][0] ** 2)


def descent(tuner):
    return optax.chain(optax.sgd(1.0), as_optax(tuner))


def walk(optimizer, arguments, fn=loss, w=START, steps=STEPS):
    """The weights after each step; `arguments` makes those of `update` from the weights, the value and the gradient."""

    @jax.jit
    def step(w, state):
        value, grad = jax.value_and_grad(fn)(w)
        updates, state = optimizer.update(grad, state, w, **arguments(w, value, grad))
        return optax.apply_updates(w, updates), state

    state, path = optimizer.init(w), []
    for _ in range(steps):
        w, state = step(w, state)
        path.append(w)
    return path, state


def along_rays(tuner, fn, w, steps=STEPS):
    """The same of a flat array, by the rule alone: no optax."""

    @jax.jit
    def step(w, state, t):
        line = eos.ray(fn, w, step=t)
        eta, state, _ = tuner(line, state)
        return w + eta * line.direction, state

    state, path = tuner.init(w.dtype), []
    for t in range(steps):
        w, state = step(w, state, t)
        path.append(w)
    return path


def assert_same(path, expected, rtol=1e-11):
    for w, v in zip(path, expected, strict=True):
        np.testing.assert_allclose(w, v, rtol=rtol)


CURVATURE = np.array([1.0, 2.0, 4.0])


def bowl(w):
    return 0.5 * jnp.sum(CURVATURE * w**2)


def heavy_ball(momentum_first):
    """Polyak's step and momentum on the bowl, in numpy, momentum first or last."""
    w, m, path = np.array([0.7, -0.4, 0.3]), np.zeros(3), []
    for _ in range(STEPS):
        value, g = 0.5 * np.sum(CURVATURE * w**2), CURVATURE * w
        if momentum_first:
            m = 0.9 * m + g
            w = w - (value / (0.7 * (g @ m)) if g @ m > 0 else 0) * m
        else:
            m = 0.9 * m + value / (0.7 * (g @ g)) * g
            w = w - m
        path.append(w)
    return path


def test_momentum_behind_is_heavy_ball_with_a_moving_step():
    optimizer = optax.chain(descent(POLYAK), optax.trace(0.9))
    path, _ = walk(optimizer, lambda w, value, grad: {"value": value}, bowl, START["a"])
    assert_same(path, heavy_ball(momentum_first=False))


def test_momentum_in_front_is_a_direction_with_the_slope_of_the_gradient():
    optimizer = optax.chain(optax.trace(0.9), descent(POLYAK))
    path, _ = walk(optimizer, lambda w, value, grad: {"value": value, "grad": grad}, bowl, START["a"])
    assert_same(path, heavy_ball(momentum_first=True))
    simulated = eos.simulate(
        eos.objective(bowl, START["a"]), POLYAK, STEPS, direction=optax.trace(0.9), modes=1, progress=False
    )
    assert_same([bowl(w) for w in path[:-1]], simulated.loss.values[1:])


@pytest.mark.parametrize("tuner", [POLYAK, Armijo()], ids=["polyak", "armijo"])
def test_gradients_accumulated_over_batches_make_one_step(tuner):
    batches = [jnp.array([0.5, -0.2, 0.1]), jnp.array([-0.3, 0.4, 0.2]), jnp.array([0.1, 0.1, -0.6])]
    optimizer = optax.MultiSteps(descent(tuner), len(batches), accumulator_dtype=jnp.float64)

    def whole(a):
        return sum(loss({"a": a, "b": START["b"]}, x) for x in batches) / len(batches)

    @jax.jit
    def step(a, state, x, total, count):
        value, grad = jax.value_and_grad(lambda a: loss({"a": a, "b": START["b"]}, x))(a)
        total = total + value
        updates, state = optimizer.update(grad, state, a, value=total / count, value_fn=whole)
        return optax.apply_updates(a, updates), state, total

    a, state, path = START["a"], optimizer.init(START["a"]), []
    for _ in range(STEPS):
        total = jnp.zeros(())
        for i, x in enumerate(batches):
            a, state, total = step(a, state, x, total, i + 1)
        path.append(a)
    assert_same(path, along_rays(tuner, whole, START["a"]))
    assert int(tree_get(state.inner_opt_state, "count")) == STEPS


def filled(value_fn, params):
    """A loss of trees in which what is masked is missing, as the docstring of `as_optax` shows it."""

    def frozen(node):
        return isinstance(node, optax.MaskedNode)

    return lambda tree: value_fn(jax.tree.map(lambda m, p: p if frozen(m) else m, tree, params, is_leaf=frozen))


MASK = {"a": True, "b": False}


@pytest.mark.parametrize("with_grad", [False, True])
def test_under_a_mask_the_rule_acts_on_what_is_left(with_grad):
    masked = optax.masked(as_optax(Armijo()), MASK, mask_compatible_extra_args=with_grad)

    def arguments(w, value, grad):
        return {"value": value, "value_fn": filled(loss, w)} | ({"grad": grad} if with_grad else {})

    path, _ = walk(optax.chain(optax.sgd(1.0), masked), arguments)
    # b takes its whole gradient, as optax leaves what is masked; the rule steps along a alone.
    w, trial = START, Armijo().init()
    for new in path:
        line = eos.ray(lambda a, b=w["b"]: loss({"a": a, "b": b}), w["a"])
        eta, trial, _ = Armijo()(line, trial)
        w = {"a": w["a"] + eta * line.direction, "b": w["b"] - jax.grad(loss)(w)["b"]}
        np.testing.assert_allclose(new["a"], w["a"], rtol=1e-11)
        np.testing.assert_allclose(new["b"], w["b"], rtol=1e-11)


@pytest.mark.parametrize("tuner", [Armijo(), Greedy()], ids=["armijo", "greedy"])
def test_beside_frozen_weights_the_others_descend_alone(tuner):
    labels = {"a": "trained", "b": "frozen"}
    optimizer = optax.multi_transform({"trained": descent(tuner), "frozen": optax.set_to_zero()}, labels)
    path, state = walk(optimizer, lambda w, value, grad: {"value": value, "value_fn": filled(loss, w)})
    assert_same([w["a"] for w in path], along_rays(tuner, lambda a: loss({"a": a, "b": START["b"]}), START["a"]))
    np.testing.assert_array_equal(path[-1]["b"], START["b"])
    assert int(tree_get(state, "count")) == STEPS


@pytest.mark.parametrize("tuner", [POLYAK, AdGD()], ids=["polyak", "adgd"])
def test_a_gradient_that_is_not_finite_is_as_if_it_had_not_been(tuner):
    optimizer = optax.apply_if_finite(descent(tuner), max_consecutive_errors=2)

    @jax.jit
    def step(a, state, x):
        value, grad = jax.value_and_grad(lambda a: loss({"a": a, "b": START["b"]}, x))(a)
        updates, state = optimizer.update(grad, state, a, value=value)
        return optax.apply_updates(a, updates), state

    def run(inputs):
        a, state = START["a"], optimizer.init(START["a"])
        for x in inputs:
            a, state = step(a, state, x)
        return a, state.inner_state

    with_gap, without = run([0.1, 0.2, jnp.nan, 0.3, jnp.nan, 0.4]), run([0.1, 0.2, 0.3, 0.4])
    jax.tree.map(np.testing.assert_array_equal, with_gap, without)
    assert jnp.isfinite(with_gap[0]).all()


def test_a_hyper_parameter_follows_a_schedule_or_is_set_by_hand():
    schedule = optax.linear_schedule(0.5, 1.0, 4)
    rule = optax.inject_hyperparams(lambda c: as_optax(Polyak(c=c)))
    optimizer = optax.chain(optax.sgd(1.0), rule(c=schedule))
    path, _ = walk(optimizer, lambda w, value, grad: {"value": value}, bowl, START["a"])
    w = np.array(START["a"])
    for t, new in enumerate(path):
        g = CURVATURE * w
        w = w - bowl(w) / (float(schedule(t)) * (g @ g)) * g
        np.testing.assert_allclose(new, w, rtol=1e-7)  # optax computes its schedules in single precision

    traces, by_hand = 0, optax.chain(optax.sgd(1.0), rule(c=0.5))

    @jax.jit
    def eta(state):
        nonlocal traces
        traces += 1
        value, grad = jax.value_and_grad(bowl)(START["a"])
        return tree_get(by_hand.update(grad, state, START["a"], value=value)[1], "learning_rate")

    state = by_hand.init(START["a"])
    half = eta(state)
    state[-1].hyperparams["c"] = jnp.array(1.0, float)
    assert float(half) == pytest.approx(2 * float(eta(state)), rel=1e-12)
    assert traces == 1


def test_arguments_go_to_the_loss_by_name():
    optimizer, scales = descent(Armijo()), []
    state, x = optimizer.init(START), jnp.array([0.5, 0.25, 0.0])

    def scaled(w, x, scale=1.0):
        scales.append(scale)
        return scale * loss(w, x)

    def anything(w, **batch):
        return scaled(w, **batch)

    value, grad = jax.value_and_grad(scaled)(START, x, 2.0)
    flat, unravel = ravel_pytree(START)
    expected, _, _ = Armijo()(eos.ray(lambda w: 2.0 * loss(unravel(w), x), flat), Armijo().init())
    for fn in (scaled, anything, lambda w, **_: scaled(w, x, 2.0)):
        _, new = optimizer.update(grad, state, START, value=value, value_fn=fn, x=x, scale=2.0)
        assert float(tree_get(new, "learning_rate")) == float(expected)
    assert set(scales) == {2.0}
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        optimizer.update(grad, state, START, value=value, value_fn=scaled)


SPECS = {"schedule": "schedule:cosine_decay_schedule,init_value=0.2,decay_steps=50"}
FREE = {"constant", "schedule", "normalized", "clipping", "rmsprop", "adagrad-norm", "adgd", "bb1", "bb2"}
MISSING = {
    "polyak": "value",
    "sps-max": "value",
    "armijo-restart": "value_fn",
    "greedy": "value_fn",
    "on-edge": "sharpness",
}


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_only_what_a_rule_uses_is_asked_for(name):
    tuner = from_spec(SPECS.get(name, name))
    optimizer = descent(tuner)
    state, grad = optimizer.init(START), jax.grad(loss)(START)
    try:
        _, bare = optimizer.update(grad, state)
    except ValueError as error:
        assert name not in FREE
        missing = str(error).split("update needs ")[1].split(",")[0]
        assert missing in ("value", "value_fn", "sharpness")
        assert missing == MISSING.get(name, missing)
        return
    assert name not in MISSING
    _, full = optimizer.update(grad, state, START, value=loss(START), value_fn=loss)
    assert float(tree_get(bare, "learning_rate")) == float(tree_get(full, "learning_rate"))


GRAD = jax.grad(loss)(START)
BAD = {
    "value": (Polyak(), {"value_fn": loss, "params": START}, "Polyak uses the loss, so update needs value"),
    "value_fn": (
        Armijo(),
        {"value": 1.0, "params": START},
        "Armijo evaluates the loss along the ray, so update needs value_fn",
    ),
    "params": (Greedy(), {"value_fn": loss}, "evaluates the loss along the ray, so update needs params"),
    "sharpness": (OnEdge(), {}, "OnEdge uses the sharpness, so update needs sharpness"),
    "grad": (Constant(), {"grad": {"a": GRAD["a"]}}, "grad must have as many entries as the updates, 7, got 3"),
    "params size": (Constant(), {"params": START["a"]}, "params must have as many entries"),
    "not scalar": (Polyak(), {"value": jnp.ones(2)}, r"value must be a scalar, got shape \(2,\)"),
    "vector": (Constant(jnp.array([0.1, 0.2])), {}, "one number for each hyper-parameter"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    tuner, given, message = BAD[case]
    optimizer = descent(tuner)
    with pytest.raises(ValueError, match=message):
        optimizer.update(GRAD, optimizer.init(START), **given)


def test_what_is_no_rule_and_no_weights_are_refused():
    with pytest.raises(ValueError, match="tuner must be a step-size rule"):
        as_optax(0.1)
    with pytest.raises(ValueError, match="must be real and floating, got int64"):
        as_optax(Constant()).init(jnp.arange(3))


@pytest.mark.parametrize("value_fn", [None, loss])
def test_a_keyword_that_nothing_takes_is_refused(value_fn):
    optimizer = descent(Constant())
    state = optimizer.init(START)
    with pytest.raises(ValueError, match="update got valeu, which neither it nor value_fn takes"):
        optimizer.update(GRAD, state, START, valeu=1.0, value_fn=value_fn)
    optimizer.update(GRAD, state, START, other=1.0, value_fn=lambda w, **_: loss(w))
