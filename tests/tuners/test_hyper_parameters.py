"""Numbers of a rule are data: new ones do not recompile, and a batch of them is its members."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel.tuners as T
from eosmodel.rays import steepest
from eosmodel.tuners.base import init_memory, select_stepsize

STEPS = 4
DTYPES = [jnp.float32, jnp.float64]
START = [0.7, -0.4, 0.2]


def loss(w):
    return jnp.sum(jnp.asarray([1.0, 2.0, 4.0], w.dtype) * w**2) + jnp.sum(w**4)


def update(tuner, carry, t):
    weights, memory = carry
    line = steepest(loss, weights, *jax.value_and_grad(loss)(weights), t, jnp.asarray(9.2, weights.dtype))
    eta, memory, info = select_stepsize(tuner, line, memory, -line.direction)
    return (weights + eta * line.direction, memory), (eta, info.evaluations)


def scanned(tuner, weights):
    return jax.lax.scan(lambda c, t: update(tuner, c, t), (weights, init_memory(tuner, weights)), jnp.arange(STEPS))[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (T.Constant(0.1), T.Constant(0.2)),
        (T.Armijo(), T.Armijo(factor=0.5, max=3.0)),
        (T.Polyak(), T.Polyak(c=0.5, max=1.0)),
        (T.StrongWolfe(), T.StrongWolfe(c1=0.1, c2=0.5)),
        (T.WindowArmijo(), T.WindowArmijo(c=0.1)),
        (T.ScalarRMSProp(), T.ScalarRMSProp(step=0.2, decay=0.5)),
        (T.AdGD(), T.AdGD(initial=0.2)),
        (T.Bounded(T.Polyak(), cap=1.0), T.Bounded(T.Polyak(c=0.5), floor=0.1, cap=2.0)),
        # The schedule is compiled in; equal ones share it.
        (T.from_spec("greedy:warmup=3"), T.from_spec("greedy:0.5,warmup=3")),
    ],
)
def test_other_hyper_parameters_do_not_recompile(one, other):
    traces = 0

    @jax.jit
    def step(tuner, carry, t):
        nonlocal traces
        traces += 1
        return update(tuner, carry, t)

    for tuner in (one, other):
        weights = jnp.asarray(START)
        carry = (weights, init_memory(tuner, weights))
        for t in range(3):
            carry, _ = step(tuner, carry, jnp.asarray(t))
    assert traces == 1


def capped(cap):
    return T.Bounded(T.Polyak(), cap=cap)


GRID = [
    (T.Constant, "step", [0.1, 0.3]),
    (T.Armijo, "c", [1e-4, 0.4]),
    (T.Armijo, "factor", [0.5, 0.8]),
    (T.Armijo, "max", [0.1, np.inf]),
    (T.ArmijoRestart, "initial", [0.5, 8.0]),
    (T.ZhangHager, "zeta", [0.0, 0.9]),
    (T.WindowArmijo, "increase", [1.0, 3.0]),
    (T.Goldstein, "c", [0.1, 0.4]),
    (T.StrongWolfe, "c2", [0.1, 0.9]),
    (T.Polyak, "c", [0.4, 1.0]),
    (T.SmoothedSPS, "growth", [1.0, 3.0]),
    (T.CDAT, "sigma", [1.0, 2.0]),
    (T.CDAT, "ema", [0.0, 0.5]),
    (T.OnEdge, "sigma", [1.0, 2.0]),
    (T.NormalizedGD, "step", [0.1, 0.2]),
    (T.Clipping, "max_norm", [0.5, 50.0]),
    (T.ScalarRMSProp, "decay", [0.5, 0.9]),
    (T.AdaGradNorm, "b0", [0.1, 3.0]),
    (T.BarzilaiBorwein, "initial", [0.01, 0.1]),
    (T.AdGD, "initial", [0.01, 0.1]),
    (capped, "cap", [0.05, 0.2]),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize(("make", "name", "values"), GRID, ids=[f"{c.__name__}-{n}" for c, n, _ in GRID])
def test_a_batch_of_hyper_parameters_is_its_members(make, name, values, dtype):
    first = jnp.asarray(START, dtype)
    batch = make(**{name: jnp.asarray(values, dtype)})
    rows = eqx.filter_jit(eqx.filter_vmap(scanned, in_axes=(eqx.if_array(0), None)))(batch, first)
    inside = jax.jit(jax.vmap(lambda value: scanned(make(**{name: value}), first)))(jnp.asarray(values, dtype))
    assert rows[0].dtype == dtype
    tolerance = 2000 * float(jnp.finfo(dtype).eps)
    for i, value in enumerate(values):
        alone = jax.jit(scanned)(make(**{name: value}), first)
        for kind in (rows, inside):
            np.testing.assert_allclose(kind[0][i], alone[0], rtol=tolerance)
            np.testing.assert_array_equal(kind[1][i], alone[1])
    assert not np.array_equal(rows[0][0], rows[0][1])
