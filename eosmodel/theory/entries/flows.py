"""Flows and other comparators of the whole objective as theories with a name."""

from typing import ClassVar

from eosmodel._checks import check_count
from eosmodel.curvature import AbstractTracker
from eosmodel.theory._steps import model_tracker
from eosmodel.theory.base import AbstractWholeTheory
from eosmodel.theory.central_flow import CentralFlow
from eosmodel.theory.edge_flow import EdgeFlow
from eosmodel.theory.gradient_flow import GradientFlow
from eosmodel.theory.rod_flow import RodFlow
from eosmodel.tuners import OnEdge


class CentralFlowTheory(AbstractWholeTheory):
    """`CentralFlow`.

    Args:
        modes: number of modes that may oscillate; as many as the run follows when None.
        stride: steps from one look at the eigenpairs and third derivatives to the next.

    Raises:
        ValueError: modes < 1 or stride < 1.
    """

    modes: int | None = None
    stride: int = 1

    has_weights: ClassVar[bool] = True

    def __check_init__(self):
        _check_modes(self)
        check_count("CentralFlowTheory", "stride", self.stride)

    def dynamics(self, objective, tuner, modes):
        return CentralFlow(objective, tuner, _tracker(self, modes), stride=self.stride)


class EdgeFlowTheory(AbstractWholeTheory):
    """`EdgeFlow`: one mode, for constant steps."""

    constant_steps_only: ClassVar[bool] = True
    has_weights: ClassVar[bool] = True
    exact_on_quadratics: ClassVar[bool] = True

    def dynamics(self, objective, tuner, modes):
        return EdgeFlow(objective, tuner)


class RodFlowTheory(AbstractWholeTheory):
    """`RodFlow`, for constant steps.

    Args:
        modes: number of eigenpairs followed beside it; as many as the run follows when None.

    Raises:
        ValueError: modes < 1.
    """

    modes: int | None = None

    constant_steps_only: ClassVar[bool] = True
    has_weights: ClassVar[bool] = True

    def __check_init__(self):
        _check_modes(self)

    def dynamics(self, objective, tuner, modes):
        return RodFlow(objective, tuner, _tracker(self, modes))


class GradientFlowTheory(AbstractWholeTheory):
    """`GradientFlow` with the tuner's own step as its clock: no oscillation.

    Args:
        modes: number of modes along which the flow is exact; as many as the run follows when None.

    Raises:
        ValueError: modes < 1.
    """

    modes: int | None = None

    has_weights: ClassVar[bool] = True
    baseline: ClassVar[bool] = True

    def __check_init__(self):
        _check_modes(self)

    def dynamics(self, objective, tuner, modes):
        return GradientFlow(objective, tuner, _tracker(self, modes))


class EdgeOnlyTheory(AbstractWholeTheory):
    """`GradientFlow` with η = 2/λ whatever the tuner does.

    Args:
        modes: as in `GradientFlowTheory`.

    Raises:
        ValueError: modes < 1.
    """

    modes: int | None = None

    has_weights: ClassVar[bool] = True
    baseline: ClassVar[bool] = True
    ignores_tuner: ClassVar[bool] = True

    def __check_init__(self):
        _check_modes(self)

    def dynamics(self, objective, tuner, modes):
        return GradientFlow(objective, OnEdge(sigma=2.0), _tracker(self, modes))


def _check_modes(theory) -> None:
    if theory.modes is not None:
        check_count(type(theory).__name__, "modes", theory.modes)


def _tracker(theory, of_run: int) -> AbstractTracker:
    return model_tracker(of_run if theory.modes is None else theory.modes)
