"""Damaged data sets: every fault is named with shard and record, counted, and replaced in place."""

import dataclasses
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import test_training
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from data_prep import verify
from srgan_tf import errors
from srgan_tf.config import DataConfig
from srgan_tf.data import faults, framing, pipeline, records, scan
from srgan_tf.training import checkpoints, feeding, strategy, team

CROP = 24
# The record that is damaged, near the end of its shard, and the shard.
SHARD, BAD = 1, -2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return fixtures.prepared(folder, photos=5, size=(120, 144), crop=72, encoding="png")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    return fixtures.prepared(folder, photos=5, size=(120, 144), crop=72, seed=9, encoding="png")


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


@pytest.mark.parametrize("kind", sorted(set(DAMAGES) - {"foreign", "small"}))
def test_reading_fails(copy, foreign, kind):
    """A foreign shard of as many good records is found by scanning alone."""
    split, _ = damage(copy, foreign, kind)
    stream = pipeline._record_stream(split, config(), seed=1, start=0)
    decoded = stream.map(lambda _, record: records.decode(record, split.encoding))
    with pytest.raises(scan.READ_ERRORS):
        for _ in decoded.take(split.num_records + 1):
            pass


def test_batches_go_on_with_substitutes_wherever_they_start(copy, foreign):
    split, _ = damage(copy, foreign, "small")
    with pytest.raises(scan.READ_ERRORS):
        for _ in pipeline.training_dataset(split, config(), seed=1).take(12):
            pass
    flip(pathlib.Path(split.files[0]), offset(split.files[0], 3) + 500)
    pathlib.Path(split.files[2]).unlink()
    split = dataclasses.replace(split, bad=scan.scan(split, min_side=CROP))
    assert faults.total(split.bad) == 2 + split.shard_lengths[2]
    batches = list(pipeline.training_dataset(split, config(), seed=1).take(20))
    rest = list(pipeline.training_dataset(split, config(), seed=1, start_step=13).take(7))
    for expected, got in zip(batches[13:], rest, strict=True):
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


def run_config(**run):
    """A run of 12 steps of pre-training alone, two epochs, that saves at the end only."""
    config = test_training.tiny()
    stages = dataclasses.replace(
        config.stages,
        pretrain=dataclasses.replace(config.stages.pretrain, steps=12),
        discriminator=dataclasses.replace(config.stages.discriminator, steps=0),
        gan=dataclasses.replace(config.stages.gan, steps=0),
    )
    run = {"checkpoint_every": 99, "validate_every": 12, **run}
    return dataclasses.replace(
        config,
        stages=stages,
        data=dataclasses.replace(config.data, shuffle_window=4),
        run=dataclasses.replace(config.run, **run),
    )


def test_a_run_goes_on_without_bad_records_and_is_continued_to_the_bit(
    copy, foreign, tmp_path, caplog
):
    split, (bad,) = damage(copy, foreign, "bit")
    allowed = run_config(max_bad_records=1)
    assert test_training.train(allowed, str(copy), tmp_path / "whole") == 0
    name = os.path.basename(split.files[SHARD])
    assert f"{name}, record {bad}: corrupt (its checksum is wrong)" in caplog.text
    assert "Going on with others in the place of 1 bad record" in caplog.text

    # With none allowed it saves the last step that it finished, and names the record.
    run_dir = tmp_path / "run"
    with pytest.raises(errors.RunError, match=rf"1 bad record \({name}, record {bad}: .*=1\)"):
        test_training.train(run_config(), str(copy), run_dir)
    stopped = checkpoints.latest_step(str(run_dir))
    assert 0 < stopped < 6

    # As if killed after the discovery: the list is written, but no later checkpoint.
    assert not (run_dir / faults.FILE).exists()
    shutil.copy(tmp_path / "whole" / faults.FILE, run_dir)
    text = (run_dir / faults.FILE).read_text()
    assert faults.total(faults.from_json(text, split.fingerprint, split.files)) == 1
    with pytest.raises(errors.InputError, match=r"list of an earlier start.*remove .*bad_records"):
        test_training.train(run_config(), str(copy), run_dir)
    assert test_training.train(allowed, str(copy), run_dir) == 0
    expected = test_training.weights(tmp_path / "whole", 12)
    got = test_training.weights(run_dir, 12)
    assert expected.keys() == got.keys()
    for one, value in expected.items():
        np.testing.assert_array_equal(got[one], value, err_msg=one)
    metrics = [(folder / "metrics.csv").read_text() for folder in (tmp_path / "whole", run_dir)]
    assert metrics[0] == metrics[1]


def feed(config, data, run_dir):
    return feeding.Feed(config, data_dir=str(data), run_dir=str(run_dir))


def batches(feed, config, step=0):
    return feed.batches(team.Team(strategy.make_strategy(("cpu:0",))), config.data, step)


def test_a_shard_that_vanishes_while_training(copy, tmp_path):
    run = run_config()
    made = feed(run, copy, tmp_path)
    lost = made.split.shard_lengths[SHARD]
    stream = batches(made, run)
    next(stream)
    pathlib.Path(made.split.files[SHARD]).unlink()
    with pytest.raises(feeding.BadData, match=rf"{lost} bad records .* the shard is missing"):
        for _ in range(20):
            next(stream)
    assert not (tmp_path / faults.FILE).exists()
    # The next start finds it missing at once.
    with pytest.raises(errors.InputError, match="is missing"):
        feed(run, copy, tmp_path)
    with pytest.raises(
        errors.InputError, match=rf"{lost} bad records .*max_bad_records={lost - 1};"
    ):
        feed(run_config(max_bad_records=lost - 1), copy, tmp_path)
    assert faults.total(feed(run_config(max_bad_records=lost), copy, tmp_path).split.bad) == lost


def test_a_passing_fault_is_tried_once_more(data, tmp_path, monkeypatch, caplog):
    failures = []

    def value(step):
        if step == 3 and failures:
            raise OSError(failures.pop())
        return step

    def numbers(split, data, *, seed, start_step, part):
        assert part == (0, 1)
        steps = tf.data.Dataset.range(start_step, 9)
        return steps.map(lambda step: tf.numpy_function(value, [step], tf.int64))

    monkeypatch.setattr(feeding.pipeline, "training_dataset", numbers)
    made = feed(run_config(), data, tmp_path)
    failures[:] = ["disk away"]
    stream = batches(made, run_config(), step=1)
    assert [int(next(stream)) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert "Step 4: " in caplog.text and "disk away" in caplog.text
    assert "No record was found bad; trying once more" in caplog.text
    failures[:] = ["disk away", "disk away"]
    with pytest.raises(feeding.BadData, match=r"step 4 \(.*disk away.*\), twice"):
        list(itertools.islice(batches(made, run_config()), 5))


def test_verify_names_all_problems(data, copy, foreign):
    sound = verify.verify(data)
    assert sound.sound and sound.text == f"{data} is sound: 25 records read and decoded."
    split, _ = damage(copy, foreign, "length")
    pathlib.Path(split.files[0]).unlink()
    flip(next(copy.glob("*-validation.*")), 500)
    report = verify.verify(str(copy))
    assert not report.sound
    first, gone, broken, photo, advice = report.text.splitlines()
    assert first == f"{copy}: {8 + 2 + 1} of 25 records are bad" and "--overwrite" in advice
    assert "00000-of-00003, records 0 to 7: the shard is missing" in gone
    assert "00001-of-00003, records 6 to 7: cannot be read (its length is corrupt" in broken
    assert "validation.tfrecord-00000-of-00001, record 0: corrupt" in photo
    with pytest.raises(errors.InputError, match="no finished data set"):
        verify.verify(str(copy.parent))


def test_verify_command_fails_on_a_bad_record(copy, foreign):
    damage(copy, foreign, "bit")
    command = [sys.executable, str(fixtures.ROOT / "data_prep" / "prepare.py"), "--verify"]
    command.append(f"--output={copy}")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "record 6: corrupt" in done.stdout
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        [*command, f"--output={copy}", "--seed=1"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "--seed: --verify needs --output alone" in done.stderr
