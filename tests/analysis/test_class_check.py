"""The check of the classes by simulation: its valley, what it measures, and what it says where theory is exact."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba

import eosmodel as eos
from eosmodel.analysis import class_check
from eosmodel.analysis.class_check import check_classes, disagreements, probe_valley
from eosmodel.theory import Kind

CLAMPED, SELF, BELOW, UNDECIDED = Kind.CLAMPED, Kind.SELF_STABILISED, Kind.BELOW_EDGE, Kind.UNDECIDED


def test_probe_valley_has_the_coefficients_asked_for():
    alpha, beta, kappa, ratio = 2e-3, 5e-5, 1e-2, 3.0
    floor = probe_valley(*jnp.asarray([alpha, beta, kappa, ratio]))
    w = floor.initial()
    measured = [floor.sharpness(w), floor.bulk_gradient_sq(w), floor.alpha(w), floor.beta, floor.kappa(w), w[0] ** 2]
    np.testing.assert_allclose(measured, [1, 1, alpha, beta, kappa, ratio], rtol=1e-12)


def test_every_registered_tuner_is_checked():
    specs = class_check.default_specs()
    assert {spec.partition(":")[0] for spec in specs} == set(eos.tuners.REGISTRY)
    assert specs[: len(class_check.SPECS)] == class_check.SPECS
    assert len(set(specs)) == len(specs)


@pytest.fixture(scope="module")
def checked():
    """Time scales apart: 4α < κ, for the balance of a constant step to attract."""
    return check_classes([2e-5, 6e-5], [1e-7, 1e-6, 1e-5], ["constant:0.8", "constant:2.02", "cdat:1.5"], steps=1600)


def test_predicted_and_measured_agree_where_time_scales_separate(checked):
    kinds = checked.kind_measured.values.reshape(3, -1)
    assert [set(row) for row in kinds] == [{BELOW}, {SELF}, {CLAMPED}]
    np.testing.assert_array_equal(checked.kind_predicted, checked.kind_measured)
    np.testing.assert_array_equal(checked.trend_predicted, checked.trend_measured)
    assert (checked.status == 0).all()
    assert "where they differ" in disagreements(checked).lower()
    assert len(disagreements(checked).splitlines()) == 7


def test_a_clamped_tuner_holds_the_oscillation_of_its_equilibrium(checked):
    """r* = (σ − 2κ)/(2 − σ), κ = 3e-4/λ; q = βr*G/(2αλ²), which is what Δλ says."""
    clamped = checked.sel(tuner="cdat:1.5")
    np.testing.assert_allclose(clamped.r_predicted, 3.0, rtol=2e-3)
    np.testing.assert_allclose(clamped.r_measured, 3.0, rtol=2e-2)
    # Medians of the slow variables stand for the stretch.
    np.testing.assert_allclose(clamped.q_measured, clamped.q_predicted, rtol=0.1)
    np.testing.assert_allclose(clamped.edge_exponent, 0.0, atol=5e-3)


def test_a_constant_step_holds_the_sharpness(checked):
    held = checked.sel(tuner="constant:2.02")
    assert (np.abs(1 - held.q_measured) < 0.25).all()
    assert (np.abs(held.lambda_change) < 0.05).all()
    np.testing.assert_array_equal(held.q_predicted, 1.0)


def test_measured_kinds_by_hand():
    """ln r̂ of two starts (ln r apart by 2) along ln β: flat, falling as 1/β, as the start, dying."""
    log_beta = np.log([[1.0, 10.0, 100.0]] * 4)
    flat, falling = np.zeros(3), -np.log([1.0, 10.0, 100.0])
    first = np.stack([flat, falling, flat, falling])
    second = first + np.array([0.0, 0.0, 2.0, 0.0])[:, None]
    dies = np.array([[False] * 3] * 3 + [[True] * 3])
    kind = class_check._measured_kind(np.stack([first, second]), dies, log_beta)
    np.testing.assert_array_equal(kind, [[CLAMPED] * 3, [SELF] * 3, [UNDECIDED] * 3, [BELOW] * 3])
    first[0, 1] = np.nan  # a run that ended early, and neighbours that have nobody else
    kind = class_check._measured_kind(np.stack([first, second]), dies, log_beta)
    np.testing.assert_array_equal(kind[0], [UNDECIDED] * 3)


def test_disagreements_are_listed():
    dims = ("tuner", "alpha", "beta")
    values = {
        "kind_predicted": [CLAMPED, CLAMPED, UNDECIDED],
        "kind_measured": [CLAMPED, SELF, UNDECIDED],
        "q_predicted": [0.1, 0.2, np.nan],
        "q_measured": [0.1, 0.25, np.nan],
        "trend_predicted": [1.0, 1.0, np.nan],
        "trend_measured": [1.0, 1.0, np.nan],
        "r_predicted": [3.0, 3.0, np.nan],
        "r_measured": [3.0, 30.0, np.nan],
        "edge_exponent": [0.0, 0.0, np.nan],
        "lambda_change": [0.1, 0.1, np.nan],
        "status": [0, 0, 1],
    }
    data = {name: (dims, np.asarray(row)[None, None]) for name, row in values.items()}
    text = disagreements(xr.Dataset(data, {"tuner": ["mine"], "alpha": [1e-4], "beta": [1e-6, 1e-5, 1e-4]}))
    assert text.splitlines()[1].split() == ["mine", "1", "of", "2", "2", "of", "2"]
    listed = text.splitlines()[5:]
    assert len(listed) == 1
    assert "clamped → self-stabilised" in listed[0]
    assert "β=1.0e-05" in listed[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1e-3], [1e-7, 1e-6]), "beta must lie in"),
        (([1e-3], [1e-5]), "at least two values"),
        (([2e-3, 1e-3], [1e-5, 1e-4]), "alpha must be increasing"),
        (([1e-3], [1e-5, 1e-4], ["nobody"]), "unknown tuner"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_classes(*arguments, steps=40)


@pytest.fixture(scope="module")
def curves():
    tuners = {"stable": eos.tuners.Polyak(0.3), "chaotic": eos.tuners.Polyak(1.0), "open": eos.tuners.Polyak(0.2)}
    return eos.analysis.response_curve(tuners, alpha=0.1, beta=0.01, A=10.0)


def test_response_curve_is_phi_and_its_equilibria(curves):
    for name, c in (("stable", 0.3), ("chaotic", 1.0), ("open", 0.2)):
        phi = (10 + curves.r / 2) / (c * (1 + curves.r))
        for which in ("s", "s_low", "s_high"):
            np.testing.assert_allclose(curves[which].sel(tuner=name), phi, rtol=1e-12)
    np.testing.assert_allclose(curves.r_star[:, 0], [94.0, 16 / 3, np.nan], rtol=1e-9)
    assert curves.stable[:, 0].values.tolist() == [True, False, False]
    assert curves.label.values.tolist() == ["clamped", "clamped", "self-stabilised"]
    np.testing.assert_allclose(curves.q[0], 0.01 * 94 / 0.2, rtol=1e-9)


def test_response_curve_of_nothing_and_of_bad_r():
    with pytest.raises(ValueError, match="at least one tuner"):
        eos.analysis.response_curve({})
    with pytest.raises(ValueError, match="r must be increasing"):
        eos.analysis.response_curve(eos.tuners.Polyak(), [2.0, 1.0])


def test_pictures_show_the_curve_the_equilibria_and_the_class(curves):
    figure = eos.plotting.response(curves)
    panels = figure.axes
    assert len(panels) == 3
    for i, ax in enumerate(panels):
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), curves.s[i])
        assert curves.label.values[i] in ax.get_title()
    (stable,) = [line for line in panels[0].lines if line.get_marker() == "o"]
    (chaotic,) = [line for line in panels[1].lines if line.get_marker() == "o"]
    np.testing.assert_allclose(stable.get_xdata(), [94.0])
    assert to_rgba(chaotic.get_markerfacecolor()) == to_rgba("white")
    assert to_rgba(stable.get_markerfacecolor()) != to_rgba("white")
    assert not [line for line in panels[2].lines if line.get_marker() == "o"]
    assert panels[0].get_facecolor() == panels[1].get_facecolor() != panels[2].get_facecolor()
    together = eos.plotting.responses(curves)
    labels = [text.get_text() for text in together.axes[0].get_legend().get_texts()]
    assert labels == ["stable: clamped, m = 0.34", "chaotic: clamped, m = -1.5", "open: self-stabilised"]
    assert eos.plotting.responses(curves, axes=together.axes[0]) is together
    together.canvas.draw()
    figure.canvas.draw()
