"""How a run ended: one enumeration for experiments and theories alike.

A run that diverges is a result with a status, not an exception, so a sweep goes on. Codes are integers because
they travel through jitted code and into files; `Status.describe` says what to do about each.
"""

from enum import IntEnum


class Coded(IntEnum):
    """An enumeration whose integers go into files."""

    @property
    def label(self) -> str:
        """The name used in tables, files and plots, for example ``"out-of-range"``."""
        return self.name.lower().replace("_", "-")


class Status(Coded):
    """Outcome of a run. `OK` is 0; the order is stable because files store the integers."""

    OK = 0
    DIVERGED = 1
    NONFINITE = 2
    OUT_OF_RANGE = 3
    NOT_RUN = 4
    STALLED = 5
    REACHED = 6
    RIVER_ENDED = 7

    @property
    def ok(self) -> bool:
        """Whether the run went as asked: all steps, or up to where it was to stop."""
        return self in SUCCESSES

    def describe(self) -> str:
        """What happened and what to do about it, in one sentence."""
        return _MESSAGES[self]


SUCCESSES = (Status.OK, Status.REACHED)
"""The statuses of runs that are compared and ranked; of the others only what was before their end counts."""
SUCCESS = frozenset(status.label for status in SUCCESSES)
"""Their labels, as in tables."""

_MESSAGES = {
    Status.OK: "all steps were taken",
    Status.REACHED: "the loss or the accuracy was reached at which the run was to stop; its rows end there",
    Status.DIVERGED: "the loss exceeded the divergence bound; the rows before it are kept. "
    "Use a smaller step, or a cap on the tuner",
    Status.NONFINITE: "the loss, the gradient, the step size or the sharpness became NaN or infinite; the rows "
    "before it are kept. Check the data and the tuner's parameters",
    Status.OUT_OF_RANGE: "the theory left its range of validity (oscillation too large, no positive curvature at "
    "the top, or a balance that was not solved); the rows before it are kept",
    Status.RIVER_ENDED: "the prediction needs more flow time than the river has; the rows before it are kept. Measure "
    "it for longer: time= of measure_river, --length of `eosmodel river`, length= of the theory",
    Status.STALLED: "the weights never moved: every step or every gradient was 0, or below their rounding. The start "
    "may be a minimum or a saddle, or the loss below the tuner's f*; or every search failed",
    Status.NOT_RUN: "the run did not start, because what it depends on did not finish",
}
