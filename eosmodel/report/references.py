"""What to cite: the works behind tuners, theories, toys, data and software; the table of them is references.bib.

A reference says in its keywords what rests on it: "tuner:armijo", "theory:valley", "direction:adam",
"objective:valley", "data:digits", "software:jax", "mini-batches", or "all" for every result. A new source is one entry
there.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Reference:
    """One entry of references.bib.

    Attributes:
        kind: type of the BibTeX entry.
        key: its key.
        fields: its fields, keywords left out.
        used_by: its keywords: what rests on it.

    Example:
        >>> armijo = next(entry for entry in cited(["tuner:armijo"]) if entry.key == "armijo1966")
        >>> armijo.authors, armijo.title[:25], armijo.venue
        ('L. Armijo', 'Minimization of functions', 'Pacific Journal of Mathematics 16 (1), 1–3, 1966')
        >>> armijo.url
        'https://doi.org/10.2140/pjm.1966.16.1'
    """

    kind: str
    key: str
    fields: Mapping[str, str]
    used_by: tuple[str, ...]

    @property
    def bibtex(self) -> str:
        """The entry as BibTeX."""
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in self.fields.items())
        return f"@{self.kind}{{{self.key},\n{lines}\n}}"

    @property
    def authors(self) -> str:
        """Initials and family names."""
        names = [_initials(name) for name in self.fields["author"].split(" and ")]
        return ", ".join(names[:-1]) + " et al" if names[-1] == "others" else ", ".join(names)

    @property
    def title(self) -> str:
        """The title, without the braces that keep its capitals."""
        return re.sub(r"[{}]", "", self.fields["title"])

    @property
    def venue(self) -> str:
        """Where and when."""
        of = self.fields
        names = ("journal", "booktitle", "publisher", "institution", "school", "howpublished")
        where = next((of[name] for name in names if name in of), "")
        where += f" {of['volume']}" if "volume" in of else ""
        where += f" ({of['number']})" if "number" in of else ""
        where += f", {of['pages'].replace('--', '–')}" if "pages" in of else ""
        parts = [where, f"arXiv:{of['eprint']}" if "eprint" in of else "", of.get("year", "")]
        return ", ".join(part for part in parts if part).replace("\\&", "&")

    @property
    def url(self) -> str | None:
        """Where to read it, if that is on the web."""
        if "eprint" in self.fields:
            return f"https://arxiv.org/abs/{self.fields['eprint']}"
        return f"https://doi.org/{self.fields['doi']}" if "doi" in self.fields else self.fields.get("url")


@cache
def references() -> tuple[Reference, ...]:
    """All of them, in the order of the file."""
    text = (files("eosmodel.report") / "references.bib").read_text(encoding="utf-8")
    return tuple(_entry(*entry) for entry in re.findall(r"^@(\w+)\{(\S+),\n(.*?)^\}$", text, re.MULTILINE | re.DOTALL))


def cited(names: Iterable[str]) -> tuple[Reference, ...]:
    """The references that the named things, and every result, rest on, in the order of the file.

    Args:
        names: as in the keywords, see the module. A name without a source adds none.

    Example:
        >>> [entry.key for entry in cited(["tuner:adgd"]) if "all" not in entry.used_by]
        ['malitsky2020']
    """
    wanted = {"all", *names}
    return tuple(reference for reference in references() if wanted & {*reference.used_by})


def _entry(kind: str, key: str, body: str) -> Reference:
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", body, re.MULTILINE))
    return Reference(kind, key, fields, tuple(fields.pop("keywords").split(", ")))


def _initials(name: str) -> str:
    family, comma, given = name.partition(", ")
    if not comma:
        return name.strip("{}")
    return " ".join("-".join(f"{part[0]}." for part in word.split("-")) for word in given.split()) + f" {family}"
