"""Damaged data sets: every fault is named with shard and record, counted, and replaced in place."""

import dataclasses
import logging
import os
import pathlib
import re
import shutil

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import test_training
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from srgan_tf import errors
from srgan_tf.config import DataConfig
from srgan_tf.data import faults, framing, pipeline, records, scan
from srgan_tf.training import checkpoints, loop

CROP = 24
# The record that is damaged, near the end of its shard, and the shard.
SHARD, BAD = 1, -2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return fixtures.prepared(tmp_path_factory.mktemp("data"), photos=5, size=(120, 144), crop=72)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    return fixtures.prepared(folder, photos=5, size=(120, 144), crop=72, seed=9)


@pytest.fixture
def copy(data, tmp_path):
    return shutil.copytree(data, tmp_path / "copy")


def flip(path, place):
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def rewrite(path, change):
    """Writes a shard anew, from the list of its records after `change` has changed it."""
    items = [item.numpy() for item in tf.data.TFRecordDataset(str(path))]
    change(items)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for item in items:
            writer.write(item)


def example(picture):
    return records.encode_example(image=picture, shape=(1, 1), encoding="png", source="a", x=0, y=0)


def replace(content):
    def change(items):
        items[BAD] = content

    return lambda path, _: rewrite(path, change)


def small():
    return tf.io.encode_png(fixtures.photo_like(CROP - 1, 72)).numpy()


def offset(path, index):
    return framing.walk(str(path)).offsets[index]


# Each with what it does to a shard (and its twin of another data set), the first bad record and the
# one after the last, as slices have them, and the reason.
_LAST_TWO, _ALL, _ONE = slice(BAD, None), slice(None), slice(BAD, BAD + 1)
DAMAGES = {
    "bit": (lambda path, _: flip(path, offset(path, BAD) + 500), _ONE, "checksum"),
    "checksum": (lambda path, _: flip(path, offset(path, BAD + 1) - 1), _ONE, "checksum"),
    "length": (lambda path, _: flip(path, offset(path, BAD)), _LAST_TWO, "length is corrupt"),
    "cut": (lambda path, _: os.truncate(path, offset(path, BAD) + 99), _LAST_TWO, "shard ends"),
    "cut header": (lambda path, _: os.truncate(path, offset(path, BAD) + 5), _LAST_TWO, "ends"),
    "no proto": (replace(b"\xff" * 99), _ONE, "not a record"),
    "no image": (replace(tf.train.Example().SerializeToString()), _ONE, "not a record"),
    "no picture": (replace(example(b"GIF or PNG?")), _ONE, "not a record"),
    "half a picture": (lambda path, other: replace(example(small()[:900]))(path, other), _ONE, ""),
    "small": (lambda path, _: replace(example(small()))(path, _), _ONE, "72x23 pixels"),
    "gone": (lambda path, _: path.unlink(), _ALL, "missing"),
    "empty": (lambda path, _: path.write_bytes(b""), _ALL, "0 records instead of"),
    "one fewer": (lambda path, _: rewrite(path, lambda items: items.pop()), _ALL, "instead of"),
    "one more": (lambda path, _: rewrite(path, lambda i: i.append(i[0])), _ALL, "instead of"),
    "foreign": (lambda path, other: shutil.copy(other, path), _ALL, "SHA-256"),
}


def damage(folder, foreign, kind):
    """Damages the data set; returns its split and the numbers of the records that are now bad."""
    split = records.open_split(str(folder), "train")
    path = pathlib.Path(split.files[SHARD])
    change, bad, _ = DAMAGES[kind]
    change(path, pathlib.Path(foreign) / path.name)
    return split, list(range(split.shard_lengths[SHARD]))[bad]


def config(**values):
    return DataConfig(**{"crop_size": CROP, "batch_size": 2, "shuffle_window": 4, **values})


@pytest.mark.parametrize("kind", DAMAGES)
def test_scan_names_shard_records_and_reason(copy, foreign, kind):
    split, bad = damage(copy, foreign, kind)
    (fault,) = scan.scan(split, min_side=CROP)
    assert (fault.shard, fault.first, fault.count) == (SHARD, bad[0], len(bad))
    line = faults.describe(split.files, fault)
    number = f"record {bad[0]}" if len(bad) == 1 else f"records {bad[0]} to {bad[-1]}"
    assert line.startswith(f"{os.path.basename(split.files[SHARD])}, {number}: ")
    assert re.search(DAMAGES[kind][2], line) and "\n" not in line and "{{" not in line


@pytest.mark.parametrize("kind", sorted(set(DAMAGES) - {"foreign"}))
def test_reading_fails_and_goes_on_with_substitutes(copy, foreign, kind):
    """A foreign shard of as many good records is found by scanning alone."""
    split, bad = damage(copy, foreign, kind)
    steps = 2 * split.num_records // 2
    with pytest.raises(scan.READ_ERRORS):
        for _ in pipeline.training_dataset(split, config(), seed=1).take(steps):
            pass
    split = dataclasses.replace(split, bad=scan.scan(split, min_side=CROP))
    assert faults.total(split.bad) == len(bad)
    batches = list(pipeline.training_dataset(split, config(), seed=1).take(steps))
    rest = pipeline.training_dataset(split, config(), seed=1, start_step=steps // 2 + 1)
    for expected, got in zip(batches[steps // 2 + 1 :], rest, strict=False):
        np.testing.assert_array_equal(expected.hr, got.hr)
        np.testing.assert_array_equal(expected.lr, got.lr)


def test_sound_data_have_no_faults(data):
    for name in ("train", "validation"):
        assert scan.scan(records.open_split(data, name), min_side=CROP) == ()


def test_other_records_keep_their_places(data):
    """Two epochs of the encoded stream, with and without faults that are no faults of the file."""
    split = records.open_split(data, "train")
    bad = (faults.Fault(0, 1, 2, "x"), faults.Fault(2, 0, split.shard_lengths[2], "y"))

    def stream(faulty):
        chosen = dataclasses.replace(split, bad=faulty)
        dataset = pipeline._record_stream(chosen, config(), seed=1, start=0)
        return [item.numpy() for _, item in dataset.take(2 * split.num_records)]

    shards = [[i.numpy() for i in tf.data.TFRecordDataset(path)] for path in split.files]
    replaced = {*shards[0][1:3], *shards[2]}
    before, after = stream(()), stream(bad)
    assert len(replaced) == 2 + split.shard_lengths[2]
    for plain, got in zip(before, after, strict=True):
        assert (plain == got) == (plain not in replaced)
        assert got not in replaced


def test_substitutes_are_spread_and_never_bad():
    lengths = (4, 3, 3)
    bad = (faults.Fault(0, 2, 1, ""), faults.Fault(1, 0, 2, ""))
    got = [
        [(run.shard, run.first, run.count) for run in runs] for runs in faults.runs(lengths, bad)
    ]
    # Records 0 to 9. From 0.618 * 10 down, 6, 5 and 4 share a divisor with 10; so the stride is 3:
    # 2 -> 5 (bad) -> 8, 4 -> 7, 5 -> 8.
    assert got == [
        [(0, 0, 2), (2, 1, 1), (0, 3, 1)],
        [(2, 0, 2), (1, 2, 1)],
        [(2, 0, 3)],
    ]
    with pytest.raises(errors.InputError, match="none of the 3"):
        faults.runs((2, 1), (faults.Fault(0, 0, 2, ""), faults.Fault(1, 0, 1, "")))


def test_checksum_is_tensorflows():
    for data in (b"", b"123456789", bytes(range(256))):
        assert framing.masked_crc32c(data) == masked_crc32c(data)


def test_faults_survive_json_and_merge():
    files = ("/a/x-0", "/a/x-1")
    bad = faults.collect({(1, 3): "r", (1, 4): "r", (0, 9): "s", (1, 5): "t"})
    assert [fault.count for fault in bad] == [1, 2, 1] and faults.total(bad) == 4
    text = faults.to_json("abc", files, bad)
    assert faults.from_json(text, "abc", files) == bad
    assert faults.from_json(text, "other", files) == ()
    again = faults.merge(bad, (faults.Fault(1, 4, 1, "new reason"), faults.Fault(1, 6, 1, "t")))
    assert again == (*bad[:2], faults.Fault(1, 5, 2, "t"))


def test_a_bad_validation_picture_is_named(copy):
    split = records.open_split(str(copy), "validation")
    flip(pathlib.Path(split.files[0]), offset(split.files[0], 0) + 500)
    with pytest.raises(errors.InputError, match=r"validation.*-00000-of-00001, record 0: corrupt"):
        list(pipeline.validation_pairs(split, config(), limit=1))
