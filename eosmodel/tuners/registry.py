"""Tuners by name, for the command line and for the contract tests of all rules. A new tuner is one line here."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import optax  # type: ignore[import-untyped]

from eosmodel import _specs
from eosmodel.directions import DIRECTIONS
from eosmodel.tuners.adaptive import AdaGradNorm, Clipping, NormalizedGD, ScalarRMSProp
from eosmodel.tuners.armijo import Armijo, ArmijoRestart
from eosmodel.tuners.base import AbstractTuner, check_tuner
from eosmodel.tuners.bracketing import Goldstein, StrongWolfe
from eosmodel.tuners.cdat import CDAT, Greedy
from eosmodel.tuners.constant import Constant, Schedule
from eosmodel.tuners.hedge import EdgeHedge
from eosmodel.tuners.modifiers import Bounded, Scheduled, WarmupCosine
from eosmodel.tuners.nonmonotone import WindowArmijo, ZhangHager
from eosmodel.tuners.on_edge import OnEdge
from eosmodel.tuners.polyak import Polyak, SmoothedSPS, SPSPlus
from eosmodel.tuners.secants import BB1, BB2, AdGD


class Entry(NamedTuple):
    """A tuner's factory and its one-line meaning."""

    factory: Callable[..., AbstractTuner]
    description: str


# The schedules of optax whose parameters are all numbers.
SCHEDULES = {
    name: fn
    for name, fn in vars(optax.schedules).items()
    if callable(fn) and name.endswith(("_schedule", "_decay")) and not name.startswith(("_", "piecewise", "sgdr"))
}


def schedule(name: str = "cosine_decay_schedule", **parameters: float) -> Schedule:
    """Any optax schedule by name, with its own parameters.

    Args:
        name: one of those of `optax.schedules` whose parameters are all numbers: constant_schedule, linear_schedule,
            polynomial_schedule, exponential_decay, cosine_decay_schedule, warmup_constant_schedule,
            warmup_cosine_decay_schedule, warmup_exponential_decay_schedule, cosine_onecycle_schedule or
            linear_onecycle_schedule.
        parameters: of the schedule, as init_value and decay_steps.
    """
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
    "zhang-hager": Entry(ZhangHager, "backtracking against a running average of the losses"),
    "armijo-window": Entry(WindowArmijo, "backtracking against the largest of the last losses"),
    "goldstein": Entry(
        Goldstein, "line search for a step that is neither too long nor too short, from values of the loss"
    ),
    "strong-wolfe": Entry(StrongWolfe, "line search for sufficient decrease and a small remaining slope"),
    "polyak": Entry(Polyak, "Polyak's step (f − f*)/(c‖g‖²)"),
    "sps-max": Entry(partial(Polyak, max=1.0), "Polyak's step with a cap, SPS_max"),
    "sps-plus": Entry(SPSPlus, "Polyak's step with c = 1 and f* the loss at the solution, SPS₊"),
    "sps-smoothed": Entry(SmoothedSPS, "Polyak's step, which grows at most by a fixed factor per step"),
    "greedy": Entry(Greedy, "minimiser of the parabola along the ray: CDAT with σ = 1"),
    "cdat": Entry(CDAT, "σ times the minimiser of the parabola along the ray"),
    "on-edge": Entry(OnEdge, "η = σ/λ, always at the edge of stability"),
    "normalized": Entry(NormalizedGD, "step/‖g‖, a move of fixed length"),
    "clipping": Entry(Clipping, "a constant step with the gradient clipped at a norm"),
    "rmsprop": Entry(ScalarRMSProp, "step over the root of a moving average of ‖g‖², one scalar for all weights"),
    "adagrad-norm": Entry(AdaGradNorm, "step over the root of the sum of all ‖g‖²"),
    "adgd": Entry(AdGD, "half the inverse of the curvature along the last step, Malitsky and Mishchenko"),
    "bb1": Entry(BB1, "Barzilai and Borwein's long step s·s/s·y"),
    "bb2": Entry(BB2, "Barzilai and Borwein's short step s·y/y·y"),
    "edge-hedge": Entry(EdgeHedge, "Barzilai and Borwein's long or short step, by the angle of s and y"),
}
"""Name -> factory of the tuner and one-line description, for `from_spec` and the command line."""

MODIFIERS: dict[str, tuple[float | int, str]] = {
    "cap": (float("inf"), "largest step"),
    "floor": (0.0, "smallest positive step"),
    "warmup": (0, "number of steps of a linear warm-up"),
    "decay_steps": (0, "number of steps of a cosine decay to 0 after the warm-up"),
}
"""Parameters that every specification takes in addition to the tuner's own, unless the tuner has one of that name:
defaults and meanings. The cap and the floor apply to the rule's own step; warm-up and decay multiply the result."""


def entry_of(name: str) -> Entry:
    """The entry of a name; of `module:name`, the user's own class or function."""
    if ":" not in name:
        return _specs.look_up(name, REGISTRY, "tuner")
    return Entry(_specs.load("tuner", name, REGISTRY), "a tuner of your own")


def parameters(name: str) -> list[tuple[str, Any]]:
    """Names and defaults of a tuner's hyper-parameters."""
    signature = inspect.signature(entry_of(name).factory)
    kept = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return [(p.name, None if p.default is p.empty else p.default) for p in kept]


def _own(name: str, texts: dict[str, str]) -> dict[str, Any]:
    """A tuner's own parameters and their defaults; for a schedule also those of the optax schedule that it names."""
    own = dict(parameters(name))
    if name != "schedule":
        return own
    build = _specs.look_up(texts.get("name", own["name"]), SCHEDULES, "schedule")
    return own | {key: p.default for key, p in inspect.signature(build).parameters.items()}


def from_spec(spec: str) -> AbstractTuner:
    """A tuner from `name`, `name:value` or `name:parameter=value,…`; a leading bare value is the first parameter.

    A name may be `module:name`, a class or function of your own that makes a tuner: `mymodule:Mine:sigma=2`. The module
    is found in the current folder, or as an installed one.

    The parameters are the tuner's own and those of `MODIFIERS`: `cap` and `floor` (`tuners.Bounded`), `warmup` and
    `decay_steps` (`tuners.Scheduled`, applied after the bounds).

    Raises:
        ValueError: an unknown name or parameter (the known ones are listed), a value that is not a number, or a value
            out of the tuner's range.

    Example:
        >>> from_spec("cdat:sigma=1.9").sigma
        1.9
        >>> from_spec("armijo:c=1e-3,cap=1,warmup=50").schedule
        WarmupCosine(warmup=50, decay_steps=0)
    """
    asked = spec.partition(":")[0]
    if asked not in REGISTRY and asked in DIRECTIONS:
        where = f"direction={spec!r}, or --direction {spec}"
        raise ValueError(f"unknown tuner {asked!r}: it is where steps go, {where}, and a tuner says how far")
    name, entry, texts = _specs.parse(
        "tuner", spec, REGISTRY, lambda name: [key for key, _ in parameters(name)], entry_of
    )
    owner, own = f"tuner {spec!r}", _own(name, texts)
    outer = {key: default for key, (default, _) in MODIFIERS.items() if key not in own}
    _specs.check_names(f"tuner {name}", texts, [*own, *outer])
    given = {key: _specs.scalar(owner, key, text, (own | outer)[key]) for key, text in texts.items()}

    def built(**given):
        modifiers = {key: given.pop(key) for key in outer if key in given}
        return _modified(check_tuner(name, entry.factory(**given)), modifiers)

    return _specs.build(owner, built, given)


def as_tuner(owner: str, tuner: Any) -> AbstractTuner:
    """A tuner as it is, or from a specification.

    Raises:
        ValueError: anything else, or a specification that is not allowed.
    """
    if isinstance(tuner, str):
        return from_spec(tuner)
    return check_tuner(owner, tuner)


def _modified(tuner: AbstractTuner, given: dict[str, Any]) -> AbstractTuner:
    """The tuner with the modifiers that are given."""
    bounds = {key: given[key] for key in ("floor", "cap") if key in given}
    times = {key: given[key] for key in ("warmup", "decay_steps") if key in given}
    tuner = Bounded(tuner, **bounds) if bounds else tuner
    return Scheduled(tuner, WarmupCosine(**times)) if times else tuner
