"""Checks of hyper-parameters that several rules share, with the message format of `eosmodel._checks`."""

import jax
import numpy as np

from eosmodel._checks import check_count, check_range


def check_order(owner: str, first: str, low, second: str, high) -> None:
    """Raise ValueError unless low < high elementwise. Traced values are not checked."""
    traced = any(isinstance(value, jax.core.Tracer) for value in (low, high))
    if not traced and not np.all(np.asarray(low, float) < np.asarray(high, float)):
        raise ValueError(f"{owner}: {first} must lie below {second}, got {first}={low!r}, {second}={high!r}")


def check_first_trial(tuner, evaluations: int = 1) -> None:
    """Check the first trial of a line search, and that it may make at least `evaluations` evaluations."""
    owner = type(tuner).__name__
    check_range(owner, "initial", tuner.initial, 0, low_open=True, high_open=True)
    check_count(owner, "max_evaluations", tuner.max_evaluations, evaluations)


def check_backtracking(tuner) -> None:
    """Check the hyper-parameters common to all backtracking rules."""
    owner = type(tuner).__name__
    check_range(owner, "c", tuner.c, 0, 1, low_open=True, high_open=True)
    check_range(owner, "factor", tuner.factor, 0, 1, low_open=True, high_open=True)
    check_first_trial(tuner)


def check_warm_start(tuner) -> None:
    """Check the hyper-parameters of backtracking rules with a warm start."""
    owner = type(tuner).__name__
    check_backtracking(tuner)
    check_range(owner, "increase", tuner.increase, 1, high_open=True)
    check_range(owner, "max", tuner.max, 0, low_open=True)


def check_schedule(owner: str, schedule) -> None:
    """Check that a schedule can be called."""
    if not callable(schedule):
        raise ValueError(f"{owner}: schedule must be a function of the step, got {schedule!r}")
