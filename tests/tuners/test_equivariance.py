"""Every rule is equivariant: a rotation of the weights changes nothing, and a change of the units of loss and weights
changes the step size as its units demand. Every registered rule has a line in `UNITS`."""

import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.objectives import AbstractObjective
from eosmodel.tuners import REGISTRY, from_spec

STEPS = 6
CHANGES_OF_UNITS = ((3.0, 0.7), (0.03, 2.5))  # f → af, w → cw
# A unit (p, q) scales as aᵖcᑫ under f → af, w → cw.
LOSS, WEIGHTS, GRADIENT, CURVATURE, STEPSIZE = (1, 0), (0, 1), (1, -1), (1, -2), (-1, 2)
SEARCH = {"initial": (0.5, STEPSIZE)}
CAPPED = {"initial": (0.03, STEPSIZE), "max": (0.07, STEPSIZE)}
POLYAK = {"f_star": (0.2, LOSS)}
SECANT = {"initial": (0.02, STEPSIZE)}
# The hyper-parameters of each rule that have a unit, with values at which they matter. All others are dimensionless; a
# rule without any is scale-free.
UNITS = {
    "constant": {"step": (0.1, STEPSIZE)},
    "schedule": {"init_value": (0.1, STEPSIZE)},
    "armijo": CAPPED,
    "armijo-restart": SEARCH,
    "zhang-hager": CAPPED,
    "armijo-window": CAPPED,
    "goldstein": SEARCH,
    "strong-wolfe": SEARCH,
    "polyak": POLYAK | {"max": (0.15, STEPSIZE)},
    "sps-max": POLYAK | {"max": (0.15, STEPSIZE)},
    "sps-plus": POLYAK,
    "sps-smoothed": POLYAK | {"initial": (0.08, STEPSIZE)},
    "greedy": {"eps": (0.3, CURVATURE)},
    "cdat": {"eps": (0.3, CURVATURE)},
    "on-edge": {},
    "normalized": {"step": (0.1, WEIGHTS)},
    "clipping": {"step": (0.1, STEPSIZE), "max_norm": (1.0, GRADIENT)},
    "rmsprop": {"step": (0.1, WEIGHTS), "eps": (0.3, GRADIENT)},
    "adagrad-norm": {"step": (0.4, WEIGHTS), "b0": (0.5, GRADIENT)},
    "adgd": SECANT,
    "bb1": SECANT,
    "bb2": SECANT,
    "edge-hedge": POLYAK | {"initial": (0.8, STEPSIZE)},
}
PREFIX = {"schedule": "cosine_decay_schedule,decay_steps=50,"}
each_tuner = pytest.mark.parametrize("name", sorted(REGISTRY))


def units_of(name):
    if name not in UNITS:
        pytest.fail(f"{name} is registered but has no line in UNITS; add one with the units of its hyper-parameters")
    return UNITS[name]


class Transformed(AbstractObjective):
    """a·f(Qw/c) for a smooth f of four weights, started where Qw/c is the start of f."""

    a: jnp.ndarray
    c: jnp.ndarray
    rotation: jnp.ndarray

    def loss(self, weights):
        z = self.rotation @ weights / self.c
        h = jnp.asarray([4.0, 2.0, 1.0, 0.3], z.dtype)
        return self.a * (0.25 + 0.5 * jnp.sum(h * z**2) + 0.3 * z[0] ** 2 * z[1] ** 2 + 0.1 * jnp.sum(z**4))

    def initial(self, seed=None):
        return self.c * jnp.asarray([0.7, -0.9, 1.1, -0.5], self.a.dtype) @ self.rotation


def run(name, dtype, a=1.0, c=1.0, seed=None, unscaled=()):
    """A few steps under the rule with its parameters scaled, except the `unscaled` ones."""
    rotation = np.eye(4) if seed is None else np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
    objective = Transformed(*(jnp.asarray(x, dtype) for x in (a, c, rotation)))
    texts = (
        f"{key}={value * (1.0 if key in unscaled else a**p * c**q)!r}"
        for key, (value, (p, q)) in units_of(name).items()
    )
    tuner = from_spec(f"{name}:{PREFIX.get(name, '')}{','.join(texts)}" if units_of(name) else name)
    return eos.simulate(objective, tuner, STEPS, modes=2, measure_every=0, progress=False)


def assert_scaled(result, reference, a=1.0, c=1.0, rtol=0.0):
    for variable, (p, q) in {"stepsize": STEPSIZE, "sharpness": CURVATURE, "loss": LOSS}.items():
        wanted = np.asarray(reference[variable]) * a**p * c**q
        np.testing.assert_allclose(result[variable], wanted, rtol=rtol, err_msg=variable)
    np.testing.assert_array_equal(result.evaluations, reference.evaluations)
    np.testing.assert_array_equal(result.search_failed, reference.search_failed)


@each_tuner
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
def test_a_rotation_changes_nothing_and_units_scale(name, dtype):
    rtol = 5000 * float(jnp.finfo(dtype).eps)  # a few steps magnify rounding
    reference = run(name, dtype)
    assert len(np.unique(reference.loss)) == STEPS
    for seed in (0, 1):
        assert_scaled(run(name, dtype, seed=seed), reference, rtol=rtol)
    for a, c in CHANGES_OF_UNITS:
        assert_scaled(run(name, dtype, a, c, seed=2), reference, a, c, rtol)


@each_tuner
@pytest.mark.parametrize("a", [1e-24, 1e20])
def test_a_loss_whose_squares_are_not_representable_changes_nothing(name, a):
    """In float32 ‖g‖² underflows or overflows here; loss, gradient, curvature and step sizes do not."""
    rtol = 5000 * float(jnp.finfo(jnp.float32).eps)
    result = run(name, jnp.float32, a)
    assert_scaled(result, run(name, jnp.float32), a, rtol=rtol)
    assert eos.Status(int(result.status)) is eos.Status.OK


@each_tuner
def test_every_unit_in_the_table_matters(name):
    """A parameter left as it was breaks the scaling; otherwise the table would say nothing about it."""
    reference = run(name, jnp.float64)
    for parameter in units_of(name):
        broken = [
            not np.allclose(run(name, jnp.float64, a, c, unscaled=[parameter]).stepsize * a / c**2, reference.stepsize)
            for a, c in CHANGES_OF_UNITS
        ]
        assert any(broken), parameter


def test_every_line_is_of_a_registered_rule():
    assert set(UNITS) <= set(REGISTRY)
