"""Convolutions as a product with the patches, samples last, against XLA's by equinox's layers, in float32."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eosmodel.dynamics import Descent
from eosmodel.objectives import cnn, data, network
from eosmodel.simulation import run
from eosmodel.simulation.loop import _run_chunk
from eosmodel.tuners import from_spec

WIDTH, STEPS, ROUNDS = 6, 20, 5


def images(side):
    rng = np.random.default_rng(0)
    return data.from_arrays(rng.random((1000, side, side, 1)), np.arange(1000) % 10)


def by_equinox(images):
    """The same architecture of layers as they come."""
    keys = iter(jax.random.split(jax.random.key(0), 3))
    layers, channels, side = [], 1, images.x.shape[1]
    for _ in range(2):
        layers += [eqx.nn.Conv2d(channels, WIDTH, 3, 2, 1, dtype=jnp.float32, key=next(keys)), eqx.nn.Lambda(jnp.tanh)]
        channels, side = WIDTH, (side + 1) // 2
    layers += [eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(WIDTH * side**2, 10, dtype=jnp.float32, key=next(keys))]
    first = eqx.nn.Lambda(lambda x: jnp.moveaxis(x, -1, 0))
    return network(eqx.nn.Sequential([first, *layers]), images)


def chunk(net):
    """Tracked steps in one compiled call."""
    dynamics = Descent(
        net, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), from_spec("constant:0.1")), 3, 1, 0
    )
    carry = run(dynamics, net.initial(), 1, rows_per_chunk=STEPS).carry
    last = jnp.asarray(10**6, jnp.int32)
    return lambda: jax.block_until_ready(_run_chunk(dynamics, carry, carry.t, last, STEPS, 1, None)[0].t)


def seconds(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


@pytest.mark.parametrize("side", [8, 28])
def test_tracked_step_against_equinox(benchmark, side):
    ours, theirs = chunk(cnn(images(side), WIDTH, dtype=jnp.float32)), chunk(by_equinox(images(side)))
    theirs()
    others = []
    benchmark.pedantic(ours, setup=lambda: others.append(seconds(theirs)), rounds=ROUNDS, warmup_rounds=1)
    ratio = float(np.median(others)) / benchmark.stats.stats.median
    benchmark.extra_info["equinox / ours"] = ratio
    print(f"\n{side}×{side} images: tracked step by equinox's convolutions / by ours {ratio:.1f}")
