"""Make a release: the distributions in dist/, and a tag. `make release` runs the checks first; nothing is uploaded.

Set before: the version in pyproject.toml and CITATION.cff; the day in CHANGELOG.md and, as date-released, CITATION.cff.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from distributions import ROOT, build


def main() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True, text=True)
    if changed.stdout:
        sys.exit(f"release: commit these first\n{changed.stdout}")
    if f"## {version} (unreleased)" in (ROOT / "CHANGELOG.md").read_text():
        sys.exit(f"release: CHANGELOG.md says that {version} is unreleased; write the day, in CITATION.cff as well")
    (ROOT / "dist").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        for file in build(Path(temporary)):
            shutil.copy(file, ROOT / "dist" / file.name)
    subprocess.run(
        ["git", "tag", "--annotate", f"v{version}", "--message", f"eosmodel {version}"], cwd=ROOT, check=True
    )
    print(
        f"dist/ holds eosmodel {version}, tagged v{version}. To publish: git push --tags; twine upload dist/*{version}*"
    )


if __name__ == "__main__":
    main()
