"""The river as a theory with a name."""

from typing import ClassVar

from eosmodel._checks import check_count, check_range
from eosmodel._status import Status
from eosmodel.theory.base import AbstractTheory, Setup
from eosmodel.theory.river import RiverMap, at_step, at_weights


class RiverTheory(AbstractTheory):
    """`RiverMap` on the river of the network from its initial weights, which is measured once for all tuners.

    Args:
        modes: number of modes that may oscillate; at most one less than there are weights.
        landing: steps of the run that the tuner takes on the network first, at most a tenth of all: the first jumps
            from the initial weights leave the range of a linear response, and what they have displaced is then read
            off these rows (`theory.river.at_step`). With 0 no tuner is run at all.
        length: flow time of the river, in multiples of steps/λ at the start; steps at the edge, η = 2/λ, take 2 of a
            constant λ. A prediction that needs more ends with status RIVER_ENDED.

    Raises:
        ValueError: modes < 1, landing < 0 or length ≤ 0.
    """

    modes: int = 8
    landing: int = 20
    length: float = 4.0

    needs_river: ClassVar[bool] = True
    one_run_only: ClassVar[bool] = True

    def __check_init__(self):
        check_count("RiverTheory", "modes", self.modes)
        check_count("RiverTheory", "landing", self.landing, 0)
        check_range("RiverTheory", "length", self.length, 0, low_open=True, high_open=True)

    def setup(self, problem):
        river = problem.river(self)
        if isinstance(river, Status):
            return river
        first = min(self.landing // problem.record_every * problem.record_every, problem.after_transient)
        if first == 0:
            return Setup(RiverMap(river, problem.tuner), at_weights(river))
        begun = problem.begun(first, river.modes)
        if begun is None:
            return Status.NOT_RUN
        rows, state = begun
        return Setup(RiverMap(river, problem.tuner), at_step(river, rows, first, state), first)
