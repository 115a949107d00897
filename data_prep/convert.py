"""The whole conversion: cut photos in worker processes, plan, write shards; restartable throughout.

Cut: each photo to one spool file. Plan: duplicates, splits, shards (plan.py). Write: shards, TFDS'
descriptions, manifest. A photo's split is a hash of its name and so known before it is cut; only
where that leaves a split empty is a photo cut again, for the other one.
"""

import contextlib
import errno
import functools
import hashlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from absl import logging

from data_prep import crops, engines, plan, pool, resume, spool, summary, writer
from data_prep.settings import Settings
from data_prep.sources import Source, Sources
from srgan_tf import errors, terminal
from srgan_tf.data import records


def convert(
    settings: Settings,
    wanted: Sources,
    output: str,
    *,
    workers: int = 1,
    overwrite: bool,
    engine: engines.Engine | None = None,
) -> tuple[dict[str, Any], bool]:
    """Makes the data set in `output`; returns its manifest and whether it was there already.

    It runs in `workers` processes of this machine, or on `engine`.

    Raises:
        errors.InputError: nothing usable was found, `output` holds something else, a worker was
            killed or could not start, or `output` cannot be written.
    """
    pool.refuse_in_starting_worker()
    engine = engine or engines.Local(workers)
    with _problems(output, engine.remedy):
        # A finished data set stays until it is known that a new one can take its place.
        replaces = overwrite and records.read_manifest(output) is not None
        discard = resume.remove_spool if replaces else resume.clear
        if overwrite:
            discard(output)
        manifest = None if replaces else resume.finished(output, settings, wanted)
        if manifest is not None:
            resume.remove_spool(output)
            return manifest, True
        folder = resume.start(output, settings, wanted)
        cuts = _cut_all(settings, wanted, folder, engine)
        usable = [cut for cut in cuts if not cut.skipped]
        if not usable:
            discard(output)
            raise errors.InputError(
                f"nothing usable found, nothing written; {summary.skips(_entries(cuts))}"
            )
        if replaces:
            resume.remove_data_set(output)
        manifest = _write(settings, wanted, output, cuts, engine)
        engine.discard(folder, cuts)
        resume.remove_spool(output)
        return manifest, False


def _cut_all(
    settings: Settings, wanted: Sources, folder: str, engine: engines.Engine
) -> list[spool.Cut]:
    """Cuts every photo for the split that it ends up in; returns what became of each, by id."""
    percent = settings.validation_percent
    cuts: dict[str, spool.Cut] = {}
    purpose = functools.partial(plan.hashes_to_validation, percent=percent)
    with terminal.progress(total=wanted.total, desc="Cutting photos", unit="photo") as bar:
        for cut in _cut_some(settings, wanted.stream(), folder, engine, purpose):
            cuts[cut.id] = cut
            bar.update()
    usable = [cut for cut in plan.without_duplicates(cuts.values()) if not cut.skipped]
    chosen = plan.validation_ids([cut.id for cut in usable], percent)
    wrong = {cut.id for cut in usable if cut.validation != (cut.id in chosen)}
    if wrong:
        again = (source for source in wanted.stream() if source.id in wrong)
        for cut in _cut_some(settings, again, folder, engine, chosen.__contains__):
            cuts[cut.id] = cut
    return plan.without_duplicates(cuts.values())


def _cut_some(
    settings: Settings,
    stream: Iterator[Source],
    folder: str,
    engine: engines.Engine,
    for_validation: Any,
) -> Iterator[spool.Cut]:
    """Yields what became of each photo; those whose spool file is there are not cut again."""
    settings_key = settings.key()

    def jobs() -> Iterator[crops.Job]:
        for source in stream:
            validation = for_validation(source.id)
            key = spool.key_of(source, settings_key, validation)
            yield crops.Job(source, settings, folder, key, validation)

    with contextlib.closing(engine.cut(jobs())) as results:
        yield from results


def _write(
    settings: Settings, wanted: Sources, output: str, cuts: list[spool.Cut], engine: engines.Engine
) -> dict[str, Any]:
    usable = [cut for cut in cuts if not cut.skipped]
    shards = _shards(settings, engine.crops_of(f"{output}/{spool.FOLDER}", usable), usable)
    if settings.shards > len(shards["train"]):
        count = len(shards["train"])
        logging.warning("only %d crops, so %d shards, not %d", count, count, settings.shards)
    infos = engine.write(
        [shard for group in shards.values() for shard in group],
        writer.Target(output, _plan_key(settings, usable), settings.encoding),
    )
    splits = {split: [infos[shard.file] for shard in group] for split, group in shards.items()}
    writer.remove_strays(output, settings.name, keep=set(infos))
    return writer.write_descriptions(output, settings, wanted.origin, splits, _entries(cuts))


def _shards(
    settings: Settings, crops_of: engines.CropsOf, usable: list[spool.Cut]
) -> dict[str, list[writer.Shard]]:
    """Returns the shards of each split that has photos."""
    shards = {}
    for split, records_of in (
        ("train", plan.training_records),
        ("validation", plan.validation_records),
    ):
        photos = [cut for cut in usable if cut.validation == (split == "validation")]
        if not photos:
            continue
        parts = records_of(photos, crops_of, settings)
        names = [
            records.shard_name(settings.name, split, index, len(parts))
            for index in range(len(parts))
        ]
        shards[split] = [
            writer.Shard(name, part, photos) for name, part in zip(names, parts, strict=True)
        ]
    return shards


def _plan_key(settings: Settings, usable: list[spool.Cut]) -> str:
    digest = hashlib.blake2b(settings.key().encode(), digest_size=16)
    for cut in usable:
        digest.update(f"{cut.id}\n{cut.sha256}\n{cut.validation}\n".encode())
    return digest.hexdigest()


def _entries(cuts: list[spool.Cut]) -> list[dict[str, Any]]:
    """Returns the manifest's line for each photo."""
    entries = []
    for cut in cuts:
        entry = {"id": cut.id, "sha256": cut.sha256, "bytes": cut.bytes}
        if cut.width:
            entry |= {"width": cut.width, "height": cut.height}
        if cut.skipped:
            entry |= {"skipped": cut.skipped, "detail": cut.detail}
        elif cut.validation:
            entry |= {"split": "validation", "crops": 1}
        else:
            entry |= {"split": "train", "crops": cut.kept, "flat": cut.flat}
        entries.append(entry)
    return entries


@contextlib.contextmanager
def _problems(output: str, remedy: str) -> Iterator[None]:
    """Turns what the machine does to a conversion into one line that says how to go on."""
    again = "the same command continues where it stopped"
    try:
        yield
    except KeyboardInterrupt:
        logging.info("Stopped; %s.", again)
        raise
    except pool.WorkerDiedError as error:
        names = ", ".join(sorted(map(str, error.jobs))[:4])
        raise errors.InputError(
            f"a worker process was killed (out of memory?) while at one of: {names}; {again}, "
            f"{remedy}"
        ) from error
    except (OSError, tf.errors.OpError) as error:
        full = isinstance(error, tf.errors.ResourceExhaustedError)
        if full or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise errors.InputError(
                f"no space left for {output}; free some, then {again}"
            ) from error
        reason = getattr(error, "strerror", None) or getattr(error, "message", None) or error
        raise errors.InputError(f"cannot write {output} ({reason}); if cured, {again}") from error
