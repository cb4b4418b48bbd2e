"""Averages over the stationary distribution of the fast map with noise, and their standard errors."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import as_arrays, check_count
from eosmodel.theory.noisy_map import NoisyFastMap


class Moments(NamedTuple):
    """Averages over the orbit of a `NoisyFastMap`.

    Fields
        stepsize: ⟨η⟩.
        square: ⟨η²⟩.
        forward: ⟨ηh⟩, the step that the bulk makes along its gradient.
        kick: ⟨ηx²⟩.
        s: ⟨s⟩.
        energy: ⟨x²⟩.
        r: ⟨r⟩ = λ²⟨x²⟩/G. Noise in the curvature may leave these two without a finite mean; log_r has one then.
        log_r: ⟨ln r⟩.
        edge_exponent: Λ = ⟨ln|1 − ηλ_B|⟩, λ_B the batch's λ. 0 for a bounded oscillation without noise along u, which
            feeds a small oscillation: it is negative under a constant η, and of either sign where η answers r.
    """

    stepsize: Float[Array, ""]
    square: Float[Array, ""]
    forward: Float[Array, ""]
    kick: Float[Array, ""]
    s: Float[Array, ""]
    energy: Float[Array, ""]
    r: Float[Array, ""]
    log_r: Float[Array, ""]
    edge_exponent: Float[Array, ""]


class Stationary(NamedTuple):
    """Averages, and their standard errors from the scatter of the means of long stretches."""

    mean: Moments
    error: Moments


def stationary(
    noisy: NoisyFastMap, seed: int | Array = 0, *, burn_in: int = 2000, steps: int = 32_000, stretches: int = 32
) -> Stationary:
    """Averages over the stationary distribution of a map with noise, along one orbit from r = 1.

    Args:
        noisy: the map. Numbers or arrays; other values do not compile again.
        seed: of the noise.
        burn_in: steps left out first, ≥ 0.
        steps: averaged over, a multiple of `stretches`; a stretch must be long against the memory of the orbit, for a
            constant η about 1/(2 − s) steps, for the errors to be right.
        stretches: ≥ 2.

    Raises:
        ValueError: a count out of its range.

    Example:
        >>> import eosmodel as eos
        >>> fast = eos.theory.FastMap(eos.tuners.Greedy(), kappa=0.05)
        >>> found = stationary(NoisyFastMap(fast, size=8, noise_along=2.0))
        >>> bool(found.error.s < 0.05 * found.mean.s)
        True
    """
    if not isinstance(noisy, NoisyFastMap):
        raise ValueError(f"stationary: noisy must be a NoisyFastMap, got {type(noisy).__name__}")
    check_count("stationary", "burn_in", burn_in, 0)
    check_count("stationary", "stretches", stretches, 2)
    check_count("stationary", "steps", steps)
    if steps % stretches:
        raise ValueError(f"stationary: steps must be a multiple of stretches={stretches}, got {steps}")
    return _stationary(as_arrays(noisy, jnp.result_type(float)), jnp.asarray(seed), burn_in, steps, stretches)


@eqx.filter_jit
def _stationary(noisy, seed, burn_in, steps, stretches):
    key = jax.random.key(seed)
    state = noisy.init()
    dtype = state.y.dtype

    def one(t, state):
        return noisy.step(state, noisy.draw(jax.random.fold_in(key, t), dtype))

    state = jax.lax.fori_loop(0, burn_in, lambda t, state: one(t, state)[0], state)
    length = steps // stretches
    tiny = jnp.finfo(dtype).tiny

    def stretch(state, number):
        def body(t, carry):
            state, sums = carry
            new, seen = one(burn_in + number * length + t, state)
            log_r, edge = (jnp.log(jnp.maximum(value, tiny)) for value in (seen.r, jnp.abs(seen.growth)))
            eta = seen.stepsize
            row = Moments(eta, eta**2, seen.forward, seen.kick, seen.s, seen.energy, seen.r, log_r, edge)
            return new, jax.tree.map(jnp.add, sums, row)

        zero = Moments(*[jnp.zeros((), dtype) for _ in Moments._fields])
        state, sums = jax.lax.fori_loop(0, length, body, (state, zero))
        return state, jax.tree.map(lambda total: total / length, sums)

    _, means = jax.lax.scan(stretch, state, jnp.arange(stretches))
    mean = jax.tree.map(jnp.mean, means)
    return Stationary(mean, jax.tree.map(lambda m: jnp.std(m, ddof=1) / jnp.sqrt(jnp.asarray(m.size, dtype)), means))
