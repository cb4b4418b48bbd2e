"""The fast map: the oscillation under a tuner while everything slow is frozen.

On the fast time scale of the oscillation λ, G, κ and L̄ stand still, and the loss seen along the gradient is that of
two modes: the sharp one, displaced by x, and the bulk. The tuner itself, called on that ray, is then a function of one
number, r = λ²x²/G, and so is the whole fast dynamics.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from eosmodel._checks import check_range
from eosmodel.rays import QuadraticRay, Secant, two_mode_secant
from eosmodel.tuners.base import AbstractTuner

# A valley floor that drifts keeps the oscillation alive where its own map would kill it (s = 1): ln r stays above.
_LOG_FLOOR = -60.0


class FastMap(eqx.Module):
    """ln r' = ln r + 2 ln|1 − s|,  s = λη, η from the tuner itself on the two-mode ray at r.

        φ(0) = L̄ + ½ G r/λ,    φ'(0) = −G(1 + r),    φ''(0) = λG(κ + r),    r = λ²x²/G

    The state is one flat array z = (ln r, tuner state), so a tuner with memory has a map of more dimensions; one that
    needs the secant adds (ln r, η) of the step before, the bulk having the one curvature κλ. It is a function z ↦ z'
    that can be jitted, vmapped and differentiated; all analysis of maps takes it as it is.

    Args:
        tuner: any step-size rule.
        A: λ(L̄ − f*)/G, the loss left on the valley floor, > 0; the tuner's own f* must be 0.
        kappa: κ = gᵀHg/(λG) of the bulk, in [0, 1).
        sharpness: λ > 0; it and G give a scale to tuners that have one (a constant η, a cap, a first trial).
        bulk_gradient_sq: G > 0.
        step: index of the update that the tuner sees; a schedule is frozen there.

    Raises:
        ValueError: an argument out of its range.

    Example:
        >>> import eosmodel as eos
        >>> from eosmodel.theory import FastMap
        >>> fast = FastMap(eos.tuners.CDAT(1.5, eps=0.0))
        >>> z = fast.init(1.0)
        >>> for _ in range(100):
        ...     z = fast(z)
        >>> round(float(fast.observe(z).r), 3)  # (σ − 2κ)/(2 − σ) = 3
        3.0
    """

    tuner: AbstractTuner
    A: Any = 10.0
    kappa: Any = 0.0
    sharpness: Any = 1.0
    bulk_gradient_sq: Any = 1.0
    step: int = eqx.field(static=True, default=0)

    class Seen(NamedTuple):
        """r, the tuner's step η, s = ηλ, and ηx² at one state."""

        r: Float[Array, ""]
        stepsize: Float[Array, ""]
        s: Float[Array, ""]
        kick: Float[Array, ""]

    def __check_init__(self):
        check_range("FastMap", "A", self.A, 0, low_open=True, high_open=True)
        check_range("FastMap", "kappa", self.kappa, 0, 1, high_open=True)
        check_range("FastMap", "sharpness", self.sharpness, 0, low_open=True, high_open=True)
        check_range("FastMap", "bulk_gradient_sq", self.bulk_gradient_sq, 0, low_open=True, high_open=True)

    def init(self, r: float | Array = 1.0) -> Float[Array, " dim"]:
        """The state with energy ratio r > 0 and a fresh tuner."""
        log_r = jnp.log(jnp.asarray(r, jnp.result_type(float)))
        return jnp.concatenate([log_r[None], self._memory(log_r.dtype)[0]])

    def _memory(self, dtype):
        """The tuner's state, and ln r and η of the step before if it needs them, as a flat array and back."""
        zero = jnp.zeros((), dtype)
        past = (zero, zero) if self.tuner.needs_secant else ()
        flat, unravel = ravel_pytree((self.tuner.init(dtype), past))
        return flat.astype(dtype), lambda values: unravel(values.astype(flat.dtype))

    def _tuned(self, z):
        sharpness, bulk, kappa, a = (
            jnp.asarray(value, z.dtype) for value in (self.sharpness, self.bulk_gradient_sq, self.kappa, self.A)
        )
        r = jnp.exp(z[0])
        memory, past = self._memory(z.dtype)[1](z[1:])
        secant = Secant()
        if self.tuner.needs_secant:
            log_r, before = past
            secant = two_mode_secant(before, sharpness, kappa, bulk, bulk * jnp.exp(log_r))
        line = QuadraticRay(
            value=bulk / sharpness * (a + 0.5 * r),
            slope=-bulk * (1 + r),
            second=sharpness * bulk * (kappa + r),
            step=jnp.asarray(self.step),
            sharpness=sharpness,
            secant=secant,
        )
        stepsize, memory, _ = self.tuner(line, memory)
        past = (z[0], stepsize) if self.tuner.needs_secant else ()
        seen = self.Seen(r, stepsize, sharpness * stepsize, stepsize * r * bulk / sharpness**2)
        return seen, ravel_pytree((memory, past))[0].astype(z.dtype)

    def observe(self, z: Float[Array, " dim"]) -> Seen:
        """What the tuner does at a state: r, η, s = ηλ, ηx²."""
        return self._tuned(z)[0]

    def __call__(self, z: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """One step."""
        seen, memory = self._tuned(z)
        gain = jnp.abs(1 - seen.s)
        # ln 0 has no slope; the floor stands for it.
        log_r = z[0] + 2 * jnp.log(jnp.where(gain > 0, gain, 1))
        log_r = jnp.where(gain > 0, jnp.maximum(log_r, _LOG_FLOOR), _LOG_FLOOR)
        return jnp.concatenate([log_r[None], memory])


class Averages(NamedTuple):
    """Means over the invariant measure of a fast map.

    Fields
        stepsize: ⟨η⟩.
        square: ⟨η²⟩.
        kick: ⟨ηx²⟩.
        s: ⟨s⟩.
        r: exp⟨ln r⟩, the geometric mean.
        edge_exponent: Λ = ⟨ln|1 − s|⟩; 0 where the oscillation is bounded.
        lyapunov: the largest Lyapunov exponent per step; negative for a stable cycle, positive in chaos.
    """

    stepsize: Float[Array, ""]
    square: Float[Array, ""]
    kick: Float[Array, ""]
    s: Float[Array, ""]
    r: Float[Array, ""]
    edge_exponent: Float[Array, ""]
    lyapunov: Float[Array, ""]


def averages(fast: FastMap, z: Float[Array, " dim"] | None = None, *, burn_in: int = 500, steps: int = 2000):
    """Averages along an orbit of a fast map.

    Args:
        fast: the map.
        z: where to begin; `fast.init()` when None.
        burn_in: steps left out first.
        steps: steps averaged over, ≥ 1.

    Returns:
        `Averages`, and the last state (a warm start for the next call).
    """
    check_range("averages", "steps", steps, 1)
    check_range("averages", "burn_in", burn_in, 0)
    z = fast.init() if z is None else z
    return _averages(fast, z, burn_in, steps)


@eqx.filter_jit
def _averages(fast, z, burn_in, steps):
    z = jax.lax.fori_loop(0, burn_in, lambda _, z: fast(z), z)
    tangent = jnp.ones_like(z) / jnp.sqrt(jnp.asarray(z.size, z.dtype))

    def body(carry, _):
        z, tangent, sums = carry
        seen = fast.observe(z)
        new, pushed = jax.jvp(fast, (z,), (tangent,))
        length = jnp.linalg.norm(pushed)
        tiny = jnp.finfo(z.dtype).tiny
        # A superstable point sends every tangent to 0: any direction then does for the next step.
        pushed = jnp.where(length > tiny, pushed / jnp.maximum(length, tiny), tangent)
        edge, stretch = 0.5 * (new[0] - z[0]), jnp.log(jnp.maximum(length, tiny))
        row = (seen.stepsize, seen.stepsize**2, seen.kick, seen.s, z[0], edge, stretch)
        return (new, pushed, jax.tree.map(jnp.add, sums, row)), None

    zero = tuple(jnp.zeros((), z.dtype) for _ in range(7))
    (z, _, sums), _ = jax.lax.scan(body, (z, tangent, zero), None, length=steps)
    eta, square, kick, s, log_r, edge, lyapunov = (total / steps for total in sums)
    return Averages(eta, square, kick, s, jnp.exp(log_r), edge, lyapunov), z


def response(tuner: AbstractTuner, r: Any, **frozen: Any) -> Float[Array, "..."]:
    """The response function s = Φ(r) of a tuner without memory (of one with memory, from its initial state).

    Args:
        tuner: any step-size rule.
        r: energy ratios r = λ²x²/G > 0, any shape.
        frozen: A, kappa, sharpness, bulk_gradient_sq and step, as for `FastMap`.

    Returns:
        s = ηλ, the shape of r.

    Example:
        >>> import eosmodel as eos
        >>> float(eos.theory.response(eos.tuners.OnEdge(2.0), 5.0))
        2.0
    """
    check_range("response", "r", r, 0, low_open=True, high_open=True)
    fast = FastMap(tuner, **frozen)
    r = jnp.asarray(r, jnp.result_type(float))
    return jnp.vectorize(lambda one: fast.observe(fast.init(one)).s)(r)
