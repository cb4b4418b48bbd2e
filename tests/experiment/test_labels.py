"""Results say which run is which: seeds, hyper-parameters and the tuner are coordinates, in memory and in files."""

import equinox as eqx
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
from eosmodel.experiment._labels import axis_of, label
from eosmodel.experiment._starts import as_seeds
from eosmodel.theory.registry import spec_of
from eosmodel.tuners._labels import members_of
from eosmodel.tuners.registry import REGISTRY, parameters

pytestmark = pytest.mark.usefixtures("lightly_compiled")


class Seeded(eos.objectives.AbstractObjective):
    """½‖w‖² from a start that its seed is read off: w₀ = (1 + seed, 1)."""

    def loss(self, weights):
        return 0.5 * jnp.sum(weights**2)

    def initial(self, seed=None):
        return jnp.array([1.0 + (10 if seed is None else seed), 1.0])


def first_loss(seed):
    return 0.5 * ((1 + seed) ** 2 + 1)


def run(tuner=None, *, verb=eos.simulate, **options):
    return verb(Seeded(), tuner or tuners.Constant(0.1), 4, modes=1, progress=False, **options)


@pytest.fixture(scope="module")
def three():
    return run(seeds=[2, 0, 1])


@pytest.mark.parametrize("seeds", [[2, 0, 1], np.array([2, 0, 1]), jnp.array([2, 0, 1]), (2, 0, 1)], ids=type)
@pytest.mark.parametrize("verb", [eos.simulate, eos.predict])
def test_a_seed_selects_its_run(seeds, verb):
    runs = run(verb=verb, seeds=seeds)
    assert runs.seed.values.tolist() == [2, 0, 1]
    for seed in range(3):
        assert float(runs.sel(seed=seed).loss[0]) == pytest.approx(first_loss(seed), rel=1e-12)


def test_one_seed_is_a_scalar_and_no_seed_is_none():
    assert run(seeds=np.int64(5)).seed.item() == 5
    assert run(seeds=np.array(5)).seed.ndim == 0
    assert "seed" not in run().coords
    assert "seed" not in run(start=jnp.ones(2)).coords


@pytest.mark.parametrize(
    ("seeds", "message"),
    [([], "at least one"), ([0.5], "integer"), ("ab", "integer"), ([1, 1], "differ"), (1.5, "int")],
)
def test_seeds_that_are_none_are_named(seeds, message):
    with pytest.raises(ValueError, match=f"seeds must.*{message}"):
        as_seeds(seeds)


def test_runs_and_theories_are_paired_by_seed_and_printed_by_it(three):
    theory = run(verb=eos.predict, seeds=range(3))
    rows = eos.compare(three, theory).rows()
    assert [row["seed"] for row in rows] == [2, 0, 1]
    # On a quadratic the model is the run; paired by position the losses would be those of other starts.
    assert all(row["theories"]["oscillation"]["loss_error"] < 1e-9 for row in rows)
    (row,) = eos.compare(three.sel(seed=1), theory).rows()
    assert (row["seed"], row["tuner"]) == (1, "constant")
    with pytest.raises(ValueError, match="no seed in common; experiment has 2, theory has 0, 1"):
        eos.compare(three.sel(seed=[2]), theory.sel(seed=[0, 1]))


@pytest.mark.parametrize("verb", [eos.simulate, eos.predict])
def test_a_vector_of_one_hyper_parameter_is_a_dimension_of_its_name(verb):
    runs = run(tuners.Polyak(c=jnp.array([1.0, 0.5]), max=3.0), verb=verb)
    assert runs.loss.dims == ("c", "step")
    assert runs.tuner.values.tolist() == ["polyak:max=3", "polyak:c=0.5,max=3"]
    alone = run(tuners.Polyak(c=0.5, max=3.0), verb=verb)
    np.testing.assert_allclose(runs.sel(c=0.5).loss, alone.loss, rtol=1e-12)
    assert alone.tuner.item() == runs.sel(c=0.5).tuner.item()


def test_hyper_parameters_that_vary_together_are_coordinates_of_a_run():
    rule = tuners.Polyak(c=jnp.array([1.0, 0.5]), max=jnp.array([2.0, 3.0]))
    runs, theory = run(rule), run(rule, verb=eos.predict)
    assert runs.loss.dims == ("run", "step")
    assert [runs[name].values.tolist() for name in ("c", "max")] == [[1.0, 0.5], [2.0, 3.0]]
    rows = eos.compare(runs.isel(run=[1, 0]), theory).rows()
    assert [row["tuner"] for row in rows] == ["polyak:c=0.5,max=3", "polyak:max=2"]
    assert all(row["theories"]["oscillation"]["loss_error"] < 1e-9 for row in rows)
    with pytest.raises(ValueError, match="one length: c has 2, max has 3"):
        run(tuners.Polyak(c=jnp.ones(2), max=jnp.ones(3)))


def test_a_hyper_parameter_with_the_name_of_a_variable_says_whose_it_is():
    steps = jnp.array([0.1, 0.2], jnp.float32)
    runs = run(tuners.Constant(steps), start=jnp.ones(2, jnp.float32))
    assert runs.loss.dims == ("tuner_step", "step")
    # 0.2 in single precision is found by the number that was written.
    assert runs.sel(tuner_step=0.2).tuner.item() == "constant:step=0.2"
    assert runs.tuner.values.tolist() == ["constant", "constant:step=0.2"]


def test_a_member_of_a_batch_is_paired_with_its_theory_alone():
    runs = run(tuners.Polyak(c=jnp.array([1.0, 0.5])))
    for rule in (tuners.Polyak(), tuners.Polyak(c=0.5)):
        rows = eos.compare(runs, run(rule, verb=eos.predict)).rows()
        assert [len(row["theories"]) for row in rows] == [rule.c == 1.0, rule.c == 0.5]
    twice = runs.assign_coords(tuner=("c", ["polyak", "polyak"]))
    with pytest.raises(ValueError, match="experiment has the tuner polyak twice"):
        eos.compare(twice)


def test_parts_with_one_name_are_told_apart_by_their_path():
    rule = tuners.Scheduled(tuners.Bounded(tuners.Armijo(max=jnp.ones(2))), tuners.WarmupCosine(3))
    assert axis_of(rule) == "max"

    class Pair(tuners.AbstractModifier):
        tuner: tuners.AbstractTuner
        max: jax.Array

        def modify(self, stepsize, ray):
            return jnp.minimum(stepsize, self.max)

    labelled = label(
        xr.Dataset({"loss": ("run", [0.0, 1.0])}), Pair(tuners.Polyak(max=jnp.ones(2)), 2 * jnp.ones(2)), 0
    )
    assert {*labelled.coords} == {"tuner", "seed", "max", "tuner_max"}


def test_files_keep_which_run_is_which(three, tmp_path):
    rule = tuners.Polyak(c=jnp.array([1.0, 0.5]), max=jnp.array([2.0, 3.0]))
    for runs in (three, run(rule), run(rule, verb=eos.predict), run(tuners.Constant(jnp.array([0.1, 0.2])), seeds=3)):
        eos.record.save(runs, tmp_path / "runs.nc")
        loaded = eos.record.load(tmp_path / "runs.nc")
        xr.testing.assert_identical(loaded, runs)
        assert [*map(str, loaded.tuner.values.ravel())] == [*map(str, runs.tuner.values.ravel())]
        if "theory" not in runs.coords:
            assert str(eos.compare(loaded)) == str(eos.compare(runs))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)), st.integers(1, 5))
def test_any_order_of_seeds_is_kept(order, count):
    seeds = order[:count]
    labelled = label(xr.Dataset({"loss": ("seed", np.array(seeds) * 2.0)}), tuners.Armijo(), as_seeds(np.array(seeds)))
    assert all(float(labelled.loss.sel(seed=seed)) == 2 * seed for seed in seeds)
    assert labelled.loss.dims == ("seed",)


@pytest.mark.parametrize(
    "spec", ["oscillation", "oscillation:modes=6,force=cubic", "central-flow:stride=4", "edge-only"]
)
def test_a_theory_given_as_an_object_has_its_name(spec):
    assert spec_of(eos.theory.from_spec(spec)) == spec


NUMBERS = st.floats(0.01, 0.99)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_label_is_the_specification_that_makes_the_tuner(data):
    name = data.draw(st.sampled_from(sorted(set(REGISTRY) - {"schedule"})))
    chosen = [key for key, default in parameters(name) if isinstance(default, float)]
    given = {key: data.draw(NUMBERS) for key in data.draw(st.lists(st.sampled_from(chosen or ["-"]), unique=True))}
    given = {key: value for key, value in given.items() if key in chosen}
    given |= {"cap": 1.5} if "cap" not in chosen and data.draw(st.booleans()) else {}
    given |= {"warmup": 7} if data.draw(st.booleans()) else {}
    spec = f"{name}:" + ",".join(f"{key}={value!r}" for key, value in given.items())
    try:
        rule = tuners.from_spec(spec)
    except ValueError:  # bounds that contradict each other
        return
    assert eqx.tree_equal(tuners.from_spec(tuners.spec_of(rule)), rule) is True


@settings(max_examples=20, deadline=None)
@given(
    st.lists(NUMBERS | st.sampled_from([1.0, 2.0]), min_size=1, max_size=4), st.sampled_from([np.float32, np.float64])
)
def test_members_of_a_batch_are_labelled_by_their_own_numbers(values, dtype):
    array = jnp.asarray(np.asarray(values, dtype))
    members = members_of(tuners.CDAT(sigma=array))
    labels = [tuners.spec_of(member) for member in members]
    again = [tuners.from_spec(spec).sigma for spec in labels]
    assert np.asarray(again, dtype).tolist() == np.asarray(array).tolist()
    # One tuner has one label, alone and in a batch.
    assert labels == [tuners.spec_of(tuners.CDAT(sigma=value)) for value in array]


@pytest.mark.parametrize("spec", ["greedy", "cdat", "cdat:sigma=1.9", "sps-max", "polyak:max=2", "bb2", "armijo:cap=1"])
def test_a_label_is_the_shortest(spec):
    assert tuners.spec_of(tuners.from_spec(spec)) == spec


def test_tuners_without_a_specification_are_written_out():
    schedule = optax.cosine_decay_schedule(0.1, 50)
    assert tuners.spec_of(tuners.Schedule(schedule)).startswith("Schedule(schedule=")
    assert tuners.spec_of(tuners.Bounded(tuners.Scheduled(tuners.Polyak(), tuners.WarmupCosine(2)), cap=1.0)) == (
        "Bounded(tuner=Scheduled(tuner=Polyak(c=1, f_star=0, max=inf), "
        "schedule=WarmupCosine(warmup=2, decay_steps=0)), floor=0, cap=1)"
    )
