"""Speed of sweeps: 1000 × 1000 valleys for 1000 steps in float64, against numba and NumPy, in turns within one run.

Run with `make bench`. All three use every core. A step is counted in the operations that it needs, written out in
`by_numba`; the sweep does more, because it is the general valley, differentiated, under the tuner itself. The yardstick
is the machine's matrix product, which no loop of a dozen operations with a division among them can reach.
"""

import os
import time

import jax.numpy as jnp
import numba
import numpy as np
import pytest

from eosmodel.analysis import phase_diagram
from eosmodel.analysis.grids import descend, sweep
from eosmodel.objectives import Valley, valley
from eosmodel.theory import FastMap
from eosmodel.tuners import Constant, Polyak

SIDE, STEPS, ROUNDS = 1000, 1000, 3
LIMIT, MU, START = 22.0, 0.05, (0.1, -3.0)
# NumPy works on so many points at a time, and on one point in so many: it is slow, and its rate the same on fewer.
CHUNK, PART = 16_384, 20
# Additions, multiplications and divisions in a step: λ 2, gradient 6, update 4; and for Polyak loss 5, slope 3, η 2.
OPERATIONS = {"constant": 12, "polyak": 22}
# Of the tuner: the step of the one rule, below 5/(2λ_∞), beyond which the edge loses its stability; c of the other.
RANGE = {"constant": (0.06, 0.11), "polyak": (0.3, 1.0)}
TUNERS = {"constant": Constant, "polyak": Polyak}


def grid(side, rule):
    """Tuner parameter and √b of every point, each of shape (side²,)."""
    return tuple(axis.ravel() for axis in np.meshgrid(np.linspace(*RANGE[rule], side), np.linspace(1, 2, side)))


def by_sweep(rule):
    def end(point):
        floor = Valley(LIMIT, point["b"], jnp.ones(1), jnp.full(1, MU), jnp.asarray(START))
        return descend(floor, TUNERS[rule](point["tuner"]), STEPS)

    def run(tuner, root):
        found = np.empty((len(root), 2))
        for first, last, weights in sweep(end, {"tuner": tuner, "b": root**2}):
            found[first:last] = weights
        return found

    return run


@numba.njit(parallel=True, error_model="numpy")
def by_numba(tuner, root, constant, steps):
    found = np.empty((len(root), 2))
    for i in numba.prange(len(root)):
        p, b, half = tuner[i], root[i], 0.5 * root[i]
        x, z = START
        eta = p
        for _ in range(steps):
            sharpness = LIMIT + b * z
            square = x * x
            gx = sharpness * x
            gz = half * square + MU * z
            if not constant:
                loss, slope = 0.5 * sharpness * square + 0.5 * MU * (z * z), gx * gx + gz * gz
                eta = loss / (p * slope) if slope > 0 else 0.0
            x -= eta * gx
            z -= eta * gz
        found[i, 0], found[i, 1] = x, z
    return found


def by_numpy(tuner, root, constant, steps):
    found = np.empty((len(root), 2))
    for first in range(0, len(root), CHUNK):
        part = slice(first, first + CHUNK)
        p, b, half = tuner[part], root[part], 0.5 * root[part]
        x, z = (np.full_like(b, start) for start in START)
        eta = p
        for _ in range(steps):
            sharpness = LIMIT + b * z
            square = x * x
            gx = sharpness * x
            gz = half * square + MU * z
            if not constant:
                loss, slope = 0.5 * sharpness * square + 0.5 * MU * (z * z), gx * gx + gz * gz
                eta = np.where(slope > 0, loss / (p * slope), 0.0)
            x -= eta * gx
            z -= eta * gz
        found[part, 0], found[part, 1] = x, z
    return found


def agree(rule, tuner, found, wanted):
    """Trajectory by trajectory where rounding is not amplified, on average where the rule is chaotic."""
    calm = tuner < 0.45 if rule == "polyak" else np.ones(len(tuner), bool)
    np.testing.assert_allclose(found[calm], wanted[calm], rtol=1e-9, atol=1e-12)
    if not calm.all():
        wild = tuner > 0.6
        logs = np.log(np.abs(np.stack([found[wild, 1], wanted[wild, 1]])))
        assert abs(np.subtract(*logs.mean(1))) < 5 * np.hypot(*logs.std(1)) / np.sqrt(wild.sum())


def timed(call):
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def peak():
    """Operations a second of a matrix product in float64."""
    matrix = np.ones((1500, 1500))
    return 2 * len(matrix) ** 3 / min(timed(lambda: matrix @ matrix)[0] for _ in range(5))


@pytest.mark.parametrize("rule", ["constant", "polyak"])
def test_sweep_against_loops(benchmark, rule):
    tuner, root = grid(SIDE, rule)
    run, constant = by_sweep(rule), rule == "constant"
    # Compiles both.
    run(tuner, root)
    by_numba(tuner[:1], root[:1], constant, STEPS)
    part = slice(None, None, PART)
    times, best, wanted = {"numba": [], "numpy": []}, [], []

    def rivals():
        taken, wanted[:] = timed(lambda: [by_numba(tuner, root, constant, STEPS)])
        times["numba"].append(taken)
        times["numpy"].append(PART * timed(lambda: by_numpy(tuner[part], root[part], constant, STEPS))[0])
        best.append(peak())

    found = benchmark.pedantic(run, (tuner, root), setup=rivals, rounds=ROUNDS, warmup_rounds=0)
    agree(rule, tuner, found, wanted[0])
    median = benchmark.stats.stats.median
    rate = len(root) * STEPS / median
    fraction = rate * OPERATIONS[rule] / np.median(best)
    ratios = {name: float(np.median(taken)) / median for name, taken in times.items()}
    benchmark.extra_info |= {"steps per second": rate, "fraction of peak": fraction, **ratios}
    print(
        f"\n{rule}: {rate:.2e} steps/s, {ratios['numba']:.1f} times numba, {ratios['numpy']:.0f} times NumPy, "
        f"{fraction:.0%} of the {np.median(best) / 1e9:.0f} Gflop/s of a matrix product; load {os.getloadavg()[0]:.1f}"
    )


@pytest.mark.parametrize("system", ["fast map", "valley"])
def test_phase_diagram_of_the_demo_kind(benchmark, system):
    """400 × 400 orbits of 1000 steps, regimes and exponents, compilation included; the bar is 20 s on two cores."""
    if system == "fast map":
        arguments = (FastMap(Polyak()), None)
        axes = {"c": (0.25, 2.0, 400), "A": (2.0, 60.0, 400)}
    else:
        arguments = (valley(), Constant())
        axes = {"step": (0.04, 0.14, 400), "b": (0.5, 8.0, 400)}
    begin = time.perf_counter()
    found = benchmark.pedantic(lambda: phase_diagram(*arguments, axes, steps=1000, progress=False), rounds=1)
    print(f"\n{system}: {time.perf_counter() - begin:.1f} s, compilation included")
    assert bool(found.dataset.done.all())
