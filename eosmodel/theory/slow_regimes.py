"""The regimes of the slow flow: the averages in each, how the slow state moves, where it ends and what follows."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel.theory.closures import AbstractClosure, Floor
from eosmodel.theory.fast_map import FastMap, averages
from eosmodel.theory.slow_solution import SlowRegime
from eosmodel.tuners.base import AbstractTuner

# ln r of an oscillation that is not there, and of one that is all there is; e^±60 fits float32.
LOG_FAR = 60.0
# Whether a rule has an edge in λ, or is at the edge for every λ, shows at a λ larger by this factor.
_ABOVE = 1.05

# The slow state of the closure, and ln x².
State = tuple[Any, Float[Array, ""]]


class Mean(NamedTuple):
    """Averages over the fast map: ⟨η⟩, ⟨η²⟩, ⟨ηx²⟩, the edge exponent and the Lyapunov exponent."""

    stepsize: Float[Array, ""]
    square: Float[Array, ""]
    kick: Float[Array, ""]
    exponent: Float[Array, ""]
    lyapunov: Float[Array, ""]


class SlowSystem(eqx.Module):
    """A tuner's fast map at the floors of a closure. Fields as in `SlowFlow`."""

    tuner: AbstractTuner
    closure: AbstractClosure
    burn_in: int = eqx.field(static=True)
    window: int = eqx.field(static=True)
    margin: float = eqx.field(static=True)

    def held(self, floor: Floor, log_r: Array | float) -> Mean:
        """Averages with r held where it is: of one step, or over the tuner's own motion if it has memory."""
        fast, z = self._fast(floor)
        log_r = jnp.clip(jnp.asarray(log_r, z.dtype), -LOG_FAR, LOG_FAR)
        memory = z.size > 1
        burn_in, window = (self.burn_in, self.window) if memory else (0, 1)
        tiny = jnp.finfo(z.dtype).tiny
        zero, nan = jnp.zeros((), z.dtype), jnp.full_like(log_r, jnp.nan)

        def body(i, carry):
            z, sums = carry
            at = fast.observe(z)
            exponent = jnp.log(jnp.maximum(jnp.abs(1 - at.s), tiny))
            terms = Mean(at.stepsize, at.stepsize**2, at.kick, exponent, zero)
            sums = jax.tree.map(lambda total, term: total + jnp.where(i >= burn_in, term, 0), sums, terms)
            return fast(z).at[0].set(log_r), sums

        carry = (z.at[0].set(log_r), Mean(zero, zero, zero, zero, zero))
        # Not a loop where there is nothing to repeat: this is called all over the compiled flow.
        _, sums = jax.lax.fori_loop(0, burn_in + window, body, carry) if memory else body(0, carry)
        return jax.tree.map(lambda total: total / window, sums)._replace(lyapunov=nan)

    def at_rest(self, floor: Floor) -> Mean:
        """Averages without oscillation, r = 0."""
        return self.held(floor, -LOG_FAR)

    def attractor(self, floor: Floor) -> Mean:
        """Averages over the invariant measure that an orbit from r = 1 comes to."""
        means, _ = averages(*self._fast(floor), burn_in=self.burn_in, steps=self.window)
        return Mean(means.stepsize, means.square, means.kick, means.edge_exponent, means.lyapunov)

    def outside_exponent(self, floor: Floor) -> Array:
        """The exponent at a hundred times the largest r that an orbit from r = 1 comes to: < 0 if it is bounded."""
        fast, z = self._fast(floor)
        z = jax.lax.fori_loop(0, self.burn_in, lambda _, z: fast(z), z)
        _, most = jax.lax.fori_loop(
            0, self.window, lambda _, c: (fast(c[0]), jnp.fmax(c[1], c[0][0])), (z, jnp.full_like(z[0], -LOG_FAR))
        )
        return self.held(floor, most + jnp.log(jnp.asarray(100.0, z.dtype))).exponent

    def at_pinned_ratio(self, floor: Floor) -> Mean:
        """Averages at r_p = λ²(2α/β)/G, which self-stabilisation would hold."""
        tiny = jnp.finfo(floor.alpha.dtype).tiny
        r = 2 * floor.sharpness**2 * floor.alpha / (floor.beta * floor.bulk_gradient_sq)
        return self.held(floor, jnp.log(jnp.maximum(r, tiny)))

    def drift(self, y: State, mean: Mean) -> State:
        """dy/dt for given averages, with ln x² at rest."""
        state, log_amplitude_sq = y
        return self.closure.drift(state, mean.stepsize, mean.square, mean.kick), jnp.zeros_like(log_amplitude_sq)

    def row(self, y: State, mean: Mean) -> dict[str, Array]:
        """The columns of a `SlowSolution` at one moment."""
        floor = self.closure.floor(y[0])
        amplitude_sq = mean.kick / mean.stepsize
        return floor._asdict() | {
            "stepsize": mean.stepsize,
            "oscillation": amplitude_sq,
            "r": floor.sharpness**2 * amplitude_sq / floor.bulk_gradient_sq,
            "s": mean.stepsize * floor.sharpness,
            "edge_exponent": mean.exponent,
            "lyapunov": mean.lyapunov,
        }

    def _fast(self, floor: Floor) -> tuple[FastMap, Array]:
        """The map of the moment and its state at r = 1."""
        a = floor.sharpness * floor.center_loss / floor.bulk_gradient_sq
        fast = FastMap(self.tuner, a, floor.kappa, floor.sharpness, floor.bulk_gradient_sq)
        return fast, fast.init().astype(floor.sharpness.dtype)


class Probe(NamedTuple):
    """What decides on a regime.

    Fields
        room, alpha: the room that the closure has, and α.
        rest, outside, pinned: the exponents at r = 0, far outside the attractor, and at r_p.
        above: that far outside at a somewhat larger λ.
    """

    room: Array
    alpha: Array
    rest: Array
    outside: Array
    above: Array
    pinned: Array


@eqx.filter_jit
def probe(system: SlowSystem, y: State) -> Probe:
    """The `Probe` at one moment."""
    state, _ = y
    floor = system.closure.floor(state)
    stiffer = floor._replace(sharpness=_ABOVE * floor.sharpness)
    return Probe(
        room=system.closure.room(state),
        alpha=floor.alpha,
        rest=system.at_rest(floor).exponent,
        outside=system.outside_exponent(floor),
        above=system.outside_exponent(stiffer),
        pinned=system.at_pinned_ratio(floor).exponent,
    )


class AbstractRegime(eqx.Module):
    """One regime of the slow flow; see `SlowRegime` for what the oscillation does in each."""

    code: eqx.AbstractClassVar[SlowRegime]

    @abc.abstractmethod
    def mean(self, system: SlowSystem, y: State) -> Mean:
        """The averages over the fast map."""

    @abc.abstractmethod
    def drift(self, system: SlowSystem, y: State) -> State:
        """dy/dt, t in steps."""

    @abc.abstractmethod
    def exits(self, system: SlowSystem, y: State) -> Float[Array, " exits"]:
        """Numbers that are positive while the regime lasts; the first is the room that the closure has."""

    @abc.abstractmethod
    def next(self, system: SlowSystem, exit: int, at: Probe) -> "AbstractRegime | None":
        """The regime after the exit with that index; None where the flow ends."""


class Below(AbstractRegime):
    """x = 0 and η is what the tuner does at r = 0, until that exceeds the edge."""

    code = SlowRegime.BELOW

    def mean(self, system, y):
        state, log_amplitude_sq = y
        return system.at_rest(system.closure.floor(state))._replace(kick=jnp.zeros_like(log_amplitude_sq))

    def drift(self, system, y):
        return system.drift(y, self.mean(system, y))

    def exits(self, system, y):
        state, _ = y
        floor = system.closure.floor(state)
        return jnp.stack([system.closure.room(state), -system.at_rest(floor).exponent])

    def next(self, system, exit, at):
        if exit == 0:
            return None
        if _is_pinned(system, at):
            return Pinned()
        return Clamped() if at.above < -system.margin else None


class Clamped(AbstractRegime):
    """Averages over the invariant measure of the fast map, until r = 0 is stable."""

    code = SlowRegime.CLAMPED

    def mean(self, system, y):
        return system.attractor(system.closure.floor(y[0]))

    def drift(self, system, y):
        return system.drift(y, self.mean(system, y))

    def exits(self, system, y):
        state, _ = y
        floor = system.closure.floor(state)
        return jnp.stack([system.closure.room(state), system.at_rest(floor).exponent])

    def next(self, system, exit, at):
        if exit == 0:
            return None
        return Pinned() if _is_pinned(system, at) else Below()


class Pinned(AbstractRegime):
    """⟨ηx²⟩ is what keeps λ where it is, until α ≤ 0 or the tuner clamps at r_p."""

    code = SlowRegime.PINNED

    def mean(self, system, y):
        state, log_amplitude_sq = y
        mean = system.at_pinned_ratio(system.closure.floor(state))

        def sharpness_drift(kick):
            drift = system.closure.drift(state, mean.stepsize, mean.square, jnp.asarray(kick, log_amplitude_sq.dtype))
            return jax.jvp(lambda state: system.closure.floor(state).sharpness, (state,), (drift,))[1]

        # The drift of λ is affine in the kick, and its root is what holds λ.
        free, kicked = sharpness_drift(0.0), sharpness_drift(1.0)
        return mean._replace(kick=free / (free - kicked))

    def drift(self, system, y):
        return system.drift(y, self.mean(system, y))

    def exits(self, system, y):
        state, _ = y
        floor = system.closure.floor(state)
        neutral = system.at_pinned_ratio(floor).exponent + system.margin
        return jnp.stack([system.closure.room(state), floor.alpha, neutral])

    def next(self, system, exit, at):
        return (None, Below(), Clamped())[exit]


class Neutral(AbstractRegime):
    """x² is slow itself, d ln x²/dt = 2 ln|1 − Φ(r)|, to the end."""

    code = SlowRegime.NEUTRAL

    def mean(self, system, y):
        state, log_amplitude_sq = y
        floor = system.closure.floor(state)
        return system.held(floor, log_amplitude_sq + jnp.log(floor.sharpness**2 / floor.bulk_gradient_sq))

    def drift(self, system, y):
        mean = self.mean(system, y)
        slow, _ = system.drift(y, mean)
        return slow, 2 * mean.exponent

    def exits(self, system, y):
        return system.closure.room(y[0])[None]

    def next(self, system, exit, at):
        return None


def first_regime(system: SlowSystem, at: Probe) -> AbstractRegime | None:
    """The regime that a flow begins in; None outside the theory's range."""
    if not at.room > 0:
        return None
    if at.rest < 0:
        return Below()
    if at.outside < -system.margin:
        return Clamped()
    if max(abs(at.outside), abs(at.above)) <= system.margin:
        return Neutral()
    return Pinned() if at.rest <= system.margin and at.alpha > 0 else None


def _is_pinned(system: SlowSystem, at: Probe) -> bool:
    """Whether a flow that meets the edge stays there: self-stabilisation has an r to hold, and the map is neutral."""
    return bool(at.alpha > 0 and abs(at.pinned) <= system.margin)
