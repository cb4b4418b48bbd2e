"""Where jobs run: in this process, in worker processes, or on a Dask cluster.

A runner is called as runner(fn, jobs) and gives (index, fn(jobs[index])) as the jobs are finished, in any order. `fn`
is a function of a module and jobs are plain, so that both can be sent. What a lost worker had under way is done again.
Closing the iterator ends what is under way.
"""

import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from eosmodel._checks import check_count

Results = Generator[tuple[int, Any], None, None]
Runner = Callable[[Callable[[Any], Any], Sequence[Any]], Results]
"""A function of a function and its jobs that yields (index, result) of each job as it is done."""

ATTEMPTS = 3
"""Sets of worker processes that may die in a row without finishing a job before the rest is given up."""


class WorkersLost(RuntimeError):
    """Workers were lost too often, or the cluster is gone."""


def chosen(workers: int | None, scheduler: str | None) -> Runner:
    """The runner of a command's options: a cluster, worker processes, or this process where neither is given.

    Raises:
        ValueError: both are given, or what the runner does not allow.
    """
    if workers is not None and scheduler is not None:
        raise ValueError("--workers and --scheduler exclude each other")
    if scheduler is not None:
        return cluster(scheduler)
    return here if workers is None else processes(workers)


def here(fn: Callable[[Any], Any], jobs: Sequence[Any]) -> Results:
    """The runner that does all jobs in this process, in order."""
    for i, job in enumerate(jobs):
        yield i, fn(job)


def processes(workers: int) -> Runner:
    """A runner with worker processes on this machine, started afresh (spawned), each on its share of the cores.

    Where processes have more threads than there are cores, as jax's take one for every core, small programs wait for
    each other: a run takes 1.5 times as long on two cores (`make bench`). If one dies, the others of its set end with
    it; a new set does what is not done. Workers end with this process, however it ends.

    Args:
        workers: how many at once, an integer ≥ 1.

    Raises:
        ValueError: a number of workers out of range.
        WorkersLost: from the iterator, when `ATTEMPTS` sets in a row died without finishing a job.
    """
    check_count("processes", "workers", workers)

    def runner(fn, jobs):
        left, lost = set(range(len(jobs))), 0
        while left:
            before = len(left)
            for i, found in _one_set(fn, jobs, sorted(left), workers):
                left.remove(i)
                yield i, found
            lost = 0 if len(left) < before else lost + 1
            if lost == ATTEMPTS:
                raise WorkersLost(
                    f"worker processes died {lost} times in a row before finishing anything, {len(left)} jobs are "
                    "left; if memory is short, use fewer workers"
                )

    return runner


def _one_set(fn, jobs, todo, workers):
    """What one set of processes finishes, until it is done or broken."""
    context = get_context("spawn")
    leash, end = context.Pipe(duplex=False)
    workers = min(workers, len(todo))
    pool = ProcessPoolExecutor(workers, context, _begin, (leash, context.Value("i", 0), workers))
    finished = False
    try:
        futures = {}
        try:
            for i in todo:
                futures[pool.submit(fn, jobs[i])] = i
        except BrokenProcessPool:  # already while there are jobs to hand out
            pass
        for future in as_completed(futures):
            try:
                found = future.result()
            except BrokenProcessPool:  # so are all others that are not done
                continue
            yield futures.pop(future), found
        finished = True
    finally:
        # Workers that have nothing left to do go by themselves and leave nothing behind.
        if not finished:
            end.close()
        pool.shutdown(cancel_futures=True)
        end.close()
        leash.close()


def _begin(leash, count, workers: int) -> None:
    """In a worker, before anything else: keep to a share of the cores; end when the other end of the pipe closes, as it
    does when its owner dies; leave Ctrl-C to it."""
    with count.get_lock():
        index, count.value = count.value, count.value + 1
    keep_to(index, workers)

    def watch():
        try:
            leash.recv()
        except EOFError:
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


def keep_to(index: int, workers: int) -> None:
    """Keep this process to its share of the cores that it may use, one at least, where the system can (Linux).

    Args:
        index: which of the `workers` processes this is, from 0.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[index % workers :: workers] or {cores[index % len(cores)]})


def cluster(address: str, *, timeout: float = 10.0) -> Runner:
    """A runner on a Dask cluster that is already there. Its workers need eosmodel and the data; results come back here.

    A job whose worker dies is given to another one, up to `distributed.scheduler.allowed-failures` times (3 unless the
    cluster is configured otherwise).

    Args:
        address: of the scheduler, such as tcp://host:8786.
        timeout: seconds to wait for an answer.

    Raises:
        ValueError: no scheduler answers at the address, or dask.distributed is missing (extra `sweep`).
        WorkersLost: from the iterator, when a job lost too many workers or the scheduler is gone.
    """
    try:
        import distributed
    except ImportError:
        raise ValueError("a scheduler needs dask.distributed: pip install 'eosmodel[sweep]'") from None
    try:
        distributed.comm.get_address_host_port(address, strict=True)
        client = distributed.Client(address, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError, ValueError):
        raise ValueError(f"no Dask scheduler answers at {address!r}; it looks like tcp://host:8786") from None

    def runner(fn, jobs):
        gone = f"the cluster at {address} is gone"
        with client:
            futures = client.map(fn, jobs, pure=False)
            index = {future.key: i for i, future in enumerate(futures)}
            pending = distributed.as_completed(futures, client.loop, with_results=True)
            # What is held here stays on the cluster; let go, results leave it as they come in.
            del futures
            try:
                for future, found in pending:
                    if isinstance(found, CancelledError):
                        raise WorkersLost(gone)
                    yield index[future.key], found
            except distributed.KilledWorker as error:
                raise WorkersLost(f"the cluster lost too many workers over one job: {error}") from None
            except (CancelledError, OSError):
                raise WorkersLost(gone) from None

    return runner
