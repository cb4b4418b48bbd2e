"""Cost of a rule in one's own training loop, as ratios within one run: digits (1797 samples), MLP 64-64-64-10, float32.

A training step through `as_optax` against one of plain `optax.sgd`, both jitted, full batch, called from Python one by
one as a user's loop does; and eight seeds in one batch against eight in sequence. Run with `make bench`.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eosmodel as eos
from eosmodel.tuners import REGISTRY, as_optax, from_spec

SPECS = {"schedule": "schedule:cosine_decay_schedule,init_value=0.2,decay_steps=1000"}
WARM, STEPS, ROUNDS = 100, 20, 21


def start():
    return eqx.partition(
        eqx.nn.MLP(64, 10, 64, 2, jnp.tanh, dtype=jnp.float32, key=jax.random.key(0)), eqx.is_inexact_array
    )


@pytest.fixture(scope="module")
def loss():
    digits = eos.data.digits()
    x, y = jnp.asarray(digits.x.reshape(-1, 64), jnp.float32), jnp.asarray(digits.y, jnp.float32)
    _, rest = start()
    return lambda params: 0.5 * jnp.mean(jnp.sum((jax.vmap(eqx.combine(params, rest))(x) - y) ** 2, axis=1))


def loop_of(optimizer, loss, look=True):
    """A call that takes a number of steps, always the same ones, past the transient; and the last state of the rule."""
    optimizer = optax.with_extra_args_support(optimizer)
    # A rule that goes by secants needs no loss to look at in full batch, and takes a second gradient if it has one.
    extra = {"value_fn": loss} if look else {}

    @jax.jit
    def step(params, state):
        value, grad = jax.value_and_grad(loss)(params)
        # A sharpness that is known, so that on-edge is not charged for an eigenvalue solve.
        updates, state = optimizer.update(grad, state, params, value=value, sharpness=20.0, **extra)
        return optax.apply_updates(params, updates), state, value

    def go(params, state, steps):
        for _ in range(steps):
            params, state, _ = step(params, state)
        return jax.block_until_ready((params, state))

    params, _ = start()
    params, state = go(params, optimizer.init(params), WARM)

    def evaluations():
        new, s, counts = params, state, []
        for _ in range(STEPS):
            new, s, _ = step(new, s)
            counts.append(int(s[-1].evaluations))
        return np.mean(counts)

    return lambda: go(params, state, STEPS), evaluations


def seconds(call):
    """On the clock, and of processor time, which a busy machine disturbs less."""
    begin = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


@pytest.mark.parametrize("name", ["nothing else", *REGISTRY])
def test_step_against_plain_sgd(benchmark, loss, name):
    """Both in turns; "nothing else" is sgd against itself, the error of the method."""
    plain, _ = loop_of(optax.sgd(0.2), loss)
    if name == "nothing else":
        ruled, evaluations = loop_of(optax.sgd(0.2), loss)[0], lambda: 0
    else:
        tuner = from_spec(SPECS.get(name, name))
        ruled, evaluations = loop_of(optax.chain(optax.sgd(1.0), as_optax(tuner)), loss, not tuner.needs_secant)
    unit, pairs = [], []

    def setup():
        unit.append(seconds(plain))

    def timed():
        pairs.append(seconds(ruled))

    benchmark.pedantic(timed, setup=setup, rounds=ROUNDS, warmup_rounds=2)
    ratios = np.asarray(pairs[2:]) / np.asarray(unit[2:])
    clock, processor = np.median(ratios, axis=0)
    low, high = np.percentile(ratios[:, 0], [25, 75])
    benchmark.extra_info |= {"ratio": clock, "processor ratio": processor, "evaluations": evaluations()}
    print(f"\n{name}: {clock:.3f} of a plain step (quartiles {low:.3f}, {high:.3f}; processor time {processor:.3f}), "
          f"{evaluations():.2f} evaluations, plain {1e3 * np.median(unit, axis=0)[0] / STEPS:.2f} ms")  # fmt: skip


@pytest.mark.parametrize("spec", ["constant:0.3", "armijo"])
def test_eight_seeds_batched_against_in_sequence(benchmark, spec):
    network = eos.objectives.mlp(eos.data.digits(), width=64, depth=2, init_scale=0.5, dtype=jnp.float32)
    tuner, in_sequence = from_spec(spec), []

    def simulate(seeds):
        return eos.simulate(network, tuner, 40, seeds=seeds, measure_every=0, progress=False)

    def setup():
        in_sequence.append(seconds(lambda: [simulate(seed) for seed in range(8)]))

    benchmark.pedantic(lambda: simulate(range(8)), setup=setup, rounds=3, warmup_rounds=1)
    ratio = benchmark.stats.stats.median / np.median(in_sequence[1:], axis=0)[0]
    benchmark.extra_info["batched / in sequence"] = ratio
    print(f"\n{spec}: eight seeds batched take {ratio:.2f} of eight in sequence")
