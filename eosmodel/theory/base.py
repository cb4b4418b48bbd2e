"""What a theory is: its parameters, what it needs or cannot do, and the dynamics that it sets up for a problem."""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx

from eosmodel._status import Status
from eosmodel.dynamics import AbstractDynamics, Descent
from eosmodel.objectives.base import AbstractObjective
from eosmodel.theory.low_dim import Coefficients
from eosmodel.theory.river import River
from eosmodel.tuners.base import AbstractTuner


@dataclass(frozen=True)
class Problem:
    """What a theory is asked to predict, and what it may ask of the run.

    Fields
        objective, tuner: as in `predict`; the mean and covariance of a stochastic objective (`surrogate`) stand for it.
        start: weights, shape (dim,), with a leading axis where seeds or members are batched; a `SeededStart` where the
            objective is stochastic.
        steps, modes, record_every: as in `predict`.
        measured: t ↦ the slow coefficients measured along the run from step t on, None if the run ended earlier.
        reached: t ↦ the state of descent after t steps, None if it ended earlier.
        begun: (t, modes) ↦ the first t + 1 rows of descent with so many modes followed, and the tuner's state at step
            t; None if it ended earlier.
        river: a theory with `needs_river` ↦ the river of the objective from the start, with the theory's `modes` and
            `length`, or the status with which gradient flow ended.
    """

    objective: Any
    tuner: AbstractTuner
    start: Any
    steps: int
    modes: int
    record_every: int
    measured: Callable[[int], Coefficients | None]
    reached: Callable[[int], Descent.State | None]
    begun: Callable[[int, int], tuple[Mapping[str, Any], Any] | None]
    river: Callable[[Any], River | Status]

    @property
    def after_transient(self) -> int:
        """A tenth of the run, past its first transient, on a recorded row."""
        return (self.steps // 10) // self.record_every * self.record_every


class Setup(NamedTuple):
    """What the loop runs for a theory.

    Fields
        dynamics: with a field `tuner`, whose vector hyper-parameters make a batch of runs.
        start: argument of `dynamics.init`.
        first: step of the run at which the prediction begins; it is blank before.
    """

    dynamics: AbstractDynamics
    start: Any
    first: int = 0


class AbstractTheory(eqx.Module):
    """A theory of runs: something that sets up dynamics whose rows predict those of a run.

    The least an extension supplies is `setup`, or `dynamics` of an `AbstractWholeTheory`. Parameters are fields with
    types and defaults (a number, a word or True/False; `modes: int | None = None` for "as many as the run"), checked in
    `__check_init__`; they are the parameters of a specification `name:parameter=value,…`. One line in
    `theory.registry.THEORIES` gives the theory its name.

    Class variables
        needs_run: takes its coefficients from the run that it is held against, so it fits rather than predicts.
        needs_river: takes the river of the network, which no tuner enters: measured once, for all tuners. It has the
            parameters `modes` and `length`, see `RiverTheory`.
        needs_every_row: reads that run row by row, so it must be recorded at every step.
        one_run_only: takes one start and single hyper-parameters, no batches and no members.
        constant_steps_only: derived for a constant step; `validate` asks it about no other tuner.
        knows_noise: predicts stochastic objectives too.
        baseline: describes what a theory must improve on.
        ignores_tuner: gives the same prediction for every tuner.
        has_weights: models the weights too, which `predict(…, keep_weights=)` keeps; its dynamics have `weights`.
        exact_on_quadratics: gives η, λ and L of descent itself where the loss is quadratic.
    """

    needs_run: ClassVar[bool] = False
    needs_river: ClassVar[bool] = False
    needs_every_row: ClassVar[bool] = False
    one_run_only: ClassVar[bool] = False
    constant_steps_only: ClassVar[bool] = False
    knows_noise: ClassVar[bool] = False
    baseline: ClassVar[bool] = False
    ignores_tuner: ClassVar[bool] = False
    has_weights: ClassVar[bool] = False
    exact_on_quadratics: ClassVar[bool] = False

    @abc.abstractmethod
    def setup(self, problem: Problem) -> Setup | Status:
        """The dynamics to run for a problem, or the status that says why there is nothing to predict."""


class AbstractWholeTheory(AbstractTheory):
    """A theory of the whole objective: all that it needs is the objective, the tuner and the number of modes.

    The least an extension supplies is `dynamics`.
    """

    @abc.abstractmethod
    def dynamics(self, objective: AbstractObjective, tuner: AbstractTuner, modes: int) -> AbstractDynamics:
        """The dynamics, with a field `tuner`; they start where the run does, and `modes` is its number of modes."""

    def setup(self, problem: Problem) -> Setup:
        return Setup(self.dynamics(problem.objective, problem.tuner, problem.modes), problem.start)
