"""Runs functions on a Ray cluster, once every node is known to be able to.

Scheduling, queues and retries are Ray's. The workers run this very package, which is sent; what it
needs (TensorFlow, Pillow and so on) has to be installed on every node, and files to be seen by
all of them under the same path.
"""

import contextlib
import importlib.util
import io
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import PIL
from absl import logging

from srgan_tf import errors, files, ray_cluster

# How often Ray starts a task again whose worker or node has died.
RETRIES = 5
_PER_CORE = 2  # Tasks: one that runs and one that waits, so that no core is idle.
_NEEDED = ("absl", "numpy", "PIL", "tensorflow", "tqdm")
_PACKAGES = ("srgan_tf", "data_prep")
_REMEDY = "pip install 'srgan-tf[ray]'"


class WorkerLostError(RuntimeError):
    """Ray has given tasks up: their workers died again and again. `jobs` were theirs."""

    def __init__(self, jobs: list[Any], reason: str):
        super().__init__(f"{len(jobs)} jobs were given up: {reason}")
        self.jobs = jobs
        self.reason = reason


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connects to a cluster (`ray_cluster.connect`) and leaves it at the end.

    Nothing can be printed meanwhile: Ray prints to standard output, which is for results.

    Raises:
        errors.InputError: Ray is not installed, or there is no such cluster.
    """
    ray = ray_cluster.connect(address, quiet=True, modules=modules())
    with contextlib.redirect_stdout(_Notes()):
        try:
            before = _alive(ray)
            yield
            if lost := len(before - _alive(ray)):
                nodes = "node" if lost == 1 else "nodes"
                logging.info("%d %s of the Ray cluster left; others did the work.", lost, nodes)
        finally:
            ray.shutdown()


class _Notes(io.TextIOBase):
    """Takes what Ray prints about what it does again; --verbosity=1 shows it."""

    def write(self, text: str) -> int:
        if text.strip():
            logging.debug("%s", text.strip())
        return len(text)


def cores() -> int:
    """Returns the logical cores of all nodes; 1 while a cluster still grows from none."""
    return max(1, int(ray_cluster.require().cluster_resources().get("CPU", 1)))


def require_fit(output: str, inputs: Sequence[str]) -> None:
    """Looks whether every node can run the package and sees `output` (a folder) and `inputs`.

    Raises:
        errors.InputError: one cannot; the message names it and says what it lacks.
    """
    ray = ray_cluster.require()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A folder of the same name proves nothing.
    probe = os.path.join(output, f".{files.writer()}.probe")
    files.write_atomically(probe, [])
    look = ray.remote(num_cpus=0)(_looker(output, probe, (probe, *inputs)))
    asked = {}
    try:
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
                ref = look.options(scheduling_strategy=there).remote()
                asked[ref] = node["NodeManagerAddress"]
        if not asked:
            logging.warning("No node of the Ray cluster has cores for work; waiting for one.")
        for ref, name in asked.items():
            try:
                lacks = ray.get(ref)
            except ray.exceptions.RayError as error:
                lacks = f"cannot start a worker: {_line(error)}"
            if lacks:
                raise errors.InputError(f"node {name} of the Ray cluster {lacks}")
    finally:
        files.remove(probe)


def run(
    task: Callable[[Any], Any], jobs: Iterable[Any], *, per_task: int = 1, cpus: float = 1
) -> Iterator[Any]:
    """Yields `task(job)` for every job, in the order in which they finish.

    `jobs` may be a generator; it is advanced only as fast as the cluster takes its items. A task of
    `per_task` jobs whose worker or node dies is started again by Ray; it has to bear that.

    Raises:
        WorkerLostError: workers at the same task died again and again.
        Exception: what `task` has raised.
    """
    ray = ray_cluster.require()
    remote = ray.remote(num_cpus=cpus, max_retries=RETRIES)(_each)
    pending: dict[Any, list[Any]] = {}
    jobs = iter(jobs)
    try:
        while chunk := list(itertools.islice(jobs, per_task)):
            pending[remote.remote(task, chunk)] = chunk
            if len(pending) >= _PER_CORE * cores():
                yield from _finished(ray, pending)
        while pending:
            yield from _finished(ray, pending)
    finally:
        for ref in pending:
            ray.cancel(ref)  # Raises KeyboardInterrupt there: what is half written is removed.


def cause(error: BaseException) -> BaseException:
    """Returns what a task or an actor has raised, without Ray's wrappers."""
    ray = ray_cluster.require()
    while isinstance(error, ray.exceptions.RayError):
        # What an actor's constructor has raised is an argument alone.
        inner = (getattr(error, "cause", None), *error.args, error.__cause__)
        inner = next((one for one in inner if isinstance(one, BaseException)), error)
        if inner is error:
            break
        error = inner
    return error


def _finished(ray: Any, pending: dict[Any, list[Any]]) -> Iterator[Any]:
    # All that are ready: asked for one by one, thousands that wait would be gone through each time.
    done, _ = ray.wait(list(pending), num_returns=1)
    if len(pending) > 1:
        done, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0)
    for ref in done:
        try:
            results = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            raise cause(error) from None
        except ray.exceptions.RayError as error:
            raise WorkerLostError(pending[ref], _line(error)) from error
        del pending[ref]
        yield from results


def _each(task: Callable[[Any], Any], jobs: list[Any]) -> list[Any]:
    return [task(job) for job in jobs]


def _looker(output: str, probe: str, paths: Sequence[str]) -> Callable[[], str]:
    """Returns a function that says what a node lacks; it travels whole, for the package may not."""
    needed, remedy, pillow = _NEEDED, _REMEDY, PIL.__version__

    def look() -> str:
        import importlib.util

        for name in (*needed, "srgan_tf"):
            if importlib.util.find_spec(name) is None:
                return f"cannot import {name}: run `{remedy}` on every node, as on this one"
        import PIL

        if pillow != PIL.__version__:
            return f"has Pillow {PIL.__version__}, this one {pillow}: results would differ"
        from srgan_tf import files

        for path in paths:
            try:
                why = "" if files.exists(path) else "there is no such file"
            except Exception as error:  # Of remote file systems: whatever their plugins raise.
                why = " ".join(str(error).split())[:200]
            if why:
                shown = output if path == probe else path
                return (
                    f"does not see {shown} ({why}): it has to be on a file system that all nodes "
                    "share"
                )
        return ""

    return look


def modules() -> list[str]:
    """Returns folders for the workers: this package, unless a submitted job brings modules."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    if "py_modules" in (job.get("runtime_env") or {}):
        return []
    found = (importlib.util.find_spec(name) for name in _PACKAGES)
    return [str(pathlib.Path(spec.origin).parent) for spec in found if spec]


def _alive(ray: Any) -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _line(error: BaseException) -> str:
    """Returns the telling line of Ray's messages, which are pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
