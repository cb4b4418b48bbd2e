"""Tuners by name, for the command line and for tests that must hold for every rule. A new tuner is one line here."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import optax  # type: ignore[import-untyped]

from eosmodel import _specs
from eosmodel.tuners.armijo import Armijo, ArmijoRestart
from eosmodel.tuners.base import AbstractTuner
from eosmodel.tuners.cdat import CDAT, Greedy
from eosmodel.tuners.constant import Constant, Schedule
from eosmodel.tuners.on_edge import OnEdge
from eosmodel.tuners.polyak import Polyak


class Entry(NamedTuple):
    """A tuner's factory and its one-line meaning."""

    factory: Callable[..., AbstractTuner]
    description: str


# optax's schedules whose parameters are all numbers.
SCHEDULES = {
    name: fn
    for name, fn in vars(optax.schedules).items()
    if callable(fn) and name.endswith(("_schedule", "_decay")) and not name.startswith(("_", "piecewise", "sgdr"))
}


def schedule(name: str = "cosine_decay_schedule", **parameters: float) -> Schedule:
    """Any optax schedule by name, with its own parameters."""
    build = _specs.look_up(name, SCHEDULES, "schedule")
    _specs.check_names(f"schedule {name}", parameters, inspect.signature(build).parameters)
    counts = {key: int(value) for key, value in parameters.items() if _counts(key) and float(value).is_integer()}
    try:
        return Schedule(build(**{**parameters, **counts}))
    except TypeError as error:  # a parameter without default is missing; optax's message names it
        raise ValueError(f"schedule {name}: {error}") from None


def _counts(key):
    return key.endswith(("_steps", "_begin"))


REGISTRY: dict[str, Entry] = {
    "constant": Entry(Constant, "a constant step"),
    "schedule": Entry(schedule, "any optax schedule: schedule:cosine_decay_schedule,init_value=0.4,decay_steps=1000"),
    "armijo": Entry(Armijo, "backtracking line search, warm-started from an increase of the last step"),
    "armijo-restart": Entry(ArmijoRestart, "backtracking line search, restarted from one trial step every time"),
    "polyak": Entry(Polyak, "Polyak's step (f − f*)/(c‖g‖²)"),
    "sps-max": Entry(partial(Polyak, max=1.0), "Polyak's step with a cap, SPS_max"),
    "greedy": Entry(Greedy, "minimiser of the parabola along the ray: CDAT with σ = 1"),
    "cdat": Entry(CDAT, "σ times the minimiser of the parabola along the ray"),
    "on-edge": Entry(OnEdge, "η = σ/λ, always at the edge of stability"),
}


def parameters(name: str) -> list[tuple[str, Any]]:
    """Names and defaults of a tuner's hyper-parameters."""
    signature = inspect.signature(_specs.look_up(name, REGISTRY, "tuner").factory)
    kept = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return [(p.name, None if p.default is p.empty else p.default) for p in kept]


def from_spec(spec: str) -> AbstractTuner:
    """A tuner from `name`, `name:value` or `name:parameter=value,…`; one leading bare value is the first parameter.

    Raises:
        ValueError: unknown name or parameter (the known ones are listed), a value that is not a number, or one that
            the tuner does not allow.

    Example:
        >>> from_spec("cdat:sigma=1.9").sigma
        1.9
    """
    name, entry, texts = _specs.parse("tuner", spec, REGISTRY, lambda name: [key for key, _ in parameters(name)])
    owner = f"tuner {spec!r}"
    if name != "schedule":  # a schedule's parameters are checked against optax's own
        _specs.check_names(f"tuner {name}", texts, [key for key, _ in parameters(name)])
    given = {
        key: text if (name, key) == ("schedule", "name") else _value(owner, key, text) for key, text in texts.items()
    }
    return _specs.build(owner, entry.factory, given)


def _value(owner, key, text):
    value = _specs.number(owner, key, text)
    return int(value) if key == "max_evaluations" and value.is_integer() else value
