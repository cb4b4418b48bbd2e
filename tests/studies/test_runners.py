"""Runners: every job is done once, also when workers die, and none outlives its owner."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from eosmodel.studies.runners import WorkersLost, cluster, here, processes

# In a module of its own, for workers to import no more than this.
JOBS = """
import os, signal, time

def square(job):
    'Ends its process the first time, if it is given a mark to leave; afterwards answers.'
    mark, value = job
    if mark is not None and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return value**2

def hopeless(job):
    os._exit(3)

def wrong(job):
    raise ZeroDivisionError(job)

def cores(seconds):
    time.sleep(seconds)
    return os.getpid(), sorted(os.sched_getaffinity(0))

def slow(mark):
    with open(mark, "w") as stream:
        stream.write(str(os.getpid()))
    time.sleep(60)
"""


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    (tmp_path / "jobs_of_a_test.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("jobs_of_a_test")
    del sys.modules["jobs_of_a_test"]


def test_here_goes_in_order(jobs):
    assert list(here(jobs.square, [(None, 2), (None, 3)])) == [(0, 4), (1, 9)]


def test_processes_do_lost_jobs_again(jobs, tmp_path):
    todo = [(None, 2), (str(tmp_path / "mark"), 3), (None, 4)]
    results = list(processes(2)(jobs.square, todo))
    assert sorted(results) == [(0, 4), (1, 9), (2, 16)]
    assert (tmp_path / "mark").exists()
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity of processes")
@pytest.mark.parametrize("more", [False, True], ids=["two", "more-than-cores"])
def test_workers_share_the_cores(jobs, more):
    mine = os.sched_getaffinity(0)
    workers = len(mine) + 1 if more else 2
    found = dict(kept for _, kept in processes(workers)(jobs.cores, [2.0] * workers))
    assert os.sched_getaffinity(0) == mine
    shares = list(found.values())
    assert set().union(*shares) == mine
    if workers <= len(mine):
        assert sum(map(len, shares)) == len(mine)


def test_processes_give_up_in_the_end(jobs):
    with pytest.raises(WorkersLost, match=r"3 times in a row.* 2 jobs"):
        list(processes(1)(jobs.hopeless, [1, 2]))


def test_an_error_of_a_job_is_no_loss(jobs):
    with pytest.raises(ZeroDivisionError, match="5"):
        list(processes(1)(jobs.wrong, [5]))
    assert not multiprocessing.active_children()


def started(mark):
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(mark.read_text())


@pytest.fixture
def interruptible():
    """Python's own answer to SIGINT, which a shell that starts the suite in the background takes away."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_workers_at_once(jobs, tmp_path):
    def interrupt():
        started(tmp_path / "mark")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        next(processes(1)(jobs.slow, [str(tmp_path / "mark")]))
    assert not multiprocessing.active_children()


def test_workers_end_with_an_owner_that_is_killed(jobs, tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import jobs_of_a_test
from eosmodel.studies.runners import processes
if __name__ == "__main__":
    list(processes(1)(jobs_of_a_test.slow, [{str(tmp_path / "mark")!r}]))
"""
    (tmp_path / "owner.py").write_text(code)
    owner = subprocess.Popen([sys.executable, str(tmp_path / "owner.py")])
    worker = started(tmp_path / "mark")
    owner.kill()
    owner.wait()
    deadline = time.monotonic() + 20
    while alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stream:  # a zombie that nobody waits for has ended too
        return stream.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("workers", [0, -1, 1.5])
def test_numbers_of_workers_are_checked(workers):
    with pytest.raises(ValueError, match="workers"):
        processes(workers)


def test_clusters_that_are_not_there(monkeypatch):
    pytest.importorskip("distributed")
    for address in ("", "nonsense", "host:8786", "http://127.0.0.1:80"):
        with pytest.raises(ValueError, match="no Dask scheduler answers"):
            cluster(address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"eosmodel\[sweep\]"):
        cluster("tcp://127.0.0.1:1")
