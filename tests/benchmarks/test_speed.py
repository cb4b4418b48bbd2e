"""Cost of tracking and of theory, as ratios within one run: digits (1797 samples), MLP 64-64-64-10, float32
(theories also at other widths).

Run with `make bench`. Each benchmark times a chunk of steps that is compiled beforehand and waits for the device; the
ratio to the plain gradient step, timed in turns with it, is stored in `extra_info` and printed at the end.
"""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, eigsh

from eosmodel.curvature import hvp
from eosmodel.dynamics import AbstractDynamics, Descent, status_of
from eosmodel.objectives import cnn, data, mlp
from eosmodel.objectives import network as own_network
from eosmodel.simulation import run
from eosmodel.simulation.loop import _run_chunk
from eosmodel.theory import THEORIES, AbstractWholeTheory, CenterOscillation, from_spec
from eosmodel.tuners import from_spec as tuner_from_spec

STEPS, ROUNDS = 100, 7
# At the edge of stability and before it.
STEPSIZE = "constant:0.6"
WHOLE = [name for name, entry in THEORIES.items() if issubclass(entry.factory, AbstractWholeTheory)]


class Plain(AbstractDynamics):
    """Gradient descent and nothing else: the unit of cost."""

    objective: Any
    tuner: Any

    def init(self, start):
        return start

    def step(self, state, t):
        value, gradient = jax.value_and_grad(self.objective)(state)
        eta = self.tuner.step
        return state - eta * gradient, {"loss": value}, status_of(value, eta, value, jnp.inf)


@pytest.fixture(scope="module")
def network():
    return mlp(data.digits(), width=64, depth=2, init_scale=0.5, dtype=jnp.float32)


def tuner_of(spec):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tuner_from_spec(spec))


def chunk_of(dynamics, network, steps=STEPS, after=300):
    # Past the transient: what is timed is the middle of a run at the edge.
    carry = run(dynamics, network.initial(), after, rows_per_chunk=steps).carry
    last = jnp.asarray(10**6, jnp.int32)
    return lambda: jax.block_until_ready(_run_chunk(dynamics, carry, carry.t, last, steps, 1, None)[0].t)


def seconds(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def compare(benchmark, slow, fast, name):
    """Times `slow` as the benchmark, `fast` in turns with it, and reports the ratio of the medians."""
    ratios = []

    def setup():
        ratios.append(seconds(fast))

    benchmark.pedantic(slow, setup=setup, rounds=ROUNDS, warmup_rounds=1)
    ratio = benchmark.stats.stats.median / float(np.median(ratios))
    benchmark.extra_info[name] = ratio
    print(f"\n{name}: {ratio:.2f}")


@pytest.mark.parametrize("modes", [1, 2, 3])
def test_tracked_step_against_plain_step(benchmark, network, modes):
    plain = chunk_of(Plain(network, tuner_of(STEPSIZE)), network)
    tracked = chunk_of(Descent(network, tuner_of(STEPSIZE), modes, 1, 0), network)
    compare(benchmark, tracked, plain, f"tracked step ({modes} modes) / plain step")


@pytest.mark.parametrize("spec", [STEPSIZE, "armijo", "cdat"])
def test_oscillation_step_against_tracked_step(benchmark, network, spec):
    tracked = chunk_of(Descent(network, tuner_of(spec), 3, 1, 0), network)
    theory = chunk_of(CenterOscillation(network, tuner_of(spec), 3), network)
    compare(benchmark, theory, tracked, f"oscillation step / tracked step ({spec})")


def test_every_theory_but_the_valleys_is_timed():
    """A valley is made from a run, and then costs next to nothing beside it."""
    assert set(THEORIES) - set(WHOLE) == {"valley", "valley-frozen"}


@pytest.mark.parametrize("theory", [*WHOLE, "central-flow:stride=4"])
@pytest.mark.parametrize("width", [16, 64, 128])
def test_theory_step_against_tracked_step(benchmark, theory, width):
    """Of every theory of a whole network, three modes, by the network's width."""
    network = mlp(data.digits(), width=width, depth=2, init_scale=0.5, dtype=jnp.float32)
    rule = tuner_of("on-edge" if theory == "edge-only" else STEPSIZE)
    tracked = chunk_of(Descent(network, tuner_of(STEPSIZE), 3, 1, 0), network)
    predicted = chunk_of(from_spec(theory).dynamics(network, rule, 3), network)
    compare(benchmark, predicted, tracked, f"{theory} step / tracked step (width {width})")


@pytest.mark.parametrize("spec", [STEPSIZE, "armijo", "cdat", "sps-max"])
@pytest.mark.parametrize("modes", [1, 2, 3])
def test_eigenvalue_error(benchmark, network, spec, modes):
    """Accuracy at sampled steps against a converged solver; the time is that of one tracked step."""
    dynamics = Descent(network, tuner_of(spec), modes, 1, 0)
    step = eqx.filter_jit(dynamics.step)
    product = jax.jit(lambda w, v: hvp(network, w, v))
    state, errors, products = eqx.filter_jit(dynamics.init)(network.initial()), [], []
    for t in range(400):
        new, row, _ = step(state, jnp.asarray(t, jnp.int32))
        products.append(int(row["products"]))
        if t % 20 == 10:
            gradient = jax.grad(network)(state.weights)
            center, *_ = dynamics.center(state, gradient, -gradient, row["stepsize"], None, t)

            def matvec(v, center=center):
                return np.asarray(product(center, jnp.asarray(v.ravel(), jnp.float32)), float)

            operator = LinearOperator((center.size,) * 2, dtype=float, matvec=matvec)
            exact = eigsh(operator, k=1, which="LA", tol=1e-6, return_eigenvectors=False)[0]
            errors.append(abs(float(row["sharpness"]) / exact - 1))
        state = new
    benchmark.pedantic(lambda: jax.block_until_ready(step(state, jnp.asarray(400, jnp.int32))[0]), rounds=3)
    benchmark.extra_info |= {"median error": np.median(errors), "worst error": np.max(errors)}
    print(f"\n{spec}, {modes} modes: eigenvalue error median {np.median(errors):.1e}, worst {np.max(errors):.1e}, "
          f"{np.mean(products):.1f} products a step")  # fmt: skip


def convolved_by_equinox(images, width):
    """`cnn`, of equinox's layers as they come."""
    keys = iter(jax.random.split(jax.random.key(0), 3))
    layers, channels, side = [eqx.nn.Lambda(lambda x: jnp.moveaxis(x, -1, 0))], 1, images.x.shape[1]
    for _ in range(2):
        layers += [eqx.nn.Conv2d(channels, width, 3, 2, 1, dtype=jnp.float32, key=next(keys)), eqx.nn.Lambda(jnp.tanh)]
        channels, side = width, (side + 1) // 2
    layers += [eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(width * side**2, 10, dtype=jnp.float32, key=next(keys))]
    return own_network(eqx.nn.Sequential(layers), images)


@pytest.mark.parametrize("side", [8, 28])
def test_convolutions_of_equinox_against_products_with_patches(benchmark, side):
    """A tracked step of a network of width 6 on 1000 images."""
    rng = np.random.default_rng(0)
    images = data.from_arrays(rng.random((1000, side, side, 1)), np.arange(1000) % 10)
    theirs, ours = (
        chunk_of(Descent(network, tuner_of("constant:0.1"), 3, 1, 0), network, steps=20, after=1)
        for network in (convolved_by_equinox(images, 6), cnn(images, 6, dtype=jnp.float32))
    )
    compare(benchmark, theirs, ours, f"tracked step by equinox's convolutions / by products ({side}×{side} images)")


def test_compilation(benchmark, network):
    """Seconds to compile one chunk per tuner, and that a second run of the same shapes compiles nothing."""
    compiled: list[str] = []

    jax.monitoring.register_event_duration_secs_listener(
        lambda name, secs, **_: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    for spec in ("constant:0.1", "armijo", "polyak", "cdat"):
        first = seconds(
            lambda spec=spec: run(Descent(network, tuner_of(spec), 3), network.initial(), 1, rows_per_chunk=50)
        )
        before = len(compiled)
        again = seconds(
            lambda spec=spec: run(Descent(network, tuner_of(spec), 3), network.initial(), 1, rows_per_chunk=50)
        )
        assert len(compiled) == before, f"{spec} compiled again"
        print(f"\n{spec}: compilation {first - again:.1f} s")
    benchmark.pedantic(lambda: None, rounds=1)
