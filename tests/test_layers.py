"""Each floor imports only from floors below it, and importing the package costs next to nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "eosmodel"
# From the ground up; modules of one floor may import each other, but not in a circle.
FLOORS = [
    {"_status", "_checks", "_specs", "_units", "_origin"},
    {"objectives", "rays", "curvature", "critical"},
    {"tuners", "directions"},
    {"dynamics"},
    {"theory"},
    {"simulation"},
    {"results"},
    {"logs", "plotting"},
    {"experiment"},
    {"analysis"},
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


def graph():
    """Every module of the package with the modules that it imports, anywhere: in functions, and for types alone.

    `from eosmodel.x import y` is an import of the module eosmodel.x.y where there is one, else of eosmodel.x. An import
    runs the packages above its target too, so that they are imported as well, but for those that the importing module
    lies in itself: these are being run already.
    """
    names = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    edges = {}
    for name, path in names.items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= {target if target in names else str(node.module) for target in inner}
        parts = [target.split(".") for target in targets]
        above = {".".join(words[:i]) for words in parts for i in range(1, len(words))}
        above = {package for package in above if not f"{name}.".startswith(f"{package}.")}
        edges[name] = ((targets | above) & names.keys()) - {name}
    return edges


def reached(edges, start):
    seen, todo = set(), [start]
    while todo:
        new = edges[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def test_no_modules_import_each_other_in_a_circle():
    edges = graph()
    assert len(edges) > 100
    after = {name: reached(edges, name) for name in edges}
    circles = {
        frozenset(other for other in after[name] if name in after[other]) for name in edges if name in after[name]
    }
    assert not circles, "\n".join(" ↔ ".join(sorted(circle)) for circle in circles)


def test_a_circle_would_be_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b"}}
    assert [name for name in edges if name in reached(edges, name)] == ["b", "c"]


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
