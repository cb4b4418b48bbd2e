"""Pictures of maps show what their datasets hold."""

import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from eosmodel.analysis import continuation, orbits, portraits
from eosmodel.plotting import maps


def logistic(z, r):
    return r * z * (1 - z)


def double_well(z):
    return z - 0.1 * jnp.stack([z[0] ** 3 - z[0], z[1]])


@pytest.fixture(scope="module")
def cycle():
    return continuation.branch(logistic, [0.16], 3.84, (3.7, 3.9), period=3, name="r")


@pytest.fixture(scope="module")
def diagram():
    return orbits.orbit_diagram(logistic, np.linspace(3.4, 4.1, 15), [0.3], name="r")


def drawn(ax, label):
    return [line for line in ax.lines if line.get_label() == label]


def test_orbit_diagram_shows_every_kept_point_and_where_orbits_escape(diagram):
    figure = maps.orbit_diagram(diagram)
    top, bottom = figure.axes
    x, y = top.lines[0].get_data()
    kept = np.isfinite(y)
    assert kept.sum() == np.isfinite(diagram.orbit).sum()
    np.testing.assert_array_equal(np.unique(x[kept]), diagram.p[~diagram.escaped])
    assert bottom.get_xlabel() == "r"
    low, high = bottom.get_ylim()
    assert low < 0 < high
    assert high > diagram.lyapunov.max()
    figure.canvas.draw()
    config = json.dumps({"system": "fast-map", "tuner": "polyak"})
    assert maps.orbit_diagram(diagram.assign_attrs(config=config)).get_suptitle() == "fast-map, polyak"
    assert top.get_ylabel() == "$z_{1}$ on the orbit"
    diagram["orbit"].attrs["first"] = "ln r"
    assert maps.orbit_diagram(diagram).axes[0].get_ylabel() == "ln r"


def test_branch_is_solid_where_stable_and_dashed_where_not(cycle):
    (ax,) = maps.branch(cycle).axes
    solid, dashed = drawn(ax, "stable"), drawn(ax, "unstable")
    assert all(line.get_linestyle() == "-" for line in solid)
    assert all(line.get_linestyle() == "--" for line in dashed)
    # Three phases, each stable from the fold to the flip.
    fold, flip = (float(cycle.p[cycle.kind == kind].item()) for kind in ("fold", "flip"))
    assert len(solid) == 3
    for line in solid:
        np.testing.assert_allclose(np.sort(line.get_xdata()[[0, -1]]), [fold, flip])
    covered = {x for line in solid + dashed for x in line.get_xdata()}
    assert covered == set(cycle.p.values)
    for kind, p in (("fold", fold), ("flip", flip)):
        (marks,) = drawn(ax, kind)
        np.testing.assert_array_equal(marks.get_xdata(), [p] * 3)
        np.testing.assert_array_equal(np.sort(marks.get_ydata()), np.sort(cycle.z[cycle.p == p].values.ravel()))


def test_bifurcations_not_met_accurately_are_hollow(cycle):
    doubtful = cycle.assign(converged=cycle.converged & (cycle.kind != "flip"))
    (ax,) = maps.branch(doubtful).axes
    (marks,) = drawn(ax, "flip, not converged")
    assert marks.get_markerfacecolor() == "white"
    assert not drawn(ax, "flip")


def test_branches_share_axes_and_one_legend(cycle):
    ax = Figure().subplots()
    assert maps.branch(cycle, axes=ax) is maps.branch(cycle, axes=ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(labels) == sorted(set(labels)) == ["flip", "fold", "stable", "unstable"]


def test_an_empty_branch_is_an_empty_picture(cycle):
    figure = maps.branch(cycle.isel(point=[]))
    assert not figure.axes[0].lines
    figure.canvas.draw()


def test_portrait_shows_nullclines_fixed_points_and_arrows_along_the_field():
    dataset = portraits.portrait(double_well, (-2.0, 2.0), (-1.0, 1.0), names=("a", "b"))
    figure = maps.portrait(dataset)
    (ax,) = figure.axes
    np.testing.assert_array_equal(drawn(ax, "no step along a")[0].get_xydata(), dataset.x_nullcline)
    (stable,), (unstable,) = drawn(ax, "stable fixed point"), drawn(ax, "unstable fixed point")
    np.testing.assert_allclose(stable.get_xydata(), [[-1, 0], [1, 0]], atol=1e-11)
    np.testing.assert_allclose(unstable.get_xydata(), [[0, 0]], atol=1e-11)
    assert unstable.get_markerfacecolor() == "white"
    (quiver,) = ax.collections
    np.testing.assert_allclose(np.hypot(quiver.U, quiver.V), 1)
    at = np.asarray(quiver.XY)
    np.testing.assert_array_equal(np.sign(quiver.V), -np.sign(at[:, 1]))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    figure.canvas.draw()


def test_a_portrait_of_a_map_that_does_not_move():
    maps.portrait(portraits.portrait(lambda z: z, (-1.0, 1.0), (-1.0, 1.0), resolution=(9, 9))).canvas.draw()


def test_basins_have_the_colour_of_their_attractor():
    dataset = portraits.basins(double_well, [[-1.0, 0.0], [1.0, 0.0]], (-5.0, 5.0), (-1.0, 1.0), resolution=(50, 4))
    figure = maps.basins(dataset)
    (ax,) = figure.axes
    mesh = ax.collections[0]
    colors = np.array([to_hex(c) for c in mesh.to_rgba(mesh.get_array().ravel())]).reshape(4, 50)
    legend = {
        text.get_text(): to_hex(patch.get_facecolor())
        for text, patch in zip(ax.get_legend().get_texts(), ax.get_legend().get_patches(), strict=False)
    }
    assert list(legend) == ["escapes", "attractor 1", "attractor 2"]
    for code, label in ((-2, "escapes"), (0, "attractor 1"), (1, "attractor 2")):
        assert set(colors[dataset.basin.values == code]) == {legend[label]}
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), dataset.attractor_point)


def test_given_axes_are_used_and_pyplot_is_not(diagram):
    figure = Figure()
    assert maps.orbit_diagram(diagram, axes=figure.subplots(2, 1)) is figure
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
