"""`eosmodel validate`: cells against the public functions, the criteria on made-up numbers, the command."""

import json
import re

import jax
import numpy as np
import pytest
import xarray as xr
from scipy.sparse.linalg import LinearOperator, eigsh
from scipy.stats import ks_2samp

import eosmodel as eos
from eosmodel.cli import main
from eosmodel.commands.options import Validate
from eosmodel.objectives.recipes import network
from eosmodel.results.labels import ERRORS
from eosmodel.studies import validation
from eosmodel.studies.validation.cells import _reach, tuner_at

pytestmark = pytest.mark.usefixtures("lightly_compiled")


def _plan(tuners=("cdat",), theories=("oscillation",), workloads=("digits-tanh",), losses=("mse",), **given):
    return validation.make_plan(workloads, losses, tuners, theories, **{"seeds": [11], "steps": 30} | given)


def test_the_command_line_offers_the_whole_matrix():
    assert Validate().workloads == tuple(validation.WORKLOADS)
    assert Validate().tuners == tuple(validation.TUNERS)
    assert Validate().losses == validation.LOSSES


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"workloads": ["digits"]}, ["unknown workload", "digits-tanh"]),
        ({"losses": ["hinge"]}, ["unknown loss", "mse"]),
        ({"tuners": ["armjio"]}, ["armijo"]),
        ({"tuners": []}, ["tuners", "at least one"]),
        ({"seeds": [1, 1]}, ["seeds", "twice", "1"]),
        ({"theories": ["valley"]}, ["valley", "fitted"]),
        ({"members": 0}, ["members", "[1, inf]"]),
    ],
)
def test_a_plan_says_what_is_wrong(given, words):
    with pytest.raises(ValueError, match=".*".join(map(re.escape, words))):
        _plan(**given)


def test_scales_are_those_of_the_start():
    net = network(**validation.WORKLOADS["digits-tanh"], loss="mse", seed=3, dtype="float32")
    start = net.initial(3)
    gradient = jax.grad(net)
    product = jax.jit(lambda v: jax.jvp(gradient, (start,), (v.astype(start.dtype),))[1])
    hessian = LinearOperator((start.size, start.size), product, dtype=np.float32)
    sharpness, norm = float(eigsh(hessian, 1, which="LA")[0][0]), float(np.linalg.norm(gradient(start)))
    at = {name: tuner_at(validation.TUNERS[name], net, start) for name in ("constant", "rmsprop", "sps-max")}
    assert float(at["constant"].step) == pytest.approx(1 / sharpness, rel=1e-3)
    assert float(at["rmsprop"].step) == pytest.approx(norm / sharpness, rel=1e-3)


def test_a_cell_measures_what_the_public_functions_give():
    plan = _plan(steps=60, theories=["oscillation", "edge-flow", "edge-only"])
    block = plan.blocks[0].run().sel(seed=11)
    net = network(**validation.WORKLOADS["digits-tanh"], loss="mse", seed=11, dtype="float32")
    tuner, options = eos.tuners.CDAT(sigma=2.0), {"steps": 60, "seeds": 11, "progress": False}
    # In the precision of the cell, whose programs round otherwise than those of a session in double precision.
    with jax.enable_x64(False):
        run = eos.simulate(net, tuner, measure_every=0, **options)
        predicted = {name: eos.predict(net, tuner, theory=name, **options) for name in ("oscillation", "edge-only")}
    assert int(block.judged_steps) == 60
    assert float(block.final_loss) == pytest.approx(float(run.loss[-25:].mean()), rel=1e-5)
    for theory in ("oscillation", "edge-only"):
        said, kept = predicted[theory], block.sel(theory=theory)
        expected = eos.compare(run, said).rows()[0]["theories"][theory]
        if theory == "oscillation":
            assert float(kept.left_out) == pytest.approx(float(said.left_out.mean()), rel=1e-3)
        for error in ERRORS:
            assert float(kept[error]) == pytest.approx(expected[error], rel=1e-3, abs=1e-6)
        late = [(one.stepsize * one.sharpness).values[30:] for one in (run, said)]
        assert float(kept.distance) == pytest.approx(ks_2samp(*late, method="asymp").statistic, abs=0.04)
        for name in ("mean_sharpness", "distance", "exponent_difference"):
            assert float(kept[name]) == float(kept[f"single_{name}"])
    # Edge flow is of constant steps alone, and says so.
    flow = block.sel(theory="edge-flow")
    assert eos.Status(int(flow.theory_status)) is eos.Status.NOT_RUN
    assert np.isnan(float(flow.sharpness_error))
    thin = block.sel(source="experiment")
    rows = thin.step.values[np.isfinite(thin.step.values)].astype(int)
    smooth = eos.measures.moving_average(run.loss.values, run.step.values)
    np.testing.assert_allclose(thin.loss.values[: len(rows)], smooth[rows], rtol=1e-4)


def test_a_river_is_measured_once_for_all_tuners_of_a_network():
    plan = _plan(["cdat", "greedy"], ["oscillation", "river", "river:modes=2"], losses=["mse", "ce"], seeds=[11, 12])
    rivers, cells = plan.blocks[:8], plan.blocks[8:]
    assert len({block.name for block in rivers}) == 8
    assert len(cells) == 4
    for i, cell in enumerate(cells):
        assert cell.needs == rivers[4 * (i // 2) : 4 * (i // 2) + 4]
        modes = [(need.config["modes"], need.config["seed"]) for need in cell.needs]
        assert modes == [(8, 11), (8, 12), (2, 11), (2, 12)]
        assert {need.config["objective"]["loss"] for need in cell.needs} == {cell.config["loss_function"]}


def test_a_theory_reaches_as_far_as_it_is_right_from_where_it_begins():
    step = np.arange(100)
    run = xr.Dataset({"sharpness": ("step", np.exp(step / 8.0))}, {"step": step})
    known = xr.DataArray(step, dims="step")
    assert _reach(run, run, 100) == 100
    # Of a λ that doubles in six steps the average over rows that the theory has not is another.
    assert _reach(run, run.where(known >= 15), 100) == 85
    assert _reach(run, run.where((known >= 15) & (known < 60)), 100) == 45
    assert _reach(run, run.where(known < 0), 100) == 0
    off = run.assign(sharpness=run.sharpness * np.exp(0.2 * (step >= 50)))
    # Half of a window of 25, in which the last rows weigh most.
    assert 50 - 13 <= _reach(run, off, 100) <= 50


def _made_up(error, chaotic=0, kept=100.0, coverage=0.9):
    """One network, one tuner, ten seeds."""
    shape = {"workload": ["w"], "loss_function": ["mse"], "tuner": ["t"], "seed": np.arange(10)}
    base = xr.DataArray(np.ones((1, 1, 1, 10)), shape, tuple(shape))
    data = dict.fromkeys(validation.RUN_NUMBERS, base * 0.0) | {"status": base * 0, "steps": base * 100}
    data |= {"judged_steps": base * 100, "chaotic": base * chaotic}
    theories = xr.DataArray([1.0, 4.0], {"theory": ["oscillation", "edge-only"]}, ("theory",))
    for name in validation.THEORY_NUMBERS:
        value = coverage if name.endswith("coverage") else 1.2 if name == "cost" else error
        data[name] = (base * value) * theories
    data["theory_status"] = base * theories * 0
    data["theory_steps"] = base * theories * 0 + kept
    return xr.Dataset(data)


def _verdicts(found):
    return {claim.id: claim.verdict for claim in validation.judge(found)}


def test_criteria_ask_each_kind_of_run_for_what_can_be_predicted_of_it():
    near = _verdicts(_made_up(0.04))
    assert near["steps"] == "supported"
    assert near["law"] == "not tested"
    assert near["cost"] == "supported"
    assert near["ahead-edge-only"] == "supported"
    assert _verdicts(_made_up(0.06))["steps"] == "not supported"
    assert _verdicts(_made_up(0.04, kept=50.0))["steps"] == "not supported"
    chaos = _verdicts(_made_up(0.06, chaotic=1))
    assert chaos["steps"] == "not tested"
    assert chaos["mean"] == chaos["law"] == chaos["band"] == "supported"
    assert chaos["exponent"] == "not supported"
    assert _verdicts(_made_up(0.06, chaotic=1, coverage=0.7))["band"] == "not supported"
    alone = _made_up(0.04, chaotic=1, coverage=np.nan)  # no ensemble, so no band to ask for
    assert _verdicts(alone)["band"] == "not tested"
    assert validation.rows(alone)[0]["met"] == 10
    alone["sharpness_coverage"] = alone.sharpness_coverage.where(alone.seed > 0, 0.9)
    assert _verdicts(alone)["band"] == "not supported"
    assert validation.rows(alone)[0]["met"] == 0
    assert near["warned"] == "not tested"
    known = _made_up(0.04)
    known["loss_error"], known["left_out"] = known.loss_error * (1 + known.seed), known.left_out * (1 + known.seed)
    assert _verdicts(known)["warned"] == "supported"
    assert near["begun"] == "not tested"
    some = _made_up(0.04)
    some["loss_error"][{"seed": slice(0, 3)}] = 0.2
    some["reach"][:] = 100.0
    assert _verdicts(some)["steps"] == "partly"
    assert _verdicts(some)["begun"] == "not supported"
    some["reach"][{"seed": slice(0, 2)}] = 3.0
    assert _verdicts(some)["begun"] == "supported"
    some["reach"][:] = 3.0
    assert _verdicts(some)["begun"] == "not supported"
    (row,) = validation.rows(some)
    assert (row["met"], row["seeds"]) == (7, 10)
    assert row["theories"]["edge-only"]["sharpness_error"] == pytest.approx(0.16)
    assert json.loads(json.dumps(row)) == row
    assert "7/10" in validation.table([row])


def test_a_chaotic_run_has_its_perturbed_copy_beside_the_theory():
    """The copy's statistics are 0 from the run's, but where the test changes them, and the theory's 0.06."""
    found = _made_up(0.06, chaotic=1)
    found["copy_distance"] = found.copy_distance.where(found.seed > 3, 0.2)
    found["copy_mean_sharpness"] = found.copy_mean_sharpness.where(found.seed > 2, -0.2)
    claims = {claim.id: claim for claim in validation.judge(found)}
    assert "perturbed copy is as near in 6" in claims["law"].explanation
    assert "perturbed copy is as near in 7" in claims["mean"].explanation
    assert "perturbed copy is as near in 10" in claims["exponent"].explanation
    assert "copy" not in claims["band"].explanation
    # Nearer in three, four and none of ten: p = 0.3, 0.8 and 0.002.
    assert claims["as-a-run"].verdict == "partly"
    assert "mean λ nearer in 3 of 10 (p = 0.3); KS nearer in 4 of 10" in claims["as-a-run"].explanation
    found["copy_exponent_difference"] = found.copy_exponent_difference.where(found.seed > 1)
    assert _verdicts(found)["as-a-run"] == "supported"  # two of ten: p = 0.1
    assert _verdicts(_made_up(0.06, chaotic=1))["as-a-run"] == "not supported"
    assert _verdicts(_made_up(0.0, chaotic=1, kept=50.0))["as-a-run"] == "not supported"
    assert _verdicts(_made_up(0.06, chaotic=1).isel(seed=slice(0, 5)))["as-a-run"] == "not tested"
    assert _verdicts(_made_up(0.06))["as-a-run"] == "not tested"


def test_another_theory_is_held_against_the_first_run_by_run():
    found = _made_up(0.06)
    other = found.isel(theory=[0]).assign_coords(theory=["oscillation:after=20"])
    other["loss_error"][{"seed": slice(0, 7)}] = other["stepsize_error"][{"seed": slice(0, 7)}] = 0.01
    other["sharpness_error"][{"seed": slice(0, 7)}] = 0.01
    both = xr.concat([found.isel(theory=[0]), other], "theory", data_vars="minimal")
    (claim,) = (claim for claim in validation.judge(both) if claim.id.startswith("beside"))
    assert claim.verdict == "supported"  # 7 against 0: p = 2/2⁷
    assert "7 against 0 of 10, 7 gained and 0 lost (p = 0.02)" in claim.explanation
    both["loss_error"][{"seed": slice(2, 7), "theory": 1}] = np.nan
    assert _verdicts(both)["beside-oscillation:after=20"] == "partly"
    both["theory_steps"][{"theory": 1}] = 50.0  # it ended early
    assert _verdicts(both)["beside-oscillation:after=20"] == "not supported"
    both["theory_status"][{"theory": 1}] = int(eos.Status.NOT_RUN)
    assert _verdicts(both)["beside-oscillation:after=20"] == "not tested"


def test_the_command_goes_on_where_it_was_and_grows(tmp_path, capsys, fails):
    out = tmp_path / "out"
    small = ["--workloads", "digits-tanh", "--losses", "mse", "--seeds", "11", "--steps", "30", "--members", "2"]
    command = ["validate", *small, "--theories", "oscillation", "edge-only", "--out", str(out)]
    assert "unknown workload" in fails(*command, "--workloads", "mnist")
    assert not out.exists()
    main([*command, "--tuners", "constant"])
    said = capsys.readouterr().out
    assert "digits-tanh" in said
    assert "SUPPORTED" in said
    kept = {path: path.stat().st_mtime_ns for path in out.glob("blocks/*.nc")}
    assert "--resume" in fails(*command, "--tuners", "constant")
    assert "steps" in fails(*command, "--tuners", "constant", "--resume", "--steps", "31")
    main([*command, "--tuners", "constant", "polyak", "--resume"])
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    found = xr.load_dataset(out / "validation.nc")
    assert found.tuner.values.tolist() == ["constant", "polyak"]
    assert json.loads(found.attrs["config"])["steps"] == 30
    content = json.loads((out / "validation.json").read_text())
    assert [row["tuner"] for row in content["rows"]] == ["constant", "polyak"]
    page = (out / "validation.html").read_text()
    assert "Theory against experiment over a matrix" in page
    for name in ("validation-errors", "validation-digits-tanh-mse"):
        assert (out / f"{name}.png").stat().st_size > 1000
    (out / "validation.html").unlink()
    main(["report", str(out)])
    assert (out / "validation.html").read_text() == page
    main(["rerun", str(out), "--out", str(tmp_path / "again")])
    assert capsys.readouterr().out.endswith(f"the same numbers as {out}\n")
    assert "was written by `eosmodel validate`" in fails("report", str(out), str(tmp_path))
