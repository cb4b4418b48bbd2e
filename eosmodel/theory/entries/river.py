"""The river as a theory with a name."""

from typing import ClassVar

from eosmodel._checks import check_count, check_range
from eosmodel._status import Status
from eosmodel.theory.base import AbstractTheory, Setup
from eosmodel.theory.river import RiverMap, at_weights


class RiverTheory(AbstractTheory):
    """`RiverMap` from the initial weights, on the river of the network that is measured once for all tuners.

    Args:
        modes: number of oscillating modes; as many as the run follows when None. At most one less than there are
            weights.
        length: flow time of the river, in multiples of steps/λ at the start; steps at the edge, η = 2/λ, take 2 of a
            constant λ. A prediction that needs more ends with status OUT_OF_RANGE.

    Raises:
        ValueError: modes < 1 or length ≤ 0.
    """

    modes: int | None = None
    length: float = 4.0

    needs_river: ClassVar[bool] = True
    one_run_only: ClassVar[bool] = True

    def __check_init__(self):
        if self.modes is not None:
            check_count("RiverTheory", "modes", self.modes)
        check_range("RiverTheory", "length", self.length, 0, low_open=True, high_open=True)

    def setup(self, problem):
        river = problem.river(self)
        if isinstance(river, Status):
            return river
        return Setup(RiverMap(river, problem.tuner), at_weights(river))
