"""Where a prediction on a river begins: at the initial weights, or at a step of a run."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from eosmodel.theory.river.chart import log_fall
from eosmodel.theory.river.flow import LEAST_EIGENVALUE
from eosmodel.theory.river.river import Flow, River

# Newton's steps to a start's sharpness, of which it takes up to six.
_NEWTON = 10


class FlowStart(eqx.Module):
    """State of a `FlowMap` at its first step.

    Fields
        tau: flow time Σ η so far.
        amplitude: oscillation along the frame, shape (modes,).
        springs: s_b, shape (springs, pairs).
        pushes: ∫ (E − E_r) dτ by launch, shape (launches, pairs).
        remainder: e_b, the loss of what is displaced without a change of ln H, shape (springs,).
    """

    tau: Float[Array, ""]
    amplitude: Float[Array, " modes"]
    springs: Float[Array, "springs pairs"]
    pushes: Float[Array, "launches pairs"]
    remainder: Float[Array, " springs"]


class RiverStart(eqx.Module):
    """State of a `RiverMap` at its first step.

    Fields
        flows: `FlowStart` on each flow, with a leading axis of flows.
        tuner: the rule's own state; None for a fresh one.
    """

    flows: FlowStart
    tuner: Any = None


def at_weights(river: River) -> RiverStart:
    """The start at the river's own initial weights: nothing oscillates, nothing is displaced."""
    rates = river.flows.rate
    springs, pairs = river.flows.places.cross.shape[2:]
    return RiverStart(
        FlowStart(
            jnp.zeros_like(rates),
            jnp.zeros((*rates.shape, river.modes), rates.dtype),
            jnp.zeros((*rates.shape, springs, pairs), rates.dtype),
            jnp.zeros((*river.flows.launches.shape, pairs), rates.dtype),
            jnp.zeros((*rates.shape, springs), rates.dtype),
        )
    )


def at_step(river: River, rows: Mapping[str, Any], step: int, tuner: Any = None) -> RiverStart:
    """The start at step `step` of a run from the river's weights.

    The run's oscillation up to there has pushed the springs as it would in the map. Products of different modes count
    with the sense that the run's modes and the flow's have had since the start; where two modes have crossed, it is
    arbitrary. Its sharpness and its loss at the centre are then met: of the mean of ln λ_i, what the springs do not
    explain is a push of all modes alike, shared over the springs as 1/(μ_b + 1/τ), and of the loss it is that of a
    displacement which leaves the curvatures alone, e_b ∝ μ_b tr W_b/(μ_b + 1/τ)². The single λ_i are not met: that
    needs the directions of the run's modes against those of the river, which its rows do not tell, and met in the wrong
    directions they are worse than left alone. At step 0 it is the start at the weights.

    Args:
        river: measured from the run's initial weights, with as many modes as the run has or fewer.
        rows: `stepsize`, `eigenvalues`, `amplitude` and `center_loss` of the run, rows first, up to `step` at least.
        step: the index of the step to begin with.
        tuner: the rule's own state there; None for a fresh one.
    """
    starts = [_flow_at_step(flow, rows, step) for flow in river.each()]
    return RiverStart(jax.tree.map(lambda *a: jnp.stack(a), *starts), tuner)


def _flow_at_step(flow: Flow, rows: Mapping[str, Any], step: int) -> FlowStart:
    k, mu = flow.modes, np.asarray(flow.curvature, float)
    basis = flow.basis
    eta, values, amplitude, loss = (
        np.asarray(rows[name], float)[: step + 1] for name in ("stepsize", "eigenvalues", "amplitude", "center_loss")
    )
    values, amplitude = values[:, :k], amplitude[:, :k]
    springs = np.zeros((mu.size, len(basis)))
    pushes = np.zeros((flow.launches.size, len(basis)))
    times = np.concatenate([[0.0], np.cumsum(eta[:step])])
    along, hats = jax.tree.map(lambda a: np.asarray(a, float), _along(flow, _of(flow, times)))
    # Roots of the flow's eigenvalues, largest first, and its eigenvectors in the frame (columns).
    root, turns = (a[..., ::-1] for a in np.linalg.eigh(along.root))
    turns = _in_one_sense(turns)
    # A run's amplitude is measured from where the gradient along the mode vanishes, the map's from the flow. Its modes
    # keep their sense from step to step as well, and its first gradient is the flow's. Modes that are as flat as the
    # bulk are on the flow: eigenvectors there are arbitrary.
    positive = np.maximum(values, LEAST_EIGENVALUE * values[:, :1])
    lag = np.einsum("tij,ti->tj", turns, along.pull) / positive
    flat = values < LEAST_EIGENVALUE * values[:, :1]
    x = np.where(flat, 0, amplitude * np.where(amplitude[0] * lag[0] < 0, -1, 1) - lag)
    for t in range(step):
        y = turns[t] @ (np.sqrt(positive[t]) * x[t])
        axes, _, slope = _falls(_matrix(basis, along.response[t], springs + along.recall[t] @ pushes))
        energy = 0.5 * np.einsum("i,nij,j->n", (axes * slope) @ (axes.T @ y), basis, y)
        rate = eta[t] * mu
        reach = eta[t] * np.where(rate > 1e-9, -np.expm1(-rate) / np.where(rate > 1e-9, rate, 1), 1)
        excess = energy - along.held[t]
        springs = np.exp(-rate)[:, None] * springs + reach[:, None] * excess
        pushes += eta[t] * hats[t][:, None] * excess

    tau = times[-1]
    here = jax.tree.map(lambda a: a[-1], along)
    response, cross, recall = here.response, here.cross, here.recall
    alike = np.einsum("nii->n", basis)
    share = flow.profile(tau)
    profile = share[:, None] * alike
    size = _size(
        -np.sum(np.log(positive[step] / root[step] ** 2)),
        _matrix(basis, response, springs + recall @ pushes),
        _matrix(basis, response, profile),
    )
    springs = springs + size * profile
    whole = springs + recall @ pushes
    displaced = np.sum(whole * (0.5 * mu[:, None] * np.einsum("bij,bj->bi", response, whole) - cross))
    # A run's centre is measured from there too.
    on_flow = loss[step] + 0.5 * np.sum(np.where(flat, values * amplitude**2, positive * lag**2)[step])
    relaxing = _normalised(mu * np.einsum("bii->b", response) * share**2)
    return FlowStart(
        _of(flow, tau),
        _of(flow, turns[step] @ x[step]),
        _of(flow, springs),
        _of(flow, pushes),
        _of(flow, (on_flow - displaced - float(here.loss)) * relaxing),
    )


def _in_one_sense(turns):
    """Eigenvectors (columns) by step, each in the sense of the one before."""
    senses = np.where(np.sum(turns[1:] * turns[:-1], axis=1) < 0, -1, 1)
    return np.concatenate([turns[:1], turns[1:] * np.cumprod(senses, axis=0)[:, None]])


def _matrix(basis, response, springs):
    """Σ_b W_b s_b as a matrix in the frame."""
    return np.einsum("nij,n->ij", basis, np.sum(response @ springs[..., None], axis=0)[:, 0])


def _falls(answer):
    """Eigenvectors of A (columns), how far the curvature along each has fallen, and the slope of that."""
    values, axes = np.linalg.eigh(answer)
    return axes, *(np.asarray(a, float) for a in log_fall(jnp.asarray(values)))


def _size(fall, answer, more):
    """z at which A + z·more lowers the sum of ln λ_i by `fall`, by Newton's steps.

    The sum is concave in z, so that they do not pass the root from the left. They end where it no longer rises."""
    size, step = 0.0, 0.0
    for _ in range(_NEWTON):
        axes, falls, slope = _falls(answer + (size + step) * more)
        rate = np.sum(slope * np.einsum("ia,ij,ja->a", axes, more, axes))
        if rate <= 0:
            break
        size += step
        step = (fall - np.sum(falls)) / rate
    return size


def _normalised(weights):
    """Weights of sum 1; all to the first, which never relaxes, where none is above 0."""
    total = np.sum(weights)
    return weights / total if total > 0 else np.eye(1, weights.size)[0]


@eqx.filter_jit
def _along(flow, times):
    """The places of a flow at flow times, and the shares of a push there that belong to each launch."""
    return jax.vmap(flow.at)(times), jax.vmap(flow.hats)(times)


def _of(flow, value):
    return jnp.asarray(value, flow.rate.dtype)
