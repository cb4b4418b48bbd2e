"""The notebooks run, and what is shown of them when browsed is what their sources say."""

import asyncio
import importlib.util
import json
from pathlib import Path
from queue import Empty

import nbformat
import pytest

_PATH = Path(__file__).parents[1] / "notebooks" / "execute.py"
_SPEC = importlib.util.spec_from_file_location("execute", _PATH)
notebooks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(notebooks)

NAMES = [source.stem for source in notebooks.SOURCES]
# The first that people open, and the one that takes what is their own; `make test-slow` executes the others too.
ALWAYS = ("01", "06")
EXECUTED = [name if name.startswith(ALWAYS) else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]

# Every slider to both of its ends. `interact` shows an error where it is and goes on; a direct call does not.
_MOVE = """
from ipywidgets import interactive
from ipywidgets.widgets.widget import _instances

_moved = 0
for _box in [w for w in list(_instances.values()) if isinstance(w, interactive)]:
    for _end in (0, -1):
        _values = {
            w._kwarg: (w.min, w.max)[_end] if hasattr(w, "max") else w.options[_end] for w in _box.kwargs_widgets
        }
        _box.f(**{k: v[-1] if isinstance(v, tuple) else v for k, v in _values.items()})
        _moved += 1
print("moved", _moved)
"""


def _source(name):
    return _PATH.parent / f"{name}.py"


def _code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def _outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_there_are_notebooks_and_nothing_else_beside_them():
    assert NAMES
    assert sorted(path.stem for path in _PATH.parent.glob("*.ipynb")) == NAMES


def test_a_slider_whose_function_draws_is_executed_and_leaves_no_state():
    code = """
import matplotlib.pyplot as plt
from ipywidgets import interact

def draw(x):
    plt.plot([0, x])
    plt.show()

draw(1)
_ = interact(draw, x=(0, 2))
"""
    ran = notebooks.execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), quick=True)
    assert "widgets" not in ran.metadata
    shown = _outputs(notebooks.shrink(ran))
    assert ["image/png" in output.data for output in shown] == [True]


@pytest.mark.parametrize("limit", [None, 30.0])
def test_a_message_whose_event_was_missed_is_found_within_a_second(limit):
    """A socket that says nothing of a message until it is asked again."""
    waits = []

    class Deaf(notebooks.PatientChannel):
        def __init__(self):
            self.socket = self

        async def poll(self, milliseconds):
            waits.append(milliseconds)
            return len(waits) == 3

        async def _recv(self):
            return "message"

    assert asyncio.run(Deaf().get_msg(limit)) == "message"
    assert waits == [1000] * 3
    waits.clear()
    with pytest.raises(Empty):
        asyncio.run(Deaf().get_msg(0))


@pytest.mark.parametrize("name", EXECUTED)
def test_it_runs_quickly_without_a_warning_and_its_sliders_move(name):
    notebook = notebooks.read(_source(name))
    sliders = any("interact(" in code for code in _code(notebook))
    if sliders:
        notebook.cells.append(nbformat.v4.new_code_cell(_MOVE))
    ran = notebooks.execute(notebook, quick=True, timeout=240)
    warnings = [output.text for output in _outputs(ran) if output.output_type == "stream" and output.name == "stderr"]
    assert not warnings, warnings
    if sliders:
        moved = [o.text for o in ran.cells[-1].outputs if o.output_type == "stream" and o.text.startswith("moved")]
        assert int(moved[0].split()[1]) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_what_is_browsed_is_the_executed_source(name):
    path = _source(name).with_suffix(".ipynb")
    assert path.stat().st_size < notebooks.LIMIT
    shown = nbformat.reads(path.read_text(), as_version=4)
    nbformat.validate(shown)
    source = notebooks.read(_source(name))
    assert [(cell.cell_type, cell.source) for cell in shown.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ]
    kinds = {output.output_type for output in _outputs(shown)}
    assert "error" not in kinds
    assert any("image/png" in output.get("data", {}) for output in _outputs(shown))
    assert not [output for output in _outputs(shown) if output.get("name") == "stderr"]
    # No slider is left without its picture.
    for cell in shown.cells:
        if cell.cell_type == "code" and "interact(" in cell.source:
            assert any("image/png" in output.get("data", {}) for output in cell.outputs)
    assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"
