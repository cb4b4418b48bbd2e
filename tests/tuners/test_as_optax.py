"""`as_optax`: the steps are those of `simulate` and of optax's own rules, in every type, batched or not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from optax.tree_utils import tree_get, tree_map_params

import eosmodel as eos
from eosmodel.tuners import (
    CDAT,
    REGISTRY,
    AbstractTuner,
    AdGD,
    Armijo,
    Constant,
    Greedy,
    Polyak,
    as_optax,
    from_spec,
)

pytestmark = pytest.mark.usefixtures("lightly_compiled")

SPECS = {"schedule": "schedule:cosine_decay_schedule,init_value=0.2,decay_steps=50"}
NAMES = sorted(REGISTRY)
RULES = {name: from_spec(SPECS.get(name, name)) for name in NAMES}
STEPS = 8
START = {"a": jnp.array([0.7, -0.4]), "b": jnp.array([[0.2, -0.1], [0.3, 0.9]]), "c": jnp.array(0.5, float)}
UNRAVEL = ravel_pytree(START)[1]

each_rule = pytest.mark.parametrize("name", NAMES)


def descent(tuner):
    return optax.chain(optax.sgd(1.0), as_optax(tuner))


def loss(w):
    bowl = w["a"][0] ** 2 + 2 * w["a"][1] ** 2 + 0.5 * w["c"] ** 2
    return bowl + jnp.sum(w["b"] ** 4) + jnp.sum(w["b"] @ w["a"]) ** 2


def flat_loss(w):
    return loss(UNRAVEL(w))


OBJECTIVE = eos.objective(flat_loss, ravel_pytree(START)[0])


def sharpness(w):
    return jnp.linalg.eigvalsh(jax.hessian(flat_loss)(ravel_pytree(w)[0]))[-1]


def update(optimizer, carry, **extra):
    w, state = carry
    value, grad = jax.value_and_grad(loss)(w)
    updates, state = optimizer.update(grad, state, w, value=value, grad=grad, value_fn=loss, **extra)
    last = state[-1]
    row = {"loss": value, "stepsize": last.learning_rate, "evaluations": last.evaluations, "search_failed": last.failed}
    return (optax.apply_updates(w, updates), state), row


def run(optimizer, w=START, steps=STEPS):
    def step(carry, _):
        return update(optimizer, carry)

    return jax.lax.scan(step, (w, optimizer.init(w)), length=steps)


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)


class OneOf(AbstractTuner):
    """The rule of that index, so that one compilation of `simulate` serves them all."""

    rules: tuple[AbstractTuner, ...]
    index: Any
    needs_sharpness = True
    needs_secant = True

    def init(self, dtype=None):
        return tuple(rule.init(dtype) for rule in self.rules)

    def __call__(self, ray, state):
        def follow(k):
            def rule(state):
                eta, new, info = self.rules[k](ray, state[k])
                return eta, (*state[:k], new, *state[k + 1 :]), info

            return rule

        return jax.lax.switch(self.index, [follow(k) for k in range(len(self.rules))], state)


@each_rule
def test_every_rule_steps_as_in_simulate(name):
    tuner = RULES[name]
    same = OneOf(tuple(RULES.values()), jnp.asarray(NAMES.index(name)))
    expected = eos.simulate(OBJECTIVE, same, STEPS, modes=1, measure_every=0, progress=False)
    optimizer = descent(tuner)

    def step(carry, _):
        return update(optimizer, carry, sharpness=sharpness(carry[0]) if tuner.needs_sharpness else None)

    _, rows = jax.jit(lambda w: jax.lax.scan(step, (w, optimizer.init(w)), length=STEPS))(START)
    assert (rows["stepsize"] > 0).all()
    for key in ("evaluations", "search_failed"):
        np.testing.assert_array_equal(rows[key], expected[key])
    for key in ("loss", "stepsize"):  # the same sums in another order, magnified by a few steps
        np.testing.assert_allclose(rows[key], expected[key], rtol=1e-11)


@each_rule
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32], ids=["bfloat16", "float32"])
def test_a_step_keeps_structure_and_types(name, dtype):
    tuner, w = RULES[name], cast(START, dtype)
    optimizer = descent(tuner)
    extra = {"sharpness": jnp.asarray(4.0, dtype)} if tuner.needs_sharpness else {}
    before = (w, optimizer.init(w))
    after = jax.eval_shape(lambda carry: update(optimizer, carry, **extra)[0], before)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert [x.dtype for x in jax.tree.leaves(after)] == [x.dtype for x in jax.tree.leaves(before)]
    assert tree_get(after[1], "learning_rate").dtype == dtype


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("tuner", [Constant(0.1), Armijo(), CDAT(sigma=1.0), AdGD()], ids=lambda t: type(t).__name__)
def test_low_precision_descends(tuner, dtype):
    _, rows = run(descent(tuner), cast(START, dtype))
    assert jnp.isfinite(rows["stepsize"]).all()
    assert rows["loss"][-1] < rows["loss"][0]
    if not isinstance(tuner, Armijo):  # the first step sees the same numbers, rounded; a search may decide otherwise
        line = eos.ray(flat_loss, ravel_pytree(START)[0])
        exact, _, _ = tuner(line, tuner.init())
        rtol = 16 * float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(rows["stepsize"][0].astype(float), exact, rtol=rtol)


def test_a_tree_of_several_types_goes_by_the_one_they_promote_to():
    w = START | {"b": START["b"].astype(jnp.float32)}

    def mixed(w):
        return loss(cast(w, jnp.float64))

    optimizer = descent(Armijo())
    grad = jax.grad(mixed)(w)
    updates, state = optimizer.update(grad, optimizer.init(w), w, value=mixed(w), grad=grad, value_fn=mixed)
    assert tree_get(state, "learning_rate").dtype == jnp.float64
    assert updates["b"].dtype == jnp.float32
    expected = Armijo()(eos.ray(flat_loss, ravel_pytree(cast(w, jnp.float64))[0]), Armijo().init())[0]
    assert float(tree_get(state, "learning_rate")) == float(expected)


@pytest.mark.parametrize("tuner", [Polyak(c=0.5), Armijo(), AdGD()], ids=lambda t: type(t).__name__)
def test_a_batch_is_its_members(tuner):
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, -0.5 * leaf, 1.5 * leaf]), START)
    _, rows = jax.jit(jax.vmap(lambda w: run(descent(tuner), w)))(many)
    single = jax.jit(lambda w: run(descent(tuner), w))
    for i in range(3):
        _, alone = single(jax.tree.map(lambda leaf, i=i: leaf[i], many))
        np.testing.assert_array_equal(rows["evaluations"][i], alone["evaluations"])
        np.testing.assert_allclose(rows["stepsize"][i], alone["stepsize"], rtol=1e-10)


@pytest.mark.parametrize("tuner", [Polyak(), Armijo(), AdGD()], ids=lambda t: type(t).__name__)
def test_later_steps_do_not_recompile(tuner):
    traces = 0
    optimizer = descent(tuner)

    @jax.jit
    def step(carry):
        nonlocal traces
        traces += 1
        return update(optimizer, carry)

    carry = (START, optimizer.init(START))
    for _ in range(4):
        carry, _ = step(carry)
    assert traces == 1


def test_the_state_is_read_and_mapped_by_optax():
    optimizer = descent(AdGD())
    (w, state), rows = run(optimizer)
    assert float(tree_get(state, "learning_rate")) == float(rows["stepsize"][-1])
    assert int(tree_get(state, "count")) == STEPS
    assert float(tree_get(optimizer.init(w), "learning_rate")) == 0
    assert not tree_get(state, "failed")
    same = tree_map_params(optimizer, lambda leaf: leaf, state)
    assert jax.tree.structure(same) == jax.tree.structure(state)


PAIRS = {
    "constant": (Constant(0.1), optax.sgd(0.1)),
    "polyak": (Polyak(), optax.polyak_sgd(max_learning_rate=jnp.inf)),
    # Its `scaling` multiplies the gradient before the norm is taken, so it divides the step.
    "polyak-scaled": (Polyak(c=0.7), optax.polyak_sgd(max_learning_rate=jnp.inf, scaling=0.7)),
    "sps-max": (Polyak(max=0.1), optax.polyak_sgd(max_learning_rate=0.1)),
    "armijo": (
        Armijo(c=0.3, factor=0.7, increase=1.4, max=0.8),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(50, 0.3, 0.7, 1.4, 0.8)),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_optax_takes_the_same_steps_where_it_has_the_rule(pair):
    tuner, theirs = PAIRS[pair]

    def walk(optimizer):
        @jax.jit
        def step(w, state):
            value, grad = jax.value_and_grad(loss)(w)
            with jax.numpy_dtype_promotion("standard"):
                updates, state = optimizer.update(grad, state, w, value=value, grad=grad, value_fn=loss)
            return optax.apply_updates(w, updates), state

        w, state, path = START, optimizer.init(START), []
        for _ in range(STEPS):
            w, state = step(w, state)
            path.append(ravel_pytree(w)[0])
        return jnp.stack(path)

    np.testing.assert_allclose(walk(descent(tuner)), walk(optax.with_extra_args_support(theirs)), rtol=1e-11)


def test_along_a_preconditioned_direction_the_slope_is_that_of_the_gradient():
    adam = optax.scale_by_adam()
    optimizer = optax.chain(adam, optax.scale(-1.0), as_optax(Greedy(eps=0.0)))

    @jax.jit
    def both(w):
        value, grad = jax.value_and_grad(loss)(w)
        d = -ravel_pytree(adam.update(grad, adam.init(w))[0])[0]
        _, state = optimizer.update(grad, optimizer.init(w), w, value=value, grad=grad, value_fn=loss)
        curvature = d @ jax.hessian(flat_loss)(ravel_pytree(w)[0]) @ d
        return state[-1].learning_rate, -ravel_pytree(grad)[0] @ d / jnp.abs(curvature)

    with jax.numpy_dtype_promotion("standard"):
        eta, expected = both(START)
    np.testing.assert_allclose(eta, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["adgd", "bb2", "armijo"])
def test_on_mini_batches_a_rule_sees_one_batch(name):
    """As `simulate` on the same batches; a secant is that of the step's batch."""
    x = np.random.default_rng(0).normal(size=(24, 3))
    net = eos.objectives.mlp(eos.data.from_arrays(x, np.sin(x.sum(1))), width=3, depth=1)
    batches = eos.objectives.MiniBatches(net, 6)
    made = eos.simulate(batches, RULES[name], steps=STEPS, seeds=0, track_every=100, progress=False)
    optimizer, w = descent(RULES[name]), net.initial(0)
    state = optimizer.init(w)
    for t in range(STEPS):
        batch = batches.draw(0, t)
        value, grad = jax.value_and_grad(batch)(w)
        updates, state = optimizer.update(grad, state, w, value=value, value_fn=batch)
        np.testing.assert_allclose(made.stepsize[t], tree_get(state, "learning_rate"), rtol=1e-8)
        w = optax.apply_updates(w, updates)
