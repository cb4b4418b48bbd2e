"""Maps of a few numbers: most of their tests' time is compilation."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _light(lightly_compiled):
    pass
