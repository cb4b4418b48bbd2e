"""A claim, the verdict on it, and the rule that combines the verdicts on parts into the verdict on the whole."""

import dataclasses
import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """The verdict on a claim; its value is the text in files and pages."""

    SUPPORTED = "supported"
    PARTLY = "partly"
    NOT_SUPPORTED = "not supported"
    UNDECIDED = "undecided"
    NOT_TESTED = "not tested"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim, how it is judged, the verdict, and the numbers behind it. Printing it gives all of these.

    Attributes:
        id: a short name.
        text: the claim.
        criterion: what the numbers must satisfy.
        verdict: the verdict.
        evidence: what it was judged by, one entry per thing that was tested: sentences, or dataclasses of numbers
            that print themselves as one.

    Example:
        >>> print(Claim("a", "The loss falls.", "last loss below the first", Verdict.SUPPORTED, ("0.3 against 1.2",)))
        (a) The loss falls. SUPPORTED
            criterion: last loss below the first
            - 0.3 against 1.2
    """

    id: str
    text: str
    criterion: str
    verdict: Verdict
    evidence: tuple[Any, ...] = ()

    @property
    def explanation(self) -> str:
        """The evidence in one line."""
        return "; ".join(map(str, self.evidence)) or "these runs have nothing to judge it by"

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON: evidence that is a dataclass as a dictionary, and None in place of ∞ and NaN."""
        return _strict(dataclasses.asdict(self))

    def __str__(self) -> str:
        lines = [f"({self.id}) {self.text} {self.verdict.upper()}", f"    criterion: {self.criterion}"]
        return "\n".join([*lines, *(f"    - {part}" for part in self.evidence)])


def combine(parts: Iterable[Verdict | bool | None], share: float = 1.0) -> Verdict:
    """The verdict on a whole, from the verdicts on its parts.

    Parts that were not tested are left out. Of the others, the whole is

    - *supported* if all are, or at least the given share of them;
    - *partly* supported if some are, in full or in part;
    - *not supported* if none is, and some are not supported;
    - *undecided* if none is decided either way;
    - *not tested* if there are none.

    Args:
        parts: verdicts; True stands for supported, False for not supported and None for not tested.
        share: share of the parts that must be supported, in (0, 1].

    Example:
        >>> combine([True, False]).value, combine([True] * 9 + [False], share=0.9).value
        ('partly', 'supported')
        >>> combine([Verdict.UNDECIDED, False]).value, combine([Verdict.UNDECIDED, None]).value, combine([]).value
        ('not supported', 'undecided', 'not tested')
    """
    words = {True: Verdict.SUPPORTED, False: Verdict.NOT_SUPPORTED, None: Verdict.NOT_TESTED}
    verdicts = [part if isinstance(part, Verdict) else words[part] for part in parts]
    tested = [verdict for verdict in verdicts if verdict is not Verdict.NOT_TESTED]
    if not tested:
        return Verdict.NOT_TESTED
    if tested.count(Verdict.SUPPORTED) >= share * len(tested):
        return Verdict.SUPPORTED
    if Verdict.SUPPORTED in tested or Verdict.PARTLY in tested:
        return Verdict.PARTLY
    return Verdict.NOT_SUPPORTED if Verdict.NOT_SUPPORTED in tested else Verdict.UNDECIDED


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
