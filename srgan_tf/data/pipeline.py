"""Batches of (lr [0, 1], hr [-1, 1]) from TFRecords of HR crops.

Every random choice is stateless: the batch of step k is a pure function of (data set, seed, k,
global batch size). `training_dataset(..., start_step=k)` gives the batches that an uninterrupted
run would see from k on, and decodes nothing of what lies before.

How: an epoch permutes the shards, interleaves them and shuffles windows of encoded records, all
seeded by (seed, epoch). The records of all epochs form one stream; record number i draws its crops
with the seed (seed, i). `batch_size` successive records give `crops_per_image` batches, so the
images of a batch come from different records.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from srgan_tf import errors, images, machine, registry
from srgan_tf.config import DataConfig
from srgan_tf.data import augmentations, degradations, faults, options, records, scan, shards

# Shards read at once. More give more variety within a window; each holds a file open.
_INTERLEAVE = 16
# Batches that are ready before they are asked for.
_PREFETCH = 4
# What a seed is used for; folded in first, so that no two uses share a stream.
_EPOCH, _RECORD, _SHARDS, _WINDOW, _CROP, _DEGRADATION = range(6)


class Pair(NamedTuple):
    """A batch: lr `[B, h, w, 3]` in [0, 1] and hr `[B, H, W, 3]` in [-1, 1]."""

    lr: tf.Tensor
    hr: tf.Tensor


def training_dataset(
    split: records.Split,
    config: DataConfig,
    *,
    seed: int,
    start_step: int = 0,
    part: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Returns the endless dataset of `Pair` batches from step `start_step` on.

    Args:
        split: the records.
        config: what is made of them; `batch_size` is that of all parts together.
        seed: of all random choices.
        start_step: updates that are done.
        part: (k, n): batches have only the k-th (from 0) of n successive parts of the whole batch.
            The rest is read, since order and windows depend on it, but not decoded.

    Raises:
        errors.InputError: the records are smaller than the crop, or the degradation is unknown.
    """
    check(split, config)
    group, first_crop = divmod(start_step, config.crops_per_image)
    stream = _record_stream(split, config, seed=seed, start=group * config.batch_size)
    number, parts = part
    size = config.batch_size // parts
    if parts > 1:
        whole = stream.batch(config.batch_size, drop_remainder=True)
        first = number * size
        stream = whole.map(
            lambda index, serialized: (
                index[first : first + size],
                serialized[first : first + size],
            )
        ).unbatch()

    def pairs(index: tf.Tensor, serialized: tf.Tensor) -> Pair:
        hr = records.decode(serialized, split.encoding)
        return _crops(hr, config, seed=_fold(_fold(_root(seed), _RECORD), index))

    dataset = stream.map(pairs, num_parallel_calls=machine.cores())
    dataset = dataset.batch(size, drop_remainder=True)
    # [B, crops, ...] -> crops batches [B, ...]: each holds one crop of every record of the group.
    dataset = dataset.map(lambda pair: Pair(*(tf.transpose(x, [1, 0, 2, 3, 4]) for x in pair)))
    dataset = dataset.unbatch().skip(first_crop).map(_to_float)
    return dataset.prefetch(_PREFETCH).with_options(options.untuned())


def validation_pairs(split: records.Split, config: DataConfig, *, limit: int) -> Iterator[Pair]:
    """Yields the first `limit` records, whole, as batches of one; always the same ones.

    Raises:
        errors.InputError: one of them cannot be used; it is named, and never replaced: scores over
            other pictures would not compare.
    """
    decoded = (
        tf.data.TFRecordDataset(list(split.files))
        .take(limit)
        .map(
            lambda record: records.decode(record, split.encoding),
            num_parallel_calls=machine.cores(),
        )
        .with_options(options.untuned())
    )
    for number, image in enumerate(_named_faults(decoded, split, config.scale)):
        hr = images.uint8_to_unit(image)
        height, width = (side - side % config.scale for side in hr.shape[:2])
        hr = hr[:height, :width]
        lr = degrade(hr, config, seed=tf.constant([0, number], tf.int64))
        yield Pair(lr[tf.newaxis], images.unit_to_signed(hr)[tf.newaxis])


def _named_faults(
    decoded: tf.data.Dataset, split: records.Split, min_side: int
) -> Iterator[tf.Tensor]:
    """Yields what `decoded` does; where reading fails, says which records of the split are bad."""
    try:
        yield from decoded
    except scan.READ_ERRORS as error:
        bad = scan.scan(split, min_side=min_side)
        what = faults.summary(split.files, bad) if bad else scan.reason_of(error)
        raise errors.InputError(
            f"the {split.name} records of {split.data_dir} cannot be read: {what}; copy the data "
            "set again or run srgan-prepare again."
        ) from error


def degrade(hr: tf.Tensor, config: DataConfig, *, seed: tf.Tensor) -> tf.Tensor:
    """Returns the LR image of `hr` (both `[H, W, 3]` in [0, 1]) on the 256 levels of a file."""
    return images.uint8_to_unit(_degrade(hr, config, seed=seed))


def _degrade(hr: tf.Tensor, config: DataConfig, *, seed: tf.Tensor) -> tf.Tensor:
    """Returns what `degrade` does as uint8."""
    return images.unit_to_uint8(_degradation(config).apply(hr, config=config, seed=seed))


def check(split: records.Split, config: DataConfig) -> None:
    """Raises `errors.InputError` if `config` does not fit the records or names no degradation."""
    _degradation(config)
    if split.crop_size < config.crop_size:
        raise errors.InputError(
            f"Crops of {config.crop_size} px do not fit into the {split.crop_size} px records of "
            f"{split.data_dir}; lower --crop_size, or prepare with a larger one."
        )


def _record_stream(
    split: records.Split, config: DataConfig, *, seed: int, start: int
) -> tf.data.Dataset:
    """Endless (index, serialized record) over all epochs, from stream position `start` on."""
    first_epoch, offset = divmod(start, split.num_records)
    window = min(config.shuffle_window, split.num_records)
    read_shard, numbers = shards.reader(split), tf.range(len(split.files))

    def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = _fold(_fold(_root(seed), _EPOCH), epoch)
        skip = tf.where(epoch == first_epoch, tf.constant(offset, tf.int64), 0)
        order = tf.random.experimental.stateless_shuffle(numbers, _fold(epoch_seed, _SHARDS))
        encoded = tf.data.Dataset.from_tensor_slices(order).interleave(
            read_shard,
            cycle_length=min(_INTERLEAVE, len(split.files)),
            block_length=1,
            num_parallel_calls=min(_INTERLEAVE, len(split.files)),
            deterministic=True,
        )

        def shuffle(number: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
            window_seed = _fold(_fold(epoch_seed, _WINDOW), number)
            return tf.random.experimental.stateless_shuffle(items, window_seed)

        windows = encoded.batch(window).enumerate().skip(skip // window).map(shuffle)
        return windows.unbatch().skip(skip % window)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    return epochs.flat_map(epoch_records).enumerate(start=start)


def _crops(hr: tf.Tensor, config: DataConfig, *, seed: tf.Tensor) -> Pair:
    """Takes the crops of one record: lr `[crops, h, w, 3]` and hr `[crops, H, W, 3]`, uint8."""
    # A loop in the graph: unrolled, 4 blind crops would take 10 s to trace.
    sides = config.crop_size // config.scale, config.crop_size
    return tf.map_fn(
        lambda crop: _crop(hr, config, seed=_fold(seed, crop)),
        tf.range(config.crops_per_image),
        fn_output_signature=Pair(*(tf.TensorSpec([side, side, 3], tf.uint8) for side in sides)),
    )


def _crop(hr: tf.Tensor, config: DataConfig, *, seed: tf.Tensor) -> Pair:
    """Takes one crop with a margin, degrades it, and cuts the margin off both images.

    So the LR crop of a degradation without random choices equals, to the bit, the crop of the whole
    record's LR image. Both stay uint8, and so do the copies that follow, up to the whole batch.
    """
    choice = augmentations.draw(
        _fold(seed, _CROP),
        size=tf.shape(hr)[:2],
        crop_size=config.crop_size,
        scale=config.scale,
        flip=config.flip,
        rotate=config.rotate,
    )
    size, scale = config.crop_size, config.scale
    margin = _degradation(config).margin(config) * scale
    place = tf.stack([choice.top, choice.left])
    first = tf.maximum(place - margin, 0)
    # Whole LR pixels only: at x3, 100 px would otherwise be squeezed into 33, and HR and LR drift.
    end = tf.shape(hr)[:2] // scale * scale
    last = tf.minimum(place + size + margin, end)
    around = images.uint8_to_unit(hr[first[0] : last[0], first[1] : last[1]])
    lr = _degrade(around, config, seed=_fold(seed, _DEGRADATION))
    hr_crop = _cut(hr, place, size)
    lr_crop = _cut(lr, (place - first) // scale, size // scale)
    return Pair(augmentations.orient(lr_crop, choice), augmentations.orient(hr_crop, choice))


def _to_float(pair: Pair) -> Pair:
    """Gives uint8 images their ranges: lr [0, 1] and hr [-1, 1]."""
    lr, hr = (images.uint8_to_unit(image) for image in pair)
    return Pair(lr, images.unit_to_signed(hr))


def _degradation(config: DataConfig) -> degradations.Degradation:
    return registry.lookup(degradations.DEGRADATIONS, config.degradation, "degradation")


def _cut(image: tf.Tensor, place: tf.Tensor, size: int) -> tf.Tensor:
    cut = image[place[0] : place[0] + size, place[1] : place[1] + size]
    return tf.ensure_shape(cut, [size, size, 3])


def _root(seed: int) -> tf.Tensor:
    return tf.constant([0, seed], tf.int64)


def _fold(seed: tf.Tensor, data: tf.Tensor | int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(data, tf.int64))
