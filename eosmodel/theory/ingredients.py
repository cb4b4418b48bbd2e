"""The parts that the centre–oscillation model is made of; in each family the first is the model's own."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import check_range
from eosmodel._units import unit_of
from eosmodel.curvature import Modes, linearize, oscillation, sharp, sharpness_gradient
from eosmodel.objectives.base import AbstractObjective
from eosmodel.rays import FunctionRay, steepest
from eosmodel.theory._steps import relaxation


class Expansion(NamedTuple):
    """A loss about the centre w̄ of an oscillation X = Σ x_i u_i: what every force is made of.

    Fields
        objective: the loss L.
        center, pairs, amplitude: w̄, the pairs (λ_i, u_i), and x_i.
        above, below: g± = ∇L(w̄ ± X).
        gradient, linear: ∇L(w̄) and HX, H = ∇²L(w̄).
    """

    objective: AbstractObjective
    center: Float[Array, " dim"]
    pairs: Modes
    amplitude: Float[Array, " modes"]
    above: Float[Array, " dim"]
    below: Float[Array, " dim"]
    gradient: Float[Array, " dim"]
    linear: Float[Array, " dim"]

    @property
    def even(self) -> Float[Array, " dim"]:
        """½(g₊ + g₋)."""
        return 0.5 * (self.above + self.below)

    @property
    def odd(self) -> Float[Array, " dim"]:
        """½(g₊ − g₋)."""
        return 0.5 * (self.above - self.below)

    def outside(self, vector: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """P⊥v: the part of a vector outside the modes."""
        return outside(vector, self.pairs)


def outside(vector: Float[Array, " dim"], pairs: Modes) -> Float[Array, " dim"]:
    """P⊥v: the part of a vector outside all modes, sharp or not."""
    return vector - (pairs.vectors @ vector) @ pairs.vectors


def expand(objective: AbstractObjective, center, pairs: Modes, amplitude, above) -> Expansion:
    """The `Expansion` about a centre, where g₊ is known already."""
    displacement = amplitude @ pairs.vectors
    slope = jax.grad(objective)
    gradient, linear = jax.jvp(slope, (center,), (displacement,))
    return Expansion(objective, center, pairs, amplitude, above, slope(center - displacement), gradient, linear)


# --- the force on the centre ------------------------------------------------------------------------------------------


class AbstractForce(eqx.Module):
    """The force F on the centre."""

    @abc.abstractmethod
    def __call__(self, at: Expansion) -> Float[Array, " dim"]: ...


class EvenForce(AbstractForce):
    """F = ½(g₊ + g₋): every even order in the oscillation."""

    def __call__(self, at):
        return at.even


class CubicForce(AbstractForce):
    """F = ∇L(w̄) + ½ Σ x_i² ∇λ_i: the expansion of the loss to third order."""

    def __call__(self, at):
        rises = jax.vmap(lambda u: sharpness_gradient(at.objective, at.center, u))(at.pairs.vectors)
        return at.gradient + 0.5 * at.amplitude**2 @ rises


# --- the force on the oscillation -------------------------------------------------------------------------------------


class AbstractRestoring(eqx.Module):
    """The restoring force A on the oscillation, of which its components along the modes are used."""

    @abc.abstractmethod
    def __call__(self, at: Expansion) -> Float[Array, " dim"]: ...


class OddForce(AbstractRestoring):
    """A = ½(g₊ − g₋): every odd order in the oscillation."""

    def __call__(self, at):
        return at.odd


class Harmonic(AbstractRestoring):
    """A = Σ λ_i x_i u_i: the first order."""

    def __call__(self, at):
        return (at.pairs.values * at.amplitude) @ at.pairs.vectors


class AbstractOffModes(eqx.Module):
    """What the centre takes of the odd force outside the modes."""

    @abc.abstractmethod
    def __call__(self, at: Expansion) -> Float[Array, " dim"]: ...


class LinearOffModes(AbstractOffModes):
    """P⊥HX: the first order, which is 0 for exact eigenvectors."""

    def __call__(self, at):
        return at.outside(at.linear)


class OddOffModes(AbstractOffModes):
    """½P⊥(g₊ − g₋): all of it. With `EvenForce` and `OddForce` a step of the model is then one of descent."""

    def __call__(self, at):
        return at.outside(at.odd)


# --- the line that the tuner sees -------------------------------------------------------------------------------------


class AbstractLine(eqx.Module):
    """The ray that the tuner sees."""

    @abc.abstractmethod
    def __call__(
        self,
        objective: AbstractObjective,
        center: Float[Array, " dim"],
        displacement: Float[Array, " dim"],
        ray: FunctionRay,
    ) -> FunctionRay:
        """The ray from the iterate, given that of the true loss there.

        Args:
            objective: the full loss.
            center, displacement: w̄ and X of the iterate w̄ + X.
            ray: the true loss down its gradient.
        """


class TrueLine(AbstractLine):
    """The loss itself."""

    def __call__(self, objective, center, displacement, ray):
        return ray


class Parabola(AbstractLine):
    """The second-order expansion of the loss about the centre, down its own gradient."""

    def __call__(self, objective, center, displacement, ray):
        value, gradient, matvec = linearize(objective, center)
        bent = matvec(displacement)
        slope = gradient + bent
        level = value + jnp.vdot(gradient, displacement) + 0.5 * jnp.vdot(displacement, bent)
        unit = unit_of(slope)
        down = slope / unit
        square, bend = jnp.vdot(down, down), jnp.vdot(down, matvec(down))

        def parabola(weights):
            along = -jnp.vdot(down, weights - ray.weights) / square
            return level - along * (square * unit) + 0.5 * along**2 * bend

        return steepest(parabola, ray.weights, level, slope, ray.step, ray.sharpness)


# --- how the centre follows the valley floor --------------------------------------------------------------------------


class AbstractFloor(eqx.Module):
    """φ_i: how far the centre moves along a mode in one step, per unit of force."""

    @abc.abstractmethod
    def __call__(self, stepsize: Float[Array, ""], pairs: Modes) -> Float[Array, " modes"]: ...


class FlowRelaxation(AbstractFloor):
    """φ_i = (1 − e^{−ηλ_i})/λ_i: as the gradient flow does in a time η."""

    def __call__(self, stepsize, pairs):
        return relaxation(stepsize, pairs.values)


class NewtonFloor(AbstractFloor):
    """φ_i = 1/λ_i: at once, by a Newton step; as the flow does along modes that are not sharp."""

    def __call__(self, stepsize, pairs):
        curved = sharp(pairs)
        return jnp.where(curved, 1 / jnp.where(curved, pairs.values, 1), relaxation(stepsize, pairs.values))


# --- what the rotation of the modes leaves behind ---------------------------------------------------------------------


class AbstractRemainder(eqx.Module):
    """What becomes of the oscillation that is outside the modes after these have rotated."""

    @abc.abstractmethod
    def __call__(self, center: Float[Array, " dim"], remainder: Float[Array, " dim"]) -> Float[Array, " dim"]: ...


class KeptRemainder(AbstractRemainder):
    """It is added to the centre, which conserves the iterate."""

    def __call__(self, center, remainder):
        return center + remainder


class LostRemainder(AbstractRemainder):
    """It is dropped."""

    def __call__(self, center, remainder):
        return center


# --- the start and the least oscillation ------------------------------------------------------------------------------


class AbstractStart(eqx.Module):
    """The amplitudes at the start."""

    @abc.abstractmethod
    def __call__(self, gradient: Float[Array, " dim"], pairs: Modes) -> Float[Array, " modes"]: ...


class SplitStart(AbstractStart):
    """One Newton step along the sharp modes: x_i = (u_i·∇L)/λ_i."""

    def __call__(self, gradient, pairs):
        return oscillation(gradient, pairs)


class WholeStart(AbstractStart):
    """x_i = 0: the centre is at the weights."""

    def __call__(self, gradient, pairs):
        return jnp.zeros_like(pairs.values)


class AbstractLimit(eqx.Module):
    """A limit on the amplitudes after each step: (centre, amplitude, η, pairs) ↦ (centre, amplitude)."""

    @abc.abstractmethod
    def __call__(
        self, center: Float[Array, " dim"], amplitude: Float[Array, " modes"], stepsize: Float[Array, ""], pairs: Modes
    ) -> tuple[Float[Array, " dim"], Float[Array, " modes"]]: ...


class Threshold(AbstractLimit):
    """A mode oscillates only where ηλ_i exceeds `level`; elsewhere the centre takes its amplitude."""

    level: float = eqx.field(static=True)

    def __check_init__(self):
        check_range("Threshold", "level", self.level, 0)

    def __call__(self, center, amplitude, stepsize, pairs):
        still = jnp.where(stepsize * pairs.values > self.level, 0, amplitude)
        return center + still @ pairs.vectors, amplitude - still


class LeastAmplitude(AbstractLimit):
    """|x_i| ≥ `size`: what is below is set to `size` with its sign."""

    size: float = eqx.field(static=True)

    def __check_init__(self):
        check_range("LeastAmplitude", "size", self.size, 0)

    def __call__(self, center, amplitude, stepsize, pairs):
        least = jnp.where(amplitude < 0, -self.size, self.size)
        return center, jnp.where(jnp.abs(amplitude) < self.size, least, amplitude)
