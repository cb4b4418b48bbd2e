"""What a tracked step costs in plain steps of gradient descent, and where the time goes; on the device that jax has.

    python tests/benchmarks/tracked_cost.py            # digits and Fashion-MNIST; on a GPU also 10⁶ weights and 8 seeds
    python tests/benchmarks/tracked_cost.py --only digits --steps 20 --rounds 3

All times are the least of some rounds, in turns, of chunks that are compiled beforehand. Ratios are to the plain step
of the same network: loss and gradient in a scan, and nothing else. On a GPU it takes about ten minutes.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eosmodel._checks import as_arrays
from eosmodel.curvature import BlockTracker, Tracker, linearize
from eosmodel.curvature.ritz import solve
from eosmodel.dynamics import AbstractDynamics, Descent, status_of
from eosmodel.objectives import data, mlp
from eosmodel.simulation import run
from eosmodel.simulation.loop import _run_chunk
from eosmodel.tuners import Constant

# The bars, in plain steps: three modes at every step, and at every fourth.
BARS = {1: 8.0, 4: 3.0}
TRACKERS = {"Tracker": Tracker, "BlockTracker": BlockTracker}
BATCH = ((None, 0), 8)


class Plain(AbstractDynamics):
    """Gradient descent and nothing else: the unit of cost."""

    objective: Any
    step_size: Any

    def init(self, start):
        return start

    def step(self, state, t):
        value, gradient = jax.value_and_grad(self.objective)(state)
        row = {"loss": value}
        return state - self.step_size * gradient, row, status_of(value, self.step_size, value, jnp.inf)


def networks(on_gpu):
    """The networks to measure, by name, each with its step at the edge of stability."""

    def fashion(width):
        return lambda: mlp(data.fashion_mnist(1000), width=width, depth=2, init_scale=0.5, dtype=jnp.float32)

    made = {
        "digits": (lambda: mlp(data.digits(), width=64, depth=2, init_scale=0.5, dtype=jnp.float32), 0.6),
        "fashion-2e5": (fashion(200), 0.1),
        "fashion-6e5": (fashion(500), 0.1),
    }
    return made | ({"fashion-1e6": (fashion(700), 0.1)} if on_gpu else {})


def chunk_of(dynamics, start, steps, after, axes=None):
    """A call that runs `steps` steps in the middle of a run and waits; and the products taken in one of them."""
    carry = run(dynamics, start, after, rows_per_chunk=steps, axes=axes).carry
    first, last = jnp.max(carry.t), jnp.asarray(10**6, jnp.int32)

    def call():
        return jax.block_until_ready(_run_chunk(dynamics, carry, first, last, steps, 1, axes)[:2])

    return call, float(np.mean(np.asarray(call()[1].get("products", 0))))


def least(calls, rounds):
    """The least time of each call, in ms, over rounds in turns."""
    times = np.empty((rounds, len(calls)))
    for i in range(rounds):
        for j, call in enumerate(calls):
            begin = time.perf_counter()
            call()
            times[i, j] = time.perf_counter() - begin
    return 1e3 * times.min(axis=0)


def timed(fn, *args, rounds):
    """The least time of a compiled function, in ms."""
    compiled = jax.jit(fn)
    jax.block_until_ready(compiled(*args))
    return least([lambda: jax.block_until_ready(compiled(*args))], rounds)[0]


def costs(name, net, step, options):
    """Ratios of tracked to plain steps."""
    rule, start = as_arrays(Constant(step), jnp.float32), net.initial()
    cases = [("Tracker", 1, 1), *((kind, 3, every) for kind in TRACKERS for every in (1, 4))]
    built = [(Descent(net, rule, TRACKERS[kind](modes), every, 0)) for kind, modes, every in cases]
    chunks = [chunk_of(each, start, options.steps, options.after) for each in (Plain(net, rule.step), *built)]
    plain, *tracked = least([call for call, _ in chunks], options.rounds)
    print(f"{name}: {start.size} weights, plain step {plain / options.steps:.3f} ms")
    for (kind, modes, every), taken, (_, products) in zip(cases, tracked, chunks[1:], strict=True):
        bar = f" (bar {BARS[every]:g})" if modes == 3 else ""
        what = f"{kind}, {modes} modes, every {every}"
        print(f"  {what:32s} {taken / plain:5.1f} plain steps{bar}, {products:.1f} products a step", flush=True)


def seeds_at_once(name, net, step, options):
    """The time of eight seeds in one call over that of one."""
    axes, count = BATCH
    rule = as_arrays(Constant(step), jnp.float32)
    starts = jnp.stack([net.initial(seed) for seed in range(count)])
    for kind, tracker in TRACKERS.items():
        dynamics = Descent(net, rule, tracker(3), 1, 0)
        one = chunk_of(dynamics, starts[0], options.steps, options.after)[0]
        several = chunk_of(dynamics, starts, options.steps, options.after, axes)[0]
        single, batch = least([one, several], options.rounds)
        print(f"  {name}, {kind}, {count} seeds at once / one: {batch / single:.1f} (bar 2)", flush=True)


def breakdown(name, net, options):
    """Where the time of an update goes, in plain gradients."""
    weights = net.initial()
    rows = jax.random.normal(jax.random.key(0), (12, weights.size), jnp.float32)

    def products(count, together):
        def fn(weights, rows):
            matvec = linearize(net, weights)[2]
            chosen = rows[:count]
            return jax.vmap(matvec)(chosen) if together else jnp.stack([matvec(row) for row in chosen])

        return timed(fn, weights, rows, rounds=3 * options.rounds)

    unit = timed(jax.value_and_grad(net), weights, rounds=3 * options.rounds)
    single, several, batched = products(1, False), products(5, False), products(5, True)

    def ritz_problem(rows):
        return solve(rows, jnp.zeros(5, rows.dtype), 3)

    ritz = timed(ritz_problem, rows[:10], rounds=3 * options.rounds)
    print(
        f"  {name}, in gradients ({unit:.2f} ms): linearisation and one product {single / unit:.2f}, each further "
        f"product {(several - single) / 4 / unit:.2f}, in a batch of 5 {(batched - single) / 4 / unit:.2f}; a Ritz "
        f"problem of 5 rows {ritz / unit:.2f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=40, help="steps of a chunk")
    parser.add_argument("--after", type=int, default=120, help="steps before what is timed")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="networks whose names contain this")
    options = parser.parse_args()
    device = jax.devices()[0]
    print(f"{device.platform}: {device.device_kind}, jax {jax.__version__}, {Path(__file__).name}")
    for name, (make, step) in networks(device.platform != "cpu").items():
        if options.only in name:
            net = make()
            costs(name, net, step, options)
            breakdown(name, net, options)
            if device.platform != "cpu":
                seeds_at_once(name, net, step, options)


if __name__ == "__main__":
    main()
