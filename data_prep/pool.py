"""Runs tasks in worker processes with a bounded number in flight; stops at once and cleanly."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from srgan_tf import errors

_GUARD = 'if __name__ == "__main__":'
_PER_WORKER = 2  # One that runs and one that waits, so that no worker is idle.


class WorkerDiedError(RuntimeError):
    """A worker process was killed; `jobs` were in flight."""

    def __init__(self, jobs: list[Any]):
        super().__init__(f"a worker process died with {len(jobs)} jobs in flight")
        self.jobs = jobs


def run(task: Callable[[Any], Any], jobs: Iterable[Any], *, workers: int) -> Iterator[Any]:
    """Yields `task(job)` for every job, in the order in which they finish.

    With one worker the tasks run in this process. `jobs` may be a generator; it is advanced only
    as fast as the workers take its items.

    Raises:
        WorkerDiedError: a worker was killed, for example by the system for want of memory.
        errors.InputError: workers ended before they began, as where a script has no guard.
    """
    if workers == 1:
        for job in jobs:
            yield task(job)
        return
    before = set(multiprocessing.active_children())
    executor = concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    in_flight: dict[concurrent.futures.Future, Any] = {}
    children: set[Any] = set()
    submitted = 0
    try:
        for job in jobs:
            with _interrupts_held():
                in_flight[executor.submit(task, job)] = job
            submitted += 1
            children |= set(multiprocessing.active_children()) - before
            if len(in_flight) >= _PER_WORKER * workers:
                yield from _finished(in_flight)
        while in_flight:
            yield from _finished(in_flight)
    except BrokenProcessPool as error:
        executor.shutdown(cancel_futures=True)
        # Killed, a process has a negative code; ended by an exception outside of a task, 1.
        if submitted == len(in_flight) and any((child.exitcode or 0) > 0 for child in children):
            raise errors.InputError(
                f"worker processes could not start (what they say is above); a script needs "
                f"`{_GUARD}` around what it runs, for workers import it again; or take workers=1"
            ) from error
        raise WorkerDiedError(list(in_flight.values())) from error
    finally:
        if in_flight:
            for child in set(multiprocessing.active_children()) - before:
                child.kill()
        executor.shutdown(cancel_futures=True)


def refuse_in_starting_worker() -> None:
    """Raises errors.InputError in a worker that only just imports the script it was started by.

    Without a guard the script would begin again there, and remove what its parent has made.
    """
    # What multiprocessing itself asks, but only when the worker starts workers of its own.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise errors.InputError(f"put `{_GUARD}` around what this script runs: workers import it")


def _finished(in_flight: dict[concurrent.futures.Future, Any]) -> Iterator[Any]:
    done, _ = concurrent.futures.wait(in_flight, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in done:
        result = future.result()
        del in_flight[future]
        yield result


def _start_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends with it: a killed parent must not leave workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Holds Ctrl-C back while a worker may be starting: it inherits that until it ignores it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
