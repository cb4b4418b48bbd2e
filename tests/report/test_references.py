"""The table of what to cite: complete, well formed, and in step with the sources that docstrings name."""

import inspect
import re
from functools import partial
from pathlib import Path

import pytest

from eosmodel import directions, theory
from eosmodel.objectives import data
from eosmodel.objectives import registry as objectives
from eosmodel.report.references import cited, references
from eosmodel.tuners import registry as tuners

ROOT = Path(__file__).parents[2]
NAMED = {
    "tuner": {name: entry.factory for name, entry in tuners.REGISTRY.items()},
    "direction": {name: entry.factory for name, entry in directions.DIRECTIONS.items()},
    "objective": {name: toy.factory for name, toy in objectives.TOYS.items()},
    "data": {name: load for name, (load, _) in data.DATASETS.items()},
}
FACTORIES = [(kind, name, factory) for kind, entries in NAMED.items() for name, factory in entries.items()]


def test_every_entry_of_the_file_is_read_whole():
    text = (ROOT / "eosmodel" / "report" / "references.bib").read_text()
    assert len(references()) == text.count("\n@")
    # What is shown is what is in the file, but for the keywords.
    stripped = re.sub(r",\n  keywords = \{.*\}", "", text)
    assert all(reference.bibtex in stripped for reference in references())
    keys = [reference.key for reference in references()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("reference", references(), ids=lambda reference: reference.key)
def test_entries_are_well_formed(reference):
    assert {"author", "title"} <= {*reference.fields}
    assert reference.bibtex.count("{") == reference.bibtex.count("}")
    # BibTeX takes a bare & for a column of a table.
    assert not re.search(r"(?<!\\)[&%#_$]", "".join(v for k, v in reference.fields.items() if k not in ("url", "doi")))
    assert reference.key == "eosmodel" or re.fullmatch(r"[a-z]+\d{4}", reference.key)
    assert "{" not in reference.authors + reference.title + reference.venue
    if "eprint" in reference.fields and reference.kind != "phdthesis":
        assert re.fullmatch(r"\d{4}\.\d{4,5}", reference.fields["eprint"])
        # arXiv's numbers begin with year and month.
        assert 2000 + int(reference.fields["eprint"][:2]) == int(reference.fields["year"])


def test_keywords_are_names_that_there_are():
    known = {"all", "mini-batches", "theory:slow-flow"} | {f"theory:{name}" for name in theory.THEORIES}
    known |= {f"{kind}:{name}" for kind, name, _ in FACTORIES}
    used = {name for reference in references() for name in reference.used_by if not name.startswith("software:")}
    assert used <= known


@pytest.mark.parametrize(("kind", "name", "factory"), FACTORIES, ids=lambda value: value if type(value) is str else "")
def test_what_a_docstring_names_as_its_source_is_cited(kind, name, factory):
    doc = inspect.getdoc(factory.func if isinstance(factory, partial) else factory) or ""
    source = re.search(r"Source: (.*?)(\n\n|$)", doc, re.DOTALL)
    named = set(re.findall(r"\d{4}\.\d{4,5}", source[1])) if source else set()
    references_of = cited([f"{kind}:{name}"])
    assert named <= {reference.fields.get("eprint") for reference in references_of}
    if source:
        assert any(f"{kind}:{name}" in reference.used_by for reference in references_of)


def test_the_package_itself_is_cited_as_its_citation_file_says():
    text = (ROOT / "CITATION.cff").read_text()
    own = cited([])[0]
    assert f'title: "{own.title}"' in text
    assert f'name: "{own.authors}"' in text
