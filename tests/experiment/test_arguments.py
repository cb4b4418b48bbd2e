"""Specifications are the objects that the command line makes of them; what is no argument is refused in one line."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel import directions, tuners
from eosmodel.analysis.probes import probe
from eosmodel.tuners import AbstractTuner, TunerInfo

BOWL = eos.objectives.DiagonalQuadratic([4.0, 1.0])
TREE = eos.objective(lambda w: jnp.sum(w["a"] ** 2) + w["b"] ** 2, {"a": jnp.ones((3, 2)), "b": jnp.asarray(2.0)})
pytestmark = pytest.mark.usefixtures("lightly_compiled")


def simulate(objective=BOWL, tuner="constant:0.1", steps=3, **options):
    return eos.simulate(objective, tuner, steps, progress=False, **options)


def same(one, other):
    timings = ["seconds_per_step", "compile_seconds"]
    xr.testing.assert_identical(one.drop_vars(timings).drop_attrs(), other.drop_vars(timings).drop_attrs())


def test_specifications_are_what_the_command_line_makes_of_them():
    toy = eos.objectives.valley(gamma=0.5)
    made = simulate(toy, tuners.Armijo(c=0.1), direction=directions.adam(b1=0.5))
    same(simulate("valley:gamma=0.5", "armijo:c=0.1", direction="adam:b1=0.5"), made)
    same(
        eos.predict("valley:gamma=0.5", "armijo", 3, theory="edge-only", progress=False),
        eos.predict(toy, tuners.Armijo(), 3, theory=eos.theory.from_spec("edge-only"), progress=False),
    )


WRONG = {
    "tuner, class": (
        {"tuner": tuners.Armijo},
        r"tuner must be .*, got the class Armijo; make an instance: Armijo\(…\)",
    ),
    "tuner, function": ({"tuner": lambda ray, state: 0.1}, "got the function <lambda>; .*AbstractTuner"),
    "tuner, number": ({"tuner": 0.1}, "got 0.1; for a constant step write .constant:0.1."),
    "tuner, optax": (
        {"tuner": optax.sgd(0.1)},
        "got the GradientTransformation.*; an optax transformation is a direct",
    ),
    "tuner, direction": ({"tuner": "adam"}, "'adam': it is where steps go, direction='adam', or --direction adam"),
    "tuner, name": ({"tuner": "armjo"}, "unknown tuner 'armjo' .did you mean armijo"),
    "direction, name": ({"direction": "adm"}, "unknown direction 'adm' .did you mean adam"),
    "direction, class": ({"direction": directions.Direction}, "direction must be .* the class Direction; make an inst"),
    "direction, function": ({"direction": directions.adam}, "got the function adam; call it"),
    "objective, function": (
        {"objective": lambda w: jnp.sum(w**2)},
        r"got the function <lambda>; eos.objective\(fn, w0",
    ),
    "objective, class": ({"objective": eos.objectives.DiagonalQuadratic}, "the class DiagonalQuadratic; make an insta"),
    "objective, model": ({"objective": eqx.nn.Identity()}, r"got Identity.*; .* eos.objectives.network\(model, data"),
    "objective, name": ({"objective": "vally"}, "unknown objective 'vally' .did you mean valley"),
    "steps": ({"steps": 10.5}, "steps must be an integer, got 10.5"),
    "modes": ({"modes": "3"}, "modes must be an integer, got '3'"),
    "record_every": ({"record_every": 2.0}, "record_every must be an integer"),
    "measure_every": ({"measure_every": -1}, "measure_every must lie in"),
    "start, too long": ({"start": np.ones(3)}, r"start must have shape \(2,\), got \(3,\)"),
    "start, rows": ({"start": np.ones((2, 2))}, r"start must have shape \(2,\), got \(2, 2\)"),
    "start, transposed": (
        {"objective": TREE, "start": {"a": np.ones((2, 3)), "b": np.ones(())}},
        r"start must have shape \(7,\) or be a tree of the shapes \(3, 2\), \(\), got \(2, 3\), \(\)",
    ),
    "start, text": ({"start": "zeros"}, "start must be weights, an array or a tree of arrays, got 'zeros'"),
    "start, complex": ({"start": np.ones(2, complex)}, "start must hold real numbers"),
    "start, half": (
        {"start": jnp.ones(2, jnp.bfloat16)},
        "the dtype of start must be float32 or float64, got bfloat16",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_argument_is_refused_in_one_line(case):
    given, message = WRONG[case]
    with pytest.raises(ValueError, match=message) as error:
        simulate(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"theory": eos.theory.AbstractTheory}, "theory must be .* got the class AbstractTheory"),
        ({"theory": "oscilation"}, "unknown theory 'oscilation' .did you mean oscillation"),
        ({"tuner": tuners.CDAT}, "predict: tuner must be .* the class CDAT"),
        ({"members": 2.5}, "members must be an integer, got 2.5"),
        ({"experiment": "run.nc"}, "experiment must be a run from .simulate., got 'run.nc'"),
    ],
)
def test_predict_refuses_likewise(given, message):
    with pytest.raises(ValueError, match=message):
        eos.predict(**{"objective": BOWL, "tuner": "armijo", "steps": 3, "progress": False, **given})


def test_weights_are_taken_flat_and_as_a_tree_and_come_back_so():
    tree = {"a": np.arange(6.0).reshape(3, 2), "b": np.asarray(7.0)}
    flat = [*range(6), 7]  # whole numbers take the objective's dtype
    assert float(simulate(TREE, start=tree).loss[0]) == float(simulate(TREE, start=flat).loss[0]) == 104.0
    back = TREE.tree(jnp.asarray(flat, float))
    assert back["a"].tolist() == tree["a"].tolist()
    assert back["b"].shape == ()


def test_a_module_with_functions_is_a_tree_of_weights():
    model = eqx.nn.MLP(2, "scalar", 3, 1, activation=jnp.tanh, key=jax.random.key(0))
    toy = eos.objective(lambda m: m(jnp.ones(2)) ** 2, model)
    assert toy.initial().size == 2 * 3 + 3 + 3 + 1
    assert eqx.tree_equal(eqx.combine(toy.tree(toy.initial()), model), model)
    half = eqx.tree_at(lambda m: m.layers, model, jax.tree.map(lambda a: a / 2, model.layers))
    assert float(simulate(toy, start=half).loss[0]) == pytest.approx(float(half(jnp.ones(2)) ** 2))
    assert simulate(toy, direction="momentum").status == 0


@pytest.mark.parametrize(
    ("fn", "w0", "message"),
    [
        (eqx.nn.MLP, jnp.ones(2), "fn must be a function of the weights, got the class MLP"),
        (jnp.sum, {"a": "zeros"}, "w0 must be an array or a tree of arrays, got 'zeros'"),
        (lambda w: w**2, jnp.ones(2), r"fn must return a scalar, got an array of shape \(2,\)"),
        (lambda w: (w, w), jnp.ones(()), "fn must return a scalar, got"),
        (jnp.sum, {"a": jnp.ones(2), "steps": 3}, "floating-point arrays of one dtype, got float.*, int"),
    ],
)
def test_functions_and_weights_of_an_objective_are_checked(fn, w0, message):
    with pytest.raises(ValueError, match=message) as error:
        eos.objective(fn, w0)
    assert "\n" not in str(error.value)


NET = eos.objectives.mlp(eos.data.from_arrays(np.eye(4), [0.0, 1.0, 2.0, 3.0]), width=2)


@pytest.mark.parametrize(
    "thing",
    [*(toy.factory() for toy in eos.objectives.TOYS.values()), NET, eos.objectives.MiniBatches(NET, 2), TREE],
    ids=lambda thing: type(thing).__name__,
)
def test_repr_is_one_line(thing):
    assert "\n" not in repr(thing)
    assert repr(thing).startswith("objective(" if thing is TREE else f"{type(thing).__name__}(")


def test_every_function_of_a_tuner_takes_a_specification_or_names_what_it_got():
    assert eos.theory.FastMap("cdat:sigma=1.5").tuner == tuners.CDAT(1.5)
    assert float(eos.theory.response("on-edge:1.5", 2.0)) == 1.5
    assert probe(eos.objectives.valley(), "polyak:c=0.25").tuner.c == 0.25
    optimizer = tuners.as_optax("constant:0.25")
    assert optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))[0].tolist() == [0.25, 0.25]
    for make in (
        eos.theory.FastMap,
        tuners.as_optax,
        partial(tuners.Bounded, cap=1.0),
        partial(tuners.Scheduled, schedule=float),
    ):
        with pytest.raises(ValueError, match=r"tuner must be .* got the class Armijo; make an instance: Armijo\(…\)"):
            make(tuners.Armijo)


class Own(AbstractTuner):
    """A rule with any answer."""

    answer: object = eqx.field(static=True)
    before: object = eqx.field(static=True, default=())

    def init(self, dtype=None):
        return self.before

    def __call__(self, ray, state):
        return self.answer(ray, state)


ANSWERS = {
    "η alone": (lambda ray, state: 0.1, (), r"__call__ must return a tuple \(η, state, TunerInfo\), got 0.1"),
    "no report": (lambda ray, state: (0.1, state, None), (), r"got \(float, tuple, NoneType\)"),
    "other state": (lambda ray, state: (0.1, (1.0,), TunerInfo(0, False)), (), "must have the form .* got .* for ()"),
    "other shape": (lambda ray, state: (0.1, jnp.ones(2), TunerInfo(0, False)), 0.0, r"shapes, got \(2,\) for \(\)"),
    "many steps": (lambda ray, state: (jnp.ones(2), state, TunerInfo(0, False)), (), r"one number, got shape \(2,\)"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_rule_of_ones_own_with_a_wrong_answer_is_told_what_is_wrong(case):
    answer, before, message = ANSWERS[case]
    rule = Own(answer, before)
    for given in (rule, tuners.Bounded(rule, cap=1.0)):
        with pytest.raises(ValueError, match=f"tuner Own.*{message}") as error:
            simulate(tuner=given)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=message):
        eos.theory.response(rule, 1.0)


def test_numbers_of_a_rule_of_ones_own_take_their_types():
    def counting(ray, state):
        count, _ = state
        return np.float64(0.1), (count + 1, 2.0), TunerInfo(count, False)

    w0 = jnp.ones(2, jnp.float32)
    run = simulate(tuner=Own(counting, (0, 1.0)), start=w0)
    assert run.evaluations.values.tolist() == [0, 1, 2]
    assert run.loss.dtype == np.float32
    np.testing.assert_array_equal(run.loss, simulate(start=w0).loss)
