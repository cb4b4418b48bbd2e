"""The commands, a module each: `run(options)`, and where it draws `redraw(folder)`, which needs only the files.

`options` and `shared` are below all of them. A command that writes a folder also names its `OUTPUTS`, the files and
folders in it.
"""

import importlib
from types import ModuleType


def module_of(name: str) -> ModuleType:
    """The module of a command. Loaded when asked for, so that help needs none of them."""
    return importlib.import_module(f"{__name__}.{name}")
