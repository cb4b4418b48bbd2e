"""The fast map: the oscillation under a tuner with all slow variables frozen.

On the fast time scale of the oscillation λ, G, κ and L̄ are constant, and the loss along the gradient is that of two
modes: the sharp one, displaced by x, and the bulk. Called on this ray, a tuner is a function of one number,
r = λ²x²/G, the squared gradient along the sharp mode relative to that of the bulk, and so are the fast dynamics.
"""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from eosmodel._checks import check_range
from eosmodel.rays import QuadraticRay, Secant, two_mode_secant
from eosmodel.tuners.base import AbstractTuner, ask, init_state
from eosmodel.tuners.registry import as_tuner

# Lower bound of ln r. At s = 1 the map would remove the oscillation; in a run the drift of the valley floor keeps it.
_LOG_FLOOR = -60.0


class FastMap(eqx.Module):
    """ln r' = ln r + 2 ln|1 − s|,  s = λη, η from the tuner itself on the two-mode ray at r.

        φ(0) = L̄ + ½ G r/λ,    φ'(0) = −G(1 + r),    φ''(0) = λG(κ + r),    r = λ²x²/G

    The state is one flat array z = (ln r, tuner state), so the map of a tuner with memory has more dimensions. A tuner
    that needs the secant adds ln r and η of the previous step; its secant takes κλ as the curvature of the whole bulk.
    The map z ↦ z' can be jitted, vmapped and differentiated, and is used as it is by all analysis of maps.

    Args:
        tuner: any step-size rule, or its specification.
        A: λ(L̄ − f*)/G, the scaled loss on the valley floor, > 0; the tuner's own f* must be 0.
        kappa: κ = gᵀHg/(λG) of the bulk, in [0, 1).
        sharpness: λ > 0; with G it sets the scale for tuners that have one (a constant η, a cap, a first trial).
        bulk_gradient_sq: G > 0.
        step: index of the update that the tuner sees; a schedule is evaluated there.

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

    tuner: AbstractTuner = eqx.field(converter=partial(as_tuner, "FastMap"))
    A: Any = 10.0
    kappa: Any = 0.0
    sharpness: Any = 1.0
    bulk_gradient_sq: Any = 1.0
    step: int = eqx.field(static=True, default=0)

    class Observation(NamedTuple):
        """r, the tuner's step η, s = ηλ, and ηx² (`kick`) in one state."""

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
        """The state with the given r > 0 and the initial state of the tuner."""
        log_r = jnp.log(jnp.asarray(r, jnp.result_type(float)))
        return jnp.concatenate([log_r[None], self._memory(log_r.dtype)[0]])

    def _memory(self, dtype):
        """The tuner's initial state, with ln r and η of the last step if needed, as a flat array, and the inverse."""
        zero = jnp.zeros((), dtype)
        past = (zero, zero) if self.tuner.needs_secant else ()
        flat, unravel = ravel_pytree((init_state(self.tuner, dtype), past))
        return flat.astype(dtype), lambda values: unravel(values.astype(flat.dtype))

    def _call_tuner(self, z):
        """The observation in a state, and the flat memory after the step."""
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
        stepsize, memory, _ = ask(self.tuner, line, memory)
        past = (z[0], stepsize) if self.tuner.needs_secant else ()
        observed = self.Observation(r, stepsize, sharpness * stepsize, stepsize * r * bulk / sharpness**2)
        return observed, ravel_pytree((memory, past))[0].astype(z.dtype)

    def observe(self, z: Float[Array, " dim"]) -> Observation:
        """The tuner's step in a state: r, η, s = ηλ, ηx²."""
        return self._call_tuner(z)[0]

    def __call__(self, z: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """One step."""
        observed, memory = self._call_tuner(z)
        gain = jnp.abs(1 - observed.s)
        # ln 0 has no derivative, so the floor replaces it.
        log_r = z[0] + 2 * jnp.log(jnp.where(gain > 0, gain, 1))
        log_r = jnp.where(gain > 0, jnp.maximum(log_r, _LOG_FLOOR), _LOG_FLOOR)
        return jnp.concatenate([log_r[None], memory])


class Averages(NamedTuple):
    """Averages over the invariant measure of a fast map.

    Fields
        stepsize: ⟨η⟩.
        square: ⟨η²⟩.
        kick: ⟨ηx²⟩.
        s: ⟨s⟩.
        r: exp⟨ln r⟩, the geometric mean.
        edge_exponent: Λ = ⟨ln|1 − s|⟩; 0 where the oscillation is bounded.
        lyapunov: the largest Lyapunov exponent per step; negative for a stable cycle, positive for chaos.
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
        z: initial state; `fast.init()` when None.
        burn_in: number of initial steps that are left out.
        steps: number of steps averaged over, ≥ 1.

    Returns:
        `Averages`, and the last state, from which a next call may continue.
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
        observed = fast.observe(z)
        new, new_tangent = jax.jvp(fast, (z,), (tangent,))
        length = jnp.linalg.norm(new_tangent)
        tiny = jnp.finfo(z.dtype).tiny
        # At a superstable point every tangent becomes 0; the next step may then use any direction.
        new_tangent = jnp.where(length > tiny, new_tangent / jnp.maximum(length, tiny), tangent)
        edge, stretch = 0.5 * (new[0] - z[0]), jnp.log(jnp.maximum(length, tiny))
        row = (observed.stepsize, observed.stepsize**2, observed.kick, observed.s, z[0], edge, stretch)
        return (new, new_tangent, jax.tree.map(jnp.add, sums, row)), None

    zero = tuple(jnp.zeros((), z.dtype) for _ in range(7))
    (z, _, sums), _ = jax.lax.scan(body, (z, tangent, zero), None, length=steps)
    eta, square, kick, s, log_r, edge, lyapunov = (total / steps for total in sums)
    return Averages(eta, square, kick, s, jnp.exp(log_r), edge, lyapunov), z


def response(tuner: AbstractTuner | str, r: Any, **frozen: Any) -> Float[Array, "..."]:
    """The response function s = Φ(r) of a tuner; of a tuner with memory, the response from its initial state.

    Args:
        tuner: any step-size rule, or its specification.
        r: values of r = λ²x²/G > 0, any shape.
        frozen: A, kappa, sharpness, bulk_gradient_sq and step, as for `FastMap`.

    Returns:
        s = ηλ, the shape of r.

    Example:
        >>> import eosmodel as eos
        >>> float(eos.theory.response(eos.tuners.OnEdge(2.0), 5.0))
        2.0
    """
    check_range("response", "r", r, 0, low_open=True, high_open=True)
    fast = FastMap(as_tuner("response", tuner), **frozen)
    r = jnp.asarray(r, jnp.result_type(float))
    return jnp.vectorize(lambda one: fast.observe(fast.init(one)).s)(r)
