"""What a phase diagram runs at each of its points: a map of one flat array that says what it sees on the way."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from eosmodel._checks import as_arrays, check_range
from eosmodel.objectives import AbstractObjective, Valley
from eosmodel.rays import steepest
from eosmodel.theory import FastMap
from eosmodel.tuners.base import AbstractTuner, init_memory, select_stepsize

DENSE = 24
"""Weights up to which the sharpness of an objective without a formula is an eigenvalue of its dense Hessian."""


class Look(NamedTuple):
    """What is seen at a state, before the step from it. NaN where the system does not know it.

    Fields
        loss: f(w).
        gradient: ‖∇f‖²; of a fast map λ²x², the part that oscillates.
        stepsize: η.
        sharpness: λ; of a valley on its floor, x left out.
        push: ηα, what progressive sharpening adds to λ in the step.
        pull: ½βηx², what the oscillation takes from it.
    """

    loss: Float[Array, ""]
    gradient: Float[Array, ""]
    stepsize: Float[Array, ""]
    sharpness: Float[Array, ""]
    push: Float[Array, ""]
    pull: Float[Array, ""]


class AbstractProbe(eqx.Module):
    """A system under a tuner as a map z ↦ z' of a flat array, which any analysis of maps takes as it is.

    The least an extension supplies: `init`, where the orbit begins; `advance`, (z, step index) ↦ (z', Look); `fast`,
    the coordinates whose recurrence is the period; and `parts`, where its parameters are: by the name that leads
    theirs, the fields that lead to the module that holds them.
    """

    parts: ClassVar[Mapping[str, tuple[str, ...]]]
    frozen: ClassVar[bool] = False

    @abc.abstractmethod
    def init(self) -> Float[Array, " dim"]: ...

    @abc.abstractmethod
    def advance(self, z: Float[Array, " dim"], step: Any = 0) -> tuple[Float[Array, " dim"], Look]: ...

    @abc.abstractmethod
    def fast(self, z: Float[Array, " dim"]) -> Float[Array, " fast"]: ...

    def __call__(self, z: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """One step."""
        return self.advance(z)[0]


class FastProbe(AbstractProbe):
    """A fast map from the energy ratio r, its sharpness frozen. A period is one of ln r and the tuner's state."""

    fast_map: FastMap
    r: Any = 1.0
    parts: ClassVar = {"tuner": ("fast_map", "tuner"), "map": ("fast_map",), "start": ()}
    frozen: ClassVar = True

    def __check_init__(self):
        check_range("FastMap", "r", self.r, 0, low_open=True, high_open=True)

    def init(self):
        return self.fast_map.init(self.r)

    def advance(self, z, step=0):
        del step
        fast, seen = self.fast_map, self.fast_map.observe(z)
        bulk, sharpness, a = (jnp.asarray(value, z.dtype) for value in (fast.bulk_gradient_sq, fast.sharpness, fast.A))
        nan = jnp.full_like(seen.r, jnp.nan)
        look = Look(bulk / sharpness * (a + 0.5 * seen.r), bulk * seen.r, seen.stepsize, sharpness, nan, nan)
        return fast(z), look

    def fast(self, z):
        return z


class DescentProbe(AbstractProbe):
    """Gradient descent on an objective under a tuner, z = (weights, tuner state). A period is one of z."""

    objective: AbstractObjective
    tuner: AbstractTuner
    parts: ClassVar = {"tuner": ("tuner",), "objective": ("objective",)}

    def init(self):
        weights = self.objective.initial()
        return jnp.concatenate([weights, ravel_pytree(init_memory(self.tuner, weights))[0].astype(weights.dtype)])

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
        return new, Look(value, -line.slope, stepsize, sharpness, *self._slow(weights, stepsize))

    def fast(self, z):
        return z


class ValleyProbe(DescentProbe):
    """Gradient descent on a valley, where α and β are known and the oscillation is x. A period is one of ln(λ²x²/G)."""

    def _slow(self, weights, stepsize):
        floor: Any = self.objective
        return stepsize * floor.alpha(weights), 0.5 * stepsize * floor.beta * weights[0] ** 2

    def fast(self, z):
        floor: Any = self.objective
        weights = self._split(z)[0]
        # An orbit that has come to rest has no ratio: infinite or NaN, it recurs at no period.
        return jnp.log((floor.sharpness(weights) * weights[0]) ** 2 / floor.bulk_gradient_sq(weights))[None]


def sharpness_at(objective: AbstractObjective, weights: Float[Array, " dim"]) -> Float[Array, ""]:
    """λ by the objective's own formula where it has one, else the top eigenvalue of the dense Hessian."""
    # Objectives need not know their sharpness; those that do have this method.
    known = getattr(objective, "sharpness", None)
    if known is not None:
        return jnp.asarray(known(weights), weights.dtype)
    return jnp.linalg.eigvalsh(jax.hessian(objective.loss)(weights))[-1]


def probe(system: Any, tuner: Any = None) -> AbstractProbe:
    """The probe of a fast map, or of an objective under a tuner; all numbers in it are arrays of one floating type.

    Raises:
        ValueError: neither a fast map nor an objective, a tuner missing or one too many, or an objective of more than
            24 weights that does not know its sharpness.
    """
    # A class of tuners stands for the tuner with its defaults.
    tuner = tuner() if isinstance(tuner, type) and issubclass(tuner, AbstractTuner) else tuner
    if isinstance(system, FastMap):
        if tuner is not None:
            raise ValueError(f"phase_diagram: a FastMap holds its own tuner, got {type(tuner).__name__} as well")
        return as_arrays(FastProbe(system), jnp.result_type(float))
    if not isinstance(system, AbstractObjective):
        raise ValueError(f"phase_diagram: system must be an objective or a FastMap, got {type(system).__name__}")
    if not isinstance(tuner, AbstractTuner):
        raise ValueError(f"phase_diagram: tuner must be a tuner, as the system is an objective, got {tuner!r}")
    start = system.initial()
    if start.size > DENSE and getattr(system, "sharpness", None) is None:
        raise ValueError(
            f"phase_diagram: {type(system).__name__} has {start.size} weights and no formula for its sharpness; "
            f"a dense Hessian is taken up to {DENSE}"
        )
    made = ValleyProbe if isinstance(system, Valley) else DescentProbe
    return as_arrays(made(system, tuner), start.dtype)
