"""The worker's side of the protocol in contenders.py. Standard library only: peers run it, too."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

# A kind's function prepares everything, warms up, and returns (run, per_run, unit). A `run` whose
# attribute `has_memory` is False works in another process: its memory is not known.
Prepared = tuple[Callable[[], Any], float, str]


def serve(kinds: dict[str, Callable[..., Prepared]]) -> None:
    """Prepares what the command line asks for and answers until standard input ends."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    spec = json.loads(sys.argv[1])
    kind, cores = spec.pop("kind"), spec.pop("cores", None)

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        if cores:
            _stay_on(cores)
        run, per_run, unit = kinds[kind](**spec)
    except (ImportError, NotImplementedError) as error:
        answer(unavailable=str(error))
        return
    answer(ready=True, per_run=per_run, unit=unit)
    for line in sys.stdin:
        if line.strip() == "run":
            start = time.perf_counter()
            run()
            answer(seconds=time.perf_counter() - start)
        elif line.strip() == "peak":
            # Kilobytes on Linux, bytes on macOS.
            unit_size = 1024**2 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit_size
            answer(peak_rss_mb=peak if getattr(run, "has_memory", True) else None)


def _stay_on(cores: int) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise NotImplementedError("this system cannot keep a process on one core")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
