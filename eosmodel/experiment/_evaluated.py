"""What a run of a network is evaluated by, and where it ends, checked."""

import math
from collections.abc import Callable
from typing import Any

from eosmodel._checks import check_count, check_range
from eosmodel.dynamics import AbstractDynamics
from eosmodel.dynamics.evaluated import Evaluated
from eosmodel.objectives.batches import AbstractBatches
from eosmodel.objectives.networks import Network


def as_evaluated(
    objective: Any, record_every: int, test_every: int, stop_loss: float | None, stop_accuracy: float | None
) -> Callable[[AbstractDynamics], AbstractDynamics]:
    """What makes the dynamics of a run those of an evaluated one; arguments as in `simulate`.

    Raises:
        ValueError: an argument that is not allowed; an accuracy where there is none.
    """
    check_count("simulate", "test_every", test_every)
    if stop_loss is not None:
        check_range("simulate", "stop_loss", stop_loss)
    inner = objective.objective if isinstance(objective, AbstractBatches) else objective
    net = inner if isinstance(inner, Network) else None
    if stop_accuracy is not None:
        check_range("simulate", "stop_accuracy", stop_accuracy, 0, 1, low_open=True)
        if net is None or net.classes is None:
            raise ValueError("simulate: stop_accuracy needs a network on data with classes")
    has_test = net is not None and net.test is not None
    if not has_test and stop_loss is None and stop_accuracy is None:
        return lambda dynamics: dynamics
    # An accuracy that is waited for is also looked at between the rows.
    every = test_every if stop_accuracy is not None else math.lcm(test_every, record_every)
    looked_at = net if has_test or stop_accuracy is not None else None
    return lambda dynamics: Evaluated(dynamics, looked_at, every, stop_loss, stop_accuracy)
