"""What says the version says the same one: the package's metadata, the citation and the changelog."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def field(name):
    found = re.search(rf"^{name}: *\"?([^\"\n]+)", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    return found and found.group(1)


def test_metadata_citation_and_changelog_are_of_one_release():
    releases = re.findall(r"^## (\S+) \((.*)\)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    version, day = releases[0]
    assert version == PROJECT["version"] == field("version")
    assert field("date-released") == (None if day == "unreleased" else day)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for _, day in releases[1:])
    assert field("license") == PROJECT["license"]
    assert field("title").startswith(PROJECT["name"])


def test_the_python_versions_that_are_named_are_those_that_are_required():
    named = [text.split(" :: ")[-1] for text in PROJECT["classifiers"] if "Python :: 3." in text]
    assert f">={named[0]}" == PROJECT["requires-python"]
