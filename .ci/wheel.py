"""Build the wheel, check what it holds, and run `eosmodel compare` from it in an empty environment.

`make wheel-test` runs this. pip gets the dependencies from wherever it is set up to.
"""

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("report/references.bib", "report.html.jinja", "style.css")
COMPARE = "compare --samples 50 --width 4 --depth 1 --steps 20 --tuners armijo --theories oscillation --out results"


def check_contents(wheel: Path) -> None:
    """The package alone, with the files that its reports need."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"eosmodel"}, f"{wheel.name} holds {sorted(top)}"
    for end in NEEDED:
        assert any(name.endswith(end) for name in names), f"{wheel.name} lacks {end}"


def main() -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def run(*command: str | Path) -> None:
            subprocess.run([str(part) for part in command], check=True, cwd=folder, env=environment)

        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
        (wheel,) = folder.glob("*.whl")
        check_contents(wheel)
        venv.create(folder / "empty", with_pip=True)
        run(folder / "empty/bin/python", "-m", "pip", "install", "--quiet", "--no-compile", wheel)
        run(folder / "empty/bin/eosmodel", *COMPARE.split())
        report = folder / "results" / "report.html"
        assert report.stat().st_size > 10_000, f"{report} is too small to be a report"
    print(f"{wheel.name}: eosmodel compare runs from it in an empty environment")


if __name__ == "__main__":
    main()
