"""The identity of a run is the program that it runs and the arrays in it: not names, addresses or processes."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eosmodel as eos
from eosmodel.dynamics import Descent
from eosmodel.simulation import identity, program
from eosmodel.tuners import Constant, Polyak, Schedule

W0 = jnp.asarray([2.0, 1.0])
BOWL = eos.objective(lambda w: jnp.sum(w**2), W0)


def of(objective=BOWL, tuner=None, **options):
    tuner = Constant(jnp.asarray(0.1)) if tuner is None else tuner
    return identity(Descent(objective, tuner, 1, **options), objective.initial())


def power(p):
    return eos.objective(lambda w: jnp.sum(w**p), W0)


def scaled(by):
    constant = np.asarray(by)
    return eos.objective(lambda w: jnp.sum(constant * w**2), W0)


def cosine(value):
    return Schedule(optax.cosine_decay_schedule(value, 100))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: of(power(2)), lambda: of(power(4))),
        (lambda: of(scaled([1.0, 2.0])), lambda: of(scaled([1.0, 2.0 + 1e-12]))),
        (lambda: of(tuner=cosine(0.1)), lambda: of(tuner=cosine(0.2))),
        (lambda: of(tuner=cosine(0.1)), lambda: of(tuner=Schedule(lambda t: 0.1))),
        (lambda: of(direction=eos.directions.adam(b2=0.9)), lambda: of(direction=eos.directions.adam(b2=0.999))),
        (lambda: of(tuner=Polyak(c=jnp.asarray(0.5))), lambda: of(tuner=Polyak(c=jnp.asarray(0.6)))),
        (lambda: of(track_every=1), lambda: of(track_every=2)),
    ],
    ids=["function", "constant in a closure", "schedule", "kind of schedule", "direction", "tuner", "settings"],
)
def test_what_computes_something_else_is_something_else(one, other):
    assert one() == one()
    assert one() != other()


def test_how_a_program_is_written_does_not_count():
    def square(w):
        return jnp.sum(w**2)

    assert of(eos.objective(square, W0))["program"] == of(BOWL)["program"]


def test_constants_inside_inner_programs_count():
    def inner(by):
        constant = jnp.asarray(by)
        return lambda x: jax.lax.fori_loop(0, 3, lambda i, y: jax.jit(lambda z: z * constant)(y), x)

    assert program(inner([1.0, 2.0]), W0) == program(inner([1.0, 2.0]), W0)
    assert program(inner([1.0, 2.0]), W0) != program(inner([1.0, 3.0]), W0)
    assert program(inner([1.0, 2.0]), W0) == program(inner([1.0, 2.0]), 2 * W0)


SCRIPT = """
import equinox as eqx, jax, jax.numpy as jnp, numpy as np, optax
import eosmodel as eos
from eosmodel.dynamics import Descent
from eosmodel.simulation import identity
model = eqx.nn.MLP(3, 1, 4, 2, activation=jax.nn.gelu, key=jax.random.key(0))
data = eos.data.from_arrays(np.linspace(-1, 1, 24).reshape(8, 3), np.linspace(-1, 1, 8))
net = eos.objectives.network(model, data)
run = Descent(net, eos.tuners.Schedule(optax.cosine_decay_schedule(0.1, 50)), 2, direction=eos.directions.adam())
print(sorted(identity(run, net.initial(), steps=5).items()))
"""


def test_a_model_of_the_user_is_the_same_in_another_process():
    one, other = (
        subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    )
    assert "objective.x" in one
    assert one == other


def test_data_that_were_replaced_are_named():
    x = np.random.default_rng(0).normal(size=(8, 3))
    nets = [eos.objectives.mlp(eos.data.from_arrays(x, y), width=2, depth=1) for y in (x[:, 0], x[:, 1])]
    one, other = (of(net) for net in nets)
    assert {name for name in one if one[name] != other[name]} == {"objective.y"}
    assert eqx.tree_equal(nets[0].initial(), nets[1].initial())
