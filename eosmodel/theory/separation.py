"""The error of the slow flow as a function of the separation of time scales, against descent on the valley itself."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from eosmodel._checks import as_arrays, check_count, check_range
from eosmodel.objectives.valleys import Valley
from eosmodel.rays import steepest
from eosmodel.theory.closures import ValleyClosure
from eosmodel.theory.slow_flow import SlowFlow
from eosmodel.tuners.base import AbstractTuner, init_memory, select_stepsize


class Separation(NamedTuple):
    """The result of `separation`; the rows of the two paths are at equal slow times.

    Fields
        scale: ε, shape (scales,).
        error: max over the rows of |ln λ_flow − ln λ_run|, shape (scales,); NaN where either ended early.
        flow, run: λ of both, shape (scales, rows + 1).
    """

    scale: np.ndarray
    error: np.ndarray
    flow: np.ndarray
    run: np.ndarray


def separation(
    tuner: AbstractTuner, valley: Valley, scales: Sequence[float], steps: int, *, rows: int = 20, **solve: Any
) -> Separation:
    """The slow flow and descent on valleys with a slower and slower bulk: μ → εμ, over steps/ε steps.

    z and b are the same for all ε, so that λ follows the same path. By the averaging principle the error is O(ε) if the
    fast map converges at a rate bounded away from 0. Both start on the slow path: x₀ is taken from the flow.

    Args:
        tuner: any step-size rule.
        valley: the valley at ε = 1; its x₀ is not used.
        scales: values of ε > 0.
        steps: number of steps at ε = 1, a multiple of `rows`; at other ε it is rounded to such a multiple.
        rows: number of points of the path at which the two are compared.
        solve: arguments of `SlowFlow.solve`, for example rtol.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import eosmodel as eos
        >>> from eosmodel.theory import separation
        >>> slow = eos.objectives.Valley(30.0, 4.0, [1.0], [0.02], [0.0, -5.0])
        >>> study = separation(eos.tuners.CDAT(1.5), slow, [1.0, 0.25], 200)
        >>> bool(study.error[1] < study.error[0] < 0.01)
        True
    """
    check_range("separation", "scales", scales, 0, low_open=True, high_open=True)
    check_count("separation", "rows", rows)
    check_count("separation", "steps", steps, rows)
    rule = as_arrays(tuner, valley.start.dtype)
    runs, flows = [], []
    for scale in scales:
        stride = max(1, round(steps / (rows * scale)))
        scaled = eqx.tree_at(lambda v: v.mu, valley, scale * valley.mu)
        flow = SlowFlow(tuner, ValleyClosure(scaled)).solve(stride * rows, save_every=stride, **solve)
        start = scaled.start.at[0].set(np.sqrt(flow.oscillation[0]))
        flows.append(flow.sharpness)
        runs.append(np.asarray(_descend(rule, scaled, start, jnp.asarray(stride, jnp.int32), rows)))
    # The logarithm needs λ > 0.
    error = np.max(np.abs(np.log(np.asarray(flows) / np.where(np.asarray(runs) > 0, runs, np.nan))), axis=1)
    return Separation(np.asarray(scales, float), error, np.asarray(flows), np.asarray(runs))


@eqx.filter_jit
def _descend(tuner, valley, start, stride, rows):
    """λ of the valley floor along gradient descent, every `stride` steps."""

    def step(t, carry):
        weights, memory = carry
        value, gradient = jax.value_and_grad(valley)(weights)
        line = steepest(valley, weights, value, gradient, t, valley.sharpness(weights))
        stepsize, memory, _ = select_stepsize(tuner, line, memory, gradient)
        return weights - stepsize * gradient, memory

    def row(carry, first):
        return jax.lax.fori_loop(first, first + stride, step, carry), valley.sharpness(carry[0])

    first = stride * jnp.arange(rows + 1, dtype=jnp.int32)
    return jax.lax.scan(row, (start, init_memory(tuner, start)), first)[1]
