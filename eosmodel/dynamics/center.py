"""What a run sees at the centre of its oscillation: eigenpairs, the loss there, the slow coefficients.

Of a preconditioned direction everything is seen in the coordinates in which its preconditioner is the identity, see
`curvature.scaled`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from eosmodel.curvature import Modes, SlowCoefficients, linearize, off_modes, oscillation, slow_coefficients, track
from eosmodel.dynamics.base import Row, blank

# Expansions of the tracker for every step since the last time, up to a limit.
_BUDGET, _LONGEST = 8, 5


def oscillation_center(
    weights: Float[Array, " dim"],
    gradient: Float[Array, " dim"],
    pairs: Modes,
    turned: Float[Array, " dim"] | None = None,
) -> tuple[Float[Array, " dim"], Float[Array, " modes"]]:
    """The centre at which a step is seen, w − Σ_i x_i u_i + P⊥ turned, and the amplitudes x_i.

    Along the modes of the step before it is a Newton step, x_i = (u_i·∇L)/λ_i. Off them, with
    turned = ½(ρ_t d_t − ρ_{t−1} d_{t−1}) of `turning`, it is the average (w_{t−1} + 2w_t + w_{t+1})/4 of three
    iterates, shorter where a step goes beyond the edge. The average cancels the oscillation of every mode near the
    edge, tracked or not, and leaves a smooth path in place. Without it the Hessian at the centre would alternate with
    the modes that are not tracked. None leaves it out: noise does not alternate.
    """
    amplitude = oscillation(gradient, pairs)
    center = weights - amplitude @ pairs.vectors
    return center if turned is None else center + off_modes(turned, pairs), amplitude


def turning(
    stepsize: Float[Array, ""],
    direction: Float[Array, " dim"],
    sharpness: Float[Array, ""],
    before: Float[Array, " dim"],
    t: Int[Array, ""],
) -> tuple[Float[Array, " dim"], Float[Array, " dim"]]:
    """½(ρ_t d_t − ρ_{t−1} d_{t−1}) for `oscillation_center`, 0 at the first step; and ρ_t d_t, `before` of the next.

    ρ = min(η/2, 1/λ), with λ in units in which the edge of stability is at ηλ = 2.
    """
    edge = jnp.where(sharpness > 0, 1 / jnp.where(sharpness > 0, sharpness, 1), 0)
    now = jnp.minimum(0.5 * stepsize, edge) * direction
    return 0.5 * (now - jnp.where(t == 0, now, before)), now


def look(
    fn: Callable, center: Float[Array, " dim"], pairs: Modes, due: Bool[Array, ""], stride: int
) -> tuple[Modes, Row]:
    """Eigenpairs and L̄ at the centre, `stride` steps after those of `pairs`, and where `due` α, β, κ, G: pairs and a
    row. `fn` and `center` in z."""
    loss, gradient, matvec = linearize(fn, center)
    pairs, solved = track(matvec, pairs, max_expansions=_BUDGET * min(stride, _LONGEST))
    nan = jnp.full_like(loss, jnp.nan)
    slow = jax.lax.cond(
        due,
        lambda: slow_coefficients(fn, center, gradient, pairs),
        lambda: SlowCoefficients(nan, nan, nan, nan),
    )
    row = {
        "sharpness": pairs.values[0],
        "eigenvalues": pairs.values,
        "center_loss": loss,
        **solved._asdict(),
        **slow._asdict(),
    }
    return pairs, row


def every(
    t: Int[Array, ""], stride: int, pairs: Modes, seen: Callable[[Modes], tuple[Modes, Row]]
) -> tuple[Modes, Row]:
    """`seen(pairs)` at every `stride`-th step; between them the old pairs and a blank row, never an old value."""
    if stride == 1:
        return seen(pairs)
    _, like = jax.eval_shape(seen, pairs)

    def skipped(pairs):
        return pairs, blank(like) | {"products": jnp.zeros_like(like["products"])}

    return jax.lax.cond(t % stride == 0, seen, skipped, pairs)


def due(t: Int[Array, ""], stride: int) -> Bool[Array, ""]:
    """When to measure slow coefficients: every `stride` steps (0: never), and at all of the first two such stretches,
    for the first steps change everything at once, and a grid that misses them misplaces all that follows."""
    return (t % stride == 0) | (t < 2 * stride) if stride else jnp.asarray(False)


def alignment(pairs: Modes, gradient: Float[Array, " dim"]) -> Float[Array, ""]:
    """|u·g|/‖g‖, u the leading eigenvector; 0 where g is."""
    size = jnp.linalg.norm(gradient)
    return jnp.abs(pairs.vectors[0] @ gradient) / jnp.where(size > 0, size, 1)
