"""Features of an orbit, accumulated while it runs: no orbit is ever stored, so a grid of them needs little memory."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from eosmodel.analysis.orbits import detect_period
from eosmodel.analysis.probes import AbstractProbe, Look
from eosmodel.dynamics import divergence_bound

MAX_PERIOD = 32
_BLOCKS = 32
"""Stretches of equal length that an orbit is summed over; those of its last half give the averages and their errors."""


class Features(NamedTuple):
    """What is kept of an orbit. Averages ⟨·⟩ are over its last half, or the last half of what it lived.

    An orbit dies when it has diverged or has arrived: it then stays where it is and adds nothing.

    Fields
        diverged: a value was not finite, or |f| exceeded the bound.
        arrived: ‖∇f‖² fell below the smallest normal number over ε, where a tuner sees nothing any more.
        frozen: λ cannot move in this system (the fast map).
        averaged: steps in those averages.
        edge_exponent: Λ = ⟨ln|1 − ηλ|⟩, with |1 − ηλ| ≥ ε.
        edge_error: standard error of Λ, from the means of up to 16 stretches of the orbit.
        lyapunov: largest Lyapunov exponent per step; NaN where it was not asked for.
        lyapunov_error: its standard error.
        s: ⟨ηλ⟩.
        log_s: ⟨ln|ηλ|⟩.
        highest_s: the largest ηλ of those averaged.
        stepsize_spread: ln of the largest over the smallest η of those averaged.
        first_sharpness: λ at the start.
        final_sharpness: λ before the last step.
        drift: change of ln λ over the last half: twice ln of ⟨λ⟩ in its second half over ⟨λ⟩ in its first.
        q: ⟨½βηx²⟩/⟨ηα⟩, which is βx²/2α; NaN where α is not known or not positive.
        final_loss: f before the last step.
        peak: the largest |f| over the |f| at the start.
        remaining: ‖∇f‖ before the last step over the largest so far.
        period: least period of the fast coordinates in 64 further steps, at most 32; −1 if none.
        state: the last state of the map, shape (dim,).
    """

    diverged: Bool[Array, ""]
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
    """Sums over the living steps of a stretch, but for the last three."""

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
    """An orbit under way."""

    z: Any
    tangent: Any
    living: Any
    diverged: Any
    peak: Any
    steepest: Any
    last: Any
    first: Any
    sums: _Sums


def features(probe: AbstractProbe, steps: Any, *, bound: Any = 1e10, lyapunov: bool = True, period: bool = True):
    """Run a probe and keep its features.

    Args:
        probe: from `probes.probe`.
        steps: number of steps, ≥ 64; may be traced. A period is looked for in 64 more.
        bound: |f| above this multiple of its first value counts as diverged, > 1; may be traced.
        lyapunov: carry a tangent along, which doubles the work.
        period: look for a period.

    Returns:
        `Features`, all scalars but the state.
    """
    z = probe.init()
    zero = jnp.zeros((), z.dtype)
    tiny = jnp.finfo(z.dtype).tiny
    eps = jnp.finfo(z.dtype).eps
    steps = jnp.asarray(steps, jnp.int32)
    bound = jnp.asarray(bound, z.dtype)
    blank = _Sums._make([*[zero] * 8, zero - jnp.inf, zero - jnp.inf, zero + jnp.inf])

    def body(t, run: _Run) -> _Run:
        if lyapunov:
            new, pushed, look = jax.jvp(lambda z: probe.advance(z, t), (run.z,), (run.tangent,), has_aux=True)
            length = jnp.linalg.norm(pushed)
            # A superstable point sends every tangent to 0: any direction then does for the next step.
            tangent = jnp.where(length > tiny, pushed / jnp.maximum(length, tiny), run.tangent)
            stretch = jnp.log(jnp.maximum(length, tiny))
        else:
            (new, look), tangent, stretch = probe.advance(run.z, t), run.tangent, zero
        first = jax.tree.map(lambda new, old: jnp.where(t == 0, new, old), look, run.first)
        limit = divergence_bound(first.loss, bound)
        finite = jnp.isfinite(look.loss + look.gradient + look.stepsize) & jnp.all(jnp.isfinite(new))
        sound = finite & (jnp.abs(look.loss) <= limit)
        moving = run.living & sound & (look.gradient >= tiny / eps)

        def kept(new, old):
            return jnp.where(moving, new, old)

        s = look.stepsize * look.sharpness
        row = (1.0, s, _log(s, tiny), _log(1 - s, eps), look.sharpness, look.push, look.pull, stretch)
        added = [
            total + jnp.where(moving, jnp.asarray(value, z.dtype), 0)
            for total, value in zip(run.sums, row, strict=False)
        ]
        extremes = (
            kept(jnp.maximum(run.sums.highest_s, s), run.sums.highest_s),
            kept(jnp.maximum(run.sums.largest, look.stepsize), run.sums.largest),
            kept(jnp.minimum(run.sums.smallest, look.stepsize), run.sums.smallest),
        )
        return _Run(
            kept(new, run.z),
            kept(tangent, run.tangent),
            moving,
            run.diverged | (run.living & ~sound),
            kept(jnp.maximum(run.peak, jnp.abs(look.loss)), run.peak),
            kept(jnp.maximum(run.steepest, look.gradient), run.steepest),
            # An orbit that arrives does so with a gradient of its own.
            jax.tree.map(lambda new, old: jnp.where(run.living & sound, new, old), look, run.last),
            first,
            _Sums._make([*added, *extremes]),
        )

    def block(run, i):
        # The last stretch ends at `steps`, whatever it is, and no stretch is a shape: steps may be traced.
        ends = [(steps // _BLOCKS) * k + (steps % _BLOCKS) * k // _BLOCKS for k in (i, i + 1)]
        run = jax.lax.fori_loop(ends[0], ends[1], body, run._replace(sums=blank))
        return run, (run.sums, (ends[1] - ends[0]).astype(z.dtype))

    # The axes are often invariant, and would keep a tangent along them for ever.
    tangent = jax.random.normal(jax.random.key(0), z.shape, z.dtype)
    begin = _Run(
        z,
        tangent / jnp.linalg.norm(tangent),
        jnp.asarray(True),
        jnp.asarray(False),
        zero,
        zero,
        Look(*[zero] * 6),
        Look(*[zero] * 6),
        blank,
    )
    run, (sums, length) = jax.lax.scan(block, begin, jnp.arange(_BLOCKS, dtype=jnp.int32))
    found = jnp.asarray(-1, jnp.int32)
    if period:

        def onward(z, i):
            return probe.advance(z, steps + i)[0], probe.fast(z)

        _, window = jax.lax.scan(onward, run.z, jnp.arange(2 * MAX_PERIOD, dtype=jnp.int32))
        found = detect_period(window, max_period=MAX_PERIOD)
    return _summary(probe, run, sums, length, found, lyapunov)


def _summary(probe, run, sums: _Sums, length, period, lyapunov) -> Features:
    dtype, index, first = run.z.dtype, jnp.arange(_BLOCKS), run.first
    # Stretches lived through in full; an orbit that did not live through one has only what it has.
    lived = jnp.maximum(jnp.sum(sums.count == length), 1)
    late = (index >= lived // 2) & (index < lived)
    later = late & (index >= (lived // 2 + lived + 1) // 2)

    def total(name, where):
        return jnp.sum(jnp.where(where, getattr(sums, name), 0))

    def mean(name, where=late):
        return total(name, where) / total("count", where)

    def error(name):
        number = jnp.sum(late).astype(dtype)
        gap = jnp.where(late, getattr(sums, name) / sums.count - mean(name), 0)
        spread = jnp.sqrt(jnp.sum(gap**2) / (number * jnp.maximum(number - 1, 1)))
        return jnp.where(number > 1, spread, jnp.inf)

    def unless_diverged(value):
        return jnp.where(run.diverged, jnp.nan, value)

    push, pull = total("push", late), total("pull", late)
    nan = jnp.asarray(jnp.nan, dtype)
    eps = jnp.finfo(dtype).eps
    return Features(
        diverged=run.diverged,
        arrived=~run.living & ~run.diverged,
        frozen=jnp.asarray(probe.frozen),
        averaged=total("count", late),
        edge_exponent=unless_diverged(mean("edge")),
        edge_error=unless_diverged(error("edge")),
        lyapunov=unless_diverged(mean("stretch")) if lyapunov else nan,
        lyapunov_error=unless_diverged(error("stretch")) if lyapunov else nan,
        s=unless_diverged(mean("s")),
        log_s=unless_diverged(mean("log_s")),
        highest_s=unless_diverged(jnp.max(jnp.where(late, sums.highest_s, -jnp.inf))),
        stepsize_spread=unless_diverged(
            jnp.log(jnp.max(jnp.where(late, sums.largest, -jnp.inf)) / jnp.min(jnp.where(late, sums.smallest, jnp.inf)))
        ),
        first_sharpness=first.sharpness,
        final_sharpness=unless_diverged(run.last.sharpness),
        # One stretch alone has no halves, and no drift that could be seen.
        drift=unless_diverged(2 * jnp.log(mean("sharpness", later) / mean("sharpness", late & ~later))),
        q=unless_diverged(jnp.where(push > 0, pull / jnp.where(push > 0, push, 1), jnp.nan)),
        final_loss=unless_diverged(run.last.loss),
        peak=run.peak / jnp.maximum(jnp.abs(first.loss), eps),
        remaining=unless_diverged(jnp.sqrt(run.last.gradient / run.steepest)),
        period=jnp.where(run.diverged, -1, period),
        state=run.z,
    )


def _log(value, floor):
    """ln|value|, not below ln of the floor; NaN stays NaN."""
    return jnp.log(jnp.maximum(jnp.abs(value), floor))
