"""What the models of centre and oscillation share in a step."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from eosmodel._status import Status
from eosmodel.curvature import AbstractTracker, Tracker
from eosmodel.dynamics import Row, step_report
from eosmodel.tuners.base import TunerInfo

# A model's centre moves more smoothly than a run's, and half of a tracker's default budget suffices.
_BUDGET = 4


def model_tracker(tracker: AbstractTracker | int = 3) -> AbstractTracker:
    """A tracker as it is; a number of modes as the default tracker of a model with so many."""
    return tracker if isinstance(tracker, AbstractTracker) else Tracker(tracker, budget=_BUDGET)


def relaxation(stepsize, values):
    """(1 − e^{−ηλ})/λ: how far the flow for a time η takes a mode, per unit of force; η where λ = 0."""
    rate = stepsize * values
    small = jnp.abs(rate) < 1e-6
    return stepsize * jnp.where(small, 1 - rate / 2, -jnp.expm1(-rate) / jnp.where(small, 1, rate))


def valid(status, sharpness):
    """A model that divides scales by the top curvature has nothing to say where there is none."""
    lost = (status == int(Status.OK)) & ~(sharpness > 0)
    return jnp.where(lost, int(Status.OUT_OF_RANGE), status).astype(jnp.int32)


def model_report(
    loss, stepsize, gradient_norm, bound, eigenvalues, center_loss, info: TunerInfo | None = None
) -> tuple[Row, Int[Array, ""]]:
    """The row that every step of a model has, and its status: `step_report` with the leading eigenvalues (the first is
    the sharpness) and the loss at the centre, and OUT_OF_RANGE where no curvature is positive."""
    row, status = step_report(loss, stepsize, gradient_norm, bound, info)
    row |= {"sharpness": eigenvalues[0], "eigenvalues": eigenvalues, "center_loss": center_loss}
    return row, valid(status, eigenvalues[0])
