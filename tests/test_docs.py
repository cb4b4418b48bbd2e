"""The documentation: every public name stands in it, the code of its pages runs, and it builds without a warning."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jax
import pytest
from optax.tree_utils import tree_get

import eosmodel

pytest.importorskip("sphinx", reason="needs Sphinx, which the docs extra installs")
from sphinx.pycode import ModuleAnalyzer

pytestmark = pytest.mark.usefixtures("lightly_compiled")

ROOT = Path(eosmodel.__file__).parents[1]
DOCS = ROOT / "eosmodel" / "docs"
REFERENCE = DOCS / "reference"


def pages():
    """Text of the page of every module in the reference."""
    texts = [path.read_text() for path in REFERENCE.glob("*.rst")]
    return {re.search(r"automodule:: (\S+)", text)[1]: text for text in texts}


PAGES = pages()


def entries(module):
    """The full names in the tables of a module's page."""
    blocks = re.findall(r"\.\. autosummary::\n(.*?)(?=\n\S|\n   \S|\Z)", PAGES[module], flags=re.DOTALL)
    names = [
        line.strip().lstrip("~") for block in blocks for line in block.splitlines() if re.match(r" {6}[\w~]", line)
    ]
    return [name if name.startswith("eosmodel.") else f"{module}.{name}" for name in names]


def last(names):
    return sorted(name.rpartition(".")[2] for name in names)


def offering():
    """Modules that say by `__all__` what they offer."""
    found = [eosmodel]
    for info in pkgutil.walk_packages(eosmodel.__path__, "eosmodel."):
        if info.ispkg and not re.search(r"\._", info.name):
            found.append(importlib.import_module(info.name))
    return [module.__name__ for module in found if hasattr(module, "__all__")]


@pytest.mark.parametrize("name", offering())
def test_a_page_has_every_name_that_its_module_offers_and_no_other(name):
    module = importlib.import_module(name)
    assert name in PAGES, f"eosmodel/docs/reference has no page of {name}"
    assert last(entries(name)) == sorted(module.__all__)
    for public in module.__all__:
        if isinstance(getattr(module, public), ModuleType):
            assert getattr(module, public).__name__ in PAGES


@pytest.mark.parametrize("name", sorted(set(PAGES) - set(offering())))
def test_a_page_has_every_function_and_class_that_its_module_defines(name):
    module = importlib.import_module(name)
    defined = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == name and callable(value)
    }
    assert defined <= set(last(entries(name)))


def documented(name):
    """The text that stands at a full name: its docstring, or that under a constant."""
    home, _, key = name.rpartition(".")
    thing = getattr(importlib.import_module(home), key)
    if isinstance(thing, ModuleType) or inspect.isroutine(thing) or inspect.isclass(thing):
        return vars(thing).get("__doc__") or getattr(thing, "__doc__", "")
    return "\n".join(ModuleAnalyzer.for_module(home).find_attr_docs()[("", key)])


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_name_of_a_page_has_a_docstring(name):
    for entry in entries(name):
        text = documented(entry)
        assert len((text or "").split()) >= 3, entry
        # What a class gets by itself, as a named tuple does, is none.
        assert not text.startswith(entry.rpartition(".")[2] + "("), entry


def test_every_page_is_in_the_table_of_contents():
    for folder, suffixes in ((DOCS, (".md",)), (REFERENCE, (".rst",))):
        listed = re.findall(r"^(?:.*<)?([\w/]+)>?$", (folder / "index.md").read_text(), flags=re.MULTILINE)
        pages = {path.stem for path in folder.iterdir() if path.suffix in suffixes} - {"index"}
        assert pages <= set(listed)


def computed(page):
    """The names of a page's Python after it ran."""
    blocks = re.findall(r"```\{computed\}\n(.*?)```", (DOCS / f"{page}.md").read_text(), flags=re.DOTALL)
    assert len(blocks) > 2
    scope = {"__name__": page}
    for block in blocks:
        exec(compile(block, page, "exec"), scope)
    return scope


@pytest.mark.parametrize("page", ["theory", "adding", pytest.param("directions", marks=pytest.mark.slow)])
def test_the_code_of_a_page_runs(page, capsys):
    computed(page)
    assert capsys.readouterr().out


def test_the_code_of_the_library_page_runs_and_finds_what_is_known(capsys):
    scope = computed("library")
    assert "oscillation" in capsys.readouterr().out
    assert float(scope["eta"]) > 0
    assert int(scope["run"].status) == 0
    assert float(scope["theory"].status.max()) == 0
    assert abs(float(scope["means"].r) / 94 - 1) < 1e-3
    assert abs(float(scope["slow"].sharpness[-1]) / 20 - 1) < 1e-3


LOOPS = re.findall(r"```python\n(.*?)```", (DOCS / "training.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("library", ["optax", "equinox", "flax"])
def test_a_training_loop_runs_as_it_is_pasted_and_with_the_optimizer_that_it_replaces(library):
    pytest.importorskip(library, reason=f"{library} is not installed")
    code = next(loop for loop in LOOPS if library in re.findall(r"^(?:import|from) (\w+)", loop, flags=re.MULTILINE))
    plain = re.sub(r"optax\.chain\(optax\.sgd\(1\.0\), [^)]*\)+(?=  #|, wrt)", "optax.sgd(0.1)", code)
    plain = re.sub(r", value=value.*\)$", ")", plain, flags=re.MULTILINE)
    plain = re.sub(r"^print.*$", "", plain, flags=re.MULTILINE)
    for text in (code, plain):
        scope: dict = {}
        with jax.numpy_dtype_promotion("standard"):  # as in the user's session
            exec(compile(text, str(DOCS / "training.md"), "exec"), scope)
            now = scope["loss"](scope.get("model", scope.get("params")), scope["x"], scope["y"])
        assert now < scope["value"] < 0.5  # still descending, and better than no output at all
        if text is code:
            state = scope["optimizer"].opt_state if library == "flax" else scope["state"]
            assert float(tree_get(state, "learning_rate")) > 0
    assert plain.count("optax.sgd(0.1)") == 2  # in the code, and in the comment beside it


def test_links_to_notebooks_lead_somewhere():
    links = {link for page in DOCS.glob("*.md") for link in re.findall(r"\]\(([^)]*\.ipynb)\)", page.read_text())}
    assert len(links) >= 4
    assert all((DOCS / link).is_file() for link in links)


def test_the_architecture_lists_the_package_in_the_order_of_its_floors():
    block = re.search(r"```\n(.*?)```", (DOCS / "architecture.md").read_text(), flags=re.DOTALL)[1]
    listed = re.findall(r"^  (\w+(?:/|\.py))", block, flags=re.MULTILINE)
    modules = {path.name for path in DOCS.parent.glob("*.py")} | {
        f"{path.parent.name}/" for path in DOCS.parent.glob("*/*.*")
    }
    assert sorted(listed) == sorted(name for name in modules if not name.startswith("_"))


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_opens_offline(tmp_path):
    pytest.importorskip("myst_nb", reason="needs myst-nb, which the docs extra installs")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path)]
    subprocess.run(command, check=True)
    for path in tmp_path.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r'<(?:script|link|img)[^>]* (?:src|href)="(?:https?:)?//', text), path
    assert (tmp_path / "theory.html").read_text().count("<math") > 100
    # The notebooks are pages with their pictures, and words of the glossary links to it.
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert '<img alt="' in (tmp_path / "notebooks" / f"{path.stem}.html").read_text()
    ids = set(re.findall(r'id="(term-[\w-]+)"', (tmp_path / "glossary.html").read_text()))
    linked = re.findall(r'class="glossed[^"]*" href="glossary.html#([\w-]+)"', (tmp_path / "start.html").read_text())
    assert "term-sharpness" in linked
    assert len(linked) == len(set(linked))
    assert set(linked) <= ids
    for name in PAGES:
        stem = next(path.stem for path in REFERENCE.glob("*.rst") if f"automodule:: {name}\n" in path.read_text())
        text = (tmp_path / "reference" / f"{stem}.html").read_text()
        linked = re.findall(r'<tr class="row-\w+"><td><p><a class="reference internal" href="([^"]+)"', text)
        assert len(linked) == len(entries(name)), name
