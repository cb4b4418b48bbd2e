"""Sweeps against plain loops, and descent in a sweep against the step of `jax.grad` and the tuner on its own ray."""

import os
import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.analysis import sweep
from eosmodel.analysis.grids import descend
from eosmodel.objectives import Valley, valley
from eosmodel.tuners import CDAT, Armijo, Constant, OnEdge, Polyak


def gather(parts):
    """The results of a whole sweep, and the bounds that it gave."""
    bounds, values = [], []
    for first, last, results in parts:
        bounds.append((first, last))
        values.append(results)
        assert all(len(leaf) == last - first and type(leaf) is np.ndarray for leaf in jax.tree.leaves(results))
    return bounds, jax.tree.map(lambda *leaves: np.concatenate(leaves), *values)


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("sweep")]


def some(point):
    return {
        "sum": point["a"] + 2 * jnp.sum(point["b"]),
        "orbit": jnp.outer(point["b"], point["b"]),
        "odd": point["a"] > 2,
    }


def points(count, dtype=np.float64):
    numbers = np.arange(3 * count, dtype=dtype).reshape(count, 3)
    return {"a": numbers[:, 0], "b": numbers}


@pytest.mark.parametrize(
    ("count", "chunk"), [(1, None), (2, None), (1300, None), (1, 3), (7, 3), (9, 3), (513, 1000), (2500, 1000)]
)
def test_a_sweep_is_a_loop_over_the_points(count, chunk):
    given = points(count)
    bounds, values = gather(sweep(some, given, chunk=chunk))
    a, b = given["a"], given["b"]
    np.testing.assert_array_equal(values["sum"], a + 2 * b.sum(1))
    np.testing.assert_array_equal(values["orbit"], b[:, :, None] * b[:, None, :])
    np.testing.assert_array_equal(values["odd"], a > 2)
    assert [first for first, _ in bounds] == [0, *(last for _, last in bounds[:-1])]
    assert bounds[-1][1] == count
    if chunk is not None:
        assert all(last - first == chunk for first, last in bounds[:-1])


@pytest.mark.parametrize("lanes", [1, 3, 2000])
def test_points_are_the_same_however_many_are_advanced_together(lanes):
    _, values = gather(sweep(some, points(9), chunk=4, lanes=lanes))
    _, default = gather(sweep(some, points(9), chunk=4))
    jax.tree.map(np.testing.assert_array_equal, values, default)


@pytest.mark.parametrize("start", [0, 4, 5, 10])
def test_start_goes_on_where_a_sweep_stopped(start):
    given = points(10)
    parts = list(sweep(some, given, chunk=4, start=start))
    assert [(first, last) for first, last, _ in parts] == [(i, min(i + 4, 10)) for i in range(start, 10, 4)]
    for first, last, values in parts:
        np.testing.assert_array_equal(values["sum"], given["a"][first:last] + 2 * given["b"][first:last].sum(1))


@pytest.mark.parametrize(
    ("given", "options", "match"),
    [
        ({}, {}, "points must be arrays with one leading axis"),
        ({"a": np.zeros(0)}, {}, "points must be"),
        ({"a": 1.0}, {}, "points must be"),
        ({"a": np.zeros(3), "b": np.zeros((4, 3))}, {}, r"points must be .* got shapes \[\(3,\), \(4, 3\)\]"),
        (points(3), {"chunk": 0}, "chunk must lie in"),
        (points(3), {"chunk": 2.5}, "chunk must be an integer"),
        (points(3), {"lanes": 0}, "lanes must lie in"),
        (points(3), {"start": -1}, "start must lie in"),
        (points(3), {"start": 4}, r"start must lie in \[0, 3\]"),
    ],
)
def test_bad_arguments_are_named_at_the_call(given, options, match):
    with pytest.raises(ValueError, match=f"sweep: {match}"):
        sweep(some, given, **options)


@pytest.mark.parametrize("steps", [-1, 1.5])
def test_bad_steps_are_named(steps):
    with pytest.raises(ValueError, match="descend: steps"):
        descend(valley(), Constant(), steps)


class Scaled(eqx.Module):
    factor: jax.Array

    def __call__(self, point):
        return self.factor * point["a"]


def test_other_numbers_of_the_same_shapes_compile_nothing():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, secs, **_: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    for factor in (2.0, 3.0):
        before = len(compiled)
        given = points(10)
        given["a"] *= factor
        _, values = gather(sweep(Scaled(jnp.asarray(factor)), given, chunk=4))
        np.testing.assert_array_equal(values, factor * given["a"])
        _, values = gather(sweep(some, given, chunk=4))
        np.testing.assert_array_equal(values["sum"], given["a"] + 2 * given["b"].sum(1))
        assert (len(compiled) > before) == (factor == 2.0)
    # One compilation for all chunks, and the same one for a longer grid in chunks of that size.
    before = len(compiled)
    gather(sweep(some, points(23), chunk=4))
    assert len(compiled) == before


def test_a_sweep_that_is_closed_early_leaves_no_threads():
    assert not workers()
    parts = sweep(some, points(100), chunk=2)
    next(parts)
    assert workers()
    parts.close()
    assert not workers()
    parts = sweep(some, points(100), chunk=2)
    next(parts)
    del parts
    assert not workers()


def test_memory_is_that_of_a_few_chunks():
    # A thousand numbers a point would be 16 MB for the whole grid.
    wide = lambda point: jnp.full(1000, point["a"])  # noqa: E731
    chunk, most = 20, 0
    before = sum(array.nbytes for array in jax.live_arrays())
    for first, last, values in sweep(wide, points(2000), chunk=chunk):
        np.testing.assert_array_equal(values[:, 0], 3.0 * np.arange(first, last))
        most = max(most, sum(array.nbytes for array in jax.live_arrays()) - before)
    assert most <= 3 * (os.cpu_count() or 1) * chunk * (1000 + 4) * 8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_is_that_of_the_points(dtype):
    _, values = gather(sweep(some, points(5, dtype), chunk=2))
    assert values["sum"].dtype == values["orbit"].dtype == dtype


@pytest.mark.parametrize("wide", [False, True])
def test_the_precision_of_the_caller_holds_in_the_workers(wide):
    # The switch is one of the calling thread alone.
    with jax.enable_x64(wide):
        _, values = gather(sweep(Scaled(np.asarray(2.0)), points(5), chunk=2))
    assert values.dtype == (np.float64 if wide else np.float32)
    np.testing.assert_array_equal(values, 2 * points(5)["a"])


def end(tuner, steps, **numbers):
    def run(point):
        floor = Valley(22.0, point["b"], jnp.ones(1), jnp.full(1, 0.5), jnp.asarray([0.1, -3.0]), **numbers)
        return descend(floor, tuner(point["p"]), steps)

    return run


def test_a_trajectory_that_overflows_does_not_disturb_its_neighbours():
    given = {"b": np.full(9, 4.0), "p": np.full(9, 0.1)}
    _, calm = gather(sweep(end(Constant, 300), given))
    given["p"][::2] = [1.0, np.nan, 10.0, 1e300, 0.5]
    _, mixed = gather(sweep(end(Constant, 300), given))
    np.testing.assert_array_equal(mixed[1::2], calm[1::2])
    assert np.isfinite(calm).all()
    assert not np.isfinite(mixed[::2]).any(1).all()


TUNERS = {
    "constant": Constant(0.09),
    "polyak": Polyak(0.4),
    "armijo": Armijo(),
    "cdat": CDAT(1.5),
    "on-edge": OnEdge(1.9),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", TUNERS)
def test_descend_is_descent_along_the_ray(name, dtype):
    floor = valley(3, gamma=0.5, dtype=dtype)
    tuner = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), TUNERS[name])
    weights, state, count = floor.initial(), tuner.init(dtype), 5
    for t in range(count):
        line = eos.ray(floor, weights, step=t, sharpness=floor.sharpness(weights))
        eta, state, _ = tuner(line, state)
        weights = weights + eta * line.direction
    values = descend(floor, tuner, count)
    assert values.dtype == dtype
    np.testing.assert_allclose(values, weights, rtol=1e-12 if dtype == jnp.float64 else 2e-4, atol=1e-6)


def test_where_constant_and_polyak_steps_settle():
    eta, b = (axis.ravel() for axis in np.meshgrid(np.linspace(0.092, 0.105, 7), [2.0, 3.0, 4.0]))
    _, weights = gather(sweep(end(Constant, 4000), {"p": eta, "b": b}))
    x, z = weights.T
    # The edge equilibrium of the valley: λ = 2/η, x² = 2α/β.
    np.testing.assert_allclose(22 + np.sqrt(b) * z, 2 / eta, rtol=1e-8)
    np.testing.assert_allclose(b * x**2, -np.sqrt(b) * z, rtol=1e-8)
    # On the way to z = 0, λ → λ_∞, the ratio x/z settles: |1 − s| = 1 − ημ, so s = 2/(1 + κ) with κ = μ/λ; and
    # s = Φ(r) = (A + r/2)/(c(1 + r)) with A = λ/(2μ) and r = λ²x²/(μz)².
    c = np.linspace(0.3, 0.45, 6)
    _, weights = gather(sweep(end(Polyak, 600), {"p": c, "b": np.full(6, 4.0)}))
    x, z = weights.T
    s = 2 / (1 + 0.5 / 22)
    np.testing.assert_allclose((22 * x / (0.5 * z)) ** 2, (22 - c * s) / (c * s - 0.5), rtol=1e-6)
