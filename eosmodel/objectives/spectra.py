"""Quadratics with a given spectrum: a power law, and the eigenvalues of a random sample covariance."""

import jax.numpy as jnp

from eosmodel._checks import check_count, check_range
from eosmodel.objectives._arrays import normal
from eosmodel.objectives.quadratics import DenseQuadratic, DiagonalQuadratic


def power_law(dim: int, exponent=1.0, largest=1.0, start=None, dtype=None) -> DiagonalQuadratic:
    """f(w) = ½ Σ_i λ_i w_i² with λ_i = largest · i^(−exponent), i = 1 … dim.

    Gradient descent with step η multiplies mode i by 1 − ηλ_i in each step. It converges if and only if
    η · largest < 2, and the loss falls as a power of the number of steps until only the slowest mode, i = dim, is left.

    Args:
        dim: number of weights, at least 1.
        exponent: decay of the spectrum, ≥ 0; with 0 all eigenvalues are equal.
        largest: λ_1 > 0, the sharpness.
        start: initial weights, shape (dim,); ones by default.
        dtype: None for jax's default float.

    Raises:
        ValueError: a value out of its range, or a start of another shape.

    Example:
        >>> from eosmodel.objectives.spectra import power_law
        >>> bowl = power_law(4, exponent=1.0, largest=12.0)
        >>> bowl.eigenvalues.tolist()
        [12.0, 6.0, 4.0, 3.0]
    """
    check_count("power_law", "dim", dim)
    check_range("power_law", "exponent", exponent, 0, high_open=True)
    check_range("power_law", "largest", largest, 0, low_open=True, high_open=True)
    dtype = jnp.result_type(float) if dtype is None else dtype
    index = jnp.arange(1, dim + 1).astype(dtype)
    eigenvalues = jnp.asarray(largest).astype(dtype) * index ** -jnp.asarray(exponent).astype(dtype)
    return DiagonalQuadratic(eigenvalues, start=start)


def random_quadratic(
    dim: int, samples: int | None = None, variance=1.0, start=None, seed: int = 0, dtype=None
) -> DenseQuadratic:
    """f(w) = ½ wᵀ H w with H = XᵀX/samples a Wishart matrix: X of shape (samples, dim) with entries N(0, variance).

    It is the Hessian of least squares on Gaussian inputs. As dim and samples grow at a fixed ratio q = dim/samples the
    spectrum becomes the Marchenko–Pastur law on variance·[(1 − √q)², (1 + √q)²], with dim − samples zeros if q > 1.

    Args:
        dim: number of weights, at least 1.
        samples: rows of X, at least 1; dim by default.
        variance: of the entries, > 0.
        start: initial weights, shape (dim,); ones by default.
        seed: of X.
        dtype: None for jax's default float.

    Raises:
        ValueError: a value out of its range, or a start of another shape.

    Source: Marchenko & Pastur (1967).

    Example:
        >>> from eosmodel.objectives.spectra import random_quadratic
        >>> bowl = random_quadratic(200, samples=800)
        >>> abs(float(bowl.sharpness()) - (1 + 0.5) ** 2) < 0.1  # the edge of the Marchenko–Pastur law
        True
    """
    samples = dim if samples is None else samples
    for name, count in (("dim", dim), ("samples", samples)):
        check_count("random_quadratic", name, count)
    check_range("random_quadratic", "variance", variance, 0, low_open=True, high_open=True)
    dtype = jnp.result_type(float) if dtype is None else dtype
    x = normal(seed, (samples, dim))
    matrix = jnp.asarray(variance).astype(dtype) * jnp.asarray(x.T @ x / samples, dtype)
    return DenseQuadratic(matrix, start=start)
