"""Lets a run stop when it is asked to: Ctrl-C, or SIGTERM on preemption.

While a run is being set up there is nothing to save, and a signal ends it where it stands. From
`between_steps` on it is only noted: the loop looks between two steps and between two validation
images, saves, and stops.
"""

import os
import signal
import threading
from types import FrameType, TracebackType

from absl import logging


class _StoppedEarly(BaseException):
    """Leaves the setting-up of a run; not an Exception, which libraries catch and go on."""


class StopRequest:
    """Context manager: the first signal asks for a stop, a second Ctrl-C exits at once.

    Python gives signals to the main thread alone; in another one only `ask` asks for a stop.
    """

    def __init__(self) -> None:
        """Nothing is asked for yet."""
        self.signal: int | None = None
        self._at_once, self._interrupts = True, 0
        self._previous: dict[int, object] = {}

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells count: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal if self.signal else 0

    def between_steps(self) -> None:
        """From now on a signal does not interrupt what is being done."""
        self._at_once = False

    def ask(self, number: int) -> None:
        """Asks for a stop, as signal `number` would between steps."""
        # The first one counts: a scheduler that sent SIGTERM is to see its exit code.
        self.signal = self.signal or number

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        # A signal from here on is too late to interrupt anything.
        self._at_once = False
        for number, handler in self._previous.items():
            # None: it was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if isinstance(error, _StoppedEarly):
            logging.info("Stopped before the first step: there was nothing new to save.")
            return True
        return False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            os._exit(128 + number)
        self.ask(number)
        if self._at_once:
            self._at_once = False
            raise _StoppedEarly
