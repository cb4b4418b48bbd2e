"""What it is worth that worker processes keep to their share of the cores: as many as there are cores, all at work."""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

import eosmodel as eos
from eosmodel.studies.runners import processes

STEPS = 1000


def seconds(_):
    """Of a tracked run that is compiled, in this process."""
    net = eos.objectives.mlp(eos.data.digits(1000), width=24, init_scale=0.5)
    options = {"measure_every": 0, "progress": False}
    eos.simulate(net, eos.tuners.CDAT(), 100, **options)
    begin = time.perf_counter()
    eos.simulate(net, eos.tuners.CDAT(), STEPS, **options)
    return time.perf_counter() - begin


def test_workers_on_their_share_against_workers_on_all_cores(benchmark):
    workers = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        free = np.median(list(pool.map(seconds, range(workers))))
    found = benchmark.pedantic(lambda: list(processes(workers)(seconds, range(workers))), rounds=1)
    ratio = free / np.median([took for _, took in found])
    benchmark.extra_info["free / kept to a share"] = ratio
    print(f"\nseconds of a run, workers free / kept to their share of {workers} cores: {ratio:.2f}")
