"""training/doctor.py: complaints about planted ailments, each once, and none about health."""

import dataclasses
import re

import fixtures
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from srgan_tf import errors, flag_utils, recipes
from srgan_tf.data import pipeline
from srgan_tf.losses import objective
from srgan_tf.models import generators
from srgan_tf.training import doctor, observer, remedies, reporting, team, validation

CONFIG = recipes.quick()  # Batches of 16; a sub-pixel network.
HEALTHY = {"contrast": 0.9, "checkerboard": 1.2, "colour_drift": 1.0, "colour_drift_r": 1.0}
HEALTHY |= {"colour_drift_g": -0.5, "colour_drift_b": 1.5}


def _gan(step, real, fake):
    values = {"generator_loss": 1.0, "real_accuracy": real, "fake_accuracy": fake}
    return {"stage": "gan", "step": step, **values}


def _validated(step, stage="pretrain", **changes):
    scores = {f"validation_{name}": value for name, value in {**HEALTHY, **changes}.items()}
    return {"stage": stage, "step": step, **scores}


def _seen(rows, config=CONFIG):
    one = doctor.Doctor(config)
    for row in rows:
        one.observe(row)
    return one.findings


def _changed(config, path, **values):
    """Returns `config` with fields of its dataclass at `path` ("stages.gan") replaced."""
    name, _, rest = path.partition(".")
    inner = getattr(config, name)
    new = _changed(inner, rest, **values) if rest else dataclasses.replace(inner, **values)
    return dataclasses.replace(config, **{name: new})


def test_a_healthy_run_hears_nothing():
    rows = [_gan(step, 0.9, 0.8) | _validated(step, "gan") for step in range(10, 3000, 10)]
    assert not _seen(rows)


@pytest.mark.parametrize(
    "row",
    [
        {"stage": "pretrain", "generator_loss": "1.0"},
        {"stage": "discriminator", "real_accuracy": 1.0, "fake_accuracy": 1.0},
        {"stage": "gan", "generator_loss": "1.0", "real_accuracy": "", "fake_accuracy": ""},
    ],
)
def test_what_a_row_lacks_is_not_complained_about(row):
    assert not _seen({**row, "step": step} for step in range(10, 3000, 10))


@pytest.mark.parametrize("colour", [(0, 0, 0), (10, 20, 250), (255, 255, 255)])
def test_a_constant_picture_has_no_contrast(colour):
    hr = fixtures.photo_like(64, 64)[None]
    pair = pipeline.Pair(hr[:, ::4, ::4] / np.float32(255), hr / np.float32(127.5) - 1)
    one = validation.Validator.__new__(validation.Validator)
    one._scale = 4
    flat = np.broadcast_to(np.float32(colour) / 255, hr.shape)
    assert one._score(tf.constant(flat), pair)["contrast"] < 0.01
    assert one._score(tf.constant(hr / np.float32(255)), pair)["contrast"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (1.0, 1.0, "right about 100.0% of the HR and 100.0% of the SR images since step 10"),
        (0.0, 0.6, "right about only 0.0% of the HR images since step 10"),
        (0.6, 0.01, "right about only 1.0% of the SR images since step 10"),
    ],
)
def test_a_discriminator_out_of_balance_for_long(real, fake, words):
    rows = [_gan(step, real, fake) for step in range(10, 1000, 10)]
    ((step, text),) = _seen(rows)
    assert step == 310  # 300 steps after the first.
    assert words in text
    # A new stage may hear it again, from 13 rows (208 images) on.
    later = [{**_gan(step, real, fake), "stage": "pretrain"} for step in (1000, 1010)]
    later += [_gan(step, real, fake) for step in range(1100, 2600, 100)]
    assert [step for step, _ in _seen(rows + later)] == [310, 2300]


def test_one_misjudged_image_is_not_forgiveness_and_trouble_is_seen_when_it_comes_late():
    rows = [_gan(step, 1.0, 1.0 - (step % 100 == 0) / 16) for step in range(10, 1000, 10)]
    assert [step for step, _ in _seen(rows)] == [310]  # SR: 99.4 % on the mean.
    early = [_gan(step, 0.7, 0.7) for step in range(10, 1000, 10)]
    late = [_gan(step, 1.0, 1.0) for step in range(1000, 2000, 10)]
    ((step, text),) = _seen(early + late)
    # The window is 31 rows; 2 rows of 0.7 in it leave 0.9806, 3 leave 0.971: 1000 + 280.
    assert step == 1280 and "98.1% of the HR" in text


@pytest.mark.parametrize("batch, every", [(16, 10), (16, 100), (4, 100), (2, 10), (256, 1000)])
@pytest.mark.parametrize("right", [(0.8, 0.8), (0.9, 0.9), (0.99, 0.9), (0.99, 0.99)])
def test_by_chance_no_healthy_discriminator_is_reported_and_nearly_every_winner_is(
    batch, every, right
):
    """Binomial draws over 300 rows. At 0.9 see the comment in doctor.py: 7 in 10^11 windows."""
    config, runs = _changed(CONFIG, "data", batch_size=batch), 20
    draws = np.random.default_rng(1).binomial(batch, right, [runs, 300, 2]) / batch
    rows = [[_gan(every * n, *pair) for n, pair in enumerate(run, 1)] for run in draws]
    reported = sum(bool(_seen(run, config)) for run in rows)
    assert reported >= 19 if right == (0.99, 0.99) else not reported


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contrast": 0.05}, "nearly constant (5% of"),
        (
            {"colour_drift_g": -7.5},
            "moved by 7.5 of 255 grey levels (over all pictures: green -7.5",
        ),
        # +10 on one picture and -10 on another: the channels' means cancel, this does not.
        ({"colour_drift": 10.0, "colour_drift_r": 0.0}, "moved by 10.0 of 255 grey levels"),
        ({"checkerboard": 9.0}, "checkerboard is rising (score 9.0, lowest so far 1.2"),
    ],
)
def test_sick_pictures_twice_in_a_row(changes, words):
    once = [_validated(1), _validated(2, **changes), _validated(3)]
    assert not _seen(once)
    ((step, text),) = _seen(once + [_validated(step, **changes) for step in (4, 5, 6)])
    assert step == 5 and words in text


def test_drift_that_differs_from_picture_to_picture_does_not_cancel():
    """One picture 10 levels brighter, one 10 darker, through the validator's own scores."""
    one = validation.Validator.__new__(validation.Validator)
    one._scale, one._pairs, one._source = 4, [], None
    one._team = team.Team(tf.distribute.get_strategy())
    for shift in (10, -10):
        hr = np.full([1, 64, 64, 3], 128 + shift, np.float32)
        lr = np.full([1, 16, 16, 3], 128, np.float32)
        one._pairs.append(pipeline.Pair(tf.constant(lr / 255), tf.constant(hr / 127.5 - 1)))
    shifts = iter((10, -10))
    one._forward = lambda lr: tf.fill([1, 64, 64, 3], (128.0 + next(shifts)) / 255)
    scores = one.evaluate()
    assert scores["colour_drift_r"] == pytest.approx(0, abs=0.01)
    rows = [_validated(step, **scores) for step in (1, 2)]
    ((_, text),) = _seen([{**row, "validation_contrast": 1.0} for row in rows])
    assert "moved by 10.0" in text


@pytest.mark.parametrize(
    ("scores", "words"),
    [  # As measured at steps 400 and 1200 (docs/EXPERIMENTS.md), with something between.
        ((16.3, 19.0, 21.8), "a checkerboard: score 21.8 (1 is like the HR): train anew"),
        ((18.1, 14.0, 10.3), "score 10.3 (1 is like the HR), falling: more steps may be enough"),
        ((8.2, 7.5, 7.0), "score 7.0 (1 is like the HR), falling"),
        ((300, 350, 415), "a checkerboard: score 415.0"),
    ],
)
def test_a_grid_that_was_there_from_the_beginning(scores, words):
    rows = [_validated(step, checkerboard=score) for step, score in enumerate(scores)]
    assert not _seen(rows[:2])  # Random weights begin with one.
    ((step, text),) = _seen([*rows, *({**row, "step": 9} for row in rows)])
    assert step == 2 and words in text


@pytest.mark.parametrize(
    "scores", [(18.1, 9.0, 5.9, 4.0), (8, 8, 5, 8, 8), [float("nan")] * 5, (5.9,) * 9]
)
def test_a_grid_that_goes_or_is_not_known_is_not_complained_about(scores):
    rows = [_validated(step, checkerboard=score) for step, score in enumerate(scores)]
    assert not _seen(rows)


def _troubled():
    """Rows of two stages in which something is said at 300, 600, 1310 and 1500."""
    rows = [_validated(step, checkerboard=9.0 + step / 100) for step in (100, 200, 300, 400)]
    rows += [_validated(step, contrast=0.05) for step in (500, 600, 700)]
    for step in range(1010, 1600, 10):
        rows.append(_gan(step, 1.0, 1.0 - (step % 70 == 0) / 16))
        if step % 100 == 0:  # 1.1, 1.2 ... at first, then twice above 6 and above 2 x 1.1.
            score = 1.0 + step / 10000 if step < 1400 else 7.0
            rows[-1] |= _validated(step, "gan", checkerboard=score)
    return rows


def test_a_continued_run_hears_what_an_unbroken_one_hears(tmp_path, monkeypatch):
    """Through metrics.csv and the observer, from every step and back."""
    logged = []
    monkeypatch.setattr(doctor.logging, "warning", lambda _, step, text: logged.append(step))
    summaries = type("None", (), {"__init__": lambda *_: None, "close": lambda _: None})
    monkeypatch.setattr(reporting, "Summaries", summaries)

    def watcher(start):
        return observer.Observer(str(tmp_path), CONFIG, start, None, None)

    rows = [{"learning_rate": 1e-4, **row} for row in _troubled()]
    unbroken = watcher(0)
    for row in rows:
        unbroken.append(row)
    expected = unbroken._doctor.findings
    said = [step for step, _ in expected]
    assert said == [300, 600, 1310, 1500] and logged == said
    for index in range(len(rows) - 1, -1, -1):  # Each start cuts off a row more.
        logged.clear()
        continued = watcher(rows[index]["step"])
        assert not logged
        for row in rows[index + 1 :]:
            continued._doctor.observe(row)
        assert continued._doctor.findings == expected
        assert logged == [step for step in said if step > rows[index]["step"]]


def test_a_rollback_takes_back_what_the_doctor_saw(tmp_path):
    one = observer.Observer(str(tmp_path), CONFIG, 0, None, None)
    rows = [{"learning_rate": 1e-4, **row} for row in _troubled()]
    for row in rows:
        one.append(row)
    expected = one._doctor.findings
    one.go_back(200)
    assert not one._doctor.findings
    one.rewrite_after(100)  # As before a validation that comes again.
    for row in rows[1:]:
        one.append(row)
    assert one._doctor.findings == expected
    one.close()


def test_rows_that_the_doctor_cannot_read_are_one_line(tmp_path):
    columns = reporting.columns(CONFIG)
    row = {"stage": "pretrain", "step": "1", "validation_contrast": "0,5"}
    values = ",".join(row.get(name, "").replace(",", "?") for name in columns)
    (tmp_path / "metrics.csv").write_text(",".join(columns) + f"\n{values}\n")
    with pytest.raises(errors.InputError, match="metrics.csv cannot be read .*0.5"):
        observer.Observer(str(tmp_path), CONFIG, 1, None, None)


def _advice(ailment, stage, config):
    return ", or ".join(remedies.REMEDIES[ailment](config, stage))


@pytest.fixture(scope="module")
def given():
    """Returns a function: a config with one flag changed, as on the command line."""
    values = flags.FlagValues()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flags, "FLAGS", values)
        for name in ("DEFINE", "DEFINE_boolean"):
            define = getattr(flags, name)
            patch.setattr(
                flags, name, lambda *a, _define=define, **k: _define(*a, flag_values=values, **k)
            )
        flag_utils.define_flags()

    def change(config, flag):
        values.unparse_flags()
        for name in values:
            values[name].unparse()
        values(["test", flag])
        return flag_utils.apply_flags(config, values)

    return change


@pytest.mark.parametrize("name", recipes.RECIPES)
@pytest.mark.parametrize("upsampling", ["subpixel", "subpixel_plain", "nearest_conv", "deconv"])
def test_what_is_advised_can_be_given_and_is_not_there_yet(name, upsampling, given):
    base = _changed(recipes.RECIPES[name](), "generator", upsampling=upsampling)
    hard = {"real_labels": (1.0, 1.0), "fake_labels": (0.0, 0.0), "flip_labels": 0.0}
    hinge = _changed(base, "stages.gan", adversarial="hinge", steps=10, **hard)
    for config in (base, hinge):
        for ailment in remedies.REMEDIES:
            _check_advice(_advice(ailment, "gan", config), config, given)
        for ailment in ("collapsed", "drifted", "checkered"):
            advice = _advice(ailment, "pretrain", config)
            assert "gan_" not in advice and "discriminator" not in advice
            _check_advice(advice, config, given)


def _check_advice(advice, config, given):
    assert "--" in advice
    for flag in re.findall(r"--\w+=[^ ,)]+(?:,[\d.]+)*", advice):
        changed = given(config, flag)
        before, after = (
            dataclasses.replace(one, generator=generators.resolve(one.generator))
            for one in (config, changed)
        )
        assert after != before, flag
        objective.adversarial_pair(changed.stages.gan)  # Hinge refuses labels.


def test_the_remedies_that_were_asked_for():
    paper, hinge = recipes.paper(), _changed(recipes.paper(), "stages.gan", adversarial="hinge")
    assert "--generator_norm=none" in _advice("drifted", "pretrain", paper)
    assert "--pretrain_learning_rate=5e-05" in _advice("drifted", "pretrain", paper)
    assert "norm" not in _advice("drifted", "pretrain", recipes.lite())
    assert "l1" not in _advice("drifted", "pretrain", paper)  # It has mse.
    features = _changed(paper, "stages.pretrain", content=(("vgg", 1.0), ("mse", 0.0)))
    assert "l1 in --pretrain_content" in _advice("drifted", "pretrain", features)
    assert "l1 in --gan_content" in _advice("drifted", "gan", paper)
    assert "--gan_adversarial_weight" in _advice("checkered", "gan", paper)
    assert "upsampling" not in _advice("checkered", "gan", recipes.esrgan())  # nearest_conv
    assert "=nearest_conv, which has least (or subpixel" in _advice(
        "checkered", "pretrain", _changed(paper, "generator", upsampling="deconv")
    )
    assert "or subpixel" not in _advice("checkered", "pretrain", paper)  # It has that.
    assert "labels" in _advice("strong", "gan", paper)
    assert "labels" not in _advice("strong", "gan", hinge)
    soft = _changed(paper, "stages.gan", fake_labels=(0.0, 0.3))
    assert "labels" not in _advice("strong", "gan", soft)
    assert "spectral" not in _advice("strong", "gan", recipes.real_esrgan())
    assert "--gan_r1_weight=10" in _advice("strong", "gan", hinge)
    with_r1 = _changed(hinge, "stages.gan", r1_weight=10.0, discriminator_updates=2)
    assert "--gan_r1_weight=20" in _advice("strong", "gan", with_r1)
    assert "--gan_discriminator_updates=1" in _advice("strong", "gan", with_r1)
    assert "--discriminator_steps" not in _advice("weak", "gan", recipes.quick())
