"""The contract of everything that the loop can run: a state that a step advances, and the row that the step reports.

Experiments and theories are both dynamics, so that one loop runs them and one set of names labels them.
"""

import abc
import dataclasses
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel._status import Status
from eosmodel.tuners.base import TunerInfo

Row = dict[str, Array]
"""What one step reports: names of `eosmodel.results.names.VARIABLES` and their values."""


class SeededStart(NamedTuple):
    """The start of a stochastic run: its weights, and the seed of its draws."""

    weights: Float[Array, "*batch dim"]
    seed: Int[Array, "*batch"]


class AbstractDynamics(eqx.Module):
    """A discrete dynamical system that the loop can run.

    The least an extension supplies: `init` makes the state at step 0 from the start (weights, or what the dynamics
    says), and `step` maps (state, step index) to the next state, a row of scalars and small vectors describing the
    state *before* the update (and the step size taken from it), and a status code; a code other than `Status.OK` ends
    the run and drops the row.
    """

    @abc.abstractmethod
    def init(self, start: Any) -> Any: ...

    @abc.abstractmethod
    def step(self, state: Any, t: Int[Array, ""]) -> tuple[Any, Row, Int[Array, ""]]: ...

    def weights(self, state: Any) -> Float[Array, " dim"]:
        """The weights of the objective that a state stands for; an error for dynamics that have none."""
        raise ValueError(f"{type(self).__name__} has no weights to keep")

    def diverging_at(self, multiple: float) -> Self:
        """These dynamics with another `divergence`, the multiple of `divergence_bound`; themselves without one."""
        own = {field.name for field in dataclasses.fields(self)}
        changed: dict[str, Any] = {"divergence": multiple} if "divergence" in own else {}
        return dataclasses.replace(self, **changed)


def status_of(loss, stepsize, gradient_norm, bound) -> Int[Array, ""]:
    """The status of a step from its numbers; `bound` is the loss beyond which a run counts as diverged."""
    finite = jnp.isfinite(loss) & jnp.isfinite(stepsize) & jnp.isfinite(gradient_norm)
    bad = jnp.where(finite, int(Status.DIVERGED), int(Status.NONFINITE))
    return jnp.where(finite & (loss <= bound), int(Status.OK), bad).astype(jnp.int32)


def observed_status(status, observed: Row) -> Int[Array, ""]:
    """The status of a step beside which curvature was observed: NONFINITE where the sharpness solved for is no number.

    Rows without an observation, in which no products were taken, have NaN on purpose.
    """
    lost = (status == int(Status.OK)) & (observed["products"] > 0) & ~jnp.isfinite(observed["sharpness"])
    return jnp.where(lost, int(Status.NONFINITE), status).astype(jnp.int32)


def step_report(loss, stepsize, gradient_norm, bound, info: TunerInfo | None = None) -> tuple[Row, Int[Array, ""]]:
    """The row that every step under a tuner has, and its `status_of`; without `info` of the tuner no evaluations."""
    row = {"loss": loss, "stepsize": stepsize}
    if info is not None:
        row |= {"evaluations": info.evaluations, "search_failed": info.failed}
    return row, status_of(loss, stepsize, gradient_norm, bound)


@jax.jit
def divergence_bound(value, multiple, sharpness: Any = 0.0, weights: Any = 0.0) -> Array:
    """The loss beyond which a run counts as diverged: `multiple` times the larger of |L(w₀)| and ½|λ|‖w₀‖².

    The second is the rise of the loss over a distance as large as the weights. A start near a minimum has a loss that
    is small by accident, and a run that leaves it for another minimum of its size passes any multiple of that loss on
    the way. Both scale as the loss does. Where both are 0 there is rounding to grow from, and a number that is not
    finite (a sample that a run's batches may never meet) bounds nothing.

    Args:
        value: L(w₀).
        multiple: how many times larger a loss counts as diverged.
        sharpness, weights: λ at the start and w₀, in the coordinates of `curvature.scaled`; left out where not known.
    """
    level = jnp.abs(value)
    rise = jnp.asarray(0.5 * jnp.abs(sharpness) * jnp.sum(jnp.square(weights)), level.dtype)
    level = jnp.where(jnp.isfinite(rise), jnp.maximum(level, rise), level)
    bound = multiple * jnp.where(level == 0, jnp.finfo(level.dtype).eps, level)
    return jnp.where(jnp.isnan(bound), jnp.inf, bound)


def blank(row: Any) -> Any:
    """A row of the same shapes that says "nothing here": NaN, −1 or False by type."""

    def fill(leaf):
        value = jnp.nan if jnp.issubdtype(leaf.dtype, jnp.inexact) else (False if leaf.dtype == jnp.bool_ else -1)
        return jnp.full(leaf.shape, value, leaf.dtype)

    return jax.tree.map(fill, row)
