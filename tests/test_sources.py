"""TFDS data sets as input: one built here, and TFDS' own mock of DIV2K."""

import dataclasses

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from test_data_prep import SMALL, examples

from data_prep import convert, sources
from srgan_tf import errors


class TinyPhotos(tfds.core.GeneratorBasedBuilder):
    """Five colour pictures for training, two for testing."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": tfds.features.Image()})
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples(5), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for index in range(count):
            yield index, {"image": fixtures.photo_like(50 + index, 70, seed=index)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    TinyPhotos(data_dir=folder).download_and_prepare()
    return folder


def prepare(wanted, output, settings=SMALL, *, workers=1):
    return convert.convert(settings, wanted, str(output), workers=workers, overwrite=False)


def test_a_tfds_data_set_becomes_records(data_dir, tmp_path):
    wanted = sources.from_tfds("tiny_photos", data_dir, "train+test[:1]")
    manifest, _ = prepare(wanted, tmp_path)
    assert wanted.total == 6
    assert manifest["settings"]["tfds"] == "tiny_photos/1.0.0"
    first = manifest["sources"][0]
    assert first["id"] == "tiny_photos/train+test[:1]/000000"
    # The picture of the test split equals the first of the training split.
    assert sum(source.get("skipped") == "duplicate" for source in manifest["sources"]) == 1
    originals = {
        f"tiny_photos/train+test[:1]/{index:06d}": example["image"]
        for index, example in enumerate(
            tfds.load("tiny_photos", data_dir=data_dir, split="train", shuffle_files=False)
        )
    }
    for split in ("train", "validation"):
        for image, source, x, y, _ in examples(tmp_path, split):
            height, width = image.shape[:2]
            np.testing.assert_array_equal(originals[source][y : y + height, x : x + width], image)


def test_tfds_is_read_without_a_thread_that_tunes(data_dir):
    dataset = sources._open_tfds(tfds.builder("tiny_photos", data_dir=data_dir), "train", "image")
    options = dataset.options()
    assert options.autotune.enabled is False and options.deterministic is True
    assert len(list(dataset)) == 5


def test_tfds_with_more_workers_and_a_second_run(data_dir, tmp_path):
    wanted = sources.from_tfds("tiny_photos", data_dir, "train")
    one, _ = prepare(wanted, tmp_path / "one")
    two, _ = prepare(wanted, tmp_path / "two", workers=2)
    assert one == two
    assert prepare(wanted, tmp_path / "two") == (two, True)
    other = sources.from_tfds("tiny_photos", data_dir, "test")
    with pytest.raises(errors.InputError, match="tfds_split: 'train' there, 'test' asked for"):
        prepare(other, tmp_path / "two")


def test_mocked_div2k_takes_the_hr_pictures(tmp_path):
    def as_dataset(self, *args, **kwargs):
        del self, args, kwargs
        hr = np.stack([fixtures.photo_like(72, 96, seed=seed) for seed in range(3)])
        return tf.data.Dataset.from_tensor_slices({"hr": hr, "lr": hr[:, ::4, ::4]})

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        wanted = sources.from_tfds("div2k/bicubic_x4", str(tmp_path / "tfds"), "train")
        manifest, _ = prepare(wanted, tmp_path / "out")
    assert [source["width"] for source in manifest["sources"]] == [96] * 3
    assert manifest["sources"][2]["id"] == "div2k/bicubic_x4/train/000002"


def test_mocked_grey_digits(tmp_path):
    with tfds.testing.mock_data(num_examples=4):
        wanted = sources.from_tfds("mnist", str(tmp_path / "tfds"), "train")
        prepare(wanted, tmp_path / "out", dataclasses.replace(SMALL, validation_percent=0))
    found = examples(tmp_path / "out", "train")
    assert len(found) == 4
    assert all((image == image[..., :1]).all() for image, *_ in found)


def test_what_tfds_lacks_is_one_line(data_dir, tmp_path):
    with pytest.raises(errors.InputError, match="TFDS has no data set 'no_such_thing'"):
        sources.from_tfds("no_such_thing", data_dir, "train")
    with pytest.raises(errors.InputError, match="no feature hr or image, but"):
        sources.from_tfds("glue/cola", str(tmp_path), "train")
    with pytest.raises(errors.InputError, match="tfds build div2k/bicubic_x4"):
        sources.from_tfds("div2k/bicubic_x4", str(tmp_path), "train")
    with pytest.raises(errors.InputError, match="no split 'nothing'; it has: test, train"):
        sources.from_tfds("tiny_photos", data_dir, "nothing")
