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
from eosmodel.curvature.ritz import DENSE_DIM, Modes, Solution, TrackInfo, dense_pairs, solve, tolerances, unit_vector
from eosmodel.curvature.scout import look_later, look_on, new_scout
from eosmodel.curvature.tracked import Tracked, ahead, finish, first_basis, update_dense

# An update pays for at most that many steps since the one before.
_MAX_ELAPSED = 5
# A tracker looks outside its modes at every such update.
_LOOK = 2


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

    An update starts with the Ritz problem on k rows, those of `curvature.tracked.ahead`: the u_i of the update before
    after one step of subspace iteration, which the products taken then give for nothing. That is k products. While a
    residual exceeds its tolerance the worst one joins the basis, one product each time, with the direction p in which
    u_1 last moved, until the budget is spent. Near convergence the error of λ_1 is at most residual²·λ/gap.
    `make bench` measures it against a converged solver. (A p kept from the update before costs a product and saves less
    than one.) With up to 24 weights the pairs are those of a dense solve.

    Residuals say that the pairs are eigenpairs, not that they are the leading ones: an eigenvector at right angles to
    all of them that rises to the top would never be seen. So every second update has one more direction and product, a
    `Scout` outside the modes. An eigenvalue λ that has come out above λ_k is found after about
    2 ln(2√dim)/arccosh(x) updates, x = (8λ/λ_k − 3)/5, where H has no eigenvalue below −λ_k/4: 7 at twice λ_k among 10⁴
    weights, 19 at 1.1λ_k; with eigenvalues down to −20λ_k, of 40 weights, within 200. Until then `converged` does not
    know of it. The cost is half a product for each update.
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
        start, scout = (None, None) if weights.shape[0] <= DENSE_DIM else (pairs.vectors, new_scout(weights))
        return value, gradient, Tracked(pairs.values, pairs.vectors, start, scout)

    def update(self, matvec, pairs, elapsed=1):
        modes, dim = pairs.vectors.shape
        if dim <= DENSE_DIM:
            return update_dense(matvec, pairs)
        basis, scout = first_basis(pairs)
        # Of the values before, so that the products need not be gone through for it.
        unit = unit_of(pairs.values)
        images = jax.lax.map(matvec, basis[:modes])
        look = jnp.asarray(False)
        if scout is not None:
            look = scout.updates % _LOOK == 0
            # A row of zeros drops out of the Ritz problem.
            basis = basis.at[modes].set(jnp.where(look, basis[modes], 0))
            seen = jax.lax.cond(look, matvec, jnp.zeros_like, basis[modes])
            images = jnp.concatenate([images, seen[None]])
        rows = jnp.concatenate([basis, images / unit])
        budget = self.budget * min(elapsed, _MAX_ELAPSED)
        solution, expansions = expand(matvec, rows, unit, modes, self.rtol, budget)
        if scout is not None:
            scout = jax.lax.cond(look, look_on, look_later, scout, rows[modes], rows[-1], solution, unit)
        taken = modes + look.astype(jnp.int32) + expansions
        return finish(solution, ahead(solution, scout, unit), scout, unit, self.rtol, taken)


def as_tracker(tracker: AbstractTracker | int | None) -> AbstractTracker | None:
    """A tracker as it is, and None; a number of modes as a `Tracker` of so many."""
    return tracker if isinstance(tracker, AbstractTracker | None) else Tracker(tracker)


def expand(matvec, rows, unit, modes: int, rtol: float, budget: int) -> tuple[Solution, Array]:
    """Ritz pairs whose basis has grown until all meet their tolerances or the budget is spent, and the growth.

    Args:
        rows: a first basis, and after it its images in the unit.
    """
    tolerance = tolerances(rtol, modes, rows.dtype)
    # After the modes the basis has the direction in which the first last moved, and the worst residual.
    new, size = modes + 1, modes + 2

    def unfinished(carry):
        solution, count = carry
        return (count < budget) & jnp.any(solution.relative() > tolerance)

    def grow(carry):
        solution, count = carry
        worst = jnp.argmax(solution.sizes / tolerance)
        row = solution.lengthening()[worst] * solution.rows[size + worst]
        rows = solution.rows.at[new].set(row).at[size + new].set(matvec(row) / unit)
        return solve(rows, solution.shifts, modes), count + 1

    first = solve(rows, jnp.zeros(len(rows) // 2, rows.dtype), modes)
    return jax.lax.while_loop(unfinished, grow, (first, jnp.asarray(0, jnp.int32)))


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
    products = jax.lax.map(matvec, vectors)
    unit = unit_of(products)
    solution, expansions = expand(matvec, jnp.concatenate([vectors, products / unit]), unit, modes, rtol, budget)
    pairs, info = finish(solution, None, None, unit, rtol, modes + expansions)
    return Modes(pairs.values, pairs.vectors), info


@eqx.filter_jit
def leading(fn: Callable, weights: Float[Array, " dim"], modes: int) -> tuple[Array, Array, Modes]:
    """Loss, gradient and the leading eigenpairs at `weights`, from scratch; compiled once for all that start there."""
    with jax.default_matmul_precision("highest"):
        value, gradient, matvec = linearize(fn, weights)
        return value, gradient, cold_start(matvec, gradient, modes)[0]
