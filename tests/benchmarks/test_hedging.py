"""Does the spread of the steps decide? Rules against each other at equal cost, on networks, seeds and a width (16)
other than those that `EdgeHedge` was made with (digits, width 32, seeds 0 to 3). MLP of two hidden layers, float32,
1000 digits or 500 images of Fashion-MNIST at a quarter of the initial scale.

A study, printed and not judged: `pytest -s tests/benchmarks/test_hedging.py`, a quarter of an hour. The cost of a step
is counted in gradients: 1 for a look at the loss and its gradient; 1 more for φ''(0), two forward sweeps (the study
prints what they take); with batches 1 more for a secant. A loss is the median over the last 20 steps, with
batches over the last 5 looks at the full loss, of the seed in the middle, all three beside it; a constant step and the
open schedules are the best of their grid for each seed. "To the constant": the gradients paid until the loss is first
where the constant ends. The last study puts the rules on the quadratic of a network alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel._status import Status
from eosmodel.analysis import bulk_progress, chebyshev_exponent
from eosmodel.results.measures import edge_exponent, edge_products, status_of
from eosmodel.tuners import AbstractTuner, from_spec
from eosmodel.tuners.base import no_evaluations

pytestmark = pytest.mark.slow
SEEDS = (10, 11, 12)
BUDGET, EVERY = 800, 10
GRID = (0.1, 0.2, 0.4, 0.8)
RULES = ("cdat:2", "greedy", "cdat:0.75", "cdat:0.5", "polyak", "bb2", "edge-hedge")
DATA = {"digits": (eos.data.digits, 1000, 1.0), "fashion-mnist": (eos.data.fashion_mnist, 500, 0.25)}
CELLS = [(name, act, loss) for name in DATA for loss in ("mse", "ce") for act in ("tanh", "gelu")]
CELLS += [("digits", "relu", "mse"), ("digits", "relu", "ce")]


class Silver(AbstractTuner):
    """scale·`silver_steps`, by the index of the step alone."""

    scale: Any = 0.1

    def __call__(self, ray, state):
        t = ray.step + 1
        power = jax.lax.population_count((t & -t) - 1).astype(ray.value.dtype)
        return self.scale * (1 + (1 + 2**0.5) ** (power - 1)), state, no_evaluations()


class Arcsine(AbstractTuner):
    """scale/z, z of the arcsine law on [low, 1] by multiples of the golden ratio, by the index of the step alone."""

    scale: Any = 0.1
    low: Any = 0.03

    def __call__(self, ray, state):
        part = (ray.step.astype(ray.value.dtype) * ((5**0.5 - 1) / 2)) % 1.0
        z = self.low + (1 - self.low) * jnp.sin(0.5 * jnp.pi * part) ** 2
        return self.scale / z, state, no_evaluations()


def network(name, activation, loss):
    load, samples, scale = DATA[name]
    kind = {"activation": activation, "loss": loss, "init_scale": scale}
    return eos.objectives.mlp(load(samples), width=16, dtype=jnp.float32, **kind)


def cost(tuner, batches):
    return 2 if isinstance(tuner, eos.tuners.CDAT) or (batches and tuner.needs_secant) else 1


def price_of_curvature(net):
    """Floating-point operations of two forward sweeps over those of a loss and its gradient."""

    def operations(fn):
        return jax.jit(fn).lower(net.initial()).compile().cost_analysis()["flops"]

    return operations(lambda w: eos.ray(net, w, jnp.ones_like(w)).curvature()) / operations(jax.value_and_grad(net))


def level(run, steps):
    """The loss that a run has come to after so many steps; infinite if it did not get there."""
    if status_of(run) != Status.OK:
        return np.inf
    known = run.loss.values[:steps][np.isfinite(run.loss.values[:steps])]
    return np.median(known[-20:] if len(known) > steps / 2 else known[-5:])


def first_below(run, target):
    below = np.flatnonzero(run.loss.values <= target)
    return float(below[0]) if below.size else np.inf


def candidates():
    for name, kind in {"constant": eos.tuners.Constant, "silver": Silver, "arcsine": Arcsine}.items():
        yield f"{name}, best of {len(GRID)}", [kind(x) for x in GRID]
    for spec in RULES:
        yield spec, [from_spec(spec)]


def study(objective, batches=False):
    settings = {"track_every": EVERY, "measure_every": 0, "progress": False}
    target, rows = {}, {}
    print(f"\n{'rule':>22} {'cost':>4} {f'loss after {BUDGET} gradients':>38} {f'after {BUDGET} steps':>15} "
          f"{'gradients to the constant':>26} {'median s':>9} {'mean s':>7} {'Λ':>6}")  # fmt: skip
    for name, tuners in candidates():
        price, chosen = cost(tuners[0], batches), []
        for seed in SEEDS:
            runs = [eos.simulate(objective, tuner, BUDGET, seeds=seed, **settings) for tuner in tuners]
            chosen.append(min(runs, key=lambda run: level(run, BUDGET)))
            target.setdefault(seed, level(chosen[-1], BUDGET))
        rows[name] = chosen
        paid = np.asarray([level(run, BUDGET // price) for run in chosen])
        taken = np.asarray([level(run, BUDGET) for run in chosen])
        reached = price * np.asarray([first_below(run, target[seed]) for run, seed in zip(chosen, SEEDS, strict=True)])
        products = np.concatenate([edge_products(run) for run in chosen])
        print(f"{name:>22} {price:4} {np.median(paid):10.2e} ({' '.join(f'{x:.1e}' for x in paid)}) "
              f"{np.median(taken):15.2e} {np.median(reached):26.0f} {np.median(products):9.2f} "
              f"{products.mean():7.1f} {np.mean([edge_exponent(run) for run in chosen]):6.2f}", flush=True)  # fmt: skip
    return rows


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_full_batch(cell):
    net = network(*cell)
    print(
        f"\n{', '.join(cell)}; φ''(0) takes {price_of_curvature(net):.2f} of the operations of a loss and its gradient"
    )
    rows = study(net)
    assert all(status_of(run) == Status.OK for run in rows["edge-hedge"])


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_batches(loss):
    print(f"\ndigits, tanh, {loss}, B = 64")
    study(eos.objectives.MiniBatches(network("digits", "tanh", loss), 64), batches=True)


RATIOS = (1.0, 0.1, 1e-2, 1e-3, 1e-4)


def test_the_quadratic_of_a_network():
    """Its curvatures above 1e-6 of λ and its gradient along them, after 100 steps of 0.4: how much of the order of the
    rules is there already, and what their steps do to its modes."""
    # In float64, for the curvatures.
    net = eos.objectives.mlp(eos.data.digits(1000), width=16, dtype=jnp.float64)
    step = jax.jit(lambda w: w - 0.4 * jax.grad(net)(w))
    weights = net.initial(SEEDS[0])
    for _ in range(100):
        weights = step(weights)
    values, vectors = np.linalg.eigh(np.asarray(jax.hessian(net)(weights)))
    kept = values > 1e-6 * values[-1]
    values, along = values[kept], (np.asarray(jax.grad(net)(weights)) @ vectors)[kept]
    bowl = eos.objectives.DiagonalQuadratic(values, start=along / values)
    print(f"\n{kept.sum()} modes of {len(kept)}; best per gradient down to ρ: "
          f"{' '.join(f'{-chebyshev_exponent(0.5, low):.4f} ({low:g})' for low in RATIOS[1:])}")  # fmt: skip
    print(f"{'rule':>22} {f'L/L0, {BUDGET} gradients':>19} {'mean s':>7} progress per gradient at ρ = {RATIOS}")
    rows = {"constant, 1.99/λ": eos.tuners.Constant(1.99 / values[-1])} | {spec: from_spec(spec) for spec in RULES}
    for name, tuner in rows.items():
        price = cost(tuner, False)
        run = eos.simulate(bowl, tuner, BUDGET // price, track_every=BUDGET, measure_every=0, progress=False)
        steps = run.stepsize.values * values[-1]
        progress = bulk_progress(steps, RATIOS, cost=price)
        print(f"{name:>22} {level(run, BUDGET) / float(run.loss[0]):19.2e} {steps.mean():7.1f} "
              f"{' '.join(f'{x:8.4f}' for x in progress)}")  # fmt: skip
        # Exact for 0 < σ < 2 on any quadratic.
        assert not isinstance(tuner, eos.tuners.CDAT) or tuner.sigma >= 2 or (np.diff(run.loss.values) < 0).all()
