"""Reads a shard, or what takes the place of its bad records; always as many as it should have."""

from collections.abc import Callable

import tensorflow as tf

from srgan_tf.data import faults, framing, records

# Bytes read at once.
_BUFFER = 1 << 18


def reader(split: records.Split) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Returns a function from a shard's number to its serialized records; works in a graph.

    It fails, as does any other fault while reading, where the shard holds more or fewer records
    than the manifest says (because the file was replaced): all that follows would move.

    Raises:
        errors.InputError: no record is good, or a shard with bad records has changed again.
    """
    files, lengths = tf.constant(split.files), tf.constant(split.shard_lengths, tf.int64)
    places = _places(split) if split.bad else None

    def read(shard: tf.Tensor) -> tf.data.Dataset:
        if places is None:
            dataset = tf.data.TFRecordDataset(files[shard])
        else:
            stretches = tf.data.Dataset.from_tensor_slices(places[shard])
            dataset = stretches.flat_map(lambda row: read_from(files[row[0]], row[1]).take(row[2]))
        return dataset.apply(tf.data.experimental.assert_cardinality(lengths[shard]))

    return read


def read_from(path: str | tf.Tensor, offset: int | tf.Tensor) -> tf.data.Dataset:
    """Returns the serialized records of a file from byte `offset` on.

    For use within `flat_map` alone: TensorFlow 2.15 cannot serialize this dataset itself.
    """
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=path,
        compression_type="",
        buffer_size=tf.constant(_BUFFER, tf.int64),
        byte_offsets=tf.cast(offset, tf.int64),
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))


def _places(split: records.Split) -> tf.RaggedTensor:
    """Returns `[shards, (stretches), 3]`: shard, byte offset, records; in the order of reading."""
    stretches = faults.runs(split.shard_lengths, split.bad)
    needed = {run.shard for runs in stretches for run in runs}
    try:
        offsets = {shard: framing.walk(split.files[shard]).offsets for shard in needed}
        rows = [
            [(run.shard, offsets[run.shard][run.first], run.count) for run in runs]
            for runs in stretches
        ]
    except (OSError, IndexError) as error:
        # One of the errors of reading, by which the list is made anew.
        reason = f"a shard has changed since its bad records were listed ({error})"
        raise tf.errors.DataLossError(None, None, reason) from error
    return tf.ragged.constant(rows, tf.int64, inner_shape=(3,))
