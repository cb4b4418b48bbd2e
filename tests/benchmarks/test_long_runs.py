"""Time, memory and bytes written of long runs with a checkpoint, as ratios within one run: 10⁵ steps must take five
times what 2·10⁴ steps do. Run with `make bench`.

- A toy of two weights, float64, a row and λ at every step: 50 µs a step on two CPU cores with a checkpoint after every
  100 rows, 26 without one; 215 bytes written a step, and 80 MB of memory for 10⁵ steps.
- A network of 310 weights, float32, a row every 10 steps, λ and λ_c every 50, weights every 1000: 167 µs a step on two
  busy cores, 91 without a checkpoint; 24 bytes written a step, and 1 MB of memory for 10⁵ steps.
"""

import time
from pathlib import Path

import pytest

import eosmodel as eos

TOY = eos.objectives.valley()
NET = eos.objectives.mlp(eos.data.digits(50), width=4, depth=1, init_scale=0.5, dtype="float32")
EVERY = {"record_every": 10, "track_every": 50, "keep_weights": 1000, "track": ("sharpness", "critical"), "modes": 1}
RUNS = {"toy, every step": (TOY, {}), "network, now and then": (NET, EVERY)}
PROCESS = Path("/proc/self")


def numbers(file):
    lines = (line.split(":") for line in (PROCESS / file).read_text().splitlines())
    return {name: int(value.split()[0]) for name, value in lines if value.split() and value.split()[0].isdigit()}


def cost(objective, steps, checkpoint, **options):
    """Seconds, bytes written, and how many bytes of memory a run needs at its peak beyond those before it."""
    (PROCESS / "clear_refs").write_text("5")  # the peak so far is forgotten
    memory, begun, before = numbers("status")["VmRSS"], time.perf_counter(), numbers("io")["wchar"]
    run = eos.simulate(objective, "constant:0.1", steps, progress=False, checkpoint=checkpoint, **options)
    seconds, written = time.perf_counter() - begun, numbers("io")["wchar"] - before
    assert int(run.steps) == steps
    return seconds, written, 1024 * (numbers("status")["VmHWM"] - memory)


@pytest.mark.skipif(not (PROCESS / "io").exists(), reason="bytes and memory are counted by Linux")
@pytest.mark.parametrize("name", RUNS)
def test_time_memory_and_bytes_of_a_checkpointed_run_are_linear_in_its_steps(name, tmp_path):
    objective, options = RUNS[name]
    cost(objective, 2000, tmp_path / "compile.npz", **options)
    short = [cost(objective, 20_000, tmp_path / f"short{i}.npz", **options) for i in range(3)]
    seconds, size, memory = cost(objective, 100_000, tmp_path / "long.npz", **options)
    bare, *_ = cost(objective, 100_000, None, **options)
    print(f"{name}: {10 * seconds:.0f} µs a step, {10 * bare:.0f} without a checkpoint; {size / 1e5:.0f} bytes a step")
    print(f"memory: {memory / 1e6:.0f} MB for 10⁵ steps, {short[1][2] / 1e6:.0f} for 2·10⁴")
    assert size == pytest.approx(5 * short[0][1], rel=0.02)
    # Below 1 where the time of a whole run has a constant part; a record that is rewritten with every chunk gives 5.
    assert seconds < 1.5 * 5 * sorted(s for s, *_ in short)[1]
    # What is not of this run: buffers of the checkpoint, garbage that is not collected yet.
    assert memory < 1.5 * 5 * max(m for *_, m in short) + 50e6
