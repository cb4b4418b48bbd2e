"""Compiled programs are kept on disk between commands: a command that was run before starts in half the time.

The folder follows the platform's conventions: `eosmodel` in $XDG_CACHE_HOME or ~/.cache on Linux, in ~/Library/Caches
on macOS, in %LOCALAPPDATA% on Windows. Only the command line does this; `import eosmodel` leaves jax as it is.
"""

import hashlib
import os
import platform
import sys
from collections.abc import MutableMapping
from importlib.metadata import version
from pathlib import Path

FOLDER = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def keep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have jax, here and in worker processes, keep what it compiles; before jax is imported.

    A folder that the user has chosen stays, and one that cannot be made is done without.
    """
    if FOLDER in environment:
        return
    folder = cache_folder(environment) / _machine()
    try:
        new = not folder.parent.exists()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if new:
        print(f"Compiled programs are kept in {folder.parent}, which may be deleted; --no-cache does without.")
    environment[FOLDER] = str(folder)
    environment.setdefault(LEAST_SECONDS, "0.3")  # the rest is sooner compiled than read


def cache_folder(environment: MutableMapping[str, str], system: str = sys.platform) -> Path:
    """The folder for what can be made again, by the conventions of the platform."""
    home = Path.home()
    if system == "win32":
        base = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif system == "darwin":
        base = home / "Library" / "Caches"
    else:
        given = Path(environment.get("XDG_CACHE_HOME", ""))
        base = given if given.is_absolute() else home / ".cache"  # relative paths are to be ignored
    return base / "eosmodel"


def _machine() -> str:
    """A name for the kind of processor: programs of one with other instructions would crash in a shared home."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    kind = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    text = " ".join((version("jaxlib"), platform.machine(), kind))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
