"""The centre–oscillation model as a theory with a name."""

import dataclasses
from typing import ClassVar, Literal, get_args

from eosmodel._checks import check_choice, check_count, check_range
from eosmodel.theory.base import AbstractWholeTheory
from eosmodel.theory.center import center_oscillation

_Force = Literal["even", "cubic"]
_Restoring = Literal["odd", "harmonic"]
_Line = Literal["true", "parabola"]
_Floor = Literal["flow", "newton"]
_Turning = Literal["kept", "lost"]
_Start = Literal["split", "whole"]


class OscillationTheory(AbstractWholeTheory):
    """`CenterOscillation`, whose parameters are its number of modes and its `Ingredients`.

    Args:
        modes: number of oscillating modes; as many as the run follows when None.
        force, restoring, line, floor, turning, start, threshold, noise, after: see `Ingredients`.

    Raises:
        ValueError: an ingredient that does not exist, a negative number, or modes < 1.

    Example:
        >>> import eosmodel as eos
        >>> net = eos.objectives.mlp(eos.data.digits(50), width=4)
        >>> cubic = eos.theory.OscillationTheory(modes=2, force="cubic")
        >>> said = eos.predict(net, eos.tuners.Constant(0.4), steps=5, theory=cubic, progress=False)
        >>> said.amplitude.shape
        (5, 2)
    """

    modes: int | None = None
    force: _Force = "even"
    restoring: _Restoring = "odd"
    line: _Line = "true"
    floor: _Floor = "flow"
    turning: _Turning = "kept"
    start: _Start = "split"
    threshold: float = 0.0
    noise: float = 0.0
    after: int = 0

    knows_noise: ClassVar[bool] = True
    exact_on_quadratics: ClassVar[bool] = True

    def __check_init__(self):
        owner = "OscillationTheory"
        if self.modes is not None:
            check_count(owner, "modes", self.modes)
        choices = {
            "force": _Force,
            "restoring": _Restoring,
            "line": _Line,
            "floor": _Floor,
            "turning": _Turning,
            "start": _Start,
        }
        for name, allowed in choices.items():
            check_choice(owner, name, getattr(self, name), get_args(allowed))
        check_range(owner, "threshold", self.threshold, 0)
        check_range(owner, "noise", self.noise, 0)
        check_count(owner, "after", self.after, 0)

    def dynamics(self, objective, tuner, modes):
        words = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        followed = words.pop("modes")
        return center_oscillation(objective, tuner, modes if followed is None else followed, **words)
