"""The low-dimensional theories of one run as theories with a name."""

from typing import ClassVar

from eosmodel._status import Status
from eosmodel.theory.base import AbstractTheory, Setup
from eosmodel.theory.low_dim import DrivenValley, FrozenValley, valley_at


class MeasuredValleyTheory(AbstractTheory):
    """`DrivenValley` with the coefficients of the run itself, from a tenth of it on."""

    needs_run: ClassVar[bool] = True
    needs_every_row: ClassVar[bool] = True
    one_run_only: ClassVar[bool] = True

    def setup(self, problem):
        first = problem.after_transient
        coefficients = problem.measured(first)
        if coefficients is None:
            return Status.NOT_RUN
        return Setup(DrivenValley(coefficients, problem.tuner), problem.start, first)


class FrozenValleyTheory(AbstractTheory):
    """`FrozenValley`: the objective at a tenth of the run, frozen by `valley_at` and extrapolated from there."""

    one_run_only: ClassVar[bool] = True

    def setup(self, problem):
        first = problem.after_transient
        state = problem.reached(first)
        if state is None:
            return Status.NOT_RUN
        if not float(state.center.values[0]) > 0:
            return Status.OUT_OF_RANGE
        valley = valley_at(problem.objective, state.weights, state.center)
        # The tuner goes on from the memory that it had reached, as it would in the run.
        return Setup(FrozenValley(valley, problem.tuner, state.tuner.state), valley.initial(), first)
