"""The eigenpair tracker under H + cI, aH and QHQᵀ, below and above the dimension at which it solves densely.

It stops at a tolerance, so two equivalent problems agree to what their residuals allow: |θ − λ| ≤ ‖Hu − θu‖²/gap
(Kato and Temple), and an angle of at most ‖Hu − θu‖/gap.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosmodel.curvature import BlockTracker, Modes, Tracker, cold_start

pytestmark = pytest.mark.usefixtures("lightly_compiled")
MODES = 3
each_size = pytest.mark.parametrize("dim", [12, 60], ids=["dense", "iterative"])
each_dtype = pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
each_start = pytest.mark.parametrize("start", ["cold", Tracker(), BlockTracker()], ids=["cold", "warm", "block"])


@jax.jit
def cold(matrix, guess):
    return cold_start(lambda v: matrix @ v, guess, MODES)


@partial(jax.jit, static_argnames="tracker")
def warm(matrix, pairs, tracker):
    return tracker.update(lambda v: matrix @ v, pairs)


class Problem(NamedTuple):
    """A symmetric matrix H, the leading pairs of a nearby one, and a vector to start from."""

    matrix: np.ndarray
    nearby: np.ndarray
    guess: np.ndarray

    def shifted(self, c):
        return Problem(*(m + c * np.eye(len(m)) for m in self[:2]), self.guess)

    def scaled(self, a):
        return Problem(*(a * x for x in self))

    def rotated(self, q):
        return Problem(*(q @ m @ q.T for m in self[:2]), q @ self.guess)


def rotation(dim, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]


def problem(dim, gaps, seed):
    """λ_1 = 1, the next eigenvalues below it by `gaps`, the others between −½ and λ_4."""
    rng = np.random.default_rng(seed)
    leading = 1 - np.cumsum([0, *gaps])
    spectrum = np.concatenate([leading, rng.uniform(-0.5, leading[-1], dim - len(leading))])
    q = rotation(dim, seed + 1)
    noise = rng.normal(size=(dim, dim))
    noise = 0.03 * (noise + noise.T) / np.linalg.norm(noise + noise.T, 2)
    matrix = (q * spectrum) @ q.T
    return Problem(matrix, matrix + noise, rng.normal(size=dim))


class Solution(NamedTuple):
    """Ritz values θ and vectors u, bounds of |θ − λ| and of the angle of u, and one of the angle of the subspace."""

    values: np.ndarray
    vectors: np.ndarray
    error: np.ndarray
    angle: np.ndarray
    subspace: float


def solve(given, start, dtype):
    matrix = jnp.asarray(given.matrix, dtype)
    if start == "cold":
        pairs, _ = cold(matrix, jnp.asarray(given.guess, dtype))
    else:
        values, vectors = np.linalg.eigh(given.nearby)
        leading = Modes(jnp.asarray(values[::-1][:MODES], dtype), jnp.asarray(vectors.T[::-1][:MODES], dtype))
        pairs, _ = warm(matrix, leading, start)
    assert pairs.values.dtype == pairs.vectors.dtype == dtype
    values, vectors = np.asarray(pairs.values, float), np.asarray(pairs.vectors, float)
    exact = np.linalg.eigvalsh(given.matrix)[::-1]
    upper = np.concatenate([[np.inf], exact[: MODES - 1]])
    lower = exact[1 : MODES + 1]
    # Each value belongs to its own eigenvalue: no other one lies between.
    assert np.all((lower < values) & (values < upper))
    rest = vectors @ given.matrix - values[:, None] * vectors
    residual, gap = np.linalg.norm(rest, axis=1), np.minimum(values - lower, upper - values)
    rounding = 100 * float(jnp.finfo(dtype).eps) * np.max(np.abs(exact))
    error = residual**2 / gap + rounding
    assert np.all(np.abs(values - exact[:MODES]) <= error)
    subspace = np.linalg.norm(rest) / (values[-1] - lower[-1]) + rounding / gap[-1]
    return Solution(values, vectors, error, (residual + rounding) / gap, subspace)


def assert_same_vectors(one, other):
    """To the sum of their angles with the eigenvectors."""
    sines = np.linalg.norm(one.vectors - np.sum(one.vectors * other.vectors, axis=1)[:, None] * other.vectors, axis=1)
    assert np.all(sines <= one.angle + other.angle)


gaps = st.lists(st.floats(0.2, 0.3), min_size=MODES, max_size=MODES)
seeds = st.integers(0, 10_000)
check = settings(max_examples=25, deadline=None)


@each_size
@each_dtype
@each_start
@check
@given(gaps=gaps, seed=seeds, c=st.floats(-0.5, 0.5))
def test_a_shift_moves_the_values_and_keeps_the_subspace(dim, dtype, start, gaps, seed, c):
    h = problem(dim, gaps, seed)
    one, other = solve(h, start, dtype), solve(h.shifted(c), start, dtype)
    assert np.all(np.abs(other.values - c - one.values) <= one.error + other.error)
    outside = one.vectors - one.vectors @ other.vectors.T @ other.vectors
    assert np.linalg.norm(outside, 2) <= one.subspace + other.subspace
    assert_same_vectors(one, other)


@each_size
@each_dtype
@each_start
@check
@given(gaps=gaps, seed=seeds, exponent=st.floats(-4, 4))
def test_a_factor_scales_the_values_and_keeps_the_vectors(dim, dtype, start, gaps, seed, exponent):
    h, a = problem(dim, gaps, seed), 10.0**exponent
    one, other = solve(h, start, dtype), solve(h.scaled(a), start, dtype)
    assert np.all(np.abs(other.values / a - one.values) <= one.error + other.error / a)
    assert_same_vectors(one, other)


@each_size
@each_dtype
@each_start
@check
@given(gaps=gaps, seed=seeds)
def test_a_rotation_keeps_the_values_and_rotates_the_vectors(dim, dtype, start, gaps, seed):
    h, q = problem(dim, gaps, seed), rotation(dim, seed + 2)
    one, other = solve(h, start, dtype), solve(h.rotated(q), start, dtype)
    assert np.all(np.abs(other.values - one.values) <= one.error + other.error)
    assert_same_vectors(one, other._replace(vectors=other.vectors @ q))
