"""The chart in which the leading curvatures answer linearly to what displaces the centre of a run from a flow.

With ln H = ln H_r − A to first order, A = Σ_b W_b s̃_b, the curvatures are H = R h(A) R with R² = H_r and

    h(a) = (1 + a/2)^{−2} for a ≥ 0,        h(a) = e^{−a} for a < 0:

H^{−1/2} is linear in a displacement that lowers the curvatures, ln H in one that raises them. Pushed far down, they
fall by less than ln H would if it were linear.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Steps to the sign of a matrix, those that stretch and those that do not, and to an inverse.
_STRETCHED, _PLAIN, _INVERSE = 4, 4, 7
_STRETCH = 1.5


def log_fall(a: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """−ln h(a) and its derivative by a, which is 1 at 0 and above 0 everywhere.

    Example:
        >>> fall, slope = log_fall(jnp.asarray([-1.0, 0.0, 2.0]))
        >>> [round(a, 3) for a in fall.tolist()], slope.tolist()
        ([-1.0, 0.0, 1.386], [1.0, 1.0, 0.5])
    """
    half = jnp.maximum(a, 0) / 2
    return jnp.where(a > 0, 2 * jnp.log1p(half), a), 1 / (1 + half)


def matrix_fall(a: Float[Array, "modes modes"]) -> tuple[Float[Array, "modes modes"], Float[Array, "modes modes"]]:
    """h(A)^{1/2} and S(A), S = −d ln h/da, of a symmetric matrix, by products alone.

    The eigenvalues of h are exact to 10⁻³, those of S to 5·10⁻³, for eigenvalues of A from −3 to 12. An
    eigendecomposition takes as long for one matrix and far longer for many, as LAPACK takes them one by one; and XLA
    has waited for ever for a batch of them inside a loop.
    """
    absolute = a @ _sign(a)
    down, up = (a + absolute) / 2, (a - absolute) / 2
    slope = _inverse(jnp.eye(a.shape[0], dtype=a.dtype) + down / 2)
    return slope @ _exponential(-up / 2), slope


def _sign(matrix):
    """By Newton–Schulz steps. Eigenvalues that are small beside the largest do not get as far as ±1, and where |A| is
    small it does not matter."""
    x = matrix / jnp.maximum(jnp.linalg.norm(matrix), jnp.finfo(matrix.dtype).eps)
    for scale in (*(_STRETCH,) * _STRETCHED, *(1.0,) * _PLAIN):
        x = scale / 2 * (3 * x - scale**2 * (x @ (x @ x)))
    return x


def _inverse(matrix):
    """Of a matrix whose eigenvalues are 1 and more, by Newton–Schulz steps from below: where they are above some 50 it
    is too small."""
    eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    x = 2 / (1 + jnp.max(jnp.sum(jnp.abs(matrix), axis=1))) * eye
    for _ in range(_INVERSE):
        x = 2 * x - x @ (matrix @ x)
    return x


def _exponential(matrix):
    """e^A of a small matrix: the Taylor polynomial of A/4 of degree 4, squared twice."""
    a = matrix / 4
    square = a @ a
    eye = jnp.eye(a.shape[0], dtype=a.dtype)
    e = eye + a + square @ (eye / 2 + a / 6 + square / 24)
    e = e @ e
    return e @ e
