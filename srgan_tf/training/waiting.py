"""Measures which share of the training time is spent waiting for data, and says when it is much.

A step lasts from asking for its batch to asking for the next one's. The first step of a stage
(tracing, filling of buffers) and steps with a validation or a checkpoint are left out. On a CPU a
step is done when the call returns, so the share is exact. On a GPU calls return early; while the
device still works on earlier steps, waiting costs nothing, so there the share is an upper limit.
"""

import collections
import time
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging

# The share is that of so many steps; fewer than `_LEAST` say nothing.
_WINDOW, _LEAST = 200, 20
_MUCH = 0.10
# A complaint that was not heeded is repeated after so many seconds.
_AGAIN_SECONDS = 3600.0


class Clock:
    """Times the steps of a run."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        """Args: what tells the time in seconds."""
        self._clock = clock
        self._steps: collections.deque[tuple[float, float]] = collections.deque(maxlen=_WINDOW)
        self._waited_total = self._total = 0.0
        self._asked: float | None = None
        self._waited = 0.0
        self._warned: float | None = None
        self._skip = True

    def restart(self) -> None:
        """Begins anew with a dataset that has to be opened and a step that has to be traced."""
        self._asked, self._skip = None, True
        self._steps.clear()

    def skip(self) -> None:
        """Leaves out the current step: it does more than train."""
        self._skip = True

    def fetch(self, batches: Iterator[Any]) -> Any:
        """Returns `next(batches)` and counts how long that takes."""
        now = self._clock()
        if self._asked is not None and not self._skip:
            self._steps.append((self._waited, now - self._asked))
            self._waited_total += self._waited
            self._total += now - self._asked
        # The very first step of a stage stays left out.
        self._skip = self._asked is None
        self._asked = now
        batch = next(batches)
        self._waited = self._clock() - now
        return batch

    @property
    def share(self) -> float | None:
        """The share of the last steps in [0, 1]; None while there are too few."""
        if len(self._steps) < _LEAST:
            return None
        waited, lasted = (sum(values) for values in zip(*self._steps, strict=True))
        return waited / max(lasted, 1e-9)

    @property
    def total_share(self) -> float | None:
        """The share of all steps so far; None before the first that counts."""
        return self._waited_total / self._total if self._total else None

    def observe(self) -> dict[str, float]:
        """Returns the share as a scalar to log, if there is one; warns, rarely, if it is much."""
        share = self.share
        if share is None:
            return {}
        now = self._clock()
        heard = self._warned is not None and now - self._warned < _AGAIN_SECONDS
        if share > _MUCH and not heard:
            self._warned = now
            logging.warning(
                "%.0f %% of the training time goes by waiting for data: take more crops of each "
                "decoded record (--crops_per_image=4), prepare the data with --encoding=raw "
                "(srgan-prepare), or put it on a faster disk.",
                100 * share,
            )
        return {"waiting_for_data": share}
