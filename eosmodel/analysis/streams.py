"""Features of an orbit, accumulated during the run. Orbits are not stored, so that large grids need little memory."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from eosmodel.analysis.orbits import detect_period
from eosmodel.analysis.probes import AbstractProbe, Observation
from eosmodel.dynamics import divergence_bound

MAX_PERIOD = 32
_BLOCKS = 32
"""Number of blocks of an orbit; the block means of its last half give the averages and their standard errors."""


class Features(NamedTuple):
    """Features of an orbit. Averages ⟨·⟩ are over its last half, or over the last half of the steps before it ended.

    An orbit ends early when it has diverged, a theory has left its range or the gradient has vanished; further steps do
    not count.

    Fields
        diverged: a value was not finite, or |f| exceeded the bound, see `dynamics.divergence_bound`.
        lost: the theory left its range, where the orbit ends.
        arrived: ‖∇f‖² fell below the smallest normal number over ε, where a tuner has no signal left.
        frozen: λ is constant in this system (the fast map).
        averaged: number of steps in the averages.
        edge_exponent: Λ = ⟨ln|1 − ηλ|⟩, with |1 − ηλ| ≥ ε.
        edge_error: standard error of Λ, from up to 16 block means.
        lyapunov: largest Lyapunov exponent per step; NaN if not requested.
        lyapunov_error: its standard error.
        s: ⟨ηλ⟩.
        log_s: ⟨ln|ηλ|⟩.
        highest_s: the largest ηλ in the averaged steps.
        stepsize_spread: ln of the largest over the smallest η in the averaged steps.
        first_sharpness: initial λ.
        final_sharpness: λ before the last step.
        drift: change of ln λ over the last half: twice the ln of ⟨λ⟩ in its second half over ⟨λ⟩ in its first.
        q: ⟨½βηx²⟩/⟨ηα⟩, which is βx²/2α; NaN if α is not known or not positive.
        final_loss: f before the last step.
        peak: the largest |f| over the initial |f|.
        remaining: ‖∇f‖ before the last step over the largest ‖∇f‖.
        period: least period of the fast coordinates in 64 further steps, at most 32; −1 if none.
        state: the last state of the map, shape (dim,).
    """

    diverged: Bool[Array, ""]
    lost: Bool[Array, ""]
    arrived: Bool[Array, ""]
    frozen: Bool[Array, ""]
    averaged: Float[Array, ""]
    edge_exponent: Float[Array, ""]
    edge_error: Float[Array, ""]
    lyapunov: Float[Array, ""]
    lyapunov_error: Float[Array, ""]
    s: Float[Array, ""]
    log_s: Float[Array, ""]
    highest_s: Float[Array, ""]
    stepsize_spread: Float[Array, ""]
    first_sharpness: Float[Array, ""]
    final_sharpness: Float[Array, ""]
    drift: Float[Array, ""]
    q: Float[Array, ""]
    final_loss: Float[Array, ""]
    peak: Float[Array, ""]
    remaining: Float[Array, ""]
    period: Int[Array, ""]
    state: Float[Array, " dim"]


class _Sums(NamedTuple):
    """Sums over the steps of a block before the orbit ended; the last three fields are extremes."""

    count: Any
    s: Any
    log_s: Any
    edge: Any
    sharpness: Any
    push: Any
    pull: Any
    stretch: Any
    highest_s: Any
    largest: Any
    smallest: Any


class _Run(NamedTuple):
    """The state of a running orbit."""

    z: Any
    tangent: Any
    active: Any
    diverged: Any
    lost: Any
    peak: Any
    steepest: Any
    last: Any
    first: Any
    sums: _Sums


def features(probe: AbstractProbe, steps: Any, *, bound: Any = 1e10, lyapunov: bool = True, period: bool = True):
    """Run a probe and compute its features.

    Args:
        probe: from `probes.probe`.
        steps: number of steps, ≥ 64; may be traced. The period is detected in 64 further steps.
        bound: an orbit with |f| above this multiple of the larger of its initial |f| and, of an objective,
            ½|λ|‖w₀‖² has diverged, > 1; may be traced.
        lyapunov: whether to compute the Lyapunov exponent, which doubles the work.
        period: whether to detect the period.

    Returns:
        `Features`, all scalars except the state.
    """
    z = probe.init()
    weights = probe.weights(z)
    zero = jnp.zeros((), z.dtype)
    tiny = jnp.finfo(z.dtype).tiny
    eps = jnp.finfo(z.dtype).eps
    steps = jnp.asarray(steps, jnp.int32)
    bound = jnp.asarray(bound, z.dtype)
    blank_now = Observation(*[zero] * 6)._replace(within=jnp.asarray(True))
    blank = _Sums._make([*[zero] * 8, zero - jnp.inf, zero - jnp.inf, zero + jnp.inf])

    def body(t, run: _Run) -> _Run:
        if lyapunov:
            new, new_tangent, now = jax.jvp(lambda z: probe.advance(z, t), (run.z,), (run.tangent,), has_aux=True)
            length = jnp.linalg.norm(new_tangent)
            # At a superstable point every tangent becomes 0; the next step may then use any direction.
            tangent = jnp.where(length > tiny, new_tangent / jnp.maximum(length, tiny), run.tangent)
            stretch = jnp.log(jnp.maximum(length, tiny))
        else:
            (new, now), tangent, stretch = probe.advance(run.z, t), run.tangent, zero
        now = now._replace(within=jnp.asarray(now.within))
        first = jax.tree.map(lambda new, old: jnp.where(t == 0, new, old), now, run.first)
        limit = divergence_bound(first.loss, bound, first.sharpness, weights)
        finite = jnp.isfinite(now.loss + now.gradient_sq + now.stepsize) & jnp.all(jnp.isfinite(new))
        sound = finite & (jnp.abs(now.loss) <= limit)
        moving = run.active & sound & now.within & (now.gradient_sq >= tiny / eps)

        def kept(new, old):
            return jnp.where(moving, new, old)

        s = now.stepsize * now.sharpness
        row = (1.0, s, _log(s, tiny), _log(1 - s, eps), now.sharpness, now.push, now.pull, stretch)
        added = [
            total + jnp.where(moving, jnp.asarray(value, z.dtype), 0)
            for total, value in zip(run.sums, row, strict=False)
        ]
        extremes = (
            kept(jnp.maximum(run.sums.highest_s, s), run.sums.highest_s),
            kept(jnp.maximum(run.sums.largest, now.stepsize), run.sums.largest),
            kept(jnp.minimum(run.sums.smallest, now.stepsize), run.sums.smallest),
        )
        return _Run(
            kept(new, run.z),
            kept(tangent, run.tangent),
            moving,
            run.diverged | (run.active & ~sound),
            run.lost | (run.active & sound & ~now.within),
            kept(jnp.maximum(run.peak, jnp.abs(now.loss)), run.peak),
            kept(jnp.maximum(run.steepest, now.gradient_sq), run.steepest),
            # The step in which the gradient vanishes is included here.
            jax.tree.map(lambda new, old: jnp.where(run.active & sound, new, old), now, run.last),
            first,
            _Sums._make([*added, *extremes]),
        )

    def block(run, i):
        # The last block ends at `steps`, and the length of a block is not a shape, so that `steps` may be traced.
        ends = [(steps // _BLOCKS) * k + (steps % _BLOCKS) * k // _BLOCKS for k in (i, i + 1)]
        run = jax.lax.fori_loop(ends[0], ends[1], body, run._replace(sums=blank))
        return run, (run.sums, (ends[1] - ends[0]).astype(z.dtype))

    # A random direction, because a tangent along an axis may stay there: the axes are often invariant.
    tangent = jax.random.normal(jax.random.key(0), z.shape, z.dtype)
    begin = _Run(
        z,
        tangent / jnp.linalg.norm(tangent),
        jnp.asarray(True),
        jnp.asarray(False),
        jnp.asarray(False),
        zero,
        zero,
        blank_now,
        blank_now,
        blank,
    )
    run, (sums, length) = jax.lax.scan(block, begin, jnp.arange(_BLOCKS, dtype=jnp.int32))
    detected = jnp.asarray(-1, jnp.int32)
    if period:

        def onward(z, i):
            return probe.advance(z, steps + i)[0], probe.fast(z)

        _, window = jax.lax.scan(onward, run.z, jnp.arange(2 * MAX_PERIOD, dtype=jnp.int32))
        detected = detect_period(window, max_period=MAX_PERIOD)
    return _summary(probe, run, sums, length, detected, lyapunov)


def _summary(probe, run, sums: _Sums, length, period, lyapunov) -> Features:
    dtype, index, first = run.z.dtype, jnp.arange(_BLOCKS), run.first
    # The number of complete blocks; an orbit that ended in the first block has this incomplete one.
    complete = jnp.maximum(jnp.sum(sums.count == length), 1)
    late = (index >= complete // 2) & (index < complete)
    later = late & (index >= (complete // 2 + complete + 1) // 2)

    def total(name, where):
        return jnp.sum(jnp.where(where, getattr(sums, name), 0))

    def mean(name, where=late):
        return total(name, where) / total("count", where)

    def error(name):
        number = jnp.sum(late).astype(dtype)
        gap = jnp.where(late, getattr(sums, name) / sums.count - mean(name), 0)
        spread = jnp.sqrt(jnp.sum(gap**2) / (number * jnp.maximum(number - 1, 1)))
        return jnp.where(number > 1, spread, jnp.inf)

    def unless_ended(value):
        return jnp.where(run.diverged | run.lost, jnp.nan, value)

    push, pull = total("push", late), total("pull", late)
    nan = jnp.asarray(jnp.nan, dtype)
    eps = jnp.finfo(dtype).eps
    return Features(
        diverged=run.diverged,
        lost=run.lost,
        arrived=~run.active & ~run.diverged & ~run.lost,
        frozen=jnp.asarray(probe.frozen),
        averaged=total("count", late),
        edge_exponent=unless_ended(mean("edge")),
        edge_error=unless_ended(error("edge")),
        lyapunov=unless_ended(mean("stretch")) if lyapunov else nan,
        lyapunov_error=unless_ended(error("stretch")) if lyapunov else nan,
        s=unless_ended(mean("s")),
        log_s=unless_ended(mean("log_s")),
        highest_s=unless_ended(jnp.max(jnp.where(late, sums.highest_s, -jnp.inf))),
        stepsize_spread=unless_ended(
            jnp.log(jnp.max(jnp.where(late, sums.largest, -jnp.inf)) / jnp.min(jnp.where(late, sums.smallest, jnp.inf)))
        ),
        first_sharpness=first.sharpness,
        final_sharpness=unless_ended(run.last.sharpness),
        # A single block has no halves, and its drift is NaN.
        drift=unless_ended(2 * jnp.log(mean("sharpness", later) / mean("sharpness", late & ~later))),
        q=unless_ended(jnp.where(push > 0, pull / jnp.where(push > 0, push, 1), jnp.nan)),
        final_loss=unless_ended(run.last.loss),
        peak=run.peak / jnp.maximum(jnp.abs(first.loss), eps),
        remaining=unless_ended(jnp.sqrt(run.last.gradient_sq / run.steepest)),
        period=jnp.where(run.diverged, -1, period),
        state=run.z,
    )


def _log(value, floor):
    """ln max(|value|, floor); NaN stays NaN."""
    return jnp.log(jnp.maximum(jnp.abs(value), floor))
