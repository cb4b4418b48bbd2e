"""Numbers as text: they are read back, and what is missing is a dash."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosmodel.results.formatting import aligned, number


@given(st.floats(allow_nan=False), st.sampled_from([".3g", ".3f", "+.3f", ".1e", ".0f"]))
def test_a_number_is_pythons_but_for_its_signs(value, digits):
    text = number(value, digits)
    assert "-" not in text
    assert float(text.replace("−", "-").replace("∞", "inf")) == float(format(value, digits))


@pytest.mark.parametrize("value", [-0.0, -1e-9, np.float32(-1e-9)])
def test_zero_has_no_minus(value):
    assert [number(value, digits) for digits in (".3f", "+.3f", ".0%")] == ["0.000", "+0.000", "0 %"]


def test_missing_and_infinite_numbers():
    assert [number(value) for value in (None, math.nan, np.float32("nan"), math.inf, -math.inf)] == [
        "–", "–", "–", "∞", "−∞",
    ]  # fmt: skip
    assert number(7, "d") == "7"


def test_columns_are_aligned_under_a_rule():
    text = aligned([("name", "n"), ("a", "10"), ("long name", "1")], left=(0,))
    assert text.splitlines() == ["name        n", "─" * 13, "a          10", "long name   1"]
