"""A river from the two verbs: measured, resumed and extended, kept in a file, and asked about tuners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.experiment import load_river, save_river
from eosmodel.simulation import remove
from eosmodel.theory.river import at_step

pytestmark = pytest.mark.usefixtures("lightly_compiled")


@pytest.fixture(scope="module")
def net():
    return eos.objectives.mlp(eos.data.digits(50), width=4, depth=1, init_scale=0.5, seed=0)


@pytest.fixture(scope="module")
def river(net):
    return eos.measure_river(net, time=20.0, modes=2, progress=False)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_river_goes_on_from_a_checkpoint_bit_for_bit(net, river, tmp_path):
    path = tmp_path / "river.ckpt"
    short = eos.measure_river(net, time=3.0, modes=2, progress=False, checkpoint=path)
    assert 3 <= float(short.length) < float(river.length)
    assert same(eos.measure_river(net, time=20.0, modes=2, progress=False, checkpoint=path), river)
    assert len(list(tmp_path.iterdir())) == 2 * river.caps.size
    remove(path)
    assert not list(tmp_path.iterdir())


def test_a_longer_river_whose_caps_are_others_is_that_of_one_measurement(net, tmp_path, monkeypatch):
    monkeypatch.setattr("eosmodel.experiment._river.caps_below", lambda first, largest: [0.8 * first, 0.9 * largest])
    path = tmp_path / "river.ckpt"
    short = eos.measure_river(net, time=3.0, modes=2, progress=False, checkpoint=path)
    long = eos.measure_river(net, time=20.0, modes=2, progress=False, checkpoint=path)
    assert short.caps[0] == long.caps[0]
    assert short.caps[1] < long.caps[1]
    assert same(long, eos.measure_river(net, time=20.0, modes=2, progress=False))


@pytest.mark.parametrize("kind", ["whole", "diagonal"])
def test_river_comes_back_from_a_file(river, kind, tmp_path):
    river = river if kind == "whole" else river.diagonal()
    save_river(river, tmp_path / "river.nc")
    assert same(load_river(tmp_path / "river.nc"), river)


def test_caps_are_multiples_of_the_first_sharpness_that_the_free_flow_exceeds(net, river):
    first, most = (float(v) for v in (river.free.places.sharpness[0], river.free.places.sharpness.max()))
    assert 0.8 * first < most / 1.3 < 1.2 * first
    np.testing.assert_allclose(river.caps, [0.8 * first, np.inf], rtol=1e-6)
    cap = 0.5 * (first + most)
    given = eos.measure_river(net, time=20.0, modes=2, caps=[cap], progress=False)
    np.testing.assert_allclose(given.caps, [cap, np.inf])
    assert same(given.free, river.free)
    assert float(given.flow(0).length) >= float(river.length)
    assert 0.98 * cap < float(given.flow(0).places.sharpness.max()) < 1.02 * cap
    np.testing.assert_array_equal(eos.measure_river(net, time=3.0, modes=2, caps=(), progress=False).caps, [np.inf])


def test_prediction_follows_the_run(net, river):
    # ηλ starts at 0.8 and at 2.0. The aim of a prediction from the initial weights is 0.1.
    for eta in (0.1, 0.25):
        rule = eos.tuners.Constant(eta)
        run = eos.simulate(net, rule, 70, modes=2, progress=False)
        said = eos.predict(river, rule, 70)
        assert int(said.status) == 0
        for name in ("sharpness", "center_loss"):
            assert eos.measures.log_error(run[name], said[name]) < 0.1


def test_prediction_goes_on_from_a_run(net, river):
    run = eos.simulate(net, eos.tuners.Constant(0.2), 30, modes=2, progress=False)
    said = eos.predict(river, eos.tuners.OnEdge(), 20, at=(run, 20))
    assert said.step.values.tolist() == list(range(20, 40))
    assert int(said.steps) == 40  # as the steps of a run are counted, so that its last ones are the last
    assert eos.measures.last_half(said, "sharpness").size == 20
    assert float(said.sharpness.sel(step=20)) == pytest.approx(float(run.sharpness.sel(step=20)), rel=0.02)
    given = eos.predict(river, eos.tuners.OnEdge(), 20, at=at_step(river, run, 20))
    np.testing.assert_array_equal(given.loss, said.loss)
    for at, words in (((run, 30), "30"), (run, "RiverStart"), ((run.isel(mode=[0]), 20), "modes")):
        with pytest.raises(ValueError, match=words):
            eos.predict(river, eos.tuners.OnEdge(), 20, at=at)
    with pytest.raises(ValueError, match="for a river"):
        eos.predict(net, eos.tuners.OnEdge(), 20, at=(run, 20))


def test_a_vector_of_hyper_parameters_is_a_batch(river):
    many = eos.predict(river, eos.tuners.Constant(jnp.asarray([0.1, 0.2])), 20)
    assert many.sharpness.dims == ("tuner_step", "step")
    one = eos.predict(river, eos.tuners.Constant(0.2), 20)
    np.testing.assert_allclose(many.sharpness[1], one.sharpness, rtol=1e-4)


def test_another_number_of_steps_needs_no_second_compilation(river, compilations):
    assert eos.predict(river, eos.tuners.Constant(0.1), 20).sizes["step"] == 20
    assert not compilations(lambda: eos.predict(river, eos.tuners.Constant(0.2), 300))
    assert compilations(lambda: jax.jit(lambda x: x + 1)(jnp.zeros(7)))
    assert eos.predict(river, eos.tuners.Constant(0.2), 300).sizes["step"] == 300


def test_tuners_are_ranked_by_their_predicted_loss(river):
    ranking = eos.rank(river, ["constant:0.05", "constant:0.2", "constant:0.1", "constant:30"], 60)
    assert ranking.dataset.tuner.values.tolist() == ["constant:0.2", "constant:0.1", "constant:0.05", "constant:30"]
    assert ranking.dataset.order.values.tolist() == [1, 2, 3, 0]
    alone = eos.predict(river, "constant:0.2", 60)
    assert float(ranking.dataset.final_loss[0]) == pytest.approx(float(alone.loss[-25:].mean()), rel=1e-6)
    assert float(ranking.dataset.flow_time[0]) == pytest.approx(12, rel=1e-5)
    lines = str(ranking).splitlines()
    assert len(lines) == 6
    assert lines[-1].split()[:3] == ["–", "constant:30", "–"]


def test_a_hyper_parameter_is_chosen_by_its_predicted_loss(river):
    tuned = eos.tune(river, "constant:1", 60, step=(0.02, 0.2, 3))
    assert tuned.value == pytest.approx(0.2)
    assert tuned.tuner.step == tuned.value
    np.testing.assert_allclose(tuned.dataset.step, [0.02, 0.2 / 10**0.5, 0.2])
    alone = eos.predict(river, "constant:0.02", 60)
    assert float(tuned.dataset.final_loss[0]) == pytest.approx(float(alone.loss[-25:].mean()), rel=1e-4)
    assert float(tuned.dataset.late_loss[0]) == pytest.approx(float(alone.loss[-15:].mean()), rel=1e-4)
    with pytest.warns(UserWarning, match="1 of 2 values of step need more flow time"):
        longer = eos.tune(river, "constant:1", 200, step=[0.05, 0.2])
    assert longer.value == 0.05
    with pytest.raises(ValueError, match="step"):
        eos.tune(river, "constant:1", 60, c=(1, 2, 3))
    with pytest.raises(ValueError, match="to the end"):
        eos.tune(river, "constant:1", 60, step=[30.0])


def test_wrong_arguments_are_named(net):
    with pytest.raises(ValueError, match="time"):
        eos.measure_river(net, time=0.0)
    with pytest.raises(ValueError, match="seed and start"):
        eos.measure_river(net, time=1.0, seed=0, start=net.initial())
    for caps in ([2.0, 1.0], [-1.0], [np.inf], 2.0, "low"):
        with pytest.raises(ValueError, match="caps"):
            eos.measure_river(net, time=1.0, caps=caps)
