"""What is observed at the centre of a run's oscillation: eigenpairs, the loss there, the slow coefficients.

Of a preconditioned direction everything is observed in the coordinates in which its preconditioner is the identity, see
`curvature.scaled`.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from eosmodel._units import norm
from eosmodel.curvature import (
    AbstractTracker,
    Modes,
    SlowCoefficients,
    linearize,
    off_modes,
    oscillation,
    slow_coefficients,
)
from eosmodel.dynamics.base import Row, blank, divergence_bound
from eosmodel.tuners.base import AbstractTuner


def check_tracked(owner: str, tuner: AbstractTuner, tracker: AbstractTracker | None) -> None:
    """Raise ValueError where a tuner needs the sharpness and nothing tracks it."""
    if tracker is None and tuner.needs_sharpness:
        raise ValueError(f"{owner}: tuner {type(tuner).__name__} needs the sharpness, which is not tracked")


def begin(
    tracker: AbstractTracker | None, fn: Callable, weights: Float[Array, " dim"], divergence: float
) -> tuple[Modes | None, Float[Array, ""]]:
    """The eigenpairs at the start, None without a tracker, and the loss beyond which a run counts as diverged, both in
    the coordinates of `curvature.scaled`."""
    if tracker is None:
        return None, divergence_bound(eqx.filter_jit(fn)(weights), divergence)
    value, _, pairs = tracker.init(fn, weights)
    return pairs, divergence_bound(value, divergence, pairs.values[0], weights)


def unobserved(like: Float[Array, ""]) -> Row:
    """What a row says of the Hessian where nothing is tracked: that λ is not known."""
    return {"sharpness": jnp.full_like(like, jnp.nan), "products": jnp.asarray(0, jnp.int32)}


def oscillation_center(
    weights: Float[Array, " dim"],
    gradient: Float[Array, " dim"],
    pairs: Modes,
    smoothing: Float[Array, " dim"] | None = None,
) -> tuple[Float[Array, " dim"], Float[Array, " modes"]]:
    """The centre of the oscillation, w − Σ_i x_i u_i + P⊥ smoothing, and the amplitudes x_i.

    Along the modes of the step before it is a Newton step, x_i = (u_i·∇L)/λ_i. Off them, with
    smoothing = ½(ρ_t d_t − ρ_{t−1} d_{t−1}) of `smoothing_displacement`, it is the average (w_{t−1} + 2w_t + w_{t+1})/4
    of three iterates, shorter where a step goes beyond the edge. The average cancels the oscillation of every mode near
    the edge, tracked or not, and leaves a smooth path in place. Without it the Hessian at the centre would alternate
    with the modes that are not tracked. None leaves it out: noise does not alternate.
    """
    amplitude = oscillation(gradient, pairs)
    center = weights - amplitude @ pairs.vectors
    return center if smoothing is None else center + off_modes(smoothing, pairs), amplitude


def smoothing_displacement(
    stepsize: Float[Array, ""],
    direction: Float[Array, " dim"],
    sharpness: Float[Array, ""],
    previous: Float[Array, " dim"],
    t: Int[Array, ""],
) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
    """½(ρ_t d_t − ρ_{t−1} d_{t−1}) for `oscillation_center`, 0 at the first step; and ρ_t d_t, `previous` of the next.

    ρ = min(η/2, 1/λ), with λ in units in which the edge of stability is at ηλ = 2.
    """
    edge = jnp.where(sharpness > 0, 1 / jnp.where(sharpness > 0, sharpness, 1), 0)
    half_step = jnp.minimum(0.5 * stepsize, edge) * direction
    return 0.5 * (half_step - jnp.where(t == 0, half_step, previous)), half_step


def observe_center(
    fn: Callable,
    center: Float[Array, " dim"],
    pairs: Modes,
    tracker: AbstractTracker,
    measured: Bool[Array, ""],
    elapsed: int,
) -> tuple[Modes, Row]:
    """Eigenpairs and L̄ at the centre, and where `measured` also α, β, κ, G, as pairs and a row.

    Args:
        fn, center: the loss and the centre, both in the coordinates z of `curvature.scaled`.
        pairs: eigenpairs at the centre `elapsed` steps before.
        tracker: how they are updated.
    """
    loss, _, matvec = linearize(fn, center)
    pairs, info = tracker.update(matvec, pairs, elapsed)
    nan = jnp.full_like(loss, jnp.nan)
    slow = jax.lax.cond(
        measured,
        # Where nothing is measured the gradient at the centre is not needed: two fifths of a plain step of an MLP.
        lambda: slow_coefficients(fn, center, jax.grad(fn)(center), pairs),
        lambda: SlowCoefficients(nan, nan, nan, nan),
    )
    row = {
        "sharpness": pairs.values[0],
        "eigenvalues": pairs.values,
        "center_loss": loss,
        **info._asdict(),
        **slow._asdict(),
    }
    return pairs, row


def run_every(t: Int[Array, ""], stride: int, pairs: Any, observe: Callable[[Any], tuple[Any, Row]]) -> tuple[Any, Row]:
    """`observe(pairs)` at every `stride`-th step; between them the old pairs and a blank row, never an old value."""
    if stride == 1:
        return observe(pairs)
    _, like = jax.eval_shape(observe, pairs)

    def skip(pairs):
        return pairs, blank_observation(like)

    return jax.lax.cond(t % stride == 0, observe, skip, pairs)


def blank_observation(row: Row) -> Row:
    """A row of the same shapes for a step without an observation: blank, and no products taken."""
    products = {name: jnp.zeros(row[name].shape, row[name].dtype) for name in ("products",) if name in row}
    return blank(row) | products


def is_scheduled(t: Int[Array, ""], stride: int) -> Bool[Array, ""]:
    """Whether step t is one of every `stride` (0: never) or in the first two such stretches. In the first steps
    everything changes at once, and a grid that misses them misplaces all that follows."""
    return (t % stride == 0) | (t < 2 * stride) if stride else jnp.asarray(False)


def alignment(pairs: Modes, gradient: Float[Array, " dim"]) -> Float[Array, ""]:
    """|u·g|/‖g‖, u the leading eigenvector; 0 where g is."""
    size = norm(gradient)
    return jnp.abs(pairs.vectors[0] @ gradient) / jnp.where(size > 0, size, 1)
