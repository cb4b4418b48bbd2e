"""The README's Python runs as it stands."""

import re
from pathlib import Path

import jax
import pytest
from optax.tree_utils import tree_get

pytestmark = pytest.mark.usefixtures("lightly_compiled")

README = Path(__file__).parents[1] / "README.md"


def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 6
    scope: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), scope)
    assert "oscillation" in capsys.readouterr().out
    assert float(scope["eta"]) > 0
    assert int(scope["run"].status) == 0
    assert float(scope["theory"].status.max()) == 0
    assert abs(float(scope["means"].r) / 94 - 1) < 1e-3
    assert abs(float(scope["slow"].sharpness[-1]) / 20 - 1) < 1e-3


@pytest.mark.parametrize("library", ["equinox", "flax"])
def test_a_training_loop_runs_before_and_after_its_change(library):
    pytest.importorskip(library, reason=f"{library} is not installed")
    blocks = re.findall(r"```diff\n(.*?)```", README.read_text(), flags=re.DOTALL)
    lines = next(
        block for block in blocks if f" {library} import" in block or f" import {library}" in block
    ).splitlines()
    assert len([line for line in lines if line.startswith("+")]) <= 3
    for left_out in "+-":
        code = "\n".join(line[1:] for line in lines if not line.startswith(left_out))
        scope: dict = {}
        with jax.numpy_dtype_promotion("standard"):  # as in the user's session
            exec(compile(code, str(README), "exec"), scope)
            now = scope["loss"](scope["model"], scope["x"], scope["y"])
        assert now < scope["value"] < 0.5  # still descending, and better than no output at all
    state = scope["state"] if library == "equinox" else scope["optimizer"].opt_state
    assert float(tree_get(state, "learning_rate")) > 0
