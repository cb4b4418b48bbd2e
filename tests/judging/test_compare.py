"""Comparison: datasets whose errors, final values and edge exponents are known in advance."""

import json
from fractions import Fraction

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from eosmodel import Status
from eosmodel.judging.scoreboard import compare, scoreboard
from eosmodel.report import words
from eosmodel.results.measures import law_distance, moving_average
from eosmodel.studies import comparison as comparison_study

STEPS = 400


def single(steps=STEPS, every=1, s=2.1, seed=0):
    """A run of rough loss and falling η at constant ηλ = s."""
    rng = np.random.default_rng(seed)
    step = np.arange(0, steps, every)
    eta = 0.5 * np.exp(-step / 300)
    loss = np.exp(-step / 100 + 0.3 * rng.standard_normal(step.size))
    data = {"loss": loss, "stepsize": eta, "sharpness": s / eta}
    return xr.Dataset({name: ("step", values) for name, values in data.items()}, {"step": step})


def shifted(run, **by):
    return run.assign({name: run[name] * np.exp(value) for name, value in by.items()})


def stacked(runs, name):
    return xr.concat(list(runs.values()), xr.IndexVariable(name, list(runs)), coords="minimal", compat="override")


def only(comparison):
    (row,) = comparison.rows()
    return row


def test_a_constant_factor_is_the_error_exactly():
    run = single()
    theory = shifted(run, sharpness=0.1, stepsize=-0.2, loss=0.3).assign_coords(theory="oscillation")
    entry = only(compare(run, theory))["theories"]["oscillation"]
    assert entry["sharpness_error"] == pytest.approx(0.1, rel=1e-12)
    assert entry["stepsize_error"] == pytest.approx(0.2, rel=1e-12)
    assert entry["loss_error"] == pytest.approx(0.3, rel=1e-12)


def test_a_theory_that_is_the_run_has_no_error():
    run = single()
    entry = only(compare(run, run))["theories"]["theory"]
    assert [entry[name] for name in ("sharpness_error", "stepsize_error", "loss_error")] == [0.0, 0.0, 0.0]


SAMPLES = st.lists(st.integers(0, 30), min_size=1, max_size=40)


@given(SAMPLES, SAMPLES)
def test_the_distance_of_two_laws_is_that_of_their_shares_in_whole_numbers(first, second):
    def share(sample, s):
        return Fraction(sum(value <= s for value in sample), len(sample))

    exact = max(abs(share(first, s) - share(second, s)) for s in first + second)
    distance = law_distance(np.array(first, float), np.array(second, float))
    assert distance == float(exact)
    if len(first) > 1:  # of two numbers scipy divides by zero for its p-value
        assert distance == pytest.approx(ks_2samp(first, second, method="asymp").statistic, abs=1e-12)


def test_laws_at_the_same_distance_are_on_the_same_side_of_a_bound():
    """0.1 as a difference of shares of 150 is 0.1 up to rounding, above it for some and below it for others."""
    numbers = np.arange(150.0)
    for split in range(135):
        moved = np.where((numbers >= split) & (numbers < split + 15), split - 0.5, numbers)
        assert law_distance(numbers, moved) == 0.1
    assert np.isnan(law_distance(numbers, numbers[:0]))


@pytest.mark.parametrize("s", [0.5, 1.9, 2.0, 2.5])
def test_edge_exponent_of_a_constant_product(s):
    measured = only(compare(single(s=s)))["experiment"]
    assert measured["edge_exponent"] == pytest.approx(np.log(abs(1 - s)), abs=1e-12)
    assert measured["median_edge_product"] == pytest.approx(s)


def test_edge_exponent_of_an_alternating_product_and_of_a_vanishing_factor():
    run = single()
    # |1 − s| alternates between 3 and 1/3: a bounded oscillation with mean s of 8/3.
    s = np.where(np.arange(STEPS) % 2 == 0, 4.0, 4 / 3)
    assert only(compare(run.assign(sharpness=s / run.stepsize)))["experiment"]["edge_exponent"] == pytest.approx(0)
    assert np.isfinite(only(compare(run.assign(sharpness=1 / run.stepsize)))["experiment"]["edge_exponent"])


def test_last_half_and_final_window_count_completed_steps():
    steps = 100
    done = 60
    values = np.where(np.arange(steps) < done, np.arange(steps, dtype=float), np.nan)
    run = xr.Dataset(
        {
            "loss": ("step", values),
            "stepsize": ("step", np.ones(steps)),
            "sharpness": ("step", values),
            "steps": done,
            "status": int(Status.DIVERGED),
        },
        {"step": np.arange(steps)},
    )
    row = only(compare(run))
    assert (row["status"], row["steps"]) == ("diverged", done)
    assert row["experiment"]["final_loss"] == np.mean(np.arange(35, 60))
    assert row["experiment"]["median_edge_product"] == np.median(np.arange(30, 60))


@pytest.mark.parametrize(("every", "width"), [(1, 25), (2, 12), (5, 5), (10, 2), (40, 1)])
def test_window_is_25_steps_whatever_the_stride(every, width):
    step = np.arange(0, 2000, every)
    impulse = np.zeros(step.size)
    impulse[step.size // 2] = 1.0
    smooth = moving_average(impulse, step)
    assert np.count_nonzero(smooth) == width
    assert smooth.max() == pytest.approx(1 / width)


def test_moving_average_skips_what_is_not_known_and_shortens_at_the_ends():
    step = np.arange(100)
    values = np.where(step % 5 == 0, 3.0, np.nan)
    smooth = moving_average(values, step)
    np.testing.assert_allclose(smooth[::5], 3.0)
    assert np.isnan(smooth[1])
    np.testing.assert_allclose(moving_average(np.ones(7), np.arange(7)), 1.0)
    assert np.isnan(moving_average(np.full(5, np.inf), np.arange(5))).all()


def test_sparse_sharpness_is_compared_where_both_know_it():
    run = single()
    sparse = run.assign(sharpness=run.sharpness.where(run.step % 7 == 0))
    entry = only(compare(sparse, shifted(run, sharpness=0.1)))["theories"]["theory"]
    assert entry["sharpness_error"] == pytest.approx(0.1, rel=1e-12)


def test_strided_rows_on_both_sides_or_one():
    coarse = single(every=10)
    assert only(compare(coarse, shifted(coarse, loss=0.1)))["theories"]["theory"]["loss_error"] == pytest.approx(0.1)
    fine = single()
    entry = only(compare(fine, shifted(fine.isel(step=slice(None, None, 10)), loss=0.1)))["theories"]["theory"]
    assert entry["loss_error"] == pytest.approx(0.1)


def test_a_theory_that_ended_early_is_compared_up_to_there():
    run = single()
    theory = shifted(run, sharpness=0.1).where(run.step < 50)
    theory = theory.assign(steps=50, status=int(Status.OUT_OF_RANGE))
    entry = only(compare(run, theory))["theories"]["theory"]
    assert entry["sharpness_error"] == pytest.approx(0.1)
    assert entry["status"] == "out-of-range"
    assert entry["final_sharpness"] == pytest.approx(float(theory.sharpness[25:50].mean()))


def test_a_theory_of_a_run_that_stopped_is_compared_up_to_there():
    """Whatever the theory does after that, and however it ends."""
    run = single()
    theory = shifted(run, loss=0.1, sharpness=5.0 * (run.step >= 20))
    theory = theory.assign(left_out=("step", np.where(run.step < 20, 0.1, 5.0)))
    theory = theory.assign(status=int(Status.DIVERGED), steps=30)
    stopped = run.where(run.step < 20).assign(status=int(Status.REACHED), steps=20)
    comparison = compare(stopped, theory)
    row = only(comparison)
    entry = row["theories"]["theory"]
    assert (row["status"], entry["status"]) == ("reached", "ok")
    assert (entry["left_out"], entry["left_out_beyond"]) == (pytest.approx(0.1), None)
    np.testing.assert_allclose(entry["loss_error"], 0.1)
    assert entry["final_sharpness"] == pytest.approx(float(run.sharpness[:20].mean()))
    assert row["experiment"]["final_loss"] == float(run.loss[19])
    assert comparison.theory.steps.item() == 20
    assert words.stopped([row]) == [
        "Stopped on purpose, where the loss or the accuracy asked for was reached: run after 20 steps. The theories "
        "beside them are compared up to there."
    ]
    again = only(compare(comparison.experiment, comparison.theory))
    assert again == row
    # A run that diverged did not stop on purpose: a theory that goes on says that it does not diverge.
    went_on = only(compare(stopped.assign(status=int(Status.DIVERGED)), theory))["theories"]["theory"]
    assert (went_on["status"], went_on["left_out_beyond"]) == ("diverged", 20)


def test_a_theory_that_leaves_out_more_than_the_gradient_records_the_first_step():
    run = single()
    share = xr.where(run.step == 7, 1.5, 0.1)
    entry = only(compare(run, run.assign(left_out=share)))["theories"]["theory"]
    assert entry["left_out"] == pytest.approx(0.1 + 1.4 / STEPS)
    assert entry["left_out_beyond"] == 7
    text = str(compare(run, run.assign(left_out=share)))
    assert "(> 1 at 7)" in text
    assert "(> 1" not in str(compare(run, run.assign(left_out=xr.where(run.step == 7, 1.0, 0.1))))


def test_nothing_in_common_is_none_and_never_nan():
    run = single()
    theory = run.where(run.step < 0).assign(steps=0, status=int(Status.NOT_RUN))
    entry = only(compare(run, theory))["theories"]["theory"]
    assert {v for k, v in entry.items() if k != "status"} == {None}
    assert entry["status"] == "not-run"


def test_rows_survive_json_without_nan():
    run = single().assign(seconds_per_step=np.nan)
    theory = shifted(run, loss=np.inf)
    board = scoreboard({"steps": STEPS}, compare(run, theory).rows())
    text = json.dumps(board, allow_nan=False)
    assert json.loads(text) == board
    assert board["rows"][0]["theories"]["theory"]["loss_error"] is None


def test_row_has_the_documented_shape():
    row = only(compare(single(), single()))
    assert list(row) == ["tuner", "seed", "status", "steps", "experiment", "theories"]
    assert list(row["experiment"]) == [
        "final_loss",
        "final_sharpness",
        "median_edge_product",
        "edge_exponent",
        "failed_share",
        "seconds_per_step",
    ]
    assert list(row["theories"]["theory"]) == [
        "sharpness_error",
        "stepsize_error",
        "loss_error",
        "final_sharpness",
        "edge_exponent",
        "left_out",
        "left_out_beyond",
        "weight_distance",
        "seconds_per_step",
        "status",
    ]
    assert (row["seed"], row["status"], row["steps"]) == (0, "ok", STEPS)


def test_below_rounding_nothing_is_compared():
    """Two runs that agree until both are at rest, where one of them is left with other rounding than the other."""
    rest = np.arange(STEPS) >= 100
    loss = np.where(rest, 1e-15, np.exp(-np.arange(STEPS) / 20)).astype(np.float32)
    run = single().assign(loss=("step", loss))
    theory = run.assign(loss=run.loss.where(~rest, 6e-15), stepsize=run.stepsize.where(~rest, 7.0))
    entry = only(compare(run, theory))["theories"]["theory"]
    assert [entry[name] for name in ("sharpness_error", "stepsize_error", "loss_error")] == [0.0, 0.0, 0.0]
    higher = theory.assign(loss=theory.loss.where(~rest, 1e-3))  # above rounding: an error
    assert only(compare(run, higher))["theories"]["theory"]["loss_error"] > 20
    # In float64 the same numbers are more than rounding.
    entry = only(compare(run.astype(float), theory.astype(float)))["theories"]["theory"]
    assert entry["loss_error"] == pytest.approx(np.log(6))


def test_steps_at_which_the_rule_was_not_met_are_where_a_user_looks():
    failed = np.arange(STEPS) < STEPS // 8
    run = single().assign(search_failed=("step", failed), status=0, steps=STEPS)
    comparison = compare(run)
    assert only(comparison)["experiment"]["failed_share"] == 1 / 8
    assert "failed" in str(comparison).splitlines()[0]
    assert "12 %" in str(comparison)
    assert any("could not meet its rule" in line and "12.5 %" in line for line in words.summary(comparison.rows(), []))
    assert "rule not met in 12.5 %" in comparison_study.ended(run)
    met = run.assign(search_failed=("step", ~np.ones(STEPS, bool)))
    assert not any("could not meet" in line for line in words.summary(compare(met).rows(), []))
    assert "not met" not in comparison_study.ended(met)


def test_runs_are_matched_by_label_and_not_by_position():
    runs = stacked({"a": single(seed=1), "b": single(seed=2, s=1.0)}, "tuner").expand_dims(seed=[3])
    theory = shifted(runs, loss=0.1).isel(tuner=[1, 0]).expand_dims(theory=["valley"])
    board = compare(runs, theory).rows()
    assert [(row["tuner"], row["seed"]) for row in board] == [("a", 3), ("b", 3)]
    assert [row["theories"]["valley"]["loss_error"] for row in board] == pytest.approx([0.1, 0.1])


def test_a_tuner_without_theories_has_none():
    runs = stacked({"a": single(), "b": single()}, "tuner").expand_dims(seed=[0])
    board = compare(runs, runs.sel(tuner=["a"]).expand_dims(theory=["valley"])).rows()
    assert [list(row["theories"]) for row in board] == [["valley"], []]


def test_a_batch_of_runs_is_read_as_tuners_and_the_theory_names_itself():
    runs = xr.concat([single(), single()], "run")
    assert [row["tuner"] for row in compare(runs).rows()] == ["run 0", "run 1"]
    theory = single().assign_attrs(config=json.dumps({"theory": "edge-only"}))
    assert list(only(compare(single(), theory))["theories"]) == ["edge-only"]


def test_a_run_selected_from_a_study_keeps_its_labels():
    runs = stacked({"a": single(), "b": single()}, "tuner").expand_dims(seed=[4])
    row = only(compare(runs.sel(tuner="b", seed=4), shifted(single(), loss=0.1)))
    assert (row["tuner"], row["seed"]) == ("b", 4)
    assert row["theories"]["theory"]["loss_error"] == pytest.approx(0.1)


def test_bad_input_is_named():
    run = single()
    with pytest.raises(ValueError, match="experiment has no 'sharpness'"):
        compare(run.drop_vars("sharpness"))
    with pytest.raises(ValueError, match=r"theory must be a dataset of simulate or predict, got 'theory\.nc'"):
        compare(run, "theory.nc")
    with pytest.raises(ValueError, match="no tuner in common"):
        compare(run.assign_coords(tuner="a"), run.assign_coords(tuner="b"))
    with pytest.raises(ValueError, match="does not say its tuner"):
        compare(stacked({"a": run, "b": run}, "tuner"), run)


def test_printing_gives_an_aligned_table():
    runs = stacked({"constant:0.4": single(), "b": single()}, "tuner").expand_dims(seed=[0])
    text = str(compare(runs, shifted(runs, loss=0.1).expand_dims(theory=["valley"])))
    lines = text.splitlines()
    assert len(lines) == 2 + 2 * 2
    start = lines[0].index("what")
    assert [line[start:].split()[0] for line in lines[2:]] == ["experiment", "valley"] * 2
    assert "0.100" in lines[3]
    assert "nan" not in text
