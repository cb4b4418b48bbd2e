"""What holds for every registered theory: both precisions, no second compilation, a prediction that is resumed bit for
bit, and λ, η and L that change with the loss and its coordinates as they must. On a quadratic loss a theory that says
so is exact.

One small loss serves all: arrays in it change and nothing is compiled again. Three rules are held against each theory,
all of them functions of the loss along the line alone, so that they too follow a change of scale.
"""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel.experiment import _predict, _running
from eosmodel.objectives import AbstractObjective, Valley
from eosmodel.theory import THEORIES
from eosmodel.tuners import CDAT, AbstractTuner, Constant, Polyak

pytestmark = pytest.mark.usefixtures("lightly_compiled", "short_chunks")

STEPS, ROWS = 24, 9
RULES = ("constant", "polyak", "cdat")
# The valleys begin at a tenth of the run.
FIRST = STEPS // 10
COMPARED = ("loss", "stepsize", "sharpness")
# Of λ, η and L between the precisions: a river is measured in Krylov spaces and by differences, where rounding grows.
ROUNDING = {"river": 1e-4}
# Clocked by CDAT the flow takes ln L down by 2ημ = 4 a row, 81 in all, so that an error of η weighs as many times. That
# is up to 5e-6: rounding along the sharp mode counts λ/μ = 220 times in gᵀHg.
STEEP = {("gradient-flow", "cdat"): 1e-4}
# Theories whose variables are squares of gradients: in float32 they need a loss whose gradient has a square.
SQUARES = {"central-flow", "river", "valley", "valley-frozen"}
CLOCKS = ["seconds_per_step", "compile_seconds"]


class Seen(AbstractObjective):
    """a f(Qᵀw/c): a loss in other units and other coordinates."""

    loss_of: AbstractObjective
    rotation: jax.Array
    a: jax.Array
    c: jax.Array

    def loss(self, weights):
        return self.a * self.loss_of(self.rotation.T @ weights / self.c)

    def initial(self, seed=None):
        return self.c * (self.rotation @ self.loss_of.initial(seed))


class OneOf(AbstractTuner):
    """The rule of that index, so that one compilation serves them all."""

    index: Any
    rules: tuple[AbstractTuner, ...]
    needs_sharpness: ClassVar[bool] = False

    def init(self, dtype=None):
        return tuple(rule.init(dtype) for rule in self.rules)

    def __call__(self, ray, state):
        taken = [rule(ray, memory) for rule, memory in zip(self.rules, state, strict=True)]
        steps, memories, infos = zip(*taken, strict=True)
        pick = lambda *leaves: jnp.stack(leaves)[jnp.asarray(self.index, jnp.int32)]  # noqa: E731
        return pick(*steps), memories, jax.tree.map(pick, *infos)


@pytest.fixture(scope="module")
def short_chunks():
    """Chunks of a few rows, so that a short prediction has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_running, "_ROWS_PER_CHUNK", ROWS)
        patch.setattr(_predict, "run", functools.partial(_predict.run, rows_per_chunk=ROWS))
        yield


def loss(rotation=None, a=1.0, c=1.0, b=4.0, dtype=jnp.float64):
    """A valley of one sharp and three other directions, whose sharpness rises from 16 towards 22; a bowl if b = 0."""
    q = np.ones(3) / np.sqrt(3)
    start = jnp.asarray([0.1, *(-3 * q)], dtype)
    floor = Valley(22.0 if b else 16.0, b, jnp.asarray(q, dtype), np.array([0.5, 0.2, 0.1]), start)
    rotation = jnp.eye(4, dtype=dtype) if rotation is None else jnp.asarray(rotation, dtype)
    return Seen(floor, rotation, jnp.asarray(a, dtype), jnp.asarray(c, dtype))


def rule(name, unit=1.0):
    """A rule whose fixed lengths are in multiples of a unit. Polyak's is kept below the edge, where it is chaotic."""
    rules = (Constant(0.1 * unit), Polyak(c=30.0, f_star=0.0), CDAT(1.9, eps=0.0))
    return OneOf(float(RULES.index(name)), rules)


def predicted(theory, objective, tuner, steps=STEPS, **options):
    return eos.predict(objective, tuner, steps, theory=theory, progress=False, **options)


def assert_close(said, other, rtol, scales=(1, 1, 1)):
    """L, η and λ agree up to a scale each."""
    for variable, scale in zip(COMPARED, scales, strict=True):
        left, right = (found[variable].values[FIRST:].astype(float) for found in (said, other))
        assert np.isfinite(left).all()
        np.testing.assert_allclose(left, scale * right, rtol=rtol, err_msg=variable)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("theory", THEORIES)
def test_a_rotation_of_the_weights_changes_nothing(theory, name):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    plain, turned = (predicted(theory, loss(q), rule(name)) for q in (None, rotation))
    assert_close(turned, plain, 1e-9)
    assert plain.sharpness.max() > 17  # it has begun to sharpen


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("theory", THEORIES)
def test_units_of_loss_and_weights_are_those_of_step_and_sharpness(theory, name):
    """f → a f and w → c w turn L into a L, η into (c²/a) η and λ into (a/c²) λ, so that ηλ stays."""
    a, c = 3.0, 2.0
    plain, scaled = predicted(theory, loss(), rule(name)), predicted(theory, loss(a=a, c=c), rule(name, c**2 / a))
    assert_close(scaled, plain, 1e-9, (a, c**2 / a, a / c**2))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("theory", [name for name, entry in THEORIES.items() if entry.factory.exact_on_quadratics])
def test_on_a_quadratic_a_theory_that_says_so_is_descent(theory, name):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    bowl = loss(rotation, b=0.0)
    run = eos.simulate(bowl, rule(name), STEPS, progress=False)
    assert_close(predicted(theory, bowl, rule(name)), run, 1e-9)


@pytest.mark.parametrize("theory", THEORIES)
def test_float32_is_float64_to_rounding(theory):
    for name in RULES:
        single, double = (predicted(theory, loss(dtype=dtype), rule(name)) for dtype in (jnp.float32, jnp.float64))
        for said, dtype in ((single, "float32"), (double, "float64")):
            floating = [v for v in said.data_vars.values() if "step" in v.dims and v.dtype.kind == "f"]
            assert len(floating) >= len(COMPARED)
            assert {str(v.dtype) for v in floating} == {dtype}
        assert_close(single, double, STEEP.get((theory, name), ROUNDING.get(theory, 2e-5)))


@pytest.mark.parametrize("theory", sorted(set(THEORIES) - SQUARES))
def test_a_loss_whose_squares_are_not_representable_is_the_loss_scaled(theory):
    """In float32 ‖∇L‖² underflows or overflows here; L, η and λ do not."""
    for name in RULES:
        plain = predicted(theory, loss(dtype=jnp.float32), rule(name))
        normal = plain.loss.values > 1e-12  # the scaled loss is a normal number
        assert normal[: FIRST + 1].all()
        for a in (1e-24, 1e20):
            scaled = predicted(theory, loss(a=a, dtype=jnp.float32), rule(name, 1 / a))
            assert_close(scaled.isel(step=normal), plain.isel(step=normal), 1e-3, (a, 1 / a, a))


@pytest.mark.parametrize("theory", THEORIES)
def test_other_numbers_need_no_second_compilation(theory, compilations):
    options = {"experiment": eos.simulate(loss(), rule("constant"), STEPS, progress=False)}
    predicted(theory, loss(), rule("constant"), start=loss().initial(), **options)
    others = loss(a=2.0), rule("cdat", 0.7), STEPS + 3
    start = 1.1 * loss().initial()
    assert not compilations(lambda: predicted(theory, *others, start=start, **options))
    assert compilations(lambda: jax.jit(lambda x: x + 1)(jnp.zeros(7)))


@pytest.mark.parametrize("theory", THEORIES)
def test_an_interrupted_prediction_is_resumed_bit_for_bit(theory, tmp_path, monkeypatch):
    path, saves = tmp_path / "prediction.npz", []

    def interrupted(*args):
        save(*args)
        saves.append(None)
        if len(saves) == 1:
            raise KeyboardInterrupt

    save = _running.save
    whole = predicted(theory, loss(), rule("polyak"))
    monkeypatch.setattr(_running, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predicted(theory, loss(), rule("polyak"), checkpoint=path)
    resumed = predicted(theory, loss(), rule("polyak"), checkpoint=path)
    assert len(saves) == 3  # of three chunks none was computed twice
    xr.testing.assert_identical(whole.drop_vars(CLOCKS).drop_attrs(), resumed.drop_vars(CLOCKS).drop_attrs())
