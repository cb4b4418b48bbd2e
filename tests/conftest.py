"""Both precisions are first-class: float64 is available in the tests, and no operation may mix types silently."""

import atexit
import contextlib
import gc
import os
import shutil
import tempfile

# What one test has compiled is read by the next and by the processes that tests start: most of the suite's time is
# compilation. The process that makes the folder removes it; the others inherit its name.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="eosmodel-compiled-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"  # the rest is sooner compiled than stored
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# The older of XLA's two ways to emit loops, in one piece: programs are compiled in two thirds of the time. What the
# programs compute is the same to rounding, which is all that a test may rely on.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",
    )
).strip()

import jax
import pytest
from _pytest.doctest import DoctestItem

from eosmodel.studies.runners import keep_to

if "PYTEST_XDIST_WORKER" in os.environ:  # gw0, gw1, …
    keep_to(int(os.environ["PYTEST_XDIST_WORKER"][2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_collection_finish():
    """The garbage collector leaves alone what lives to the end, the modules and their tests, and looks for garbage less
    often: tracing makes millions of objects that are soon gone, and visiting them took a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 10)


@pytest.fixture(autouse=True, scope="module")
def _released():
    """Let go of what a file has compiled: every executable is a piece of mapped memory, and a process may have some
    65 000 of them; a suite that keeps all ends in a segmentation fault of the compiler."""
    yield
    jax.clear_caches()
    gc.collect()


@contextlib.contextmanager
def _lightly():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def lightly_compiled():
    """For files whose programs run for a moment only: they are compiled in half the time, in the processes that the
    tests start as well. Long runs are many times slower so; a file that has some does without."""
    with _lightly():
        yield


class _Examples:
    """Examples in docstrings are lightly compiled too: they lie outside of this folder, and only plugins see them."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        with _lightly() if isinstance(item, DoctestItem) else contextlib.nullcontext():
            return (yield)


def pytest_configure(config):
    config.pluginmanager.register(_Examples())


@pytest.fixture
def compilations(caplog):
    """Call a function: the messages of jax about what it compiles meanwhile."""

    def during(call):
        caplog.clear()
        with jax.log_compiles():
            call()
        return [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()]

    return during


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
