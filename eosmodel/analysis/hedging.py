"""The effect of the spread of a rule's steps on the bulk of a quadratic whose sharpest mode stays bounded.

A step of normalised size s = ηλ multiplies a mode of curvature μ = ρλ by 1 − ρs. Over a run the mode has the exponent

    E(ρ) = ⟨ln|1 − ρs|⟩,        E(1) = Λ, the edge exponent,        E(ρ) → −ρ⟨s⟩ for ρ → 0

A distribution of steps is thus a filter with a logarithmic potential: if z = 1/s has the distribution ν, then
E(ρ) = ∫ln|ρ − z|dν − ∫ln|z|dν.

- Among all distributions, the arcsine distribution on [ρ_min, 1] minimises the maximum of E over [ρ_min, 1] (it is the
  equilibrium measure of that interval, and the limit distribution of Chebyshev's roots). Its exponent is constant on
  the interval, E = −ln((1 + √ρ_min)/(1 − √ρ_min)) ≈ −2√ρ_min.
- Among all distributions with Λ = 0 and s ≥ 0.8414, constant steps s = 2 make the least progress in the slow end of
  the bulk: there ln|1 − s| ≤ s − 2, so that ⟨s⟩ ≥ 2, with equality only for s = 2. (0.8414 solves 1 − s = e^{s − 2}.)
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from eosmodel._checks import as_arrays, check_count, check_range
from eosmodel.objectives.quadratics import DiagonalQuadratic
from eosmodel.rays import steepest
from eosmodel.tuners.base import AbstractTuner, init_memory, select_stepsize

_GOLDEN = (5**0.5 - 1) / 2


def bulk_progress(steps: Any, ratios: Any, *, cost: float = 1.0) -> Float[np.ndarray, " ratios"]:
    """−E(ρ)/cost = −⟨ln|1 − ρs|⟩/cost: the decrease of the logarithm of a mode per gradient evaluation.

    Negative if the mode grows; infinite if a step removes it exactly.

    Args:
        steps: s_t = η_tλ, shape (steps,), finite.
        ratios: ρ = μ/λ of the modes, any shape.
        cost: cost of a step in gradient evaluations, > 0; 1 for a rule that uses the gradient only.

    Raises:
        ValueError: steps that are empty, not finite or not a vector; a cost that is not positive.

    Example:
        >>> bulk_progress([2.0, 2.0], [0.0, 0.25, 1.0]).round(3).tolist()  # no spread
        [-0.0, 0.693, -0.0]
        >>> bulk_progress([1.1, 11.0], [0.0, 0.05, 1.0]).round(3).tolist()  # Λ = 0, with spread
        [-0.0, 0.428, -0.0]
    """
    s = _steps("bulk_progress", steps)
    check_range("bulk_progress", "cost", cost, 0, low_open=True, high_open=True)
    with np.errstate(divide="ignore"):
        return -np.log(np.abs(1 - np.asarray(ratios, float)[..., None] * s)).mean(-1) / cost


def chebyshev_exponent(ratios: Any, low: float) -> Float[np.ndarray, " ratios"]:
    """E(ρ) = arccosh|x(ρ)| − arccosh|x(0)| of the arcsine law of 1/s on [low, 1]; x(ρ) = (2ρ − 1 − low)/(1 − low).

    Inside [low, 1], where |x| ≤ 1, arccosh|x| is replaced by 0 and E is −ln((1 + √low)/(1 − √low)), the lowest possible
    maximum. E is 0 again at ρ = 1 + low, so the sharpest mode may lie up to there. To bound a sharper mode, any small
    fraction of steps with s = 1 is sufficient, to the accuracy with which its curvature is known.

    Args:
        ratios: ρ, any shape.
        low: ρ_min in (0, 1).

    Raises:
        ValueError: a `low` outside of (0, 1).

    Source: Saff & Totik, Logarithmic Potentials with External Fields (1997), chapter I.

    Example:
        >>> chebyshev_exponent([0.0, 0.04, 0.5, 1.0, 1.04], 0.04).round(3).tolist()
        [0.0, -0.405, -0.405, -0.405, 0.0]
    """
    check_range("chebyshev_exponent", "low", low, 0, 1, low_open=True, high_open=True)

    def green(ratio):
        return np.arccosh(np.maximum(np.abs((2 * ratio - 1 - low) / (1 - low)), 1))

    return green(np.asarray(ratios, float)) - green(np.zeros(()))


def chebyshev_steps(count: int, low: float) -> Float[np.ndarray, " count"]:
    """The steps 1/z of Chebyshev's method on [low, 1], z_j = low + (1 − low) sin²((2j + 1)π/(4·count)), reordered.

    Their order is that of the fractional parts of multiples of the golden ratio. In order of size, errors of rounding
    and deviations from a quadratic would be amplified by the product of all large steps.

    Args:
        count: number of steps, ≥ 1.
        low: ρ_min in (0, 1).

    Raises:
        ValueError: an argument out of its range.

    Source: Young (J. Math. and Phys. 32, 1953); the arcsine law and the golden ratio, Zhigljavsky, Pronzato & Bukina
    (Optim. Lett. 7, 2013).

    Example:
        >>> chebyshev_steps(4, 0.04).round(2).tolist()
        [13.07, 1.42, 2.97, 1.04]
    """
    check_count("chebyshev_steps", "count", count)
    check_range("chebyshev_steps", "low", low, 0, 1, low_open=True, high_open=True)
    order = np.argsort(np.argsort(np.arange(count) * _GOLDEN % 1))
    return 1 / (low + (1 - low) * np.sin((2 * order + 1) * np.pi / (4 * count)) ** 2)


def silver_steps(count: int) -> Float[np.ndarray, " count"]:
    """s_t = 1 + (1 + √2)^{ν(t) − 1}, t = 1, 2, …, with 2^ν(t) the largest power of two that divides t.

    A fractal schedule for smooth convex functions: √2, 2, √2, 2 + √2, √2, …

    Args:
        count: number of steps, ≥ 1.

    Raises:
        ValueError: a count below 1.

    Source: Altschuler & Parrilo (arXiv 2309.16530).

    Example:
        >>> silver_steps(4).round(3).tolist()
        [1.414, 2.0, 1.414, 3.414]
    """
    check_count("silver_steps", "count", count)
    t = np.arange(1, count + 1)
    return 1 + (1 + 2**0.5) ** (np.log2(t & -t) - 1)


def normalised_steps(
    tuner: AbstractTuner, eigenvalues: Any, losses: Any = None, *, steps: int = 2000, burn_in: int = 500
) -> Float[np.ndarray, " steps"]:
    """The steps s_t = η_tλ of a rule on ½Σμ_i w_i², λ = max μ, with ‖g‖ rescaled to 1 after every step.

    The rescaling does not affect rules whose steps are unchanged if the weights are multiplied by a number (constant,
    CDAT, Polyak with f* = 0, Barzilai–Borwein, AdGD, …), and it allows averages over any number of steps. It does
    affect rules that remember losses or norms of gradients.

    Args:
        tuner: the rule.
        eigenvalues: μ > 0, shape (modes,).
        losses: initial ½μ_i w_i² of each mode, > 0, shape (modes,); all 1 by default.
        steps: number of steps returned, ≥ 1.
        burn_in: number of initial steps that are left out, ≥ 0.

    Raises:
        ValueError: an argument out of its range, or shapes that differ.

    Example:
        >>> from eosmodel.tuners import Greedy
        >>> s = normalised_steps(Greedy(), [1.0, 0.1], steps=100)  # a 2-cycle of steps, with too little spread
        >>> bool(abs(bulk_progress(s, [0.1]) - bulk_progress(s, [1.0])) < 0.01)
        True
    """
    owner = "normalised_steps"
    check_count(owner, "steps", steps)
    check_count(owner, "burn_in", burn_in, 0)
    check_range(owner, "eigenvalues", eigenvalues, 0, low_open=True, high_open=True)
    mu = jnp.asarray(eigenvalues, jnp.result_type(float))
    first = jnp.ones_like(mu) if losses is None else jnp.asarray(losses, mu.dtype)
    check_range(owner, "losses", first, 0, low_open=True, high_open=True)
    if mu.ndim != 1 or mu.shape != first.shape:
        raise ValueError(f"{owner}: eigenvalues and losses must be vectors of one shape, got {mu.shape}, {first.shape}")
    stepsizes = _run(as_arrays(tuner, mu.dtype), mu, jnp.sqrt(2 * first / mu), burn_in + steps)
    return np.asarray(stepsizes * mu.max())[burn_in:]


@eqx.filter_jit
def _run(tuner, eigenvalues, start, steps):
    bowl = DiagonalQuadratic(eigenvalues)
    top = jnp.max(eigenvalues)

    def body(carry, t):
        weights, memory = carry
        value, gradient = jax.value_and_grad(bowl)(weights)
        line = steepest(bowl, weights, value, gradient, t, top)
        stepsize, memory, _ = select_stepsize(tuner, line, memory, gradient)
        weights = weights + stepsize * line.direction
        shrink = 1 / jnp.linalg.norm(eigenvalues * weights)
        if memory.past is not None:
            past = (memory.past.gradient, memory.past.direction)
            memory = eqx.tree_at(lambda m: (m.past.gradient, m.past.direction), memory, [shrink * x for x in past])
        return (shrink * weights, memory), stepsize

    return jax.lax.scan(body, (start, init_memory(tuner, start)), jnp.arange(steps))[1]


def _steps(owner: str, steps: Any) -> Float[np.ndarray, " steps"]:
    array = np.asarray(steps, float)
    if array.ndim != 1 or not array.size or not np.all(np.isfinite(array)):
        raise ValueError(f"{owner}: steps must be finite numbers of shape (steps,), got shape {array.shape}")
    return array
