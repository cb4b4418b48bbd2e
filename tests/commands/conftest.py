"""The command line draws many pages, which nobody looks at: a third of the time is the number of pixels."""

import pytest

from eosmodel.report import pages


@pytest.fixture(autouse=True, scope="module")
def _coarse_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "_DPI", 60)
        yield
