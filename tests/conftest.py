"""Both precisions are first-class: float64 is available in the tests, and no operation may mix types silently."""

import gc

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(autouse=True, scope="module")
def _released():
    """Let go of what a file has compiled: every executable is a piece of mapped memory, and a process may have some
    65 000 of them; a suite that keeps all ends in a segmentation fault of the compiler."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def fails(capsys):
    """Run the command line with bad input: it must end with exit code 2 and one line, which is returned."""
    from eosmodel.cli import main

    def run(*args):
        with pytest.raises(SystemExit) as end:
            main(list(args))
        error = capsys.readouterr().err
        assert end.value.code == 2
        assert error.startswith("eosmodel: ")
        assert error.count("\n") == 1, error
        return error

    return run
