"""Losses of a product of two numbers, and the double well: small losses with minima of many different sharpnesses."""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import check_range
from eosmodel.objectives._arrays import vector
from eosmodel.objectives.base import AbstractObjective


def _log_cosh(s):
    # The first branch avoids cancellation near 0, the second one overflow; both are accurate to rounding.
    near = jnp.abs(s) < 18
    return jnp.where(near, 0.5 * jnp.log1p(jnp.sinh(jnp.where(near, s, 0)) ** 2), jnp.abs(s) - math.log(2))


EVEN_LOSSES: dict[str, Callable] = {
    "log-cosh": _log_cosh,
    "square-root": lambda s: s**2 / (1 + jnp.sqrt(1 + s**2)),
    "quadratic": lambda s: 0.5 * s**2,
}
"""Convex even ℓ by name, ℓ(0) = 0 and ℓ''(0) = 1: log cosh s, √(1 + s²) − 1, and ½s² (the border case)."""


class AbstractProduct(AbstractObjective):
    """f(x, y) = ℓ(s), s = xy, with weights w = [x, y]; an extension supplies `link`, which is ℓ, and `start`.

    Gradient flow conserves the imbalance x² − y²; gradient descent with step η multiplies it by 1 − (ηℓ'(s))². On the
    hyperbola of minima s = s* the sharpness is ℓ''(s*)(x² + y²), which takes every value from 2ℓ''(s*)|s*| upwards.
    """

    start: eqx.AbstractVar[Float[Array, " 2"]]

    @abc.abstractmethod
    def link(self, s: Float[Array, ""]) -> Float[Array, ""]:
        """ℓ(s)."""

    def loss(self, weights):
        return self.link(weights[0] * weights[1])

    def initial(self, seed=None):
        del seed
        return self.start

    def sharpness(self, weights: Float[Array, " 2"]) -> Float[Array, ""]:
        """The larger eigenvalue of ∇²f = ℓ''(s) [y, x][y, x]ᵀ + ℓ'(s) [[0, 1], [1, 0]]."""
        x, y = weights[0], weights[1]
        slope = jax.grad(self.link)(x * y)
        bend = jax.grad(jax.grad(self.link))(x * y)
        return 0.5 * bend * (x**2 + y**2) + jnp.hypot(0.5 * bend * (y**2 - x**2), bend * x * y + slope)


class ProductLoss(AbstractProduct):
    """f(x, y) = ℓ(xy) for a convex even ℓ (or any other), with minima at xy = 0 whose sharpness is ℓ''(0)(x² + y²).

    Take ℓ''(0) = 1 and a constant η. If ηD < 2, D = y² − x² the imbalance, gradient descent nearly conserves D and
    converges to a minimum of sharpness D (gradient-flow regime). If ηD > 2, an oscillation of s reduces D until the
    sharpness is just below 2/η (edge-of-stability regime). It converges there because ℓ' grows less than linearly,
    ℓ''''(0) < 0: to leading order in η the gap is 2/η − λ = η/(2k), k = −ℓ''''(0)/6, so 3η/2 for log cosh and η for the
    square root.

    Args:
        link: ℓ, a name in `EVEN_LOSSES` or a jax function of a scalar. It is static, so write a loss with parameters as
            a subclass of `AbstractProduct`.
        start: initial [x, y], shape (2,).

    Raises:
        ValueError: an unknown name, or a start that is not two finite numbers.

    Source: Ahn et al., arXiv 2212.07469.

    Example:
        >>> from eosmodel.objectives.products import ProductLoss
        >>> toy = ProductLoss("square-root", [0.0, 3.0])
        >>> float(toy.sharpness(toy.initial()))
        9.0
    """

    fn: Callable = eqx.field(static=True)
    start: Float[Array, " 2"]

    def __init__(self, link: str | Callable, start):
        if isinstance(link, str) and link not in EVEN_LOSSES:
            raise ValueError(f"ProductLoss: link must be a function or one of {', '.join(EVEN_LOSSES)}, got {link!r}")
        self.fn = EVEN_LOSSES[link] if isinstance(link, str) else link
        self.start = _pair("ProductLoss", start)

    def link(self, s):
        return self.fn(s)


class ScalarFactorization(AbstractProduct):
    """f(x, y) = ½ (target − xy)², scalar matrix factorisation; its minima have the sharpness x² + y² ≥ 2|target|.

    Args:
        start: initial [x, y], shape (2,).
        target: the number to factorise; 1 by default.

    Raises:
        ValueError: a target or start that is not finite, or a start that is not two numbers.

    Source: Wang et al., arXiv 2110.03677 (balancing at large steps).

    Example:
        >>> from eosmodel.objectives.products import ScalarFactorization
        >>> toy = ScalarFactorization([2.0, 0.5])
        >>> float(toy(toy.initial())), float(toy.sharpness(toy.initial()))
        (0.0, 4.25)
    """

    start: Float[Array, " 2"]
    target: Float[Array, ""]

    def __init__(self, start, target=1.0):
        check_range("ScalarFactorization", "target", target, low_open=True, high_open=True)
        self.start = _pair("ScalarFactorization", start)
        self.target = jnp.asarray(target).astype(self.start.dtype)

    def link(self, s):
        return 0.5 * (self.target.astype(s.dtype) - s) ** 2


class MinimalistExample(AbstractProduct):
    """f(x, y) = ¼ (1 − x²y²)²: a scalar linear network of depth four with tied factors, with minima at |xy| = 1.

    It is half of ½ (1 − xyzv)² on the invariant plane z = x, v = y; the factor ½ makes the gradients agree. The
    sharpness of a minimum is 2(x² + y²). With constant η a sharpness that starts above 2/η converges to 2/η − η/2, to
    leading order in η.

    Args:
        start: initial [x, y], shape (2,).

    Raises:
        ValueError: a start that is not two finite numbers.

    Source: Zhu et al., arXiv 2210.03294.

    Example:
        >>> from eosmodel.objectives.products import MinimalistExample
        >>> toy = MinimalistExample([2.0, 0.5])
        >>> float(toy(toy.initial())), float(toy.sharpness(toy.initial()))
        (0.0, 8.5)
    """

    start: Float[Array, " 2"]

    def __init__(self, start):
        self.start = _pair("MinimalistExample", start)

    def link(self, s):
        return 0.25 * (1 - s**2) ** 2


class DoubleWell(AbstractObjective):
    """f(x) = ¼ (x² − μ)², one weight, minima at ±√μ of sharpness 2μ.

    With constant η a minimum is stable for ημ < 1 and a 2-cycle for 1 < ημ < √5 − 1; then periods double. Orbits are
    bounded for ημ ≤ 2.

    Args:
        mu: μ > 0.
        start: initial [x], shape (1,); [1.1 √μ] by default.

    Raises:
        ValueError: a μ out of its range, or a start that is not one finite number.

    Source: Chen & Bruna, arXiv 2206.04172.

    Example:
        >>> from eosmodel.objectives.products import DoubleWell
        >>> toy = DoubleWell(4.0, start=[2.0])
        >>> float(toy(toy.initial())), float(toy.sharpness(toy.initial()))
        (0.0, 8.0)
    """

    mu: Float[Array, ""]
    start: Float[Array, " 1"]

    def __init__(self, mu=1.0, start=None):
        check_range("DoubleWell", "mu", mu, 0, low_open=True, high_open=True)
        mu = jnp.asarray(mu)
        dtype = mu.dtype if jnp.issubdtype(mu.dtype, jnp.floating) else jnp.result_type(float)
        self.start = 1.1 * jnp.sqrt(mu.astype(dtype))[None] if start is None else vector("DoubleWell", "start", start)
        if self.start.shape != (1,):
            raise ValueError(f"DoubleWell: start must have shape (1,), got {self.start.shape}")
        self.mu = mu.astype(self.start.dtype)

    def loss(self, weights):
        return 0.25 * (weights[0] ** 2 - self.mu.astype(weights.dtype)) ** 2

    def initial(self, seed=None):
        del seed
        return self.start

    def sharpness(self, weights: Float[Array, " 1"]) -> Float[Array, ""]:
        """f'' = 3x² − μ."""
        return 3 * weights[0] ** 2 - self.mu.astype(weights.dtype)


def _pair(owner: str, start) -> Array:
    array = vector(owner, "start", start)
    if array.shape != (2,):
        raise ValueError(f"{owner}: start must have shape (2,), got {array.shape}")
    return array
