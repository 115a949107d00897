"""The queue in front of the models: one job computes, a bounded number waits, first come first."""

import threading
from collections.abc import Callable

from srgan_tf.serving import web_jobs


class Queue:
    """Jobs in the order in which they came; the first one computes."""

    def __init__(self, max_waiting: int):
        """For one that computes and `max_waiting` others."""
        self._most = max_waiting + 1
        self._jobs: list[web_jobs.Job] = []
        self._computing: web_jobs.Job | None = None
        self._changed = threading.Condition()

    def add(self, job: web_jobs.Job) -> bool:
        """Returns whether there is room for `job`, which then waits."""
        with self._changed:
            if len(self._jobs) >= self._most:
                return False
            self._jobs.append(job)
            return True

    def run(self, job: web_jobs.Job, compute: Callable[[], None]) -> None:
        """Calls `compute` when it is the turn of `job`, or says that it was cancelled before."""
        with self._changed:
            # A lock alone would let anyone in next.
            self._changed.wait_for(lambda: job.cancelled.is_set() or self._jobs[0] is job)
            its_turn = not job.cancelled.is_set()
            if its_turn:
                self._computing = job
        try:
            if not its_turn:
                raise web_jobs.Cancelled
            compute()
        except Exception as error:  # Whatever it is, the page's thread raises it.
            job.error = error
        finally:
            with self._changed:
                if job is self._computing:
                    self._computing = None
                self._leave(job)
            job.finished.set()

    def cancel(self, job: web_jobs.Job) -> None:
        """Ends a job: one that waits leaves at once, one that computes after the strip."""
        with self._changed:
            job.cancelled.set()
            if job is not self._computing:
                self._leave(job)

    def before(self, job: web_jobs.Job) -> int:
        """Returns how many are done before `job`."""
        with self._changed:
            return self._jobs.index(job) if job in self._jobs else 0

    def wait_until_empty(self, seconds: float) -> None:
        """Waits for all, but at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs, timeout=seconds)

    def _leave(self, job: web_jobs.Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
        self._changed.notify_all()
