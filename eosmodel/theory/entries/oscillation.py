"""The centre–oscillation model as a theory with a name."""

from typing import Any, ClassVar, Literal

from eosmodel._checks import check_choice, check_count, check_range
from eosmodel.theory import ingredients as parts
from eosmodel.theory._steps import model_tracker
from eosmodel.theory.base import AbstractWholeTheory
from eosmodel.theory.center import AfterDescent, CenterOscillation

_Force = Literal["even", "cubic"]
_Restoring = Literal["odd", "harmonic"]
_Line = Literal["true", "parabola"]
_Floor = Literal["flow", "newton"]
_Turning = Literal["kept", "lost"]
_Start = Literal["split", "whole"]

_PARTS: dict[str, dict[str, Any]] = {
    "force": {"even": parts.EvenForce(), "cubic": parts.CubicForce()},
    "restoring": {"odd": parts.OddForce(), "harmonic": parts.Harmonic()},
    "line": {"true": parts.TrueLine(), "parabola": parts.Parabola()},
    "floor": {"flow": parts.FlowRelaxation(), "newton": parts.NewtonFloor()},
    "turning": {"kept": parts.KeptRemainder(), "lost": parts.LostRemainder()},
    "start": {"split": parts.SplitStart(), "whole": parts.WholeStart()},
}


class OscillationTheory(AbstractWholeTheory):
    """`CenterOscillation`; the defaults of all parameters but `modes` are the model, others show what each part does.

    Args:
        modes: number of oscillating modes; as many as the run follows when None.
        force: on the centre, "even" (`EvenForce`) or "cubic" (`CubicForce`).
        restoring: on the oscillation, "odd" (`OddForce`) or "harmonic" (`Harmonic`).
        line: what the tuner sees, "true" (`TrueLine`) or "parabola" (`Parabola`).
        floor: how the centre follows the valley floor, "flow" (`FlowRelaxation`) or "newton" (`NewtonFloor`).
        turning: what the rotation of the modes leaves behind, "kept" (`KeptRemainder`) or "lost" (`LostRemainder`).
        start: how the weights are split, "split" (`SplitStart`) or "whole" (`WholeStart`).
        threshold: a mode oscillates only where ηλ_i exceeds this (`Threshold`); 0 for no such condition.
        noise: least |x_i| (`LeastAmplitude`); 0 for none.
        after: steps of descent before the model begins (`AfterDescent`).

    Raises:
        ValueError: an ingredient that does not exist, a negative number, or modes < 1.

    Example:
        >>> import eosmodel as eos
        >>> net = eos.objectives.mlp(eos.data.digits(50), width=4)
        >>> cubic = eos.theory.OscillationTheory(modes=2, force="cubic")
        >>> prediction = eos.predict(net, eos.tuners.Constant(0.4), steps=5, theory=cubic, progress=False)
        >>> prediction.amplitude.shape
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
    has_weights: ClassVar[bool] = True
    exact_on_quadratics: ClassVar[bool] = True

    def __check_init__(self):
        owner = "OscillationTheory"
        if self.modes is not None:
            check_count(owner, "modes", self.modes)
        for name, choices in _PARTS.items():
            check_choice(owner, name, getattr(self, name), choices)
        check_range(owner, "threshold", self.threshold, 0)
        check_range(owner, "noise", self.noise, 0)
        check_count(owner, "after", self.after, 0)

    def dynamics(self, objective, tuner, modes):
        chosen = {name: choices[getattr(self, name)] for name, choices in _PARTS.items()}
        limits: list[parts.AbstractLimit] = [parts.Threshold(self.threshold)] if self.threshold > 0 else []
        limits += [parts.LeastAmplitude(self.noise)] if self.noise > 0 else []
        model = CenterOscillation(
            objective,
            tuner,
            model_tracker(modes if self.modes is None else self.modes),
            remainder=chosen.pop("turning"),
            limits=tuple(limits),
            **chosen,
        )
        return AfterDescent(model, self.after) if self.after else model
