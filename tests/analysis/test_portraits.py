"""Displacements, nullclines and basins of maps of the plane that are known in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from eosmodel.analysis.cycles import cycles
from eosmodel.analysis.portraits import ESCAPED, UNDECIDED, basins, portrait

ETA = 0.1


def henon(z, a, b):
    return jnp.stack([1 - a * z[0] ** 2 + z[1], b * z[0]])


def double_well(z):
    """Gradient descent on ¼(x² − 1)² + ½y²."""
    return z - ETA * jnp.stack([z[0] ** 3 - z[0], z[1]])


@pytest.fixture(scope="module")
def picture():
    args = tuple(jnp.asarray(value, jnp.float64) for value in (1.4, 0.3))
    return portrait(henon, (-2.0, 1.5), (-1.0, 2.0), args=args, resolution=(101, 61), names=("u", "v"))


def test_displacements(picture):
    x, y = np.meshgrid(picture.x, picture.y)
    np.testing.assert_allclose(picture.dx, 1 - 1.4 * x**2 + y - x, atol=1e-13)
    np.testing.assert_allclose(picture.dy, 0.3 * x - y, atol=1e-13)
    assert picture.dx.dims == ("y", "x")
    assert (picture.x.symbol, picture.dy.long_name) == ("u", "displacement of v in a step")


def test_nullclines_are_where_they_should_be(picture):
    x, y = picture.x_nullcline.values[np.isfinite(picture.x_nullcline.values[:, 0])].T
    # Interpolation between points h apart errs by at most h²/8 times the second derivative 2a.
    h = 3.5 / 100
    assert np.abs(y - (1.4 * x**2 + x - 1)).max() <= 1.4 * h**2 / 4
    # In the window, dx = 0 is a parabola cut by the top edge: it has two ends there, and its lowest point inside.
    assert np.ptp(x) > 2.5
    line = picture.y_nullcline.values
    np.testing.assert_allclose(line[:-1, 1], 0.3 * line[:-1, 0], atol=1e-13)
    assert np.isnan(line[-1]).all()
    np.testing.assert_allclose(np.sort(line[[0, -2], 0]), [-2.0, 1.5])


def test_fixed_points_of_the_window(picture):
    x = np.sort(np.roots([1.4, 0.7, -1]))
    np.testing.assert_allclose(picture.fixed_point, np.stack([x, 0.3 * x], 1), atol=1e-11)
    assert picture.fixed_stable.values.tolist() == [False, False]
    well = portrait(double_well, (0.5, 2.0), (-1.0, 1.0), resolution=(5, 5))
    np.testing.assert_allclose(well.fixed_point, [[1, 0]], atol=1e-11)
    assert well.fixed_stable.values.tolist() == [True]


def test_a_map_that_is_not_finite_everywhere():
    result = portrait(lambda z: jnp.stack([jnp.log(z[0]), 0.5 * z[1]]), (-1.0, 1.0), (-1.0, 1.0), resolution=(21, 21))
    assert np.isnan(result.dx.sel(x=slice(-1, -0.01))).all()
    assert result.x_nullcline.size == 0
    np.testing.assert_allclose(result.y_nullcline[:-1, 1], 0, atol=1e-15)


@pytest.fixture(scope="module")
def wells():
    return basins(double_well, [[-1.0, 0.0], [1.0, 0.0]], (-5.0, 5.0), (-1.0, 1.0), resolution=(400, 4))


def test_basins_of_the_double_well(wells):
    # |x| = √(1 + 2/η) flips for ever; beyond it the orbit escapes, within it numpy follows every orbit.
    limit = np.sqrt(1 + 2 / ETA)
    x = wells.x.values.copy()
    outside = np.abs(x) > limit
    np.testing.assert_array_equal(wells.basin.values[:, outside], ESCAPED)
    x = x[~outside]
    for _ in range(2000):
        x = x - ETA * (x**3 - x)
    np.testing.assert_allclose(np.abs(x), 1, atol=1e-12)
    np.testing.assert_array_equal(wells.basin.values[:, ~outside], np.tile(x > 0, (4, 1)))
    # Not every point goes to the nearer well: beyond √(1 + 1/η) a step crosses over.
    crosses = (np.abs(wells.x) > np.sqrt(1 + 1 / ETA)) & (np.abs(wells.x) < 3.4)
    assert ((wells.basin == 1) != (wells.x > 0)).sel(x=crosses).all()


def test_steps_until_decided(wells):
    # y shrinks by 1 − η a step, so it takes at least as long as y needs.
    y = np.abs(wells.y.values).max()
    near = wells.steps.values[:, np.abs(wells.x.values - 1) < 0.02].max()
    assert near >= np.log(1e-3 / y) / np.log(1 - ETA) - 1
    at_once = basins(double_well, [[1.0, 0.0]], (1.0, 1.0001), (-1e-4, 1e-4), resolution=(2, 2))
    assert (at_once.steps == 0).all()


def test_a_cycle_attracts_and_what_nobody_claims_is_undecided():
    def swap(z):
        return jnp.stack([-z[0] + 0.5 * (z[0] ** 3 - z[0]), 0.5 * z[1]])

    grid = np.stack([np.linspace(-1.4, 1.4, 20), np.zeros(20)], axis=1)
    result = cycles(swap, grid, period=2)
    pair = result.points[result.stable]
    np.testing.assert_allclose(pair[0], [[-1, 0], [1, 0]], atol=1e-11)
    ring = basins(swap, list(pair), (-1.2, 1.2), (-1.0, 1.0), resolution=(20, 4))
    assert (ring.basin == 0).all()
    assert ring.member_of.values.tolist() == [0, 0]
    # Turning round the origin comes to nothing.
    turn = basins(
        lambda z: jnp.stack([-z[1], z[0]]), [[5.0, 5.0]], (-1.0, 1.0), (-1.0, 1.0), resolution=(3, 3), steps=9
    )
    assert (turn.basin == UNDECIDED).all()
    assert (turn.steps == 9).all()
    assert turn.basin.flag_meanings == "escaped undecided attractor_0"


def test_portraits_survive_a_file(picture, wells, tmp_path):
    for dataset in (picture, wells):
        dataset.to_netcdf(tmp_path / "map.nc", engine="h5netcdf")
        xr.testing.assert_identical(xr.load_dataset(tmp_path / "map.nc", engine="h5netcdf"), dataset)


def never(*_):
    raise AssertionError("the map was called")


WINDOW = (0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: portrait(never, (1.0, 0.0), WINDOW), "x must"),
        (lambda: portrait(never, WINDOW, (1.0, 1.0)), "y must"),
        (lambda: portrait(never, WINDOW, (0.0, np.inf)), "y must"),
        (lambda: portrait(never, WINDOW, WINDOW, resolution=(1, 5)), "resolution"),
        (lambda: portrait(never, WINDOW, WINDOW, resolution=5), "resolution"),
        (lambda: portrait(lambda z: z[:1], WINDOW, WINDOW), "mapping"),
        (lambda: basins(never, [], WINDOW, WINDOW), "attractors"),
        (lambda: basins(never, [[0.0, 0.0, 0.0]], WINDOW, WINDOW), "attractors"),
        (lambda: basins(never, [[0.0, 0.0]], WINDOW, WINDOW, steps=0), "steps"),
        (lambda: basins(never, [[0.0, 0.0]], WINDOW, WINDOW, radius=0.0), "radius"),
        (lambda: basins(never, [[0.0, 0.0]], WINDOW, WINDOW, bound=-1.0), "bound"),
        (lambda: basins(never, [[0.0, 0.0]], (2.0, 1.0), WINDOW), "x must"),
    ],
)
def test_bad_input_is_named_before_anything_is_computed(call, word):
    with pytest.raises(ValueError, match=word):
        call()
