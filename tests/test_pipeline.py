"""data/pipeline.py, augmentations.py: stateless batches, LR equal to a file's."""

import dataclasses
import functools

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import errors, images
from srgan_tf.config import DataConfig
from srgan_tf.data import augmentations, pipeline, records


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return fixtures.prepared(tmp_path_factory.mktemp("data"), photos=5, size=(216, 240))


@pytest.fixture(scope="module")
def train(split):
    return records.open_split(split, "train")


def _config(**values):
    return DataConfig(**{"crop_size": 48, "batch_size": 4, "shuffle_window": 8, **values})


def _batches(train, config, count, start=0, seed=3):
    dataset = pipeline.training_dataset(train, config, seed=seed, start_step=start)
    return [tuple(x.numpy() for x in pair) for pair in dataset.take(count)]


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_shapes_and_ranges(train, scale):
    config = _config(scale=scale)
    ((lr, hr),) = _batches(train, config, 1)
    assert lr.shape == (4, 48 // scale, 48 // scale, 3) and hr.shape == (4, 48, 48, 3)
    assert lr.dtype == hr.dtype == np.float32
    assert lr.min() >= 0 and lr.max() <= 1 and hr.min() >= -1 and hr.max() <= 1 and hr.min() < 0
    # LR is what an 8-bit file holds.
    np.testing.assert_allclose(lr * 255, np.round(lr * 255), atol=1e-4)


@pytest.mark.parametrize("crops", [1, 3])
def test_batch_k_is_the_same_wherever_the_stream_starts(train, crops):
    config = _config(crops_per_image=crops)
    # More than two epochs: the stream crosses two epoch borders and many windows.
    count = 3 * train.num_records * crops // config.batch_size
    whole = _batches(train, config, count)
    for start in (1, 2, count // 2, count - 2):
        rest = _batches(train, config, count - start, start=start)
        for expected, got in zip(whole[start:], rest, strict=True):
            np.testing.assert_array_equal(expected[0], got[0])
            np.testing.assert_array_equal(expected[1], got[1])


def test_random_degradations_are_the_same_wherever_the_stream_starts(train):
    config = _config(batch_size=2, crops_per_image=2, degradation="blind")
    whole = _batches(train, config, 4)
    for expected, got in zip(whole[1:], _batches(train, config, 3, start=1), strict=True):
        np.testing.assert_array_equal(expected[0], got[0])
        np.testing.assert_array_equal(expected[1], got[1])


def test_global_tensorflow_seed_changes_nothing(train):
    config = _config()
    tf.random.set_seed(1)
    first = _batches(train, config, 3)
    tf.random.set_seed(2)
    second = _batches(train, config, 3)
    np.testing.assert_array_equal(first[2][1], second[2][1])


def test_another_seed_gives_other_batches(train):
    config = _config()
    assert not np.array_equal(
        _batches(train, config, 1)[0][1], _batches(train, config, 1, seed=4)[0][1]
    )


def test_epochs_hold_every_record_once_in_another_order(train):
    config = _config(batch_size=1)
    stream = pipeline._record_stream(train, config, seed=1, start=0)
    seen = [item.numpy() for _, item in stream.take(2 * train.num_records)]
    first, second = seen[: train.num_records], seen[train.num_records :]
    assert sorted(first) == sorted(second) and len(set(first)) == train.num_records
    assert first != second


def test_nothing_that_is_skipped_is_decoded(train, monkeypatch):
    decoded = []
    real = records.decode

    def counting(serialized, encoding):
        tf.py_function(lambda: decoded.append(1), [], [])
        return real(serialized, encoding)

    monkeypatch.setattr(pipeline.records, "decode", counting)
    config = _config(batch_size=2)
    start = train.num_records  # Two epochs in.
    dataset = pipeline.training_dataset(train, config, seed=1, start_step=start)
    options = tf.data.Options()
    options.autotune.enabled = False
    next(iter(dataset.with_options(options)))
    # Parallel calls and prefetching run ahead, but by far less than the 2 epochs skipped.
    assert len(decoded) < train.num_records


def test_images_of_a_batch_come_from_different_records(train):
    config = _config(crops_per_image=4, flip=False, rotate=False)
    index = {item.numpy(): number for number, item in enumerate(_raw(train))}
    stream = pipeline._record_stream(train, config, seed=3, start=0)
    group = [index[item.numpy()] for _, item in stream.take(config.batch_size)]
    assert len(set(group)) == config.batch_size
    batches = _batches(train, config, 4)
    hr_records = [records.decode(item, train.encoding).numpy() for item in _raw(train)]
    for _, hr in batches:
        for position, number in enumerate(group):
            assert _contains(hr_records[number], images.signed_to_uint8(hr[position]).numpy())


def _raw(train):
    return list(tf.data.TFRecordDataset(list(train.files)))


def _contains(image, crop):
    size = crop.shape[0]
    for top in range(0, image.shape[0] - size + 1, 4):
        for left in range(0, image.shape[1] - size + 1, 4):
            if np.array_equal(image[top : top + size, left : left + size], crop):
                return True
    return False


@pytest.mark.parametrize("degradation", ["bicubic", "gaussian_bicubic"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_lr_crop_is_the_crop_of_the_whole_records_lr(scale, degradation):
    config = _config(
        scale=scale, flip=False, rotate=False, degradation=degradation, gaussian_sigma=2.0
    )
    # At x8 no multiple of the scale: what is left over at the bottom and right must not count.
    hr = tf.constant(fixtures.photo_like(148, 196))
    height, width = (side - side % scale for side in hr.shape[:2])
    whole = images.uint8_to_unit(hr[:height, :width])
    whole = pipeline.degrade(whole, config, seed=tf.constant([0, 0], tf.int64))
    crop_of = tf.function(functools.partial(pipeline._crop, hr, config))
    for number in range(12):
        seed = tf.constant([number, 7], tf.int64)
        choice = augmentations.draw(
            pipeline._fold(seed, pipeline._CROP),
            size=tf.constant([148, 196]),
            crop_size=48,
            scale=scale,
            flip=False,
            rotate=False,
        )
        pair = pipeline._to_float(crop_of(seed=seed))
        top, left = int(choice.top) // scale, int(choice.left) // scale
        side = 48 // scale
        expected = images.unit_to_uint8(whole[top : top + side, left : left + side])
        np.testing.assert_array_equal(images.unit_to_uint8(pair.lr), expected)


def test_lr_and_hr_are_turned_alike():
    config = _config(crop_size=96)
    hr = tf.constant(fixtures.photo_like(192, 192))
    orientations = set()
    for number in range(40):
        seed = tf.constant([number, 1], tf.int64)
        pair = pipeline._to_float(pipeline._crop(hr, config, seed=seed))
        again = tf.image.resize(images.signed_to_unit(pair.hr), [24, 24], "bicubic", antialias=True)
        # The rim sees other neighbours; inside only rounding to 8 bits differs.
        inner = slice(3, -3)
        again = np.clip(again, 0, 1)
        difference = np.abs(pair.lr[inner, inner] - again[inner, inner]).max()
        assert difference < 1 / 255
        choice = augmentations.draw(
            pipeline._fold(tf.constant([number, 1], tf.int64), pipeline._CROP),
            size=tf.constant([192, 192]),
            crop_size=96,
            scale=4,
            flip=True,
            rotate=True,
        )
        orientations.add((bool(choice.mirror), int(choice.quarter_turns)))
    assert len(orientations) == 8


def test_crop_larger_than_the_records_is_refused(train):
    with pytest.raises(errors.InputError, match="--crop_size"):
        pipeline.training_dataset(train, _config(crop_size=480), seed=1)


def test_unknown_degradation_is_refused(train):
    with pytest.raises(errors.InputError, match="bicubic"):
        pipeline.training_dataset(train, _config(degradation="bicubik"), seed=1)


@pytest.mark.parametrize("degradation", ["bicubic", "blind"])
def test_validation_pairs_are_whole_records_and_repeatable(split, degradation):
    validation = records.open_split(split, "validation")
    config = _config(scale=3, degradation=degradation)
    first = list(pipeline.validation_pairs(validation, config, limit=2))
    second = list(pipeline.validation_pairs(validation, config, limit=2))
    assert first[0].hr.shape[0] == 1 and first[0].hr.shape[1] > 48
    assert first[0].lr.shape[1] * 3 == first[0].hr.shape[1]
    np.testing.assert_array_equal(first[0].lr, second[0].lr)


def test_two_replicas_share_the_global_batch(train):
    config = _config()
    ((_, hr),) = _batches(train, config, 1)
    strategy = fixtures.strategy()
    dataset = pipeline.training_dataset(train, dataclasses.replace(config), seed=3)
    per_replica = next(iter(strategy.experimental_distribute_dataset(dataset)))
    halves = strategy.experimental_local_results(per_replica.hr)
    np.testing.assert_array_equal(np.concatenate([half.numpy() for half in halves]), hr)
