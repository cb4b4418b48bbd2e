"""Checks of hyper-parameters that several rules share; one message shape, as in `eosmodel._checks`."""

import jax
import numpy as np

from eosmodel._checks import check_count, check_range


def check_order(owner: str, first: str, low, second: str, high) -> None:
    """Raise ValueError unless low < high, entry by entry. Traced values are not checked."""
    traced = any(isinstance(value, jax.core.Tracer) for value in (low, high))
    if not traced and not np.all(np.asarray(low, float) < np.asarray(high, float)):
        raise ValueError(f"{owner}: {first} must lie below {second}, got {first}={low!r}, {second}={high!r}")


def check_first_trial(tuner, evaluations: int = 1) -> None:
    """Where a line search begins, and how many evaluations it may make, `evaluations` at the least."""
    owner = type(tuner).__name__
    check_range(owner, "initial", tuner.initial, 0, low_open=True, high_open=True)
    check_count(owner, "max_evaluations", tuner.max_evaluations, evaluations)


def check_backtracking(tuner) -> None:
    """What every backtracking rule has."""
    owner = type(tuner).__name__
    check_range(owner, "c", tuner.c, 0, 1, low_open=True, high_open=True)
    check_range(owner, "factor", tuner.factor, 0, 1, low_open=True, high_open=True)
    check_first_trial(tuner)


def check_warm_start(tuner) -> None:
    """What the backtracking rules have whose trial grows from the last step."""
    owner = type(tuner).__name__
    check_backtracking(tuner)
    check_range(owner, "increase", tuner.increase, 1, high_open=True)
    check_range(owner, "max", tuner.max, 0, low_open=True)


def check_schedule(owner: str, schedule) -> None:
    """A schedule is a function of the step."""
    if not callable(schedule):
        raise ValueError(f"{owner}: schedule must be a function of the step, got {schedule!r}")
