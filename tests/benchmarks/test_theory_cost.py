"""Seconds per step of every theory that runs on a network against the tracked training step, by the network's width.

Digits (1797 samples), MLP 64-width-width-10, float32, a constant step of 0.6 unless the theory is the edge alone, steps
300 to 400. A theory and the training take turns within one run, so that what else the machine does falls on both;
`extra_info` holds the ratio of the medians. Run with `make bench`, or alone with

    python -m pytest tests/benchmarks/test_theory_cost.py --benchmark-columns=median,iqr,rounds -s
"""

import jax.numpy as jnp
import pytest
from test_speed import STEPSIZE, chunk_of, compare, tuner_of

from eosmodel.dynamics import Descent
from eosmodel.experiment import _OF_THE_WHOLE
from eosmodel.objectives import data, mlp
from eosmodel.theory import THEORIES

MODES = 3


def test_every_theory_but_the_valleys_is_timed():
    """A valley is made from a run, and then costs next to nothing beside it."""
    assert set(THEORIES) - set(_OF_THE_WHOLE) == {"valley", "valley-frozen"}


@pytest.mark.parametrize("theory", _OF_THE_WHOLE)
@pytest.mark.parametrize("width", [16, 64, 128])
def test_theory_step_against_tracked_step(benchmark, theory, width):
    network = mlp(data.digits(), width=width, depth=2, init_scale=0.5, dtype=jnp.float32)
    tuner = tuner_of("on-edge" if theory == "edge-only" else STEPSIZE)
    tracked = chunk_of(Descent(network, tuner_of(STEPSIZE), MODES, 1, 0), network)
    compare(
        benchmark,
        chunk_of(_OF_THE_WHOLE[theory](network, tuner, MODES), network),
        tracked,
        f"{theory} step / tracked step, width {width}",
    )
