"""Time and bytes written of long runs with a checkpoint, as ratios within one run: a toy of two weights, float64.

10⁵ steps must take five times the time and write five times the bytes of 2·10⁴. On two CPU cores: 50 µs a step with a
checkpoint after every 100 rows, 26 without one, and 212 bytes written a step. Run with `make bench`.
"""

import time
from pathlib import Path

import pytest

import eosmodel as eos

TOY = eos.objectives.valley()
IO = Path("/proc/self/io")


def written():
    """Bytes that this process has written."""
    return int(dict(line.split(": ") for line in IO.read_text().splitlines())["wchar"])


def cost(steps, checkpoint):
    """Seconds and bytes of a run."""
    begun, before = time.perf_counter(), written()
    eos.simulate(TOY, "constant:0.1", steps, progress=False, checkpoint=checkpoint)
    return time.perf_counter() - begun, written() - before


@pytest.mark.skipif(not IO.exists(), reason="bytes are counted by Linux")
def test_time_and_bytes_of_a_checkpointed_run_are_linear_in_its_steps(tmp_path):
    cost(200, tmp_path / "compile.npz")
    short = [cost(20_000, tmp_path / f"short{i}.npz") for i in range(3)]
    seconds, size = cost(100_000, tmp_path / "long.npz")
    bare, _ = cost(100_000, None)
    print(f"{10 * seconds:.0f} µs a step, {10 * bare:.0f} without a checkpoint; {size / 1e5:.0f} bytes a step")
    assert size == pytest.approx(5 * short[0][1], rel=0.01)
    # Below 1 where the time of a whole run has a constant part; a record that is rewritten with every chunk gives 5.
    assert seconds < 1.5 * 5 * sorted(s for s, _ in short)[1]
