"""Claims follow the numbers: made to hold, then turned over one by one."""

import numpy as np
import pytest
import xarray as xr

from eosmodel import Status
from eosmodel.judging.claims import evaluate

STEPS = 1000
TUNERS = ("constant:0.4", "armijo", "sps-max", "greedy", "cdat", "on-edge")
STEP = np.arange(STEPS)
EARLY = STEP < 300


def world(seeds=(0,), **changes):
    """Runs for which every claim holds; `changes` replace a variable of a tuner, as in `armijo_loss`."""
    rise = np.minimum(1 + STEP / 100, 4.0)
    creep = rise * np.exp(0.4 * STEP / STEPS)
    # ⟨ln|1 − s|⟩ = 0 with s in turn 4 and 4/3, whose mean is beyond 2.
    swing = np.where(STEP % 2 == 0, 4.0, 4 / 3)
    # The constant step's oscillation crosses 2 at every other step.
    wiggle = np.where(STEP % 2 == 0, 1.01, 0.99)
    sharpness = {"constant": np.minimum(rise * 2, 5.0) * wiggle, "sps-max": np.full(STEPS, 3.0), "cdat": rise}
    product = {"constant": 0.4 * sharpness["constant"], "sps-max": swing}
    final = {"constant": 1.0, "armijo": 1.5, "sps-max": 0.5}
    data = {name: [] for name in ("loss", "stepsize", "sharpness")}
    for spec in TUNERS:
        name = spec.partition(":")[0]
        lam = sharpness.get(name, creep)
        s = product.get(name, np.where(STEP % 2 == 0, 2.02, 1.98))
        values = {"sharpness": lam, "stepsize": s / lam, "loss": np.full(STEPS, final.get(name, 1.2))}
        if name == "armijo":
            values["loss"] = np.where(EARLY, 0.9, 1.5)
        for variable in data:
            key = f"{name.replace('-', '_')}_{variable}"
            value = changes.get(key, values[variable])
            data[variable].append(np.broadcast_to(value, (len(seeds), STEPS)))
    runs = {name: (("tuner", "seed", "step"), np.stack(values)) for name, values in data.items()}
    return xr.Dataset(runs, {"tuner": list(TUNERS), "seed": list(seeds), "step": STEP})


def theories(experiment, joint=0.02, alone=0.5):
    def off(by):
        return experiment.map(lambda values: values * np.exp(by))

    return xr.concat([off(joint), off(alone)], xr.IndexVariable("theory", ["oscillation", "edge-only"]))


def verdicts(experiment, theory=None):
    return {claim.id: claim.verdict for claim in evaluate(experiment, theory)}


def test_all_claims_hold_where_they_were_made_to():
    experiment = world()
    assert set(verdicts(experiment, theories(experiment)).values()) == {"supported"}


def test_claims_are_complete_and_carry_numbers():
    claims = evaluate(world())
    assert [claim.id for claim in claims] == ["1", "2", "2b", "3", "4", "5", "6"]
    armijo = next(claim for claim in claims if claim.id == "3")
    assert "early 0.9" in armijo.explanation
    assert "at the end 1.5" in armijo.explanation
    assert all(claim.criterion and claim.text for claim in claims)


CREEPING = np.minimum(1 + STEP / 100, 4.0) * np.exp(0.4 * STEP / STEPS)


@pytest.mark.parametrize(
    ("claim", "changes", "expected"),
    [
        # The constant step is far inside the edge; CDAT still levels at it.
        ("1", {"constant_stepsize": 0.2, "constant_sharpness": 5.0}, "partly"),
        # … and neither does when CDAT's sharpness creeps on.
        ("1", {"constant_sharpness": 4.0, "constant_stepsize": 0.2, "cdat_sharpness": CREEPING}, "not supported"),
        ("2", {f"{n}_sharpness": 5.0 for n in ("armijo", "greedy", "on_edge")}, "not supported"),
        ("2", {"armijo_sharpness": 5.0}, "partly"),
        ("2b", {"armijo_stepsize": 3 / CREEPING}, "not supported"),
        ("2b", {"armijo_stepsize": np.where(STEP % 4 == 0, 3.0, 2.0) / CREEPING}, "partly"),
        ("3", {"armijo_loss": np.where(EARLY, 1.1, 1.5)}, "partly"),
        ("3", {"armijo_loss": np.where(EARLY, 1.1, 0.5)}, "not supported"),
        ("4", {"sps_max_loss": 1.2}, "partly"),
        ("4", {"sps_max_loss": 2.0, "sps_max_stepsize": 0.3}, "not supported"),
        ("6", {"greedy_stepsize": 3 / CREEPING}, "partly"),
    ],
)
def test_a_verdict_turns_with_its_numbers(claim, changes, expected):
    assert verdicts(world(**changes))[claim] == expected


def test_the_joint_theory_must_win_and_cover_the_run():
    experiment = world()
    assert verdicts(experiment, theories(experiment, joint=0.5, alone=0.1))["5"] == "not supported"
    theory = theories(experiment)
    steps = xr.where(theory.theory == "oscillation", 300, STEPS)
    short = theory.where(theory.step < steps).assign(steps=steps.broadcast_like(theory.loss.isel(step=0)))
    assert verdicts(experiment, short)["5"] == "not supported"
    explanation = next(claim.explanation for claim in evaluate(experiment, theories(experiment)) if claim.id == "5")
    assert explanation.count("factor 25") == len(TUNERS)


def test_what_is_missing_is_not_tested():
    experiment = world()
    alone = verdicts(experiment.sel(tuner=["greedy"]))
    assert {alone[name] for name in ("1", "2b", "3", "4", "5")} == {"not tested"}
    assert alone["2"] == "supported"
    # The claim is about CDAT at σ = 2 alone.
    other = experiment.sel(tuner=["cdat"]).assign_coords(tuner=["cdat:sigma=1.5"])
    assert verdicts(other)["1"] == "not tested"


def test_a_majority_of_seeds_decides_and_is_counted():
    good = np.where(EARLY, 0.9, 1.5)
    bad = np.where(EARLY, 1.1, 0.5)
    seeds = (0, 1, 2)
    claims = evaluate(world(seeds, armijo_loss=np.stack([good, bad, good])))
    third = next(claim for claim in claims if claim.id == "3")
    assert third.verdict == "supported"
    assert "(2 of 3 seeds)" in third.explanation
    assert verdicts(world(seeds, armijo_loss=np.stack([good, bad, bad])))["3"] == "not supported"


def test_a_run_that_stopped_at_its_loss_is_not_behind():
    """Armijo's rule is down to 0.3 after 100 steps, and stops; the constant step gets there at the end."""
    fall = np.exp(-STEP / 100)
    experiment = world(constant_loss=np.exp(-STEP * 1.2 / STEPS), armijo_loss=fall)
    steps, status = np.full((len(TUNERS), 1), STEPS), np.zeros((len(TUNERS), 1), int)
    steps[1], status[1] = 121, int(Status.REACHED)
    steps[2] = 500
    experiment = experiment.assign(steps=(("tuner", "seed"), steps), status=(("tuner", "seed"), status))
    stopped = experiment.where(experiment.step < experiment.steps).assign(
        steps=experiment.steps, status=experiment.status
    )
    claim = {claim.id: claim for claim in evaluate(stopped)}["3"]
    assert claim.verdict == "partly"  # ahead early, and not behind at the end
    late = slice(96, 121)
    end = claim.evidence[0].numbers["at the end"]
    np.testing.assert_allclose(end, fall[late].mean() / np.exp(-STEP * 1.2 / STEPS)[late].mean())
    # Of two constant steps the one that stopped first is the best, with whatever loss.
    both = xr.concat([stopped, stopped.sel(tuner=["armijo"]).assign_coords(tuner=["constant:1"])], "tuner")
    armijo = {claim.id: claim for claim in evaluate(both)}["3"].evidence[0]
    assert armijo.numbers["at the end"] == 1


def test_a_run_that_did_not_finish_never_wins():
    experiment = world()
    status = xr.where(experiment.tuner == "sps-max", int(Status.DIVERGED), 0).expand_dims(seed=[0])
    polyak = next(claim for claim in evaluate(experiment.assign(status=status)) if claim.id == "4")
    assert polyak.verdict == "partly"
    assert "∞" in polyak.explanation
