"""Tuners by name: what a specification means, and what a wrong one is told."""

import jax.numpy as jnp
import optax
import pytest

from eosmodel.rays import ray
from eosmodel.tuners import REGISTRY, Armijo, ArmijoRestart, Polyak, from_spec
from eosmodel.tuners.registry import SCHEDULES, parameters


@pytest.mark.parametrize("name", [name for name in REGISTRY if name != "schedule"])
def test_defaults_need_no_parameters_and_are_what_is_listed(name):
    tuner = from_spec(name)
    assert [(key, getattr(tuner, key)) for key, _ in parameters(name)] == parameters(name)
    assert "\n" not in REGISTRY[name].description


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ("constant:0.4", {"step": 0.4}),
        ("armijo:c=1e-3,factor=0.5", {"c": 1e-3, "factor": 0.5, "increase": 1.5}),
        ("armijo: c = 1e-3 , factor = 0.5", {"c": 1e-3, "factor": 0.5}),
        ("armijo-restart:max_evaluations=7", {"max_evaluations": 7}),
        ("polyak:0.5,max=inf", {"c": 0.5}),
        ("sps-max", {"c": 1.0, "max": 1.0}),
        ("sps-max:0.5,max=10", {"c": 0.5, "max": 10.0}),
        ("greedy", {"sigma": 1.0}),
        ("greedy:ema=0.9", {"sigma": 1.0, "ema": 0.9}),
        ("cdat:1.9", {"sigma": 1.9}),
        ("on-edge", {"sigma": 2.0}),
    ],
)
def test_values_arrive(spec, values):
    tuner = from_spec(spec)
    assert {key: getattr(tuner, key) for key in values} == values


def test_names_give_their_classes():
    assert type(from_spec("armijo")) is Armijo
    assert type(from_spec("armijo-restart")) is ArmijoRestart
    assert type(from_spec("sps-max")) is Polyak


@pytest.mark.parametrize(
    ("spec", "built"),
    [
        ("cosine_decay_schedule,init_value=0.4,decay_steps=10", optax.cosine_decay_schedule(0.4, 10)),
        ("name=linear_schedule,init_value=1,end_value=0,transition_steps=5", optax.linear_schedule(1.0, 0.0, 5)),
        (
            "exponential_decay,init_value=1,transition_steps=3,decay_rate=0.5,transition_begin=2",
            optax.exponential_decay(1.0, 3, 0.5, transition_begin=2),
        ),
        (
            "warmup_cosine_decay_schedule,init_value=0,peak_value=1,warmup_steps=3,decay_steps=9",
            optax.warmup_cosine_decay_schedule(0.0, 1.0, 3, 9),
        ),
    ],
)
def test_schedules_are_those_of_optax(spec, built):
    tuner = from_spec(f"schedule:{spec}")
    for t in range(12):
        line = ray(lambda w: jnp.sum(w**2), jnp.ones(2), step=t)
        assert float(tuner(line, tuner.init())[0]) == pytest.approx(float(built(t)), abs=1e-7)


def test_schedules_are_functions_of_numbers():
    assert "cosine_decay_schedule" in SCHEDULES
    assert all(callable(build) for build in SCHEDULES.values())
    assert all(name in REGISTRY["schedule"].factory.__doc__ for name in SCHEDULES)
    assert not any(name.startswith(("_", "piecewise")) for name in SCHEDULES)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "armjo",
            r"unknown tuner 'armjo' \(did you mean armijo\?\); known: adagrad-norm, adgd, armijo, armijo-restart",
        ),
        ("", "unknown tuner ''; known: adagrad-norm"),
        ("xyzzy:1", "unknown tuner 'xyzzy'; known: adagrad-norm"),
        ("armijo:factr=0.5", r"armijo has no parameter 'factr' \(did you mean factor\?\); it has: c, factor, increase"),
        ("armijo:c=small", "c must be a number, got 'small'"),
        ("constant:fast", "step must be a number, got 'fast'"),
        ("armijo:c=1e-4,0.8", "'0.8' is not of the form parameter=value"),
        ("armijo:c=1e-4,c=1e-3", "c is given twice"),
        ("polyak:0.5,c=1", "c is given twice"),
        ("armijo:factor=1.5", r"'armijo:factor=1.5': Armijo: factor must lie in \(0, 1\), got 1.5"),
        ("armijo:max_evaluations=2.5", "max_evaluations must be an integer, got '2.5'"),
        ("schedule", "cosine_decay_schedule: .*missing.*'init_value' and 'decay_steps'"),
        (
            "schedule:cosine_decay,init_value=1",
            r"unknown schedule 'cosine_decay' \(did you mean cosine_decay_schedule\?\); known: constant_schedule",
        ),
        (
            "schedule:cosine_decay_schedule,init_valu=1,decay_steps=3",
            r"has no parameter 'init_valu' \(did you mean init_value\?\); it has: name, init_value, .*, cap, floor",
        ),
        ("schedule:cosine_decay_schedule,init_value=x", "init_value must be a number, got 'x'"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        from_spec(spec)
