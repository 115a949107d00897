"""From a folder of photos to shards: grid, filter, split, placement, what is skipped and why."""

import collections
import dataclasses
import errno
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from data_prep import convert, crops, plan, sources, spool, summary
from data_prep.settings import ENCODINGS, Settings
from srgan_tf import errors, files
from srgan_tf.data import records

SMALL = Settings(crop_size=24, min_detail=0, validation_percent=30)


def prepare(photos, output, settings=SMALL, *, workers=1, overwrite=False):
    """Converts the folder `photos`; returns the manifest."""
    wanted = sources.from_files([str(photos)], str(output))
    manifest, _ = convert.convert(
        settings, wanted, str(output), workers=workers, overwrite=overwrite
    )
    return manifest


def contents(output):
    """Returns name -> SHA-256 of all files in a folder, hidden ones too."""
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(output) for name in names]
    return {
        os.path.relpath(path, output): hashlib.sha256(open(path, "rb").read()).hexdigest()
        for path in paths
    }


def examples(output, split, encoding="raw"):
    """Returns (image, source, x, y, shard number) of all records, in order."""
    found = []
    for shard, path in enumerate(records.open_split(str(output), split).files):
        for serialized in tf.data.TFRecordDataset(path):
            feature = tf.train.Example.FromString(serialized.numpy()).features.feature
            image = records.decode(serialized, encoding).numpy()
            source = feature["source"].bytes_list.value[0].decode()
            x, y = (feature[name].int64_list.value[0] for name in "xy")
            found.append((image, source, x, y, shard))
    return found


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight photos of several sizes, in two folders."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    for index in range(8):
        image = fixtures.photo_like(80 + 7 * index, 130 - 5 * index, seed=index)
        Image.fromarray(image).save(folder / ("sub" if index % 2 else "") / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared")
    return output, prepare(photos, output)


def test_records_are_the_pixels_of_the_photos(photos, prepared):
    output, _ = prepared
    for split in ("train", "validation"):
        for image, source, x, y, _ in examples(output, split):
            original = np.asarray(Image.open(photos / source))
            height, width = image.shape[:2]
            np.testing.assert_array_equal(image, original[y : y + height, x : x + width])
            assert split == "validation" or image.shape == (24, 24, 3)


def test_no_photo_is_in_both_splits_and_none_is_lost(photos, prepared):
    output, manifest = prepared
    train, validation = (
        {source for _, source, *_ in examples(output, split)} for split in ("train", "validation")
    )
    assert train
    assert validation
    assert not train & validation
    assert train | validation == {source["id"] for source in manifest["sources"]}


def test_validation_keeps_whole_photos_in_order_that_divide_by_every_scale(photos, prepared):
    found = examples(prepared[0], "validation")
    assert [source for _, source, *_ in found] == sorted(source for _, source, *_ in found)
    for image, source, x, y, _ in found:
        width, height = Image.open(photos / source).size
        assert image.shape[:2] == (height // 24 * 24, width // 24 * 24)
        assert (x, y) == (width % 24 // 2, height % 24 // 2)


def test_neighbours_lie_in_different_shards(prepared):
    shard_of = {(source, x, y): shard for _, source, x, y, shard in examples(prepared[0], "train")}
    assert len(set(shard_of.values())) == 4
    for source in {key[0] for key in shard_of}:
        columns = sorted({x for name, x, _ in shard_of if name == source})
        rows = sorted({y for name, _, y in shard_of if name == source})
        grid = np.array([[shard_of[source, x, y] for x in columns] for y in rows])
        assert (grid[1:] != grid[:-1]).all()
        assert (grid[:, 1:] != grid[:, :-1]).all()


@pytest.mark.parametrize("shards", [1, 2, 5, 16, 40])
def test_shards_are_equally_full_and_none_is_empty(shards):
    cuts = [
        spool.Cut(f"{i}.png", "", 0, "", False, kept=columns * 3)
        for i, columns in enumerate([1, 4, 16])
    ]

    def crops_of(cut):
        return [spool.Crop(x, y, 1, 1, 0, 0) for y in range(3) for x in range(cut.kept // 3)]

    parts = plan.training_records(cuts, crops_of, Settings(shards=shards))
    sizes = [len(part) for part in parts]
    assert len(sizes) == shards
    assert sum(sizes) == 63
    assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 3


def test_more_shards_than_crops_are_not_made():
    cuts = [spool.Cut("1.png", "", 0, "", False, kept=2)]
    place = [spool.Crop(0, 0, 1, 1, 0, 0), spool.Crop(1, 0, 1, 1, 0, 0)]
    parts = plan.training_records(cuts, lambda cut: place, Settings(shards=9))
    assert [len(part) for part in parts] == [1, 1]


def test_the_seed_turns_the_order_and_not_the_split(photos, prepared, tmp_path):
    other = prepare(photos, tmp_path, dataclasses.replace(SMALL, seed=2))
    assert other["fingerprint"] != prepared[1]["fingerprint"]
    assert other["sources"] == prepared[1]["sources"]


def test_the_split_does_not_depend_on_where_the_photos_lie(photos, prepared, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.symlink_to(photos)
    manifest = prepare(moved, tmp_path / "out")
    assert manifest == prepared[1]


def test_validation_share_and_its_ends():
    ids = [f"{number:05d}.jpg" for number in range(10_000)]
    assert 450 < len(plan.validation_ids(ids, 5)) < 550  # 500, standard deviation 22.
    assert plan.validation_ids(ids, 5) > plan.validation_ids(ids, 1)
    assert plan.validation_ids(ids, 0) == set()
    assert len(plan.validation_ids(["a", "b"], 1e-6)) == 1
    assert len(plan.validation_ids(["a", "b"], 50)) == 1
    assert plan.validation_ids(["a"], 50) == set()
    both = [name for name in ids if plan.hashes_to_validation(name, 5)][:2]
    assert len(plan.validation_ids(both, 5)) == 1  # Never all of them.


def test_a_photo_is_cut_again_when_validation_would_be_empty(photos, tmp_path):
    settings = dataclasses.replace(SMALL, validation_percent=1e-6)
    manifest = prepare(photos, tmp_path, settings)
    splits = collections.Counter(source["split"] for source in manifest["sources"])
    assert splits == {"train": 7, "validation": 1}
    assert len(examples(tmp_path, "validation")) == 1


@pytest.mark.parametrize(
    ("side", "stride", "starts"),
    [
        (192, 192, [0]),
        (239, 192, [23]),  # 47 of 192 left over: under a quarter, left out on both sides.
        (240, 192, [0, 48]),  # 48 is a quarter: one more.
        (384, 192, [0, 192]),
        (481, 192, [0, 144, 289]),  # A BSDS photo: the crops cover it.
        (321, 192, [0, 129]),
        (288, 48, [0, 48, 96]),
        (191, 192, []),
    ],
)
def test_grid(side, stride, starts):
    found = list(crops.grid(192, side, Settings(stride=stride)))
    assert found == [(x, 0, 192, 192) for x in starts]
    assert list(crops.grid(side, 192, Settings(stride=stride))) == [
        (0, y, 192, 192) for y in starts
    ]


def test_detail_of_a_ramp_is_its_slope():
    ramp = np.broadcast_to(np.arange(0, 200, 4, dtype=np.uint8)[:, None, None], (50, 20, 3))
    assert crops.detail(ramp) == pytest.approx((4 + 0) / 2, abs=0.1)  # 4 down, 0 across.
    assert crops.detail(np.full([8, 8, 3], 77, np.uint8)) == 0


def test_flat_crops_are_left_out_and_counted(tmp_path):
    image = fixtures.photo_like(24, 72)
    image[:, :24] = 200
    (tmp_path / "photos").mkdir()
    Image.fromarray(image).save(tmp_path / "photos" / "half.png")
    Image.new("RGB", (48, 48), "red").save(tmp_path / "photos" / "flat.png")
    manifest = prepare(
        tmp_path / "photos", tmp_path / "out", dataclasses.replace(SMALL, min_detail=1)
    )
    flat, half = manifest["sources"]
    assert flat["skipped"] == "flat"
    assert (half["crops"], half["flat"]) == (2, 1)
    assert [x for _, _, x, _, _ in examples(tmp_path / "out", "train")] in ([24, 48], [48, 24])


def test_downscale_is_exact_and_antialiased():
    # A checkerboard of single pixels becomes its mean; odd leftovers are dropped.
    board = np.indices([33, 50]).sum(0) % 2 * 255
    shrunk = crops.downscale(np.stack([board] * 3, -1).astype(np.uint8), 2)
    assert shrunk.shape == (16, 25, 3)
    assert np.abs(shrunk[2:-2, 2:-2].astype(int) - 127).max() <= 1
    assert crops.downscale(np.zeros([90, 60, 3], np.uint8), 1.5).shape == (60, 40, 3)


def test_transparent_photos_are_put_on_white(tmp_path):
    image = np.zeros([24, 24, 4], np.uint8)
    image[:12, :, 3] = 255
    (tmp_path / "photos").mkdir()
    Image.fromarray(image).save(tmp_path / "photos" / "a.png")
    prepare(tmp_path / "photos", tmp_path / "out")
    (record,) = examples(tmp_path / "out", "train")
    assert record[0][:12].max() == 0
    assert record[0][12:].min() == 255


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tfds_reads_the_same_crops(photos, tmp_path, encoding):
    prepare(photos, tmp_path, dataclasses.replace(SMALL, encoding=encoding))
    builder = tfds.builder_from_directory(str(tmp_path))
    for split in ("train", "validation"):
        ours = examples(tmp_path, split, encoding)
        config = tfds.ReadConfig(interleave_cycle_length=1)
        theirs = list(builder.as_dataset(split=split, read_config=config, shuffle_files=False))
        assert builder.info.splits[split].num_examples == len(ours) == len(theirs)
        for (image, source, x, y, _), example in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(example["image"], image)
            assert (example["source"].numpy().decode(), example["x"], example["y"]) == (
                source,
                x,
                y,
            )


@pytest.fixture(scope="module")
def messy(photos, tmp_path_factory):
    """Photos among all that can be wrong with a file."""
    folder = tmp_path_factory.mktemp("messy")
    good = (photos / "0.png").read_bytes()
    Image.open(photos / "0.png").save(folder / "copy_of_a.bmp")
    for name, data in {
        "a.png": good,
        "b.png": (photos / "2.png").read_bytes(),
        "c_copy.png": good,
        "cut.png": good[: len(good) // 2],
        "empty.jpg": b"",
        "notes.txt": b"no photo",
        "corrupt.png": good[:20] + b"rubbish" + good[27:],
        ".hidden": b"",
    }.items():
        (folder / name).write_bytes(data)
    Image.new("RGB", (23, 99), "red").save(folder / "tiny.png")
    Image.new("1", (15_000, 15_000)).save(folder / "bomb.png")
    os.symlink(folder / "gone", folder / "dead.png")
    return folder


def test_the_manifest_names_each_file_and_why_it_was_skipped(messy, tmp_path):
    manifest = prepare(messy, tmp_path)
    reasons = {source["id"]: source.get("skipped") for source in manifest["sources"]}
    assert reasons == {
        "a.png": None,
        "b.png": None,
        "bomb.png": "too many pixels",
        "c_copy.png": "duplicate",
        "copy_of_a.bmp": "duplicate",
        "corrupt.png": "corrupt",
        "cut.png": "truncated",
        "dead.png": "unreadable",
        "empty.jpg": "empty",
        "notes.txt": "not an image",
        "tiny.png": "too small",
    }
    entries = {source["id"]: source for source in manifest["sources"]}
    assert entries["c_copy.png"]["detail"] == "of a.png"
    assert entries["tiny.png"]["detail"].startswith("23x99; a crop has 24")
    for name in ("a.png", "notes.txt"):
        data = (messy / name).read_bytes()
        assert entries[name]["sha256"] == hashlib.sha256(data).hexdigest()
        assert entries[name]["bytes"] == len(data)
    width, height = Image.open(messy / "a.png").size
    assert (entries["a.png"]["width"], entries["a.png"]["height"]) == (width, height)
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    text = summary.describe(manifest, "out", 1.0)
    assert "11 found, 2 used, 9 skipped: 2 duplicate (c_copy.png, copy_of_a.bmp)" in text
    assert "1 not an image (notes.txt)" in text


def test_nothing_usable_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("hello")
    with pytest.raises(errors.InputError, match=r"nothing usable.*1 not an image \(a.txt\)"):
        prepare(tmp_path / "photos", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_overwriting_keeps_the_old_data_set_until_there_is_a_new_one(photos, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.txt").write_text("hello")
    output = tmp_path / "out"
    prepare(photos, output)
    before = contents(output)
    with pytest.raises(errors.InputError, match="nothing usable"):
        prepare(tmp_path / "bad", output, overwrite=True)
    assert contents(output) == before


def test_without_validation_photos_training_is_not_the_next_step(photos, tmp_path):
    settings = dataclasses.replace(SMALL, validation_percent=0)
    text = summary.describe(prepare(photos, tmp_path, settings), "out", 1.0)
    assert "srgan-train --data" not in text
    assert "two usable photos or more and --validation_percent above 0" in text


def test_equal_names_from_two_inputs_stay_apart(photos, tmp_path):
    for folder, index in (("one", 0), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes((photos / f"{index}.png").read_bytes())
    inputs = [str(tmp_path / "one"), str(tmp_path / "two")]
    found = sources.from_files(inputs, str(tmp_path / "out"))
    assert [source.id for source in found.stream()] == ["one/x.png", "two/x.png"]


def test_output_inside_an_input_is_refused(photos):
    with pytest.raises(errors.InputError, match="put it beside it"):
        sources.from_files([str(photos)], str(photos / "out"))


def test_a_finished_data_set_is_kept(photos, prepared):
    output, manifest = prepared
    before = {path: os.stat(path).st_mtime_ns for path in output.iterdir()}
    wanted = sources.from_files([str(photos)], str(output))
    again = convert.convert(SMALL, wanted, str(output), workers=1, overwrite=False)
    assert again == (manifest, True)
    assert {path: os.stat(path).st_mtime_ns for path in output.iterdir()} == before


def test_other_settings_or_photos_are_refused_until_overwritten(photos, tmp_path):
    (tmp_path / "photos").mkdir()
    for path in list(photos.glob("*.png"))[:3]:
        (tmp_path / "photos" / path.name).write_bytes(path.read_bytes())
    output = tmp_path / "out"
    prepare(tmp_path / "photos", output)
    other = dataclasses.replace(SMALL, crop_size=48, name="other")
    with pytest.raises(errors.InputError, match="crop_size: 24 there, 48 asked for.*--overwrite"):
        prepare(tmp_path / "photos", output, other)
    prepare(tmp_path / "photos", output, other, overwrite=True)
    assert not list(output.glob("srgan_hr*"))
    (tmp_path / "photos" / "new.png").write_bytes((photos / "sub" / "1.png").read_bytes())
    with pytest.raises(errors.InputError, match="1 new photos: new.png"):
        prepare(tmp_path / "photos", output, other)
    expected = prepare(tmp_path / "photos", tmp_path / "fresh", other)
    assert prepare(tmp_path / "photos", output, other, overwrite=True) == expected
    assert contents(output) == contents(tmp_path / "fresh")


def test_a_photo_changed_in_place_is_noticed(photos, tmp_path):
    (tmp_path / "photos").mkdir()
    path = tmp_path / "photos" / "a.bmp"
    image = np.array(Image.open(photos / "0.png"))
    Image.fromarray(image).save(path)
    prepare(tmp_path / "photos", tmp_path / "out")
    os.utime(path)  # Touched, equal bytes.
    prepare(tmp_path / "photos", tmp_path / "out")
    Image.fromarray(255 - image).save(path)
    with pytest.raises(errors.InputError, match="1 photos changed: a.bmp"):
        prepare(tmp_path / "photos", tmp_path / "out")


def test_a_damaged_data_set_is_not_called_complete(photos, tmp_path):
    prepare(photos, tmp_path)
    next(tmp_path.glob("*train*")).unlink()
    with pytest.raises(errors.InputError, match="damaged .*missing.*--overwrite"):
        prepare(photos, tmp_path)


def test_a_foreign_data_set_is_left_alone(photos, tmp_path):
    (tmp_path / "dataset_info.json").write_text("{}")
    for overwrite in (False, True):
        with pytest.raises(errors.InputError, match="did not make"):
            prepare(photos, tmp_path, overwrite=overwrite)
    assert contents(tmp_path).keys() == {"dataset_info.json"}


def test_a_full_disk_is_one_line_and_the_conversion_continues(
    photos, prepared, tmp_path, monkeypatch
):
    written = []

    def fill_up(path, chunks, write=files.write_atomically):
        written.append(path)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, chunks)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomically", fill_up)
        with pytest.raises(errors.InputError, match="no space left.*continues"):
            prepare(photos, tmp_path)
    prepare(photos, tmp_path)
    assert contents(tmp_path) == contents(prepared[0])


def test_what_gfile_reads_and_writes_is_the_same_and_goes_on(photos, prepared, tmp_path):
    inputs, output, cut = "ram://photos", "ram://data", []
    for path in pathlib.Path(photos).rglob("*.png"):
        name = path.relative_to(photos)
        tf.io.gfile.makedirs(os.path.dirname(f"{inputs}/{name}"))
        tf.io.gfile.copy(str(path), f"{inputs}/{name}")

    def interrupted(job, cut_one=crops.cut):
        if len(cut) == 5:
            raise KeyboardInterrupt
        cut.append((job.source.id, job.validation))
        return cut_one(job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crops, "cut", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(inputs, output)
    first, cut = cut, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crops, "cut", interrupted)
        prepare(inputs, output)
    assert len(first) == 5 and not set(first) & set(cut), "a photo was cut twice"
    for name in tf.io.gfile.listdir(output):
        tf.io.gfile.copy(f"{output}/{name}", str(tmp_path / name))
    assert contents(tmp_path) == contents(prepared[0])


def test_a_shard_of_another_plan_is_not_taken_for_done(photos, prepared, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(convert.writer, "write_descriptions", fail)
        with pytest.raises(KeyboardInterrupt):
            prepare(photos, tmp_path)
    for shard in tmp_path.glob("*.tfrecord-*"):
        shard.write_bytes(b"other")
    (tmp_path / "srgan_hr-train.tfrecord-00007-of-00009").write_bytes(b"stray")
    prepare(photos, tmp_path)
    assert contents(tmp_path) == contents(prepared[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_size": 100},
        {"stride": -1},
        {"downscale": 0.5},
        {"downscale": float("nan")},
        {"name": "Has-Dash"},
        {"jpeg_quality": 0},
        {"validation_percent": 51},
        {"validation_size": 23},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    (name,) = wrong
    with pytest.raises(errors.InputError, match=f"{name} .*{name}="):
        Settings(**wrong)


def test_a_script_without_a_guard_is_told_so(photos, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from data_prep import convert, settings, sources\n"
        f"wanted = sources.from_files([{str(photos)!r}], 'out')\n"
        "chosen = settings.Settings(crop_size=24, min_detail=0)\n"
        "convert.convert(chosen, wanted, 'out', workers=2, overwrite=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(fixtures.ROOT)}
    result = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    last = result.stderr.strip().splitlines()[-1]
    assert "worker processes could not start (what they say is above)" in last
    assert 'needs `if __name__ == "__main__":`' in last
    assert "InputError: put `if __name__" in result.stderr  # A worker's own word.
