"""Progress on a terminal: rate and remaining time; a rare plain line where there is no terminal."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO

import tqdm

# Without a terminal (a log file, CI) a line every so many seconds is enough.
_LOG_INTERVAL_SECONDS = 30.0


class _Lines:
    """Turns tqdm's carriage returns into lines, for log files."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None,
    desc: str,
    unit: str,
    initial: int = 0,
    disable: bool = False,
) -> tqdm.tqdm:
    """Returns a tqdm bar on standard error with rate and remaining time."""
    live = sys.stderr.isatty()
    return tqdm.tqdm(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        initial=initial,
        disable=disable,
        file=sys.stderr if live else _Lines(sys.stderr),
        mininterval=0.5 if live else _LOG_INTERVAL_SECONDS,
        maxinterval=10.0 if live else _LOG_INTERVAL_SECONDS,
        dynamic_ncols=live,
        bar_format=None
        if live
        else "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    )
