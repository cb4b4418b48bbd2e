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
        forward: ⟨ηh⟩, the step of the bulk along its gradient.
        kick: ⟨ηx²⟩.
        s: ⟨s⟩.
        amplitude_sq: ⟨x²⟩.
        r: ⟨r⟩ = λ²⟨x²⟩/G. With noise in the curvature ⟨x²⟩ and ⟨r⟩ may be infinite; ⟨ln r⟩ is finite.
        log_r: ⟨ln r⟩.
        edge_exponent: Λ = ⟨ln|1 − ηλ_B|⟩, λ_B the batch's λ. Without noise along u it is 0 for a bounded oscillation.
            Such noise drives small oscillations, so Λ is then negative under a constant η, and of either sign where η
            depends on r.
    """

    stepsize: Float[Array, ""]
    square: Float[Array, ""]
    forward: Float[Array, ""]
    kick: Float[Array, ""]
    s: Float[Array, ""]
    amplitude_sq: Float[Array, ""]
    r: Float[Array, ""]
    log_r: Float[Array, ""]
    edge_exponent: Float[Array, ""]


class Stationary(NamedTuple):
    """Averages, and their standard errors from the scatter of block means."""

    mean: Moments
    error: Moments


def stationary(
    noisy: NoisyFastMap, seed: int | Array = 0, *, burn_in: int = 2000, steps: int = 32_000, stretches: int = 32
) -> Stationary:
    """Averages over the stationary distribution of a map with noise, along one orbit from r = 1.

    Args:
        noisy: the map. Numbers or arrays; new values do not recompile.
        seed: seed of the noise.
        burn_in: number of initial steps that are left out, ≥ 0.
        steps: number of steps averaged over, a multiple of `stretches`. For correct errors a stretch must be much
            longer than the correlation time of the orbit, about 1/(2 − s) steps for a constant η.
        stretches: number of blocks for the standard errors, ≥ 2.

    Raises:
        ValueError: a count out of its range.

    Example:
        >>> import eosmodel as eos
        >>> fast = eos.theory.FastMap(eos.tuners.Greedy(), kappa=0.05)
        >>> averages = stationary(NoisyFastMap(fast, size=8, noise_along=2.0))
        >>> bool(averages.error.s < 0.05 * averages.mean.s)
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
            new, now = one(burn_in + number * length + t, state)
            log_r, edge = (jnp.log(jnp.maximum(value, tiny)) for value in (now.r, jnp.abs(now.growth)))
            eta = now.stepsize
            row = Moments(eta, eta**2, now.forward, now.kick, now.s, now.amplitude_sq, now.r, log_r, edge)
            return new, jax.tree.map(jnp.add, sums, row)

        zero = Moments(*[jnp.zeros((), dtype) for _ in Moments._fields])
        state, sums = jax.lax.fori_loop(0, length, body, (state, zero))
        return state, jax.tree.map(lambda total: total / length, sums)

    _, means = jax.lax.scan(stretch, state, jnp.arange(stretches))
    mean = jax.tree.map(jnp.mean, means)
    return Stationary(mean, jax.tree.map(lambda m: jnp.std(m, ddof=1) / jnp.sqrt(jnp.asarray(m.size, dtype)), means))
