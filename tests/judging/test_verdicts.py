"""The rule that combines verdicts, against its words, for all small sets of parts."""

import itertools
import json
import math
from dataclasses import dataclass

import pytest

from eosmodel.judging.verdicts import Claim, Verdict, combine

SUPPORTED, PARTLY, NOT_SUPPORTED, UNDECIDED, NOT_TESTED = Verdict


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_the_rule_is_what_it_says(count):
    for parts in itertools.combinations_with_replacement(Verdict, count):
        tested = {*parts} - {NOT_TESTED}
        expected = {
            SUPPORTED: tested == {SUPPORTED},
            PARTLY: tested != {SUPPORTED} and bool(tested & {SUPPORTED, PARTLY}),
            NOT_SUPPORTED: NOT_SUPPORTED in tested and tested <= {NOT_SUPPORTED, UNDECIDED},
            UNDECIDED: tested == {UNDECIDED},
            NOT_TESTED: not tested,
        }
        assert [verdict for verdict, holds in expected.items() if holds] == [combine(parts)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_whole_of_wholes_is_supported_as_the_parts_are(count):
    """Combining twice is combining once, so tuners may be judged before claims; a part of several verdicts is known."""
    pairs = list(itertools.combinations_with_replacement([SUPPORTED, NOT_SUPPORTED, UNDECIDED], 2))
    for groups in itertools.combinations_with_replacement(pairs, count):
        assert combine(map(combine, groups)) is combine(itertools.chain(*groups))


def test_truth_values_are_verdicts_and_a_share_may_do():
    assert combine([True, None]) is SUPPORTED
    assert combine([False, None]) is NOT_SUPPORTED
    assert combine([None]) is NOT_TESTED
    assert [combine([True] * n + [False] * (10 - n), share=0.9) for n in (0, 1, 8, 9, 10)] == [
        NOT_SUPPORTED, PARTLY, PARTLY, SUPPORTED, SUPPORTED,
    ]  # fmt: skip
    # 27 of 30 is a share of 0.9 up to rounding.
    assert combine([True] * 27 + [False] * 3, share=0.9) is SUPPORTED


@dataclass(frozen=True)
class Part:
    value: float

    def __str__(self):
        return f"about {self.value:g}"


def test_a_claim_prints_itself_and_is_json():
    claim = Claim("x", "It is so.", "value above 1", SUPPORTED, (Part(2.0), Part(math.inf), "a sentence"))
    head, *evidence = str(claim).split("\n    ")
    assert head == "(x) It is so. SUPPORTED"
    assert evidence == ["criterion: value above 1", "- about 2", "- about inf", "- a sentence"]
    assert claim.explanation == "about 2; about inf; a sentence"
    written = json.loads(json.dumps(claim.as_dict(), allow_nan=False))
    assert written["verdict"] == "supported"
    assert written["evidence"] == [{"value": 2.0}, {"value": None}, "a sentence"]
    assert "nothing" in Claim("y", "", "", NOT_TESTED).explanation
