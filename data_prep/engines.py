"""What a conversion runs on: processes of this machine, or a Ray cluster. Both do the same work.

The plan is made in the parent; an engine cuts photos and writes shards, in whatever order.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from data_prep import crops, pool, spool, writer
from srgan_tf import clusters, terminal

# A task of Ray's costs about a millisecond of the parent's time; so do a photo's header and
# removal on a local file system, 20 ms and more on an object store.
_PHOTOS_PER_TASK = 8
_HEADERS_PER_TASK = 64

CropsOf = Callable[[spool.Cut], list[spool.Crop]]


class Engine(Protocol):
    """Does the jobs of a conversion."""

    remedy: str  # Where a worker was killed: what needs less memory.

    def cut(self, jobs: Iterable[crops.Job]) -> Iterator[spool.Cut]:
        """Yields what became of each photo; those whose spool file is there are not cut again.

        Raises:
            pool.WorkerDiedError: workers were killed.
        """

    def crops_of(self, folder: str, cuts: list[spool.Cut]) -> CropsOf:
        """Returns what says where the crops of a photo are in its spool file."""

    def write(self, shards: list[writer.Shard], target: writer.Target) -> dict[str, dict[str, Any]]:
        """Writes what is not yet there; returns file, records, bytes, sha256 of each, by file."""

    def discard(self, folder: str, cuts: list[spool.Cut]) -> None:
        """Removes spool files, if this engine is quicker at it than `resume.remove_spool`."""


@dataclasses.dataclass(frozen=True)
class Local:
    """Processes of this machine; with one worker this process alone."""

    workers: int
    remedy = "fewer --workers need less memory"

    def cut(self, jobs: Iterable[crops.Job]) -> Iterator[spool.Cut]:
        done: list[spool.Cut] = []

        def todo() -> Iterator[crops.Job]:
            for job in jobs:
                cut = spool.read(job.folder, job.key)
                if cut is None:
                    yield job
                else:
                    done.append(cut)

        with contextlib.closing(pool.run(crops.cut, todo(), workers=self.workers)) as results:
            for cut in results:
                yield cut
                while done:
                    yield done.pop()
        yield from done

    def crops_of(self, folder: str, cuts: list[spool.Cut]) -> CropsOf:
        return lambda cut: spool.read_crops(folder, cut.key)

    def write(self, shards: list[writer.Shard], target: writer.Target) -> dict[str, dict[str, Any]]:
        return writer.write_shards(shards, target, workers=self.workers)

    def discard(self, folder: str, cuts: list[spool.Cut]) -> None:
        pass


class Ray:
    """A Ray cluster, which is connected; what only the parent would do file by file is done there.

    A task that is lost with its node is started again by Ray; files appear whole or not at all, so
    nothing has to be undone.
    """

    remedy = "nodes with fewer cores for the same memory need less"

    def cut(self, jobs: Iterable[crops.Job]) -> Iterator[spool.Cut]:
        jobs = iter(jobs)
        first = next(jobs, None)
        if first is None:
            return
        # Decoded pictures travel with their tasks: few at a time.
        per_task = 1 if first.source.pixels is not None else _PHOTOS_PER_TASK
        yield from _run(crops.cut_unless_done, itertools.chain([first], jobs), per_task)

    def crops_of(self, folder: str, cuts: list[spool.Cut]) -> CropsOf:
        look = functools.partial(spool.read_places, folder)
        places = dict(_run(look, (cut.key for cut in cuts), _HEADERS_PER_TASK))
        return lambda cut: [spool.Crop(*map(int, place)) for place in places[cut.key]]

    def write(self, shards: list[writer.Shard], target: writer.Target) -> dict[str, dict[str, Any]]:
        total, infos = sum(len(shard.rows) for shard in shards), {}
        jobs = (writer.Job(shard.alone(), target) for shard in shards)
        with terminal.progress(total=total, desc="Writing shards", unit="record") as bar:
            for info in _run(writer.write, jobs, 1):
                infos[info["file"]] = info
                bar.update(info["records"])
        return infos

    def discard(self, folder: str, cuts: list[spool.Cut]) -> None:
        keys = (cut.key for cut in cuts)
        for _ in _run(functools.partial(spool.remove, folder), keys, _HEADERS_PER_TASK):
            pass


def _run(task: Callable[[Any], Any], jobs: Iterable[Any], per_task: int) -> Iterator[Any]:
    try:
        with contextlib.closing(clusters.run(task, jobs, per_task=per_task)) as results:
            yield from results
    except clusters.WorkerLostError as error:
        raise pool.WorkerDiedError(error.jobs) from error
