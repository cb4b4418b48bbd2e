"""What the ingredients of the centre–oscillation model are, where they must not matter, and their specifications."""

import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.objectives import DenseQuadratic, Valley
from eosmodel.theory import parse

pytestmark = pytest.mark.usefixtures("lightly_compiled")


def quadratic():
    rng = np.random.default_rng(1)
    q = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    matrix = (q * np.concatenate([np.linspace(0.01, 0.3, 17), [3.0, 4.0, 5.0]])) @ q.T
    return DenseQuadratic(jnp.asarray(matrix), start=jnp.asarray(rng.normal(size=20)))


def predicted(objective, spec, tuner, steps=40):
    return eos.predict(objective, tuner, steps, theory=spec.removesuffix(":"), progress=False)


@pytest.mark.parametrize("spec", ["force=cubic", "restoring=harmonic", "line=parabola", "turning=lost"])
@pytest.mark.parametrize("tuner", [eos.tuners.CDAT(1.7), eos.tuners.Polyak(0.4)])
def test_on_a_quadratic_nothing_is_beyond_second_order(spec, tuner):
    """The Hessian is the same everywhere: no third derivative, no other frequency, no turning; a line is a parabola."""
    objective = quadratic()
    whole, part = (predicted(objective, f"oscillation:{made_of}", tuner) for made_of in ("", spec))
    for name in ("loss", "stepsize", "sharpness"):
        np.testing.assert_allclose(part[name], whole[name], rtol=1e-6)


def test_on_a_cubic_valley_the_force_is_cubic():
    """γ = 0: the valley has no even order beyond x², and its odd order is λx."""
    objective = Valley(
        sharpness_limit=30.0, b=4.0, q=jnp.array([1.0]), mu=jnp.array([0.05]), start=jnp.array([0.05, -8.0])
    )
    whole = predicted(objective, "oscillation:modes=1", eos.tuners.Constant(0.1), 200)
    for spec in ("force=cubic", "restoring=harmonic"):
        part = predicted(objective, f"oscillation:modes=1,{spec}", eos.tuners.Constant(0.1), 200)
        np.testing.assert_allclose(part.sharpness, whole.sharpness, rtol=1e-6)


def test_an_unsplit_start_is_at_rest_and_a_split_one_is_not():
    objective = quadratic()
    whole = predicted(objective, "oscillation:start=whole", eos.tuners.Constant(0.1), 5)
    split = predicted(objective, "oscillation", eos.tuners.Constant(0.1), 5)
    np.testing.assert_array_equal(whole.amplitude[0], 0)
    assert np.abs(split.amplitude[0]).min() > 0
    np.testing.assert_allclose(whole.loss[0], objective(objective.initial()), rtol=1e-12)
    np.testing.assert_allclose(split.loss[0], objective(objective.initial()), rtol=1e-12)


def test_noise_is_the_least_amplitude_and_a_threshold_stills_a_mode():
    objective = quadratic()
    noisy = predicted(objective, "oscillation:noise=0.01", eos.tuners.Constant(0.1))
    assert np.abs(noisy.amplitude[1:]).min() > 0.01 * (1 - 1e-12)  # carried to the next step by projection
    # ηλ = 0.5, 0.4, 0.3: the third mode alone is under the threshold.
    still = predicted(objective, "oscillation:threshold=0.35", eos.tuners.Constant(0.1))
    np.testing.assert_allclose(still.amplitude[1:, 2], 0, atol=1e-12)
    assert np.abs(still.amplitude[1:10, :2]).min() > 0


@pytest.mark.parametrize(
    ("tuner", "others"),
    [
        (eos.tuners.Armijo(), ""),
        (eos.tuners.Armijo(), ",force=cubic,restoring=harmonic,line=parabola,turning=lost,floor=newton,start=whole"),
        (eos.tuners.OnEdge(), ""),
    ],
    ids=["armijo", "armijo, all else changed", "on-edge"],
)
def test_before_the_model_begins_its_steps_are_those_of_descent_and_so_is_its_sharpness(tuner, others):
    network = eos.objectives.mlp(eos.data.digits(60), width=6, init_scale=0.7)
    run = eos.simulate(network, tuner, 25, measure_every=0, progress=False)
    said = predicted(network, "oscillation:after=15" + others, tuner, 25)
    for name in ("loss", "stepsize"):
        np.testing.assert_allclose(said[name][:15], run[name][:15], rtol=1e-13)
    # Both are tracked at one place, but the theory with the smaller budget.
    solved = np.flatnonzero(said.converged[:15].values & run.converged[:15].values)
    assert solved.size > 7
    np.testing.assert_allclose(said.sharpness[solved], run.sharpness[solved], rtol=2e-3)
    np.testing.assert_array_equal(said.left_out[:15], 0)
    assert np.abs(said.loss[16:] / run.loss[16:] - 1).min() > 1e-9


def test_members_start_a_little_apart():
    objective = quadratic()
    few = eos.predict(objective, eos.tuners.Constant(0.1), 10, members=3, progress=False)
    assert few.loss.dims == ("member", "step")
    assert len(np.unique(few.loss[:, 0])) == 3
    alone = predicted(objective, "oscillation", eos.tuners.Constant(0.1), 10)
    np.testing.assert_allclose(few.loss, np.broadcast_to(alone.loss, few.loss.shape), rtol=1e-2)
    with pytest.raises(ValueError, match="members"):
        eos.predict(objective, eos.tuners.Constant(0.1), 10, theory="valley", members=3, progress=False)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("osculation", "oscillation"),
        ("oscillation:force=cubist", "even, cubic"),
        ("oscillation:noise=-1", "noise"),
        ("oscillation:modes=0", "modes"),
        ("oscillation:modes=1.5", "modes"),
        ("oscillation:after=-1", "after"),
        ("oscillation:after=1.5", "after"),
        ("valley:modes=2", "modes"),
        ("gradient-flow:force=even", "force"),
    ],
)
def test_a_wrong_specification_says_what_is_allowed(spec, said):
    with pytest.raises(ValueError, match=said):
        parse(spec)
