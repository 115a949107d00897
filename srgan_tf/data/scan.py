"""Looks at every record of a split and says which cannot be used, and why.

Called when reading failed (TensorFlow's errors name neither shard nor record) and by
`srgan-prepare --verify`; it reads and decodes everything once, about as fast as training reads.
"""

import hashlib
import re

import tensorflow as tf
import tqdm

from srgan_tf import files, machine, terminal
from srgan_tf.data import faults, framing, options, records, shards

# What reading a damaged data set raises; out of memory, for example, is not among it.
READ_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
    # TensorFlow cannot tell of a record that is no text: it quotes it.
    UnicodeDecodeError,
)
_CHUNK = 1 << 20


def scan(split: records.Split, *, min_side: int) -> tuple[faults.Fault, ...]:
    """Returns the bad records of `split`, by shard and record.

    A shard that has no single bad record and is yet not the one that the manifest describes (other
    content, or another number of records) counts with all its records.

    Args:
        split: what to read.
        min_side: least height and width of an image.
    """
    bad: dict[tuple[int, int], str] = {}
    desc = f"Checking {split.name} records"
    with terminal.progress(total=split.num_records, desc=desc, unit="record") as bar:
        for shard in range(len(split.files)):
            reasons = _scan_shard(split, shard, min_side, bar)
            bad.update({(shard, index): reason for index, reason in reasons.items()})
    return faults.collect(bad)


def reason_of(error: Exception) -> str:
    """Returns what TensorFlow says of a fault, without the names of its nodes, on one line."""
    if isinstance(error, UnicodeDecodeError):
        return "it is no tf.train.Example"
    text = re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*", "", getattr(error, "message", str(error)))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _scan_shard(split: records.Split, shard: int, min_side: int, bar: tqdm.tqdm) -> dict[int, str]:
    """Returns the reason for each bad record of a shard."""
    path, length = split.files[shard], split.shard_lengths[shard]
    try:
        there, problem = framing.walk(path)
        bad = _scan_records(split, path, there[:length], min_side)
        missing = range(len(there), length)
        if problem:
            bad |= dict.fromkeys(missing, f"cannot be read ({problem}: record {len(there)})")
        elif len(there) != length:
            what = f"the shard holds {len(there)} records instead of {length}: of another data set?"
            bad = dict.fromkeys(range(length), what)
        elif not bad and split.digests and _sha256(path) != split.digests[shard]:
            what = "the shard's content is not what the manifest says (SHA-256)"
            bad = dict.fromkeys(range(length), what)
    except (OSError, tf.errors.OpError) as error:
        found = tf.io.gfile.exists(path)
        what = f"the shard cannot be read ({reason_of(error)})" if found else "the shard is missing"
        bad = dict.fromkeys(range(length), what)
    bar.update(length)
    return bad


def _scan_records(
    split: records.Split, path: str, offsets: tuple[int, ...], min_side: int
) -> dict[int, str]:
    """Checks records whose places are known: data, parsing, decoding, size."""
    bad: dict[int, str] = {}
    start = 0
    while start < len(offsets):
        wanted = range(start, len(offsets))
        start = len(offsets)
        for index in sorted(set(wanted) - _sound(split, path, offsets, wanted.start, min_side)):
            data = framing.read(path, offsets[index])
            if data is None:
                bad[index] = "corrupt (its checksum is wrong)"
                start = index + 1  # TensorFlow's reader went no further than this.
                break
            reason = _why(data, split.encoding, min_side)
            if reason:
                bad[index] = reason
    return bad


def _sound(
    split: records.Split, path: str, offsets: tuple[int, ...], start: int, min_side: int
) -> set[int]:
    """Returns the records from `start` on that are sound, up to the first of a wrong checksum."""

    def side(index: tf.Tensor, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = records.decode(serialized, split.encoding)
        return index, tf.reduce_min(tf.shape(image)[:2])

    dataset = tf.data.Dataset.from_tensors((path, offsets[start])).flat_map(shards.read_from)
    dataset = dataset.take(len(offsets) - start).enumerate(start)
    dataset = dataset.map(side, num_parallel_calls=machine.cores())
    dataset = dataset.ignore_errors().with_options(options.untuned())
    return {int(index) for index, least in dataset.as_numpy_iterator() if least >= min_side}


def _why(data: bytes, encoding: str, min_side: int) -> str | None:
    try:
        height, width = records.decode(tf.constant(data), encoding).shape[:2]
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
        return f"not a record of this data set ({reason_of(error)})"
    if min(height, width) < min_side:
        return f"its image is {width}x{height} pixels, smaller than {min_side}"
    return None


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with files.open_file(path) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
