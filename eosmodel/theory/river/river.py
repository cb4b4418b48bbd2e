"""The river: gradient flow of one network as a table over flow time, with the response of its curvatures to a push."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from eosmodel._origin import Origin
from eosmodel.theory.complementarity import symmetric_basis
from eosmodel.theory.river.flow import launch_times

# Rows of the table, equidistant in ln(1 + λ(0) τ).
_ROWS = 256
# Caps that a diagonal river keeps.
_LOWEST = 2
# A push is remembered at most by this factor longer than the springs say, which have next to nothing left then.
_LONGEST = 10.0
# Curvatures of the springs: 0 and a geometric progression up from this share of 1/T.
_SOFTEST = 0.5


class Place(NamedTuple):
    """The river at one flow time; k modes, p pairs of modes in the order of `Flow.basis`, b springs.

    Fields
        loss, sharpness: L and λ.
        root: (H_r)^{1/2} in the frame, shape (k, k).
        pull: the gradient along the frame, shape (k,).
        climb: its integral over τ from 0, shape (k,).
        gradient: G_b, the squared gradient of the bulk by curvature, shape (b,).
        cross: c_b, the products of the gradient with ∇(ln H)_ij, shape (b, p).
        response: W_b, the products of the ∇(ln H)_ij with each other, shape (b, p, p).
        held: E of an oscillation that would hold λ at the cap, shape (p,); 0 without one.
        recall: what of a unit push at the launch τ_j is remembered beyond e^{−μ_b(τ − τ_j)}, negative where it is
            forgotten sooner; shape (b, launches).
    """

    loss: Float[Array, ""]
    sharpness: Float[Array, ""]
    root: Float[Array, "modes modes"]
    pull: Float[Array, " modes"]
    climb: Float[Array, " modes"]
    gradient: Float[Array, " springs"]
    cross: Float[Array, "springs pairs"]
    response: Float[Array, "springs pairs pairs"]
    held: Float[Array, " pairs"]
    recall: Float[Array, "springs launches"]


class Flow(eqx.Module):
    """Gradient flow from the initial weights of one network, free or with λ held below a cap, in the numbers that a
    tuner's run depends on.

    Fields
        rate: λ(0); the rows are equidistant in ln(1 + rate·τ).
        length: T, the flow time that it reaches.
        curvature: μ_b of the springs, increasing from 0, shape (springs,).
        log_loss, log_slope: ln L and its derivative by τ, shape (rows,).
        launches: τ_j at which the response of the flow itself was launched, increasing from 0.
        cap: the sharpness that the flow may not exceed; infinite for the free one.
        places: `Place` with a leading axis of rows.
    """

    rate: Float[Array, ""]
    length: Float[Array, ""]
    curvature: Float[Array, " springs"]
    log_loss: Float[Array, " rows"]
    log_slope: Float[Array, " rows"]
    launches: Float[Array, " launches"]
    cap: Float[Array, ""]
    places: Place

    @property
    def modes(self) -> int:
        return self.places.root.shape[-1]

    @property
    def basis(self) -> np.ndarray:
        """What the coordinates of pairs stand for: `symmetric_basis`, or the diagonal part of it; shape (p, k, k)."""
        whole = symmetric_basis(self.modes)
        return whole[_squares(self.modes)] if self.is_diagonal else whole

    @property
    def is_diagonal(self) -> bool:
        """Whether only pairs of a mode with itself have coordinates; as one mode has no other."""
        return self.places.cross.shape[-1] == self.modes

    def _row(self, tau):
        """Row below τ, the share of the way to the next, τ of both."""
        rows = self.log_loss.shape[0]
        step = jnp.log1p(self.rate * self.length) / (rows - 1)
        place = jnp.clip(jnp.log1p(self.rate * tau) / step, 0, rows - 1.001)
        row = place.astype(jnp.int32)
        below = row.astype(step.dtype)
        low = jnp.expm1(below * step) / self.rate
        high = jnp.expm1((below + 1) * step) / self.rate
        return row, jnp.clip((tau - low) / (high - low), 0, 1), high - low

    def at(self, tau: Float[Array, ""]) -> Place:
        """The river at flow time τ: linear between rows, ln L and the climb cubic."""
        row, share, width = self._row(tau)

        def between(a):
            return (1 - share) * a[row] + share * a[row + 1]

        place = jax.tree.map(between, self.places)
        loss = jnp.exp(_hermite(self.log_loss, self.log_slope, row, share, width))
        return place._replace(loss=loss, **self._along(row, share, width))

    def _along(self, row, share, width):
        climb, pull = self.places.climb, self.places.pull
        return {
            "climb": _hermite(climb, pull, row, share, width),
            "pull": _hermite_slope(climb, pull, row, share, width),
        }

    @property
    def times(self) -> np.ndarray:
        """τ of the rows, shape (rows,)."""
        rate = float(self.rate)
        return np.expm1(np.linspace(0, np.log1p(rate * float(self.length)), self.log_loss.shape[0])) / rate

    def profile(self, tau: Any) -> np.ndarray:
        """Shares of a push that has lasted since the start over the springs, 1/(μ_b + 1/τ); shape (…, springs)."""
        since = np.maximum(np.asarray(tau), 1 / float(self.rate))
        return 1 / (np.asarray(self.curvature, float) + 1 / since[..., None])

    def hats(self, tau: Float[Array, ""]) -> Float[Array, " launches"]:
        """The shares of a push at τ that belong to each launch, linear in ln(1 + rate·τ); none long after the last."""
        at = jnp.log1p(self.rate * self.launches)
        now = jnp.log1p(self.rate * tau)
        left = jnp.concatenate([at[:1] - 1, at[:-1]])
        right = jnp.concatenate([at[1:], at[-1:] + 1])
        return jnp.clip(jnp.minimum((now - left) / (at - left), (right - now) / (right - at)), 0, 1)

    def climb(self, tau: Float[Array, ""]) -> Float[Array, " modes"]:
        """∫₀^τ of the gradient along the frame."""
        return self._along(*self._row(tau))["climb"]


class River(eqx.Module):
    """The gradient flows of one network from its initial weights: the free one and some with a cap on λ.

    Fields
        flows: `Flow` with a leading axis, caps increasing, the free flow last.
        origin: what the river was measured on, for records.
    """

    flows: Flow
    origin: Origin = eqx.field(static=True, default=Origin())

    @property
    def free(self) -> Flow:
        return self.flow(-1)

    def flow(self, index: int) -> Flow:
        return jax.tree.map(lambda a: a[index], self.flows)

    def each(self) -> list[Flow]:
        """The flows one by one, as `stacked` takes them."""
        return [self.flow(i) for i in range(self.caps.size)]

    @property
    def length(self) -> Float[Array, ""]:
        """The flow time that the free flow reaches."""
        return self.flows.length[-1]

    @property
    def caps(self) -> Float[Array, " flows"]:
        return self.flows.cap

    @property
    def modes(self) -> int:
        return self.flows.places.root.shape[-1]

    @property
    def pairs(self) -> int:
        """p, the coordinates of a spring."""
        return self.flows.places.cross.shape[-1]

    @property
    def dtype(self) -> Any:
        return self.flows.rate.dtype

    def diagonal(self) -> "River":
        """The river without products of different modes: each oscillation pushes the curvatures by its square alone.

        ln H answers along its diagonal in the frame alone. Springs have k coordinates in place of k(k + 1)/2, the
        response of one 64 numbers in place of 1296 for eight modes. Of the flows it keeps the free one and those under
        the two lowest caps: what holds a flow at a cap has products too, and on the others predictions become worse.
        A phase diagram takes a quarter of the time or less. What that costs in accuracy is in the documentation of the
        river.
        """
        if self.flows.is_diagonal:
            return self
        own, free = _squares(self.modes), self.caps.size - 1
        kept = np.array([*range(min(free, _LOWEST)), free])
        flows = jax.tree.map(lambda a: a[kept], self.flows)
        places = flows.places._replace(
            cross=flows.places.cross[..., own],
            response=flows.places.response[..., own[:, None], own],
            held=flows.places.held[..., own],
        )
        return River(eqx.tree_at(lambda flows: flows.places, flows, places), self.origin)

    def isotropic(self) -> "River":
        """The river with its responses averaged over all rotations of the modes: four numbers a spring and flow time.

        On average over the frames that k modes can have, the response to a symmetric push X is

            W_b[X] = α_b tr(X) I + γ_b X,        c_b·X = c_b tr(X),

        so that for all p = k(k + 1)/2 pairs a spring has α_b, γ_b, c_b and G_b in place of p(p + 1)/2 + p + 1 numbers.
        Products of different modes stay. What holds a flow at its cap is the E_r to which the curvatures answer as they
        did, Σ_b W_b E_r/(μ_b + 1/τ). How near its predictions are is in the documentation of the river.

        Raises:
            ValueError: of a diagonal river, which has no products left to average over.
        """
        if self.modes == 1:
            return self
        if self.flows.is_diagonal:
            raise ValueError("River.isotropic: a diagonal river has lost the products of its modes; ask the whole one")
        places, modes = self.flows.places, self.modes
        alike = np.einsum("nii->n", symmetric_basis(modes))

        def part_alike(pushes):
            return (pushes @ alike / modes)[..., None] * alike

        response, cross, held = (np.asarray(a, float) for a in (places.response, places.cross, places.held))
        # What averages keep: the trace of W_b, and its response to I.
        trace, to_alike = np.einsum("...ii->...", response), response @ alike @ alike
        gamma = (trace - to_alike / modes) / (self.pairs - 1)
        alpha = (to_alike - modes * gamma) / modes**2
        averaged = alpha[..., None, None] * np.outer(alike, alike) + gamma[..., None, None] * np.eye(self.pairs)

        share = np.stack([flow.profile(flow.times) for flow in self.each()])
        answer = np.einsum("ftb,ftbij,ftj->fti", share, response, held, optimize=True)
        own, all_alike = (np.sum(share * each, axis=-1, keepdims=True) for each in (gamma, gamma + modes * alpha))
        # Where nothing answers, nothing is held.
        own, all_alike = (np.where(each > 0, each, np.inf) for each in (own, all_alike))
        held = (answer - part_alike(answer)) / own + part_alike(answer) / all_alike

        values = {"cross": part_alike(cross), "response": averaged, "held": held}
        places = places._replace(**{name: jnp.asarray(value, self.dtype) for name, value in values.items()})
        return River(eqx.tree_at(lambda flows: flows.places, self.flows, places), self.origin)


def _squares(modes):
    """The pairs of a mode with itself among those of `symmetric_basis`."""
    return np.flatnonzero(np.equal(*np.triu_indices(modes)))


def stacked(flows: Sequence[Flow], origin: Origin = Origin()) -> River:  # noqa: B008 (immutable)
    """The river of flows with increasing caps, the free one last."""
    return River(jax.tree.map(lambda *a: jnp.stack(a), *flows), origin)


def _hermite(values, slopes, row, share, width):
    """The cubic through two rows with their slopes."""
    a, b, da, db = values[row], values[row + 1], width * slopes[row], width * slopes[row + 1]
    rest = 1 - share
    return rest**2 * ((1 + 2 * share) * a + share * da) + share**2 * ((3 - 2 * share) * b - rest * db)


def _hermite_slope(values, slopes, row, share, width):
    a, b, da, db = values[row], values[row + 1], slopes[row], slopes[row + 1]
    rest = 1 - share
    return 6 * share * rest * (b - a) / width + rest * (1 - 3 * share) * da + share * (3 * share - 2) * db


def moves(rows: Mapping[str, np.ndarray]) -> bool:
    """Whether a flow leads anywhere off the modes: a start at a minimum has a loss of 0, or no gradient there."""
    parts = np.asarray(rows["weights"])
    return bool(rows["loss"][1] > 0 and np.any(parts[np.isfinite(parts)]))


def flow_of(
    rows: Mapping[str, np.ndarray], modes: int, cap: float = float("inf"), *, springs: int = 6, dtype=None
) -> Flow:
    """The table of a `RiverFlow`'s rows.

    Args:
        rows: of `RiverFlow`, repeated ones (a step taken again) included.
        modes: k of the flow.
        cap: that of the flow.
        springs: number of curvatures μ_b: 0 and a geometric progression. A Ritz value between two of them is shared
            between both so that its weight and its first moment are kept.
        dtype: floating type; jax's default when None.
    """
    from scipy.interpolate import PchipInterpolator  # slow to import

    rows = {name: np.asarray(values) for name, values in rows.items()}
    # Once the loss has become 0 nothing relative to it is known.
    alive = np.isfinite(rows["tau"]) & np.logical_and.accumulate(rows["loss"] > 0)
    rows = {name: values[alive].astype(float) for name, values in rows.items()}
    measured = np.flatnonzero(np.isfinite(rows["ritz"]).all(axis=1))
    at, first = np.unique(rows["tau"][measured], return_index=True)
    ritz = np.maximum(rows["ritz"][measured[first]], 0)
    parts = rows["weights"][measured[first]].reshape(*ritz.shape, -1)
    # Of a step that was taken again, shorter, the last row is of the step that counts.
    once = np.append(np.diff(rows["tau"]) > 0, True)
    rows = {name: values[once] for name, values in rows.items()}
    tau, pull, root = rows["tau"], rows["pull"], rows["root"].reshape(-1, modes, modes)
    length, rate = tau[-1], rows["eigenvalues"][0, 0]
    grid = np.expm1(np.linspace(0, np.log1p(rate * length), _ROWS)) / rate
    most = ritz[parts.any(axis=-1)].max()
    curvature = np.concatenate([[0.0], np.geomspace(min(_SOFTEST / length, most / 2), most, springs - 1)])
    measure = np.einsum("tnb,tni,tnj->tbij", _shares(ritz, curvature), parts, parts)
    bulk = np.sum(measure[:, :, -1, -1], axis=1)
    # The gradient falls by orders of magnitude along the river: what is made of it is interpolated relative to it.
    unit = np.sqrt(np.maximum(bulk, np.finfo(float).tiny))[:, None]

    def resampled(times, values):
        return PchipInterpolator(times, values, axis=0)(np.clip(grid, times[0], times[-1]))

    now = np.exp(resampled(at, np.log(unit[:, 0])))
    square = np.sum(pull**2, axis=1) + np.exp(np.interp(tau, at, 2 * np.log(unit[:, 0])))
    log_loss = np.log(rows["loss"])
    slope = _monotone(tau, log_loss, -square / rows["loss"])
    row = np.clip(np.searchsorted(tau, grid, side="right") - 1, 0, len(tau) - 2)
    width = np.diff(tau)[row]
    share = (grid - tau[row]) / width
    climb = _hermite(rows["climb"], pull, row, share[:, None], width[:, None])
    response = resampled(at, measure[:, :, :-1, :-1])
    middle = tau + np.diff(tau, append=tau[-1]) / 2
    held = np.stack([np.interp(grid, middle, column) for column in rows["held"].T], axis=1)
    roots = resampled(tau, root)
    launches, recall = _recall(rows, grid, curvature, response, roots)
    dtype = jnp.result_type(float) if dtype is None else dtype

    def array(values):
        return jnp.asarray(values, dtype)

    places = Place(
        loss=array(np.exp(_hermite(log_loss, slope, row, share, width))),
        sharpness=array(resampled(tau, rows["eigenvalues"][:, 0])),
        root=array(roots),
        pull=array(_hermite_slope(rows["climb"], pull, row, share[:, None], width[:, None])),
        climb=array(climb),
        gradient=array(resampled(at, measure[:, :, -1, -1] / unit**2) * now[:, None] ** 2),
        cross=array(resampled(at, measure[:, :, :-1, -1] / unit[:, :, None]) * now[:, None, None]),
        response=array(response),
        held=array(held),
        recall=array(recall),
    )
    return Flow(
        rate=array(rate),
        length=array(length),
        curvature=array(curvature),
        log_loss=array(_hermite(log_loss, slope, row, share, width)),
        log_slope=array(_hermite_slope(log_loss, slope, row, share, width)),
        launches=array(launches),
        cap=array(cap),
        places=places,
    )


def _monotone(x, values, slopes):
    """Slopes of a falling function no steeper than lets cubics between its points fall too (Fritsch & Carlson, 1980):
    three times the chord on either side. Where a stiff direction dies within one step, its slope would overshoot."""
    chords = np.diff(values) / np.diff(x)
    steepest = 3 * np.maximum(np.concatenate([chords[:1], chords]), np.concatenate([chords, chords[-1:]]))
    return np.clip(slopes, np.minimum(steepest, 0), 0)


def _recall(rows, grid, curvature, response, root):
    """Launch times, and what a push at each is remembered beyond e^{−μ_b(τ − τ_j)}: (rows, springs, launches).

    The measured response of b = P⊥∇(Σ_i λ_i)/λ to its own launch, relative to the one that the springs of that moment
    give, is taken for that of every pair: below 1 where the directions have turned, above where they were flatter
    when they were pushed than they are now, or curved downwards. A response that has changed its sign counts as none.
    """
    born = rows["born"][-1]
    launches = np.where(np.isfinite(born), born, launch_times(len(born)) / rows["eigenvalues"][0, 0])
    # b in the coordinates of the pairs: H/λ.
    hessian = root @ root.swapaxes(-1, -2)
    b = np.einsum("nij,tij->tn", symmetric_basis(root.shape[-1]), hessian)
    b /= np.linalg.eigvalsh(hessian)[:, -1:]
    recall = np.zeros((len(grid), len(curvature), len(launches)))
    for j in np.flatnonzero(np.isfinite(born)):
        time, after = born[j], rows["tau"] >= born[j]
        fading = np.exp(-np.outer(np.maximum(grid - time, 0), curvature))
        first = b[min(np.searchsorted(grid, time), len(grid) - 1)]
        springs = np.einsum("ti,tbij,j,tb->t", b, response, first, fading, optimize=True)
        known = (grid >= time) & (springs > 0)
        ratio = np.interp(grid, rows["tau"][after], rows["memory"][after, j]) / np.where(known, springs, 1)
        recall[:, :, j] = np.where(known, np.clip(ratio, 0, _LONGEST) - 1, 0)[:, None] * fading
    return launches, recall


def _shares(ritz, curvature):
    """Share of each Ritz value that goes to each curvature, linear between neighbours: (times, ritz, springs)."""
    right = np.clip(np.searchsorted(curvature, ritz), 1, len(curvature) - 1)
    low, high = curvature[right - 1], curvature[right]
    share = np.clip((ritz - low) / (high - low), 0, 1)
    index = np.arange(len(curvature))
    return (1 - share)[..., None] * (index == (right - 1)[..., None]) + share[..., None] * (index == right[..., None])
