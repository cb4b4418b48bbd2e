"""Build the source distribution and the wheel, check what they hold, and run both in an empty environment.

`make wheel-test` runs this. pip gets the dependencies from wherever it is set up to.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("report/references.bib", "report.html.jinja", "style.css")
SOURCES = ("pyproject.toml", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "tests/conftest.py")
COMPARE = "compare --samples 50 --width 4 --depth 1 --steps 20 --tuners armijo --theories oscillation --out results"


def build(folder: Path) -> tuple[Path, Path]:
    """Write the source distribution, and the wheel made from it, to a folder; checked."""
    tools = folder / "tools"
    venv.create(tools, with_pip=True)
    run(tools / "bin/python", "-m", "pip", "install", "--quiet", "hatchling", cwd=folder)
    run(tools / "bin/python", "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    check_sources(sdist)
    run(tools / "bin/python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, sdist, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    check_contents(wheel)
    return sdist, wheel


def check_sources(sdist: Path) -> None:
    """What it takes to build, test and cite."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = {*SOURCES, *(f"eosmodel/{path.relative_to(ROOT / 'eosmodel')}" for path in ROOT.glob("eosmodel/**/*.py"))}
    assert not missing - names, f"{sdist.name} lacks {sorted(missing - names)}"


def check_contents(wheel: Path) -> None:
    """The package alone, with the files that its reports need."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"eosmodel"}, f"{wheel.name} holds {sorted(top)}"
    for end in NEEDED:
        assert any(name.endswith(end) for name in names), f"{wheel.name} lacks {end}"


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command that knows nothing of this environment."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run([str(part) for part in command], check=True, cwd=cwd, env=environment, stdout=sys.stderr)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sdist, wheel = build(folder)
        bin = folder / "empty/bin"
        venv.create(folder / "empty", with_pip=True)
        run(bin / "python", "-m", "pip", "install", "--quiet", "--no-compile", wheel, cwd=folder)
        run(bin / "eosmodel", *COMPARE.split(), cwd=folder)
        report = folder / "results" / "report.html"
        assert report.stat().st_size > 10_000, f"{report} is too small to be a report"
        again = ("--quiet", "--no-compile", "--no-deps", "--force-reinstall")
        run(bin / "python", "-m", "pip", "install", *again, sdist, cwd=folder)
        run(bin / "eosmodel", "report", "results", cwd=folder)
    print(f"{wheel.name}, {sdist.name}: eosmodel runs from both in an empty environment")


if __name__ == "__main__":
    main()
