"""Paired timing: each contender is a process of its own, and they take turns.

Timings on a shared machine wander by more than what is to be found. Here every contender prepares
itself, then all run once, again and again in the same order; figures that stand beside each other
are medians over the same minutes. A process each, so that peak memory is of one contender alone and
that libraries that cannot live together (or in this environment) can be compared.

A worker (worker.py, or peer_worker.py in another environment) writes one JSON object per line:
first `{"ready": ..., "per_run": ..., "unit": ...}` or `{"unavailable": reason}`; then, for each
line `run` that it reads, `{"seconds": ...}`; for `peak`, `{"peak_rss_mb": ...}`.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

_PEER_WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer_worker.py")
_LAST_WORDS = 2000  # Characters of a dead worker's standard error that are searched for a reason.


@dataclasses.dataclass(frozen=True)
class Contender:
    """Something to be timed.

    Attributes:
        label: its row in the table; unique within its group.
        spec: what its worker is to do, as plain values; `kind` chooses the function there.
        python: the interpreter of another environment, for peers; None is this one.
    """

    label: str
    spec: dict[str, Any]
    python: str | None = None

    def command(self) -> list[str]:
        """Returns the command line of its worker."""
        spec = json.dumps(self.spec)
        if self.python:
            return [self.python, _PEER_WORKER, spec]
        return [sys.executable, "-m", "srgan_tf.benchmark.worker", spec]


@dataclasses.dataclass(frozen=True)
class Group:
    """Contenders that are compared with each other; `baseline` is the row that is 1.0."""

    title: str
    contenders: tuple[Contender, ...]
    baseline: str


@dataclasses.dataclass
class Result:
    """One contender's timings; `unavailable` says why there are none."""

    label: str
    seconds: list[float] = dataclasses.field(default_factory=list)
    per_run: float = 1.0
    unit: str = "run"
    peak_rss_mb: float | None = None
    unavailable: str | None = None

    @property
    def median(self) -> float:
        """Median seconds of a run."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Units (crops, images, GFLOP) a second, by the median."""
        return self.per_run / self.median


class _Worker:
    """A contender's process."""

    def __init__(self, contender: Contender):
        environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
        if not contender.python:
            package = os.path.dirname(os.path.dirname(os.path.dirname(_PEER_WORKER)))
            path = [package, environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            contender.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
        )

    def read(self) -> dict[str, Any]:
        """Returns the worker's next answer; `unavailable` when it has died."""
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _LAST_WORDS))
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        return {"unavailable": words[-1] if words else f"exit code {self._process.returncode}"}

    def ask(self, command: str) -> dict[str, Any]:
        """Sends `run` or `peak` and returns the answer."""
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.read()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):  # What was not sent to it any more.
                stream.close()


def measure(
    contenders: Sequence[Contender], rounds: int, tell: Callable[[str], None]
) -> list[Result]:
    """Times all contenders in turns.

    Args:
        contenders: what takes turns.
        rounds: how often each runs.
        tell: is given a line about what is being done.

    Returns:
        A result for each, in the same order; those that could not run say why.
    """
    results = [Result(contender.label) for contender in contenders]
    workers: dict[int, _Worker] = {}
    try:
        for index, contender in enumerate(contenders):
            tell(f"{contender.label}: preparing")
            workers[index] = _Worker(contender)
            _prepare(workers, index, results[index])
        for number in range(rounds):
            for index in list(workers):
                tell(f"round {number + 1} of {rounds}: {contenders[index].label}")
                _run(workers, index, results[index])
        for index in list(workers):
            results[index].peak_rss_mb = workers[index].ask("peak").get("peak_rss_mb")
    finally:
        for worker in workers.values():
            worker.close()
    return results


def _prepare(workers: dict[int, _Worker], index: int, result: Result) -> None:
    answer = workers[index].read()
    if "unavailable" in answer:
        _give_up(workers, index, result, answer)
        return
    result.per_run, result.unit = answer["per_run"], answer["unit"]


def _run(workers: dict[int, _Worker], index: int, result: Result) -> None:
    answer = workers[index].ask("run")
    if "seconds" in answer:
        result.seconds.append(answer["seconds"])
    else:
        _give_up(workers, index, result, answer)


def _give_up(
    workers: dict[int, _Worker], index: int, result: Result, answer: dict[str, Any]
) -> None:
    result.unavailable = answer.get("unavailable", "no answer")
    result.seconds = []
    workers.pop(index).close()
