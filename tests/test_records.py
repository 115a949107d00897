"""Records: what the writer stores is what the reader sees, in a graph and eagerly."""

import json

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from data_prep import crops
from data_prep.settings import ENCODINGS, Settings
from srgan_tf import errors
from srgan_tf.data import records

RGB = fixtures.photo_like(24, 47)


def _example(encoding):
    return records.encode_example(
        image=crops.encode(RGB, Settings(encoding=encoding)),
        shape=RGB.shape[:2],
        encoding=encoding,
        source="häuser/1.jpg",
        x=3,
        y=4,
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_decode_is_the_same_eagerly_and_in_map(encoding):
    serialized = _example(encoding)
    dataset = tf.data.Dataset.from_tensors(serialized).map(lambda s: records.decode(s, encoding))
    assert dataset.element_spec.shape.as_list() == [None, None, 3]
    assert dataset.element_spec.dtype == tf.uint8
    eager = records.decode(tf.constant(serialized), encoding).numpy()
    for image in (eager, next(iter(dataset)).numpy()):
        assert image.shape == RGB.shape
        # JPEG at quality 95 differs by some levels on noise of 6 levels; the others by none.
        tolerance = 5.0 if encoding == "jpeg" else 0.0
        assert np.abs(image.astype(int) - RGB).mean() <= tolerance
    np.testing.assert_array_equal(eager, image)


def test_raw_pixels_that_do_not_fill_the_picture_are_an_error():
    cut = crops.encode(RGB, Settings(encoding="raw"))[:-3]
    record = records.encode_example(
        image=cut, shape=RGB.shape[:2], encoding="raw", source="a", x=0, y=0
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        records.decode(tf.constant(record), "raw")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_equal_records_have_equal_bytes(encoding):
    assert _example(encoding) == _example(encoding)


@pytest.fixture
def data_dir(tmp_path):
    """A data set of one shard with two raw records, written by hand."""
    name = records.shard_name("tiny", "train", 0, 1)
    with tf.io.TFRecordWriter(str(tmp_path / name)) as writer:
        for _ in range(2):
            writer.write(_example("raw"))
    size = (tmp_path / name).stat().st_size
    manifest = {
        "fingerprint": "abc",
        "settings": {"encoding": "raw", "crop_size": 24},
        "splits": {"train": [{"file": name, "records": 2, "bytes": size, "sha256": ""}]},
        "sources": [],
    }
    (tmp_path / records.MANIFEST).write_text(json.dumps(manifest))
    return tmp_path


def test_open_split(data_dir):
    split = records.open_split(str(data_dir), "train")
    assert split.num_records == 2
    assert split.shard_lengths == (2,)
    assert (split.encoding, split.crop_size, split.fingerprint) == ("raw", 24, "abc")
    read = [records.decode(s, "raw").numpy() for s in tf.data.TFRecordDataset(list(split.files))]
    np.testing.assert_array_equal(read, [RGB, RGB])


def test_open_split_names_what_is_wrong(data_dir, tmp_path_factory):
    with pytest.raises(errors.InputError, match="no validation records"):
        records.open_split(str(data_dir), "validation")
    empty = str(tmp_path_factory.mktemp("empty"))
    with pytest.raises(errors.InputError, match="srgan-prepare --input"):
        records.open_split(empty, "train")
    (shard,) = data_dir.glob("*.tfrecord-*")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(errors.InputError, match="bytes, not"):
        records.open_split(str(data_dir), "train")
    shard.unlink()
    with pytest.raises(errors.InputError, match="is missing"):
        records.open_split(str(data_dir), "train")
    (data_dir / records.MANIFEST).write_text("{")
    with pytest.raises(errors.InputError, match="not a manifest"):
        records.open_split(str(data_dir), "train")
