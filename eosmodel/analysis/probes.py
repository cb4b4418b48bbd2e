"""Probes: the system that a phase diagram runs at each point, as a map of one flat array with observations."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from eosmodel._checks import as_arrays, check_range
from eosmodel._status import Status
from eosmodel.objectives import AbstractObjective, Valley
from eosmodel.rays import steepest
from eosmodel.theory import FastMap
from eosmodel.theory.river import River, RiverMap, RiverStart, at_weights
from eosmodel.tuners.base import AbstractTuner, init_memory, select_stepsize
from eosmodel.tuners.registry import from_spec

DENSE = 24
"""Largest number of weights for which the sharpness of an objective without a formula is computed from its Hessian."""


_READ = 400_000
"""Numbers of a river's response that a sweep reads at once; fewer lanes than 16 are slower still."""


class Observation(NamedTuple):
    """The quantities of a state before the step from it; NaN where they are not known.

    Fields
        loss: f(w).
        gradient_sq: ‖∇f‖²; in a fast map λ²x², the oscillating part.
        stepsize: η.
        sharpness: λ; in a valley that of the floor, without x.
        push: ηα, the increase of λ in the step by progressive sharpening.
        pull: ½βηx², the decrease of λ in the step by the oscillation.
        within: whether the system, a theory, is within its range.
    """

    loss: Float[Array, ""]
    gradient_sq: Float[Array, ""]
    stepsize: Float[Array, ""]
    sharpness: Float[Array, ""]
    push: Float[Array, ""]
    pull: Float[Array, ""]
    within: Any = True


class AbstractProbe(eqx.Module):
    """A system under a tuner as a map z ↦ z' of a flat array, for any analysis of maps.

    An extension must supply `init`, the initial state; `advance`, (z, step index) ↦ (z', Observation); `fast`, the
    coordinates whose recurrence defines the period; and `parts`, the location of its parameters: for the prefix of
    their names, the path of fields to the module that holds them.

    Class variables
        frozen: λ is constant.
        training: it is the training of a network, with the regimes of `decide_training`.
        first: what the first coordinate of z is, in a few words.
    """

    parts: ClassVar[Mapping[str, tuple[str, ...]]]
    frozen: ClassVar[bool] = False
    training: ClassVar[bool] = False
    first: ClassVar[str] = "first coordinate of the state"

    @abc.abstractmethod
    def init(self) -> Float[Array, " dim"]: ...

    @abc.abstractmethod
    def advance(self, z: Float[Array, " dim"], step: Any = 0) -> tuple[Float[Array, " dim"], Observation]: ...

    @abc.abstractmethod
    def fast(self, z: Float[Array, " dim"]) -> Float[Array, " fast"]: ...

    @property
    def lanes(self) -> int | None:
        """How many of them a sweep advances together; None for its own default."""
        return None

    def weights(self, z: Float[Array, " dim"]) -> Float[Array, " weights"]:
        """The weights that are part of z; none, unless the system is an objective."""
        return z[:0]

    def __call__(self, z: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """One step."""
        return self.advance(z)[0]


class FastProbe(AbstractProbe):
    """A fast map started at r, with constant sharpness. Its period is that of ln r and the tuner's state."""

    fast_map: FastMap
    r: Any = 1.0
    parts: ClassVar = {"tuner": ("fast_map", "tuner"), "map": ("fast_map",), "start": ()}
    frozen: ClassVar = True
    first: ClassVar = "ln r, size of the oscillation"

    def __check_init__(self):
        check_range("FastMap", "r", self.r, 0, low_open=True, high_open=True)

    def init(self):
        return self.fast_map.init(self.r)

    def advance(self, z, step=0):
        del step
        fast, now = self.fast_map, self.fast_map.observe(z)
        bulk, sharpness, a = (jnp.asarray(value, z.dtype) for value in (fast.bulk_gradient_sq, fast.sharpness, fast.A))
        nan = jnp.full_like(now.r, jnp.nan)
        loss = bulk / sharpness * (a + 0.5 * now.r)
        return fast(z), Observation(loss, bulk * now.r, now.stepsize, sharpness, nan, nan)

    def fast(self, z):
        return z


class DescentProbe(AbstractProbe):
    """Gradient descent on an objective under a tuner, z = (weights, tuner state). Its period is that of z."""

    objective: AbstractObjective
    tuner: AbstractTuner
    parts: ClassVar = {"tuner": ("tuner",), "objective": ("objective",)}
    first: ClassVar = "first weight"

    def init(self):
        weights = self.objective.initial()
        return jnp.concatenate([weights, ravel_pytree(init_memory(self.tuner, weights))[0].astype(weights.dtype)])

    def weights(self, z):
        return self._split(z)[0]

    def _split(self, z):
        dim = self.objective.initial().size
        flat, unravel = ravel_pytree(init_memory(self.tuner, z[:dim]))
        return z[:dim], unravel(z[dim:].astype(flat.dtype))

    def _slow(self, weights, stepsize):
        """ηα and ½βηx²."""
        return jnp.full_like(stepsize, jnp.nan), jnp.full_like(stepsize, jnp.nan)

    def advance(self, z, step=0):
        weights, memory = self._split(z)
        value, gradient = jax.value_and_grad(self.objective.loss)(weights)
        sharpness = sharpness_at(self.objective, weights)
        line = steepest(self.objective, weights, value, gradient, jnp.asarray(step), sharpness)
        stepsize, memory, _ = select_stepsize(self.tuner, line, memory, gradient)
        new = jnp.concatenate([weights - stepsize * gradient, ravel_pytree(memory)[0].astype(z.dtype)])
        return new, Observation(value, -line.slope, stepsize, sharpness, *self._slow(weights, stepsize))

    def fast(self, z):
        return z


class ValleyProbe(DescentProbe):
    """Gradient descent on a valley, with known α and β and the oscillation x. Its period is that of ln(λ²x²/G)."""

    first: ClassVar = "x, displacement across the valley"

    def _slow(self, weights, stepsize):
        floor: Any = self.objective
        return stepsize * floor.alpha(weights), 0.5 * stepsize * floor.beta * weights[0] ** 2

    def fast(self, z):
        floor: Any = self.objective
        weights = self._split(z)[0]
        # After convergence the ratio is infinite or NaN, so that no period is detected.
        return jnp.log((floor.sharpness(weights) * weights[0]) ** 2 / floor.bulk_gradient_sq(weights))[None]


class RiverProbe(AbstractProbe):
    """A tuner on a network's river, from the initial weights; z is the flat state of `RiverMap`."""

    river_map: RiverMap
    start: RiverStart
    parts: ClassVar = {"tuner": ("river_map", "tuner")}
    training: ClassVar = True

    @property
    def lanes(self) -> int:
        """So many that what a step reads of the tables, for all of them, stays in cache."""
        flows, _, springs, pairs = self.river_map.river.flows.places.cross.shape
        return int(np.clip(_READ // (flows * springs * pairs**2), 16, 128))

    def init(self):
        return ravel_pytree(self.river_map.init(self.start))[0]

    def _state(self, z):
        flat, unravel = ravel_pytree(self.river_map.init(self.start))
        return unravel(z.astype(flat.dtype))

    def advance(self, z, step=0):
        new, row, status = self.river_map.step(self._state(z), jnp.asarray(step))
        eta, nan = row["stepsize"], jnp.full_like(row["loss"], jnp.nan)
        # The map keeps η²‖g‖² for secant rules; without a step the training rests.
        gradient_sq = new.maps.secant.ss[new.nearest] / jnp.where(eta == 0, 1, eta**2)
        within = (status != int(Status.OUT_OF_RANGE)) & (status != int(Status.RIVER_ENDED))
        now = Observation(row["loss"], gradient_sq, eta, row["sharpness"], nan, nan, within)
        return ravel_pytree(new)[0].astype(z.dtype), now

    def fast(self, z):
        state = self._state(z)
        return jnp.abs(state.maps.amplitude[state.nearest])


def sharpness_at(objective: AbstractObjective, weights: Float[Array, " dim"]) -> Float[Array, ""]:
    """λ by the objective's own formula if it has one, else the largest eigenvalue of the dense Hessian."""
    # Some objectives have a method for their sharpness.
    formula = getattr(objective, "sharpness", None)
    if formula is not None:
        return jnp.asarray(formula(weights), weights.dtype)
    return jnp.linalg.eigvalsh(jax.hessian(objective.loss)(weights))[-1]


def probe(system: Any, tuner: Any = None) -> AbstractProbe:
    """The probe of a fast map, or of an objective or a river under a tuner; all numbers become arrays of one dtype.

    Raises:
        ValueError: a system that is no fast map, objective or river, a missing or a superfluous tuner, or an objective
            of more than 24 weights without a formula for its sharpness.
    """
    if isinstance(tuner, type) and issubclass(tuner, AbstractTuner):
        tuner = tuner()  # with its defaults
    tuner = from_spec(tuner) if isinstance(tuner, str) else tuner
    if isinstance(system, FastMap):
        if tuner is not None:
            raise ValueError(f"phase_diagram: a FastMap holds its own tuner, got {type(tuner).__name__} as well")
        return as_arrays(FastProbe(system), jnp.result_type(float))
    if not isinstance(system, AbstractObjective | River):
        kinds = "an objective, a River or a FastMap"
        raise ValueError(f"phase_diagram: system must be {kinds}, got {type(system).__name__}")
    if not isinstance(tuner, AbstractTuner):
        raise ValueError(f"phase_diagram: tuner must be a tuner, as the system is no FastMap, got {tuner!r}")
    if isinstance(system, River):
        return as_arrays(RiverProbe(RiverMap(system, tuner), at_weights(system)), system.dtype)
    start = system.initial()
    if start.size > DENSE and getattr(system, "sharpness", None) is None:
        raise ValueError(
            f"phase_diagram: {type(system).__name__} has {start.size} weights and no formula for its sharpness; "
            f"a dense Hessian is taken up to {DENSE}"
        )
    made = ValleyProbe if isinstance(system, Valley) else DescentProbe
    return as_arrays(made(system, tuner), start.dtype)
