"""Every toy through `simulate`, `predict` and `compare`, and the tracker against the closed forms along real runs."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel import Status
from eosmodel.objectives.diagonal_linear import diagonal_linear
from eosmodel.objectives.products import DoubleWell, MinimalistExample, ProductLoss, ScalarFactorization
from eosmodel.objectives.registry import TOYS as BY_NAME
from eosmodel.objectives.registry import from_spec
from eosmodel.objectives.second_order import random_regression, two_parameter_regression
from eosmodel.objectives.spectra import power_law, random_quadratic
from eosmodel.objectives.two_layer import teacher_student, two_layer_linear, two_layer_scalar
from eosmodel.theory import THEORIES
from eosmodel.tuners import CDAT, Armijo, Constant, OnEdge, Polyak
from eosmodel.tuners.base import AbstractTuner

pytestmark = pytest.mark.usefixtures("lightly_compiled")

BATCHED = ("oscillation", "central-flow", "edge-flow", "rod-flow", "gradient-flow", "edge-only")
STEPS = 100
# A step size below the edge of the minimum that the toy falls into, and the theory to hold against it.
TOYS = {
    "power law": (power_law(6, 1.0, 10.0), 0.15, "valley"),
    "Wishart": (random_quadratic(6, 12), 0.5, "valley"),
    "scalar net": (two_layer_scalar(8, 1.0), 0.8, "oscillation"),
    "linear net": (two_layer_linear(), 0.5, "valley"),
    "diagonal net": (diagonal_linear(), 0.15, "valley"),
    "tanh student": (teacher_student(3, 4), 1.0, "valley"),
    "relu student": (teacher_student(3, 4, activation="relu"), 0.5, "valley"),
    "log-cosh product": (ProductLoss("log-cosh", [0.3, 3.0]), 0.18, "valley"),
    "factorisation": (ScalarFactorization([2.0, 0.1]), 0.3, "valley"),
    "minimalist": (MinimalistExample([2.0, 0.4]), 0.2, "valley"),
    "double well": (DoubleWell(1.0), 0.8, "valley"),
    "two weights": (two_parameter_regression(0.1), 0.6, "valley"),
    "second order": (random_regression(3, 8), 0.4, "valley"),
}

OPEN = ("linear net", "tanh student", "relu student")  # without a closed form

# These differ from another toy in a function or a matrix alone; compiling them again is the slow part.
SLOW = ("Wishart", "relu student", "log-cosh product", "minimalist")
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TOYS]


class OneOf(AbstractTuner):
    """The tuner numbered `index`: a vector of indices runs many tuners in one compilation."""

    index: Any
    tuners: tuple[AbstractTuner, ...]
    needs_sharpness: ClassVar[bool] = True

    def init(self, dtype=None):
        return tuple(tuner.init(dtype) for tuner in self.tuners)

    def __call__(self, ray, state):
        # All of them decide and remember, which changes nothing for the one that is followed.
        taken = [tuner(ray, memory) for tuner, memory in zip(self.tuners, state, strict=True)]
        pick = lambda *leaves: jnp.stack(leaves)[jnp.asarray(self.index, jnp.int32)]  # noqa: E731
        steps, memories, infos = zip(*taken, strict=True)
        return pick(*(step.astype(ray.value.dtype) for step in steps)), memories, jax.tree.map(pick, *infos)


@eqx.filter_jit
def replay(toy, start, stepsizes, closed):
    """Sharpness before every step, and at the averages of three iterates; in closed form or from the dense Hessian."""
    dense = lambda w: jnp.linalg.eigvalsh(jax.hessian(toy)(w))[-1]  # noqa: E731
    sharpness = toy.sharpness if closed else dense
    weights = jax.lax.scan(lambda w, eta: (w - eta * jax.grad(toy)(w), w), start, stepsizes)[1]
    smooth = (weights[:-2] + 2 * weights[1:-1] + weights[2:]) / 4
    return jax.lax.map(sharpness, weights), jax.lax.map(sharpness, smooth)


@pytest.mark.parametrize("name", NAMES)
def test_toy_runs_under_every_tuner_and_through_a_theory(name):
    """The tracked sharpness is the exact one at every iterate, and at the centre once the run has converged."""
    toy, step, theory = TOYS[name]
    tuners = (Constant(step), Constant(step / 2), Armijo(), Polyak(max=0.5), OnEdge(1.0), CDAT(1.0))
    runs = eos.simulate(toy, OneOf(jnp.arange(len(tuners)), tuners), STEPS, progress=False, modes=1)

    # The greedy step is unbounded where the curvature along the gradient vanishes: it alone may leave.
    assert not runs.status[:-1].any()
    assert int(runs.status[-1]) in (Status.OK, Status.DIVERGED)
    assert (runs.loss[:-1, -1] < runs.loss[:-1, 0]).all()
    assert runs.converged[:-1].all()

    constant = runs.isel(index=0).drop_vars("tuner")
    exact, smooth = replay(toy, toy.initial(), jnp.asarray(constant.stepsize.values), name not in OPEN)
    np.testing.assert_allclose(constant.iterate_sharpness, exact, rtol=1e-9)
    # With one mode the centre is the iterate less its amplitude, averaged over three steps: where the amplitude is
    # gone and no step goes beyond the edge, only the average is left.
    products = (constant.stepsize * constant.sharpness).values
    still = (np.abs(constant.amplitude[:, 0]) < 1e-6).values & (products < 2)
    settled = still[1:-1] & still[:-2]
    assert settled.any() or "student" in name
    np.testing.assert_allclose(constant.sharpness[1:-1][settled], smooth[settled], rtol=1e-5)

    prediction = eos.predict(toy, Constant(step), STEPS, theory=theory, experiment=constant, progress=False, modes=1)
    (row,) = eos.compare(constant, prediction).rows()
    (theory_run,) = row["theories"].values()
    # From a tenth of such a run on the sharpness hardly moves, and no theory may say that it does.
    assert theory_run["status"] in ("ok", "out-of-range")
    assert theory_run["sharpness_error"] < 0.05


def test_a_batch_over_a_step_size_is_its_members():
    toy, step, _ = TOYS["double well"]
    steps = jnp.asarray([0.5, 1.0]) * step
    batch = eos.simulate(toy, Constant(steps), 50, progress=False)
    predicted = eos.predict(toy, Constant(steps), 50, progress=False)
    assert batch.sizes["tuner_step"] == predicted.sizes["tuner_step"] == len(eos.compare(batch, predicted).rows()) == 2
    for i in range(2):
        alone = eos.simulate(toy, Constant(steps[i]), 50, progress=False)
        np.testing.assert_allclose(batch.loss[i], alone.loss, rtol=1e-10, atol=1e-30)
        np.testing.assert_allclose(batch.sharpness[i], alone.sharpness, rtol=1e-10)


RULES = (Constant(0.1), Armijo(), Polyak(), CDAT(1.0), CDAT(2.0), OnEdge(2.0))
# These share what is compiled for the defaults of their toys: only numbers differ.
AT_A_MINIMUM = ("double-well:start=1", "diagonal-quadratic:start=0/0")
# All steps were taken, whether or not one moved the weights.
COMPLETE = (Status.OK, Status.STALLED)
NOT_CONVEX_ANYWHERE = (
    "double-well:start=0",
    "diagonal-quadratic:eigenvalues=-1/-2",
    "diagonal-quadratic:eigenvalues=0/0",
)


@pytest.mark.parametrize(
    "spec",
    [
        spec if spec.startswith("diagonal-quadratic") else pytest.param(spec, marks=pytest.mark.slow)
        for spec in (*BY_NAME, *AT_A_MINIMUM, *NOT_CONVEX_ANYWHERE)
    ],
)
def test_every_theory_of_a_toy_ends_with_a_status(spec):
    """Steps, rows and status of every run and theory agree, whatever the toy and the tuner."""
    toy, steps = from_spec(spec, "float64"), 30
    batch = {"tuner": OneOf(jnp.arange(len(RULES)), RULES), "steps": steps, "progress": False}
    runs = eos.simulate(toy, **batch)
    whole = {name: eos.predict(toy, **batch, theory=name) for name in BATCHED}
    assert runs.sizes["mode"] == min(3, toy.initial().size)
    assert int(runs.status[1]) in COMPLETE  # Armijo's rule never raises the loss
    for i, rule in enumerate(RULES):
        run = runs.isel(index=i)
        theories = {
            name: theory_run.isel(index=i) if "index" in theory_run.dims else theory_run
            for name, theory_run in whole.items()
        }
        for name in ("valley", "valley-frozen"):
            one = batch | {"tuner": OneOf(jnp.asarray(i), RULES)}
            theories[name] = eos.predict(toy, **one, theory=name, experiment=run)
        # A river is measured on networks; a quadratic has no curvature that answers, and a minimum no flow.
        assert theories.keys() == THEORIES.keys() - {"river"}
        for name, theory_run in {"experiment": run, **theories}.items():
            status, first = Status(int(theory_run.status)), steps // 10 if name.startswith("valley") else 0
            assert (status in COMPLETE) == (int(theory_run.steps) == steps), (rule, name)
            assert np.isfinite(theory_run.loss[first : int(theory_run.steps)]).all(), (rule, name)
            assert theory_run.loss[int(theory_run.steps) :].isnull().all(), (rule, name)
            if spec in AT_A_MINIMUM:
                assert status == Status.STALLED if name == "experiment" else status in COMPLETE, (rule, name)
                np.testing.assert_allclose(theory_run.loss[first:], 0, atol=1e-11)
            if spec in NOT_CONVEX_ANYWHERE and name != "experiment":
                assert status == Status.OUT_OF_RANGE, (rule, name)
            if name != "experiment":
                (row,) = eos.compare(run, theory_run).rows()
                assert [entry["status"] for entry in row["theories"].values()] == [status.label]


def test_a_frozen_valley_of_a_quadratic_is_the_quadratic():
    """∇λ = 0 there: the valley has b = 0 and a direction q all the same, and its run is the run."""
    toy = from_spec("diagonal-quadratic:eigenvalues=10/1,start=0.1/2", "float64")
    run = eos.simulate(toy, Constant(0.15), 60, progress=False)
    theory_run = eos.predict(toy, Constant(0.15), 60, theory="valley-frozen", progress=False)
    assert int(theory_run.status) == Status.OK
    np.testing.assert_allclose(theory_run.loss[6:], run.loss[6:], rtol=1e-9)
    np.testing.assert_allclose(theory_run.sharpness[6:], 10, rtol=1e-12)
