"""Each floor imports only from floors below it, and importing the package costs next to nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "eosmodel"
# From the ground up; modules on one floor may import each other.
FLOORS = [
    {"_status", "_checks", "_specs"},
    {"objectives", "rays", "curvature"},
    {"tuners", "directions"},
    {"dynamics"},
    {"theory"},
    {"simulation"},
    {"results"},
    {"experiment"},
    {"analysis", "plotting"},
    {"judging"},
    {"studies"},
    {"report"},
    {"commands"},
    {"cli"},
    {"docs"},
    {"__main__"},
]
LEVEL = {module: level for level, floor in enumerate(FLOORS) for module in floor}
# Below the records there are jax and its friends alone.
HEAVY = {"xarray", "matplotlib", "jinja2", "h5netcdf", "tqdm", "tyro"}


def modules():
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def top(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "eosmodel":
                yield from (f"eosmodel.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    own = top(path)
    assert own in LEVEL, f"{own} has no floor; give it one in this test"
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] not in {"paper_figures", "notebooks", "tests"}, f"{path.name} imports {name}"
        if parts[0] == "eosmodel" and len(parts) > 1:
            assert LEVEL[parts[1]] <= LEVEL[own], f"{path.name} imports {name}"
        if LEVEL[own] < LEVEL["results"]:
            assert parts[0] not in HEAVY, f"{path.name} imports {name}"


def test_importing_the_package_loads_no_jax_and_leaves_its_configuration_alone():
    code = (
        "import sys, eosmodel; assert 'jax' not in sys.modules;"
        "import jax; before = dict(jax.config.values);"
        "[getattr(eosmodel, name) for name in eosmodel.__all__];"
        "assert dict(jax.config.values) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_resolves():
    import types

    import eosmodel as eos

    for name in eos.__all__:
        assert getattr(eos, name) is not None
    # Functions that share a word with a module must be the functions, whatever was imported first.
    assert all(isinstance(getattr(eos, name), types.FunctionType) for name in ("ray", "simulate", "compare"))
