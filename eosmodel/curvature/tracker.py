"""The tracker of the leading eigenpairs, and where it begins."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import check_count, check_range
from eosmodel._units import unit_of
from eosmodel.curvature.products import linearize
from eosmodel.curvature.ritz import (
    DENSE_DIM,
    Modes,
    TrackInfo,
    dense_pairs,
    orthogonalize,
    rayleigh_ritz,
    residuals,
    tolerances,
    turned_like,
    unit_vector,
)
from eosmodel.curvature.scout import Scout, look_later, look_on, new_scout

# An update pays for at most that many steps since the one before.
_MAX_ELAPSED = 5
# A tracker looks outside its modes at every such update.
_LOOK = 2


class Tracked(eqx.Module):
    """What `Tracker` carries: the fields of `Modes`, and its scout; None where a dense solve sees everything."""

    values: Float[Array, " modes"]
    vectors: Float[Array, "modes dim"]
    scout: Scout | None


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
        exact = weights.shape[0] <= DENSE_DIM
        return value, gradient, Tracked(pairs.values, pairs.vectors, None if exact else new_scout(weights))

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
    if dim <= DENSE_DIM:
        return *dense_pairs(matvec, dim, modes, pairs.vectors.dtype), None
    tolerance = tolerances(rtol, modes, pairs.vectors.dtype)

    def solve(basis, products):
        values, c = rayleigh_ritz(basis, products, modes)
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
        outside = jax.lax.cond(look, orthogonalize, lambda v, _: jnp.zeros_like(v), scout.last, pairs.vectors)
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
        worst = orthogonalize(rest[jnp.argmax(size / tolerance)], vectors)
        basis = jnp.concatenate([vectors, p[None], worst[None]])
        products = jnp.concatenate([hvps, hp[None], matvec(worst)[None] / unit])
        return solve(basis, products), count + 1

    # The first expansion is nearly always needed, and costs less outside a loop.
    carry = expand((solution, jnp.asarray(0, jnp.int32)))
    (values, vectors, hvps, _, _), count = jax.lax.while_loop(unfinished, expand, carry)
    _, size = residuals(values, vectors, hvps)
    if scout is not None:
        vectors = turned_like(vectors, pairs.vectors)
        scout = jax.lax.cond(look, look_on, look_later, scout, outside, seen, values, vectors, unit)
    return Modes(values * unit, vectors), TrackInfo(size[0], taken + count, jnp.all(size <= tolerance)), scout


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
    if dim <= DENSE_DIM:
        return dense_pairs(matvec, dim, modes, dtype)
    # A fixed key: the eigenpairs do not depend on it, and equal runs must be equal to the bit.
    vectors = jax.random.normal(jax.random.key(0), (modes, dim), dtype)
    vectors = jnp.linalg.qr(vectors.at[0].add(unit_vector(guess) * jnp.sqrt(jnp.asarray(dim, dtype))).T)[0].T
    pairs = Modes(jnp.zeros(modes, dtype), vectors)
    return _track(matvec, pairs, rtol, budget)[:2]


@eqx.filter_jit
def leading(fn: Callable, weights: Float[Array, " dim"], modes: int) -> tuple[Array, Array, Modes]:
    """Loss, gradient and the leading eigenpairs at `weights`, from scratch; compiled once for all that start there."""
    with jax.default_matmul_precision("highest"):
        value, gradient, matvec = linearize(fn, weights)
        return value, gradient, cold_start(matvec, gradient, modes)[0]
