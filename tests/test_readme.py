"""The README's Python runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 4
    scope: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), scope)
    assert "oscillation" in capsys.readouterr().out
    assert float(scope["eta"]) > 0
    assert int(scope["run"].status) == 0
    assert abs(float(scope["means"].r) / 94 - 1) < 1e-3
    assert abs(float(scope["slow"].sharpness[-1]) / 20 - 1) < 1e-3
