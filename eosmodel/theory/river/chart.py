"""The chart in which the leading curvatures answer linearly to what displaces the centre of a run from a flow.

With ln H = ln H_r − A to first order, A = Σ_b W_b s̃_b, the curvatures are H = R h(A) R with R² = H_r and

    h(a) = (1 + a/2)^{−2} for a ≥ 0,        h(a) = e^{−a} for a < 0:

H^{−1/2} is linear in a displacement that lowers the curvatures, ln H in one that raises them. Pushed far down, they
fall by less than ln H would if it were linear.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def log_fall(a: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """−ln h(a) and its derivative by a, which is 1 at 0 and above 0 everywhere.

    Example:
        >>> fall, slope = log_fall(jnp.asarray([-1.0, 0.0, 2.0]))
        >>> [round(a, 3) for a in fall.tolist()], slope.tolist()
        ([-1.0, 0.0, 1.386], [1.0, 1.0, 0.5])
    """
    half = jnp.maximum(a, 0) / 2
    return jnp.where(a > 0, 2 * jnp.log1p(half), a), 1 / (1 + half)
