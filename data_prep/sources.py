"""Where photos come from: files and folders, or a TFDS data set. Both give a stream of `Source`."""

import collections
import dataclasses
import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from srgan_tf import errors, files

# Of a TFDS data set, whose pictures the parent alone decodes.
_DECODED_AT_ONCE = 2
_ASKED_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Source:
    """One photo that is to be cut: a file, or decoded pixels.

    `id` does not depend on where the input folder lies. `stamp` changes when the content does.
    """

    id: str
    path: str
    stamp: str
    size: int
    pixels: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Sources:
    """All photos of a run. `stream` reads them anew each time; `total` is None when unknown.

    `origin` goes into the manifest beside the settings. `listed` holds the photos where they are
    files (their order and stamps are known without reading them), else None.
    """

    stream: Callable[[], Iterator[Source]]
    total: int | None
    origin: dict[str, Any]
    listed: tuple[Source, ...] | None = None


def from_files(inputs: Sequence[str], output: str) -> Sources:
    """Returns every file that `inputs` name; an id is the path relative to its input.

    Raises:
        errors.InputError: an input does not exist, there is no file, or `output` lies in an input.
    """
    for one in inputs:
        if not files.is_remote(one) and _is_inside(output, one):
            raise errors.InputError(f"output {output} lies in the input {one}; put it beside it")
    groups = files.find(inputs)
    named = list(_unique_names(inputs, groups))
    # An object store takes 10 ms and more to say it of a file, but answers many at a time.
    with futures.ThreadPoolExecutor(_ASKED_AT_ONCE) as executor:
        ask = executor.map if any(files.is_remote(path) for _, path in named) else map
        stats = list(ask(_size_and_time, (path for _, path in named)))
    listed = [
        Source(name, path, f"{size} {modified}", size)
        for (name, path), (size, modified) in zip(named, stats, strict=True)
    ]
    if not listed:
        raise errors.InputError(f"no files in {', '.join(inputs)}")
    listed.sort(key=lambda source: source.id)
    return Sources(lambda: iter(listed), len(listed), {}, tuple(listed))


def from_tfds(name: str, data_dir: str | None, split: str) -> Sources:
    """Returns the pictures of a prepared TFDS data set (feature `hr`, else `image`), in its order.

    An id is `NAME/SPLIT/INDEX`. Examples are read one after the other, never all at once.

    Raises:
        errors.InputError: no such data set, not downloaded, no such split, or no picture feature.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # TFDS raises nearly any class here, with pages of suggestions.
        first = str(error).strip().split("\n")[0] or type(error).__name__
        raise errors.InputError(f"TFDS has no data set {name!r} ({first})") from error
    feature = next((key for key in ("hr", "image") if key in builder.info.features), None)
    if feature is None:
        known = ", ".join(builder.info.features)
        raise errors.InputError(f"TFDS data set {name!r} has no feature hr or image, but {known}")
    try:
        total = builder.info.splits[split].num_examples
    except (KeyError, ValueError, AttributeError):
        total = None  # Not downloaded, or mocked: reading it says more.

    dataset = _open_tfds(builder, split, feature)

    def stream() -> Iterator[Source]:
        for index, example in enumerate(dataset):
            pixels = example.numpy()
            digest = _digest(pixels)
            yield Source(f"{name}/{split}/{index:06d}", "", digest, pixels.nbytes, pixels)

    return Sources(stream, total, {"tfds": builder.info.full_name, "tfds_split": split})


def content_digest(source: Source) -> str:
    """Returns the SHA-256 of a file's bytes, or of a TFDS picture's shape and pixels."""
    if source.pixels is not None:
        return source.stamp
    digest = hashlib.sha256()
    with files.open_file(source.path) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _open_tfds(builder: Any, split: str, feature: str) -> Any:
    """Returns a `tf.data.Dataset` of the pictures; nothing is read yet."""
    import tensorflow_datasets as tfds

    from srgan_tf.data import options

    config = tfds.ReadConfig(
        interleave_cycle_length=1,
        try_autocache=False,
        num_parallel_calls_for_decode=_DECODED_AT_ONCE,
    )
    try:
        dataset = builder.as_dataset(split=split, shuffle_files=False, read_config=config)
    except AssertionError as error:
        raise errors.InputError(
            f"TFDS data set {builder.info.full_name} is not in {builder.data_dir}; get it with: "
            f"tfds build {builder.info.full_name} (and --data_dir=... for another folder)"
        ) from error
    except (KeyError, ValueError) as error:
        known = ", ".join(sorted(builder.info.splits))
        raise errors.InputError(
            f"TFDS data set {builder.info.full_name} has no split {split!r}; it has: {known}"
        ) from error
    pictures = dataset.map(lambda example: example[feature]).prefetch(1)
    return pictures.with_options(options.untuned())


def _digest(pixels: np.ndarray) -> str:
    digest = hashlib.sha256(f"{pixels.dtype} {pixels.shape} ".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _unique_names(
    inputs: Sequence[str], groups: list[list[files.Found]]
) -> Iterator[tuple[str, str]]:
    """Yields (id, path); a name that two inputs share gets its input's name or number in front."""
    counts = collections.Counter(found.name for group in groups for found in group)
    taken: set[str] = set()
    for number, (one, group) in enumerate(zip(inputs, groups, strict=True), 1):
        folder = os.path.basename(os.path.abspath(one))
        for found in group:
            name = found.name if counts[found.name] == 1 else f"{folder}/{found.name}"
            # The same text on every file system: macOS decomposes accents; odd bytes are escaped.
            name = unicodedata.normalize("NFC", name.encode("utf-8", "backslashreplace").decode())
            while name in taken:
                name = f"{number}/{name}"
            taken.add(name)
            yield name, found.path


def _is_inside(output: str, one: str) -> bool:
    if files.is_remote(output):
        return False
    inner, outer = os.path.realpath(output), os.path.realpath(os.path.expanduser(one))
    return os.path.isdir(outer) and os.path.commonpath([inner, outer]) == outer


def _size_and_time(path: str) -> tuple[int, int]:
    if files.is_remote(path):
        import tensorflow as tf

        stat = tf.io.gfile.stat(path)
        return stat.length, stat.mtime_nsec
    try:
        stat = os.stat(path)
    except OSError:
        return 0, 0  # A dead link, or unreadable: cutting it says so.
    return stat.st_size, stat.st_mtime_ns
