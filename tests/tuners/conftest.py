"""Rules on small problems: nearly all of their tests' time is compilation."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _light(lightly_compiled):
    pass
