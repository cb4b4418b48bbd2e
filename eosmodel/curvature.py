"""The leading eigenpairs of the Hessian, tracked along a run inside jitted code, and the slow coefficients there.

A tracker keeps the leading Ritz pairs of the full-batch Hessian from step to step. Each update takes fresh
Hessian–vector products only, so every Ritz value is a lower bound of the eigenvalue it stands for (Courant–Fischer),
and the residual ‖Hu − λu‖/λ that comes with it bounds the distance to a true eigenvalue from above.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from eosmodel._checks import check_count, check_range
from eosmodel._units import unit_of

# Below this dimension a dense solve is exact and cheaper than any iteration.
_DENSE_DIM = 24
# A direction whose squared length left after orthogonalisation is below this (relative to 1) adds only rounding.
_RANK_FLOOR = 1e-3
# The other modes must be known well enough to notice in time that one overtakes the first.
_OTHERS = 4
# An update pays for at most that many steps since the one before.
_MAX_ELAPSED = 5
# A tracker looks outside its modes at every such update.
_LOOK = 2
# Share of a random vector in each look: nothing is forgotten for ever, and little is blurred.
_FRESH = 0.03


class Modes(eqx.Module):
    """The leading eigenpairs as the tracker carries them.

    Fields
        values: λ_1 ≥ λ_2 ≥ …, shape (modes,).
        vectors: rows u_i, orthonormal, shape (modes, dim).
    """

    values: Float[Array, " modes"]
    vectors: Float[Array, "modes dim"]


class Scout(eqx.Module):
    """What a tracker has seen outside its modes: two terms of a Chebyshev recurrence.

    v_{j+1} = 2Av_j − v_{j−1}, A = (H − c)/e with c ± e the ends of [−λ_k, λ_k] (or lower, where H is), leaves what H
    has within the interval as large as it is, and multiplies what lies above, at λ, by up to x + √(x² − 1) each time,
    x = (λ − c)/e. No other recurrence of one product each brings it out as fast.

    Fields
        last, before: v_j and v_{j−1}, shape (dim,), at right angles to the modes.
        low: lower end of the interval.
        updates: updates so far; random numbers are drawn from it, so that a run that is resumed draws the same.
    """

    last: Float[Array, " dim"]
    before: Float[Array, " dim"]
    low: Float[Array, ""]
    updates: Int[Array, ""]


class Tracked(eqx.Module):
    """What `Tracker` carries: the fields of `Modes`, and its scout; None where a dense solve sees everything."""

    values: Float[Array, " modes"]
    vectors: Float[Array, "modes dim"]
    scout: Scout | None


class TrackInfo(NamedTuple):
    """How good the tracked pairs are: relative residual of the leading pair, Hessian–vector products taken in this
    call, and whether every pair met its tolerance."""

    residual: Float[Array, ""]
    products: Int[Array, ""]
    converged: Bool[Array, ""]


def hvp(fn: Callable, weights: Array, vector: Array) -> Array:
    """Hessian–vector product ∇²fn(weights)·vector, forward over reverse; shapes (dim,)."""
    return jax.jvp(jax.grad(fn), (weights,), (vector,))[1]


def linearize(fn: Callable, weights: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Loss, gradient and a function v ↦ ∇²fn(weights) v that shares one evaluation among all its products."""
    (value, gradient), pushforward = jax.linearize(jax.value_and_grad(fn), weights)
    return value, gradient, lambda vector: pushforward(vector)[1]


def _unit(v):
    norm = jnp.linalg.norm(v)
    return v * jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)


def _orthogonalize(v, basis):
    """Unit vector along the part of v outside the rows of `basis`; zero if nothing but rounding is left."""
    for _ in range(2):  # once is not enough in floating point; twice is
        v = _unit(v - (basis @ v) @ basis)
    return v


def _rayleigh_ritz(basis, products, modes):
    """Largest Ritz values over the rows of `basis`, and their coefficients (modes, rows). Dependent rows drop out."""
    gram = basis @ basis.T
    inner = basis @ products.T
    inner = 0.5 * (inner + inner.T)
    sizes, axes = jnp.linalg.eigh(gram)
    kept = sizes > _RANK_FLOOR
    whiten = axes * jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, sizes, 1)), 0)
    reduced = whiten.T @ inner @ whiten
    # Dropped directions must not appear among the largest values, whatever their sign.
    bound = 2 * jnp.max(jnp.sum(jnp.abs(reduced), axis=0)) + 1
    values, coefficients = jnp.linalg.eigh(reduced - jnp.diag(jnp.where(kept, 0, bound)))
    return values[::-1][:modes], (whiten @ coefficients)[:, ::-1][:, :modes].T


def _dense(matvec, dim, modes, dtype):
    hessian = jax.vmap(matvec)(jnp.eye(dim, dtype=dtype))
    values, vectors = jnp.linalg.eigh(0.5 * (hessian + hessian.T))
    pairs = Modes(values[::-1][:modes], vectors.T[::-1][:modes])
    return pairs, TrackInfo(jnp.asarray(0, dtype), jnp.asarray(dim, jnp.int32), jnp.asarray(True))


class AbstractTracker(eqx.Module):
    """How the leading eigenpairs are followed from step to step.

    An extension supplies `init` and `update`. Whatever pairs they return are carried by the run: `Modes`, or a module
    of its own with the fields of `Modes` and more, such as a counter.
    """

    @abc.abstractmethod
    def init(self, fn: Callable, weights: Float[Array, " dim"]) -> tuple[Array, Array, Modes]:
        """Loss, gradient and leading eigenpairs at `weights`, from scratch."""

    @abc.abstractmethod
    def update(self, matvec: Callable[[Array], Array], pairs: Modes, elapsed: int = 1) -> tuple[Modes, TrackInfo]:
        """The eigenpairs of a Hessian that has changed a little.

        Args:
            matvec: v ↦ Hv at the point of interest, as from `linearize`.
            pairs: those of a nearby point.
            elapsed: steps between the two points; more of them may take more work.
        """


class Tracker(AbstractTracker):
    """Locally optimal block Rayleigh–Ritz, to a tolerance and within a budget.

    An update starts with the Ritz problem on [u_1 … u_k]: k products. The worst residual then joins the basis, one
    product, and again while one exceeds its tolerance, each time with the direction p in which u_1 last moved, until
    the budget is spent. Near convergence the error of λ_1 is at most residual²·λ/gap. `make bench` measures it
    against a converged solver. (A p kept from the update before costs a product and saves less than one.) With up to
    24 weights the pairs are those of a dense solve.

    Residuals say that the pairs are eigenpairs, not that they are the leading ones: an eigenvector at right angles to
    all of them that rises to the top would never be seen. So every second update has one more direction and product, a
    `Scout` outside the modes. An eigenvalue λ that has come out above λ_k is found after about
    2 ln(2√dim)/arccosh(λ/λ_k) updates, where H has no eigenvalue below −λ_k: 8 at twice λ_k among 10⁴ weights, 24 at
    1.1λ_k; with eigenvalues down to −20λ_k, of 40 weights, within 200. Until then `converged` does not know of
    it. The cost is half a product for each update: 4.5 in place of 4.0 with three modes of a small network at the edge
    of stability, on digits, and 13 to 25 % of the time of a step with 682 weights, less with more.
    (In a batch of runs every update pays for a product, since a branch that runs take one by one is computed for all.)

    Args:
        modes: number of pairs k, ≥ 1; as many as there are weights if that is less.
        rtol: tolerance of ‖Hu_1 − λ_1u_1‖/|λ_1|, > 0; the other modes are held to four times that. `init` solves to a
            tolerance of its own.
        budget: products beyond the first k of an update, ≥ 1, for each elapsed step up to five.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> curvatures = jnp.arange(100.0)
        >>> tracker = Tracker(modes=2)
        >>> _, _, pairs = tracker.init(lambda w: 0.5 * curvatures @ w**2, jnp.ones(100))
        >>> pairs, info = tracker.update(lambda v: 2 * curvatures * v, pairs)
        >>> pairs.values.round(1).tolist(), bool(info.converged)
        ([198.0, 196.0], True)

    Source: Knyazev (2001), LOBPCG, with one conjugate direction and an adaptive number of residuals.
    """

    modes: int = eqx.field(static=True, default=3)
    rtol: float = eqx.field(static=True, default=1.5e-2)
    budget: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        check_count("Tracker", "modes", self.modes)
        check_range("Tracker", "rtol", self.rtol, 0, low_open=True)
        check_count("Tracker", "budget", self.budget)

    def init(self, fn, weights):
        value, gradient, pairs = leading(fn, weights, self.modes)
        exact = weights.shape[0] <= _DENSE_DIM
        return value, gradient, Tracked(pairs.values, pairs.vectors, None if exact else _new_scout(weights))

    def update(self, matvec, pairs, elapsed=1):
        scout = pairs.scout if isinstance(pairs, Tracked) else None
        budget = self.budget * min(elapsed, _MAX_ELAPSED)
        found, info, scout = _track(matvec, pairs, self.rtol, budget, scout)
        return (Tracked(found.values, found.vectors, scout) if isinstance(pairs, Tracked) else found), info


def as_tracker(tracker: AbstractTracker | int | None) -> AbstractTracker | None:
    """A tracker as it is, and None; a number of modes as a `Tracker` of so many."""
    return tracker if isinstance(tracker, AbstractTracker | None) else Tracker(tracker)


def _track(matvec, pairs, rtol, max_expansions, scout=None) -> tuple[Modes, TrackInfo, Scout | None]:
    modes, dim = pairs.vectors.shape
    if dim <= _DENSE_DIM:
        return *_dense(matvec, dim, modes, pairs.vectors.dtype), None
    dtype = pairs.vectors.dtype
    tolerance = rtol * jnp.where(jnp.arange(modes) == 0, 1, _OTHERS).astype(dtype)

    def residuals(values, vectors, products):
        rest = products - values[:, None] * vectors
        scale = jnp.maximum(jnp.abs(values[0]), jnp.finfo(dtype).tiny)
        return rest, jnp.linalg.norm(rest, axis=1) / scale

    def solve(basis, products):
        values, c = _rayleigh_ritz(basis, products, modes)
        vectors, hvps = c @ basis, c @ products
        # What the leading vector took from outside the old ones, made orthogonal to the new ones.
        inner = c[0].at[:modes].set(0)
        p, hp = inner @ basis, inner @ products
        overlap = vectors @ p
        p, hp = p - overlap @ vectors, hp - overlap @ hvps
        norm = jnp.linalg.norm(p)
        scale = jnp.where(norm > 1e-4, 1 / jnp.where(norm > 0, norm, 1), 0)
        return values, vectors, hvps, p * scale, hp * scale

    basis, products, taken = pairs.vectors, jnp.stack([matvec(v) for v in pairs.vectors]), jnp.asarray(modes, jnp.int32)
    unit = unit_of(products)
    products = products / unit
    if scout is not None:
        look = scout.updates % _LOOK == 0
        outside = jax.lax.cond(look, _orthogonalize, lambda v, _: jnp.zeros_like(v), scout.last, pairs.vectors)
        seen = jax.lax.cond(look, matvec, jnp.zeros_like, outside) / unit
        # A row of zeros drops out of the Ritz problem.
        basis, products = jnp.concatenate([basis, outside[None]]), jnp.concatenate([products, seen[None]])
        taken = taken + look.astype(jnp.int32)
    solution = solve(basis, products)

    def unfinished(carry):
        (values, vectors, hvps, _, _), count = carry
        return (count < max_expansions) & jnp.any(residuals(values, vectors, hvps)[1] > tolerance)

    def expand(carry):
        (values, vectors, hvps, p, hp), count = carry
        rest, size = residuals(values, vectors, hvps)
        worst = _orthogonalize(rest[jnp.argmax(size / tolerance)], vectors)
        basis = jnp.concatenate([vectors, p[None], worst[None]])
        products = jnp.concatenate([hvps, hp[None], matvec(worst)[None] / unit])
        return solve(basis, products), count + 1

    # The first expansion is nearly always needed, and costs less outside a loop.
    carry = expand((solution, jnp.asarray(0, jnp.int32)))
    (values, vectors, hvps, _, _), count = jax.lax.while_loop(unfinished, expand, carry)
    _, size = residuals(values, vectors, hvps)
    if scout is not None:
        # A larger Ritz problem may turn a vector round, and with it the sign of an amplitude.
        vectors = vectors * jnp.where(jnp.sum(vectors * pairs.vectors, axis=1) < 0, -1, 1).astype(dtype)[:, None]
        scout = jax.lax.cond(look, _look_on, _look_later, scout, outside, seen, values, vectors, unit)
    return Modes(values * unit, vectors), TrackInfo(size[0], taken + count, jnp.all(size <= tolerance)), scout


def _new_scout(weights):
    updates = jnp.asarray(0, jnp.int32)
    return Scout(_random(weights, updates), jnp.zeros_like(weights), jnp.zeros((), weights.dtype), updates)


def _random(like, number):
    """A unit vector drawn from an integer."""
    dim, dtype = like.shape[0], like.dtype
    signs = jax.random.rademacher(jax.random.fold_in(jax.random.key(1), number), (dim,), dtype)
    return signs / jnp.sqrt(jnp.asarray(dim, dtype))


def _look_later(scout, *_):
    return eqx.tree_at(lambda s: s.updates, scout, scout.updates + 1)


def _look_on(scout, outside, product, values, vectors, unit):
    """The scout one term further; its interval reaches at least as low as the spread of H along it does."""
    product = product - (vectors @ product) @ vectors
    level = outside @ product
    spread = jnp.linalg.norm(product - level * outside)
    low = jnp.minimum(0.9995 * scout.low / unit, 1.2 * (level - spread))
    high, low = values[-1], jnp.minimum(low, -jnp.abs(values[-1]))
    center, half = 0.5 * (high + low), jnp.maximum(0.5 * (high - low), _RANK_FLOOR * jnp.abs(values[0]))
    last = jnp.linalg.norm(scout.last) * outside
    bent = jnp.linalg.norm(scout.last) * (product - center * outside) / jnp.where(half > 0, half, 1)
    following = 2 * bent - scout.before
    following, last = (v - (vectors @ v) @ vectors for v in (following, last))
    scale = jnp.sqrt(jnp.sum(following**2) + jnp.sum(last**2))
    scale = 1 / jnp.where(scale > 0, scale, 1)
    updates = scout.updates + 1
    return Scout(scale * following + _FRESH * _random(following, updates), scale * last, low * unit, updates)


def cold_start(
    matvec: Callable[[Array], Array], guess: Float[Array, " dim"], modes: int, *, rtol: float = 1e-3, budget: int = 400
) -> tuple[Modes, TrackInfo]:
    """Leading eigenpairs without a previous solution: the tracker from random vectors and a guess, to convergence.

    Args:
        matvec: v ↦ Hv.
        guess: a vector likely to overlap with u_1 (the gradient), shape (dim,). Fixes dimension and dtype.
        modes: number of pairs, at least 1; at most dim are returned.
        rtol: residual tolerance, relative to |λ_1|.
        budget: largest number of expansions.
    """
    dim, dtype = guess.shape[0], guess.dtype
    modes = min(modes, dim)
    if dim <= _DENSE_DIM:
        return _dense(matvec, dim, modes, dtype)
    # A fixed key: the eigenpairs do not depend on it, and equal runs must be equal to the bit.
    vectors = jax.random.normal(jax.random.key(0), (modes, dim), dtype)
    vectors = jnp.linalg.qr(vectors.at[0].add(_unit(guess) * jnp.sqrt(jnp.asarray(dim, dtype))).T)[0].T
    pairs = Modes(jnp.zeros(modes, dtype), vectors)
    return _track(matvec, pairs, rtol, budget)[:2]


def sharp(pairs: Modes) -> Bool[Array, " modes"]:
    """Which tracked modes are sharp, λ_i > λ_1/10: only they oscillate, the others belong to the bulk."""
    return pairs.values > jnp.maximum(0.1 * pairs.values[0], jnp.finfo(pairs.values.dtype).tiny)


def off_modes(vector: Float[Array, " dim"], pairs: Modes) -> Float[Array, " dim"]:
    """The part of a vector in the bulk: all sharp modes projected out."""
    return vector - jnp.where(sharp(pairs), pairs.vectors @ vector, 0) @ pairs.vectors


@eqx.filter_jit
def leading(fn: Callable, weights: Float[Array, " dim"], modes: int) -> tuple[Array, Array, Modes]:
    """Loss, gradient and the leading eigenpairs at `weights`, from scratch; compiled once for all that start there."""
    with jax.default_matmul_precision("highest"):
        value, gradient, matvec = linearize(fn, weights)
        return value, gradient, cold_start(matvec, gradient, modes)[0]


def oscillation(gradient: Float[Array, " dim"], pairs: Modes) -> Float[Array, " modes"]:
    """Displacement from the valley floor along each mode, x_i = (u_i·∇L)/λ_i: one Newton step along u_i.

    Modes that are not sharp have no floor to measure from and get 0.
    """
    curved = sharp(pairs)
    return jnp.where(curved, pairs.vectors @ gradient / jnp.where(curved, pairs.values, 1), 0)


def sharpness_gradient(fn: Callable, weights: Array, vector: Array) -> Array:
    """∇λ = ∇_w (uᵀ∇²fn(w)u) with u held fixed, shape (dim,); the exact gradient of a simple eigenvalue."""

    def quadratic_form(w):
        def slope(z):
            return jax.jvp(fn, (z,), (vector,))[1]

        return jax.jvp(slope, (w,), (vector,))[1]

    return jax.grad(quadratic_form)(weights)


class SlowCoefficients(NamedTuple):
    """The coefficients of the slow flow at a valley floor, every sharp mode projected out of both gradients.

    Fields
        alpha: α = −∇L·∇λ, the rate of progressive sharpening.
        beta: β = ‖∇λ‖², the strength of self-stabilisation.
        kappa: κ = gᵀHg/(λG), bulk curvature relative to λ.
        bulk_gradient_sq: G = ‖g‖², g the gradient off the sharp modes.
    """

    alpha: Float[Array, ""]
    beta: Float[Array, ""]
    kappa: Float[Array, ""]
    bulk_gradient_sq: Float[Array, ""]


def slow_coefficients(fn: Callable, weights: Array, gradient: Array, pairs: Modes) -> SlowCoefficients:
    """α, β, κ and G at `weights`, a valley floor with the given gradient and leading pairs (theory: the slow flow)."""
    bulk = off_modes(gradient, pairs)
    rise = off_modes(sharpness_gradient(fn, weights, pairs.vectors[0]), pairs)
    size = jnp.vdot(bulk, bulk)
    scale = pairs.values[0] * size
    kappa = jnp.vdot(bulk, hvp(fn, weights, bulk)) / jnp.where(scale != 0, scale, 1)
    return SlowCoefficients(-jnp.vdot(bulk, rise), jnp.vdot(rise, rise), kappa, size)


class Scaled(eqx.Module):
    """A loss in the coordinates z = w/S: z ↦ f(Sz); see `scaled`."""

    fn: Callable[[Array], Array]
    scale: Float[Array, " dim"]

    def __call__(self, z):
        return self.fn(self.scale * z)


def scaled(fn: Any, scale: Float[Array, " dim"] | None) -> Any:
    """f in the coordinates z = w/S in which a preconditioner P = S⁻² is the identity; f itself without one.

    Its Hessian there is S·∇²f·S, the one whose edge counts.
    """
    return fn if scale is None else Scaled(fn, scale)


def scale_by(vector: Array, scale: Array | None) -> Array:
    """S·v: a gradient of f as one of `scaled(f, S)`, or a displacement of z as one of w; v itself without a scale."""
    return vector if scale is None else scale * vector


def unscale_by(vector: Array, scale: Array | None) -> Array:
    """v/S: weights w, or a displacement of them, as z; v itself without a scale."""
    return vector if scale is None else vector / scale
