"""Results say what they are of, in files too, and `compare` refuses a theory that is of something else."""

import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import eosmodel as eos
from eosmodel import tuners
from eosmodel.objectives import MiniBatches
from eosmodel.results.sources import IDENTITY, check_same, common_attrs
from eosmodel.simulation import loss_identity, rule_identity

pytestmark = pytest.mark.usefixtures("lightly_compiled")

W0 = jnp.array([1.0, 1.0])


def bowl(power=2, start=W0):
    return eos.objective(lambda w: jnp.sum(w**power), start)


def run(objective=None, tuner="constant:0.1", **options):
    return eos.simulate(objective or bowl(), tuner, 3, modes=1, progress=False, **options)


def predicted(objective=None, tuner="constant:0.1", **options):
    options = {"theory": "gradient-flow"} | options
    return eos.predict(objective or bowl(), tuner, 3, modes=1, progress=False, **options)


@pytest.fixture(scope="module")
def pair():
    return run(), predicted()


@pytest.fixture(scope="module")
def digits():
    return eos.data.digits(20)


def net(data, **options):
    return eos.objectives.mlp(data, width=2, depth=1, **options)


def test_a_run_says_what_it_is_of_and_so_does_its_file(digits, tmp_path):
    result = run(net(digits), seeds=3)
    attrs = result.attrs
    assert attrs["objective"] == f"Network(MLP, {net(digits).initial().size} weights, mse, 20 samples, float64)"
    assert json.loads(attrs["data"]) == {"name": "digits", "sha256": digits.sha256, "samples": 20}
    assert (attrs["tuner"], attrs["direction"]) == ("Constant(step=0.1)", "steepest descent")
    assert (json.loads(attrs["seeds"]), attrs["steps"], attrs["dtype"]) == (3, 3, "float64")
    assert json.loads(attrs["versions"]).keys() >= {"eosmodel", "jax"}
    eos.record.save(result, tmp_path / "run.nc")
    xr.testing.assert_identical(eos.record.load(tmp_path / "run.nc"), result)


def test_a_prediction_says_the_same_and_its_theory(pair):
    of_run, of_theory = (result.attrs for result in pair)
    names = ("objective", "tuner", "direction", "seeds", "steps", "dtype", IDENTITY)
    assert [of_run[name] for name in names] == [of_theory[name] for name in names]
    assert (of_theory["theory"], "theory" in of_run, "data" in of_run) == ("gradient-flow", False, False)
    assert eos.compare(*pair).rows()[0]["theories"].keys() == {"gradient-flow"}


def test_a_prediction_that_says_nothing_still_says_what_it_is_of():
    nothing = predicted(eos.objective(lambda w: -jnp.sum(w**2), W0), theory="valley-frozen")
    assert int(nothing.status) != 0
    assert (nothing.attrs["theory"], nothing.tuner.item()) == ("valley-frozen", "constant")


DIFFERENT = {
    "no tuner in common; experiment has constant, theory has constant:step=0.2": lambda: predicted(
        tuner="constant:0.2"
    ),
    "it differs in objective$": lambda: predicted(bowl(4)),
    "it differs in start$": lambda: predicted(start=1.5 * W0),
    r"it differs in dtype \(float32, run: float64\), start": lambda: predicted(bowl(start=W0.astype(jnp.float32))),
}


@pytest.mark.parametrize("message", DIFFERENT)
def test_a_theory_of_something_else_is_refused(pair, message):
    with pytest.raises(ValueError, match=message):
        eos.compare(pair[0], DIFFERENT[message]())


def test_a_start_is_known_by_its_weights_also_without_a_seed(pair):
    # This objective has one start, whatever the seed.
    (row,) = eos.compare(pair[0], predicted(seeds=1)).rows()
    assert (row["seed"], *row["theories"]) == (1, "gradient-flow")
    with pytest.raises(ValueError, match=r"it differs in start$"):
        eos.compare(run(seeds=1), predicted(start=2 * W0))


def test_predictions_in_place_of_runs_are_refused(pair, tmp_path):
    of_run, theory = pair
    eos.record.save(theory, tmp_path / "theory.nc")
    for said in (theory, eos.record.load(tmp_path / "theory.nc")):
        with pytest.raises(ValueError, match=r"both are predictions.*gradient-flow"):
            eos.compare(said, said)
        with pytest.raises(ValueError, match="the run comes first"):
            eos.compare(said, of_run)
        with pytest.raises(ValueError, match=r"is a prediction \(gradient-flow\), not a run"):
            eos.compare(said)


def test_other_data_are_named(digits):
    replaced = eos.data.from_arrays(digits.x, digits.y[::-1], name="mine")
    known = run(net(digits), seeds=3)
    with pytest.raises(ValueError, match=r"differs in data \(mine, 20 samples, SHA-256 .*…, run: digits, 20 samples"):
        eos.compare(known, predicted(net(replaced), seeds=3))


def test_held_out_samples_do_not_keep_a_theory_from_its_run(digits):
    """Nothing of a theory depends on them; other training samples, or other ones held out, stay apart in the record."""
    split = eos.data.digits(20, test_samples=5)
    of_run = run(net(split), seeds=3, test_every=3)
    assert eos.compare(of_run, predicted(net(digits), seeds=3)).rows()[0]["theories"]
    said = json.loads(of_run.attrs["data"])
    assert (said["sha256"], said["held_out_sha256"]) == (digits.sha256, split.test.sha256)
    assert split.sha256 not in said.values()


def test_schedules_are_told_apart_by_what_they_compute():
    one, other = (tuners.Schedule(optax.cosine_decay_schedule(size, 50)) for size in (0.1, 0.2))
    with pytest.raises(ValueError, match="it differs in tuner"):
        eos.compare(run(tuner=one), predicted(tuner=other))


@pytest.mark.parametrize("direction", ["momentum:0.5", optax.trace(0.5)], ids=["named", "optax"])
def test_a_theory_of_another_direction_is_refused(pair, direction):
    with pytest.raises(ValueError, match=r"it differs in direction \(steepest descent, run: (momentum|an optax)"):
        eos.compare(run(direction=direction), pair[1])


def test_a_river_and_what_it_predicts_are_of_its_network(pair, digits, tmp_path):
    from eosmodel.experiment import load_river, save_river

    network = net(digits)
    river = eos.measure_river(network, time=1.0, seed=3, modes=1, progress=False)
    save_river(river, tmp_path / "river.nc")
    assert json.loads(eos.record.load(tmp_path / "river.nc").attrs["data"])["sha256"] == digits.sha256
    known = run(network, seeds=3)
    for of_it in (river, load_river(tmp_path / "river.nc")):
        said = eos.predict(of_it, "constant:0.1", 3)
        assert (said.attrs["objective"], said.seed.item()) == (known.attrs["objective"], 3)
        assert eos.compare(known, said).rows()[0]["theories"].keys() == {"river"}
        # From a step of that run it is still a prediction of it.
        later = eos.predict(of_it, "constant:0.1", 2, at=(known, 1))
        assert eos.compare(known, later).rows()[0]["theories"].keys() == {"river"}
    with pytest.raises(ValueError, match=r"it differs in objective .*, start$"):
        eos.compare(pair[0], said)


def test_a_loss_is_known_by_its_values_and_not_by_how_it_was_made(digits):
    weights = net(digits).initial()
    known = loss_identity(net(digits), weights)
    assert loss_identity(net(digits, seed=7), weights) == known
    assert loss_identity(net(digits, init_scale=0.3), weights) == known
    assert loss_identity(net(digits, activation="gelu"), weights) != known
    assert loss_identity(net(eos.data.from_arrays(digits.x + digits.x**2, digits.y)), weights) != known
    batches = [MiniBatches(net(digits), 5), MiniBatches(net(digits), 4), MiniBatches(net(digits), 5, replacement=True)]
    assert len({known, *(loss_identity(each, weights) for each in batches)}) == 4
    assert net(digits).on(jnp.arange(3)).origin.facts == {}


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([2, 3, 4]), st.sampled_from([2, 3, 4]), st.floats(0.1, 9), st.floats(0.1, 9))
def test_constants_and_exponents_of_a_function_are_its_identity(p, q, a, b):
    def power(p, a):
        scale = np.asarray(a)
        return loss_identity(eos.objective(lambda w: jnp.sum(scale * w**p), a * W0), W0)

    assert (power(p, a) == power(q, b)) == ((p, a) == (q, b))


def test_a_rule_is_known_by_its_program_and_its_numbers_by_their_labels():
    assert rule_identity(tuners.Constant(jnp.array(0.1)), "float64") == rule_identity(
        tuners.Constant(jnp.array([0.1, 0.2])), "float64"
    )
    rules = [tuners.Armijo(), tuners.Armijo(max_evaluations=9), tuners.Polyak(), tuners.OnEdge(), tuners.BB1()]
    assert len({rule_identity(rule, "float64") for rule in rules}) == 5


def test_what_several_say_alike_is_said_of_all(pair):
    one, other = run(seeds=1), run(tuner="polyak")
    attrs = common_attrs([pair[0], one, other])
    assert attrs["objective"] == one.attrs["objective"]
    assert {*json.loads(attrs[IDENTITY])["tuners"]} == {"constant", "polyak"}
    assert IDENTITY not in common_attrs([pair[0], run(bowl(4))])
    assert common_attrs([xr.Dataset(), pair[0]]) == {}
    check_same(pair[0].drop_attrs(), pair[1])  # what says nothing is not refused


def test_an_origin_is_no_reason_to_compile_again(digits):
    traced = []

    @jax.jit
    def loss(leaves, weights):
        traced.append(1)
        return jnp.sum(jax.tree.leaves(leaves)[0]) + weights[0]

    for data in (digits, eos.data.from_arrays(digits.x, digits.y, name="mine")):
        loss(net(data), W0)
    assert len(traced) == 1
    assert pickle.loads(pickle.dumps(net(digits))).origin.facts["sha256"] == digits.sha256
