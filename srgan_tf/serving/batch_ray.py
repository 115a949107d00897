"""Upscales planned pictures on a Ray cluster: Ray Data hands parts of the plan to actors.

An actor holds the model and does with its pictures what batch.py does; the cluster carries names
and counts, never pixels. What is lost with a node Ray starts again; of that only pictures whose
files are not there yet are computed.
TensorFlow is imported in functions: how it starts is settled first (cli.prepare_tensorflow).
"""

import dataclasses
import json
import logging as python_logging
import os
import re
import traceback
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from absl import logging

from srgan_tf import cli, clusters, errors, files, terminal
from srgan_tf.serving import pictures

# Pictures that an actor is given at a time: it reads one ahead within them, and Ray takes some
# milliseconds for each time.
_AT_A_TIME = 16
_SHARE = 8  # Of the pictures of an actor, so that all end at the same time.
_WAITING = 2  # Parts that an actor works at or has ready.
_KILLED = (
    "the process that worked at it was killed again and again, perhaps for want of memory; try it "
    "alone, with a smaller --memory_mb"
)
_TEMPORARY = re.compile(r"\.(.+)\.\d+-[0-9a-f]{6}\.tmp")


@dataclasses.dataclass(frozen=True)
class Model:
    """What every actor loads: `Upscaler.load(path, **options)`, which has to be `fingerprint`."""

    path: str
    options: dict[str, Any]
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Actors:
    """How many there are at most (0: as many as fit), and what each of them is given."""

    most: int = 0
    cpus: int = 1
    gpus: float = 0.0
    memory_mb: int = 0


@dataclasses.dataclass(frozen=True)
class Writing:
    """How files are written: over others, with which quality; `since` is when the run began."""

    overwrite: bool
    quality: int
    since: int


def run(
    jobs: Sequence[pictures.Job],
    model: Model,
    *,
    actors: Actors,
    output: str,
    overwrite: bool,
    quality: int,
    summary: pictures.Summary,
    grows: bool,
) -> None:
    """Does the jobs on the connected cluster with a progress bar; notes in `summary` what became.

    Where none of the nodes has room for an actor, it waits if the cluster `grows`.

    Raises:
        errors.InputError: a node has another model under its path, or lacks a library; there is no
            room for an actor and never will be.
    """
    import ray

    writing = Writing(overwrite, quality, files.now(output))
    fit = _fit(ray.nodes(), actors, grows)
    most = min(actors.most or fit, len(jobs)) or 1
    size = max(1, min(_AT_A_TIME, len(jobs) // (_SHARE * most)))
    todo = {job.target: job for job in jobs}
    bar = terminal.progress(total=len(jobs), desc="upscale", unit="image")
    try:
        with bar:
            # What processes were killed at is done alone, so that only the culprit is given up.
            for part_size in dict.fromkeys((size, 1)):
                if not todo:
                    break
                for row in _rows(list(todo.values()), part_size, model, writing, actors, most):
                    if row["fault"]:
                        raise RuntimeError(f"An actor has failed:\n{row['fault']}")
                    summary.add(pictures.Summary(**json.loads(row["summary"])))
                    targets = json.loads(row["targets"])
                    bar.update(len(targets))
                    for target in targets:
                        del todo[target]
    except ray.exceptions.RayError as error:
        raise _explained(error) from error
    for job in todo.values():
        summary.fail(job.source, "killed", _KILLED)
    _remove_leftovers({path for job in jobs for path in (job.target, job.comparison) if path})


def _rows(
    jobs: Sequence[pictures.Job],
    size: int,
    model: Model,
    writing: Writing,
    actors: Actors,
    most: int,
) -> Iterator[dict[str, Any]]:
    """Yields what actors, `most` at first, return of the jobs; nothing of those they died at."""
    import ray

    data = _quiet_data()
    parts = data.from_arrow(list(_tables(jobs, size)))
    pool = data.ActorPoolStrategy(
        min_size=1,
        max_size=min(actors.most or len(jobs), len(jobs)),
        initial_size=min(most, len(jobs)),
        max_tasks_in_flight_per_actor=_WAITING,
    )
    with warnings.catch_warnings():  # Retries have no parameter of their own in Ray 2.60.
        warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
        results = parts.map_batches(
            _Upscaling,
            compute=pool,
            batch_size=size,  # A block each.
            batch_format="pyarrow",
            fn_constructor_args=[model, writing, actors],
            num_cpus=actors.cpus,
            num_gpus=actors.gpus or None,
            memory=actors.memory_mb * 1_000_000 or None,
            max_task_retries=clusters.RETRIES,
        )
    yield from results.iter_rows()


def look_at(path: str, options: dict[str, Any]) -> tuple[Model, int]:
    """Returns the model for the actors, and its scale; loads it here for that, on the CPU.

    Raises:
        errors.InputError: as `Upscaler.load`.
    """
    import tensorflow as tf

    from srgan_tf.serving.upscaler import Upscaler

    tf.config.set_visible_devices([], "GPU")  # An actor on this machine needs them whole.
    with Upscaler.load(path, **options) as upscaler:
        return Model(path, options, upscaler.fingerprint), upscaler.scale


class _Upscaling:
    """An actor: the model, and what `batch.run` makes of its parts of the plan."""

    def __init__(self, model: Model, writing: Writing, actors: Actors):
        cli.prepare_tensorflow()
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(actors.cpus)
        tf.config.threading.set_inter_op_parallelism_threads(actors.cpus)
        if not actors.gpus:
            tf.config.set_visible_devices([], "GPU")
        elif actors.gpus % 1:  # Others have the rest of it.
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
        from srgan_tf.serving.upscaler import Upscaler

        self._upscaler = Upscaler.load(model.path, **model.options)
        self._writing = writing
        if self._upscaler.fingerprint != model.fingerprint:
            raise errors.InputError(
                f"{os.uname().nodename} has another model in {model.path} than this machine"
            )

    def __call__(self, table: Any) -> dict[str, list[Any]]:
        from srgan_tf.serving import batch

        jobs = [
            pictures.Job(
                **{k: os.fsdecode(v) if isinstance(v, bytes) else v for k, v in row.items()}
            )
            for row in table.to_pylist()
        ]
        summary, fault = pictures.Summary(), ""
        settings = dataclasses.asdict(self._writing)
        try:
            batch.run(jobs, self._upscaler, quiet=True, summary=summary, **settings)
        except Exception:  # Raised, Ray would take it for a part that is to be left out.
            fault = traceback.format_exc()
        return {
            "targets": [json.dumps([job.target for job in jobs])],
            "summary": [json.dumps(dataclasses.asdict(summary))],
            "fault": [fault],
        }


def _tables(jobs: Sequence[pictures.Job], size: int) -> Iterator[Any]:
    """Yields the jobs in tables of `size` rows, a block of Ray Data each."""
    import pyarrow

    names = [field.name for field in dataclasses.fields(pictures.Job)]
    kinds = {name: pyarrow.bool_() if name == "named" else pyarrow.binary() for name in names}
    schema = pyarrow.schema(kinds.items())
    for start in range(0, len(jobs), size):
        rows = [
            {name: os.fsencode(value) if isinstance(value, str) else value for name, value in row}
            for row in (vars(job).items() for job in jobs[start : start + size])
        ]
        yield pyarrow.Table.from_pylist(rows, schema)


def _quiet_data() -> Any:
    """Returns Ray Data, without its own bars and reports."""
    from ray import data

    # Errors are said by the command.
    python_logging.getLogger("ray.data").setLevel(python_logging.CRITICAL)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # A part of large pictures takes its time.
    context.max_errored_blocks = -1  # Those whose processes were killed; see `run`.
    return data


def _fit(nodes: Sequence[dict[str, Any]], actors: Actors, grows: bool) -> int:
    """Returns how many actors the nodes hold that are there; warns if it is none, or refuses."""
    wanted = {"CPU": actors.cpus, "GPU": actors.gpus, "memory": actors.memory_mb * 1_000_000}
    number = 0
    for node in nodes:
        if node["Alive"]:
            has = node["Resources"]
            number += int(min(has.get(name, 0) // need for name, need in wanted.items() if need))
    if not number:
        what = f"{actors.cpus} cores, {actors.gpus:g} GPUs, {actors.memory_mb} MB"
        if not grows:
            raise errors.InputError(
                f"This machine, which is all of the cluster, has no room for an actor ({what}): "
                "lower --ray_cpus, --ray_gpus or --memory_mb, or name a cluster "
                "(--ray_address=HOST:PORT)."
            )
        logging.warning("no node has what an actor is to get (%s); waiting for one", what)
    return number


def _explained(error: BaseException) -> BaseException:
    """Returns what an actor has raised; a library that its node lacks is the user's to install."""
    found = clusters.cause(error)
    if isinstance(found, ImportError):
        return errors.InputError(f"a node of the Ray cluster cannot load the model: {found}")
    return found


def _remove_leftovers(targets: Collection[str]) -> None:
    """Removes what killed processes have left of files that are now complete."""
    for folder in {os.path.dirname(target) for target in targets}:
        for name in files.names(folder):
            match = _TEMPORARY.fullmatch(name)
            if match and os.path.join(folder, match[1]) in targets:
                files.remove(os.path.join(folder, name))
