"""The figures, one module each: `python -m paper_figures` in a checkout; the installed package has none of them.

A figure is a module of this package whose name does not begin with an underscore. The first line of its docstring is
its title, and it has

- `CAPTION`; `SOURCES`, the arXiv numbers of the work that it corresponds to; `DTYPE`, of all that is computed;
- `settings(quick)`: the numbers that decide the result, as plain as JSON;
- `compute(quick)`: the dataset, from these numbers alone. `quick` is for tests: tiny networks and small grids;
- `judge(dataset)`: what the numbers say of the figure's claims, as `eosmodel.judging.verdicts.Claim`;
- `draw(dataset)`: the picture, which computes no dynamics.

`python -m paper_figures` computes a figure as a block of a study (`eosmodel.studies`), draws it from its file, and
writes the manifest. A new figure is one new module.
"""

import ast
import importlib
from pathlib import Path
from types import ModuleType


def titles() -> dict[str, str]:
    """Titles of the figures by name, as on the command line; nothing of them is imported.

    Example:
        >>> titles()["responses"]
        'Response functions Φ(r) of all step-size rules, with their class.'
    """
    paths = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("_"))
    docs = {path.stem.replace("_", "-"): ast.get_docstring(ast.parse(path.read_text())) or "" for path in paths}
    return {name: doc.partition("\n")[0] for name, doc in docs.items()}


def load(name: str) -> ModuleType:
    """The module of a figure."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
