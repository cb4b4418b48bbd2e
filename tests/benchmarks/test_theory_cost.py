"""Seconds per step of every theory that runs on a network against the tracked training step, by the network's width.

Digits (1797 samples), MLP 64-width-width-10, float32, a constant step of 0.6, steps 300 to 400, three modes. A theory
and the training take turns within one run, so that what else the machine does falls on both; `extra_info` holds the
ratio of the medians. Run with `make bench`, or alone with

    python -m pytest tests/benchmarks/test_theory_cost.py --benchmark-columns=median,iqr,rounds -s
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eosmodel.dynamics import Descent
from eosmodel.experiment import _OF_THE_WHOLE
from eosmodel.objectives import data, mlp
from eosmodel.simulation import run
from eosmodel.simulation.loop import _run_chunk
from eosmodel.theory import THEORIES
from eosmodel.tuners import from_spec

STEPS, ROUNDS, MODES = 100, 5, 3


def chunk_of(dynamics, network):
    carry = run(dynamics, network.initial(), 300, rows_per_chunk=STEPS).carry
    last = jnp.asarray(10**6, jnp.int32)
    return lambda: jax.block_until_ready(_run_chunk(dynamics, carry, carry.t, last, STEPS, 1, None)[0].t)


def test_every_theory_but_the_valleys_is_timed():
    """A valley is made from a run, and then costs next to nothing beside it."""
    assert set(THEORIES) - set(_OF_THE_WHOLE) == {"valley", "valley-frozen"}


@pytest.mark.parametrize("theory", _OF_THE_WHOLE)
@pytest.mark.parametrize("width", [16, 64, 128])
def test_theory_step_against_tracked_step(benchmark, theory, width):
    network = mlp(data.digits(), width=width, depth=2, init_scale=0.5, dtype=jnp.float32)
    tuner, edge = (
        jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), from_spec(spec))
        for spec in ("constant:0.6", "on-edge")
    )
    tracked = chunk_of(Descent(network, tuner, MODES, 1, 0), network)
    predicted = chunk_of(_OF_THE_WHOLE[theory](network, edge if theory == "edge-only" else tuner, MODES), network)
    times = []

    def setup():
        begin = time.perf_counter()
        tracked()
        times.append(time.perf_counter() - begin)

    benchmark.pedantic(predicted, setup=setup, rounds=ROUNDS, warmup_rounds=1)
    one, other = benchmark.stats.stats.median / STEPS, float(np.median(times)) / STEPS
    benchmark.extra_info |= {"step / tracked step": one / other, "seconds per step": one, "tracked": other}
    print(f"\n{theory}, width {width}: {1e3 * one:.2f} ms, tracked {1e3 * other:.2f} ms, ratio {one / other:.2f}")
