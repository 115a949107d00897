"""training/doctor.py: complaints about planted ailments, each once, and none about health."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf.data import pipeline
from srgan_tf.training import doctor, validation

HEALTHY = {"contrast": 0.9, "checkerboard": 1.2, "colour_drift_r": 1.0, "colour_drift_g": -0.5}
HEALTHY["colour_drift_b"] = 2.0


def _scalars(real, fake):
    return {"generator_loss": 1.0, "real_accuracy": real, "fake_accuracy": fake}


def test_a_healthy_run_hears_nothing():
    one = doctor.Doctor()
    for step in range(10, 3000, 10):
        right = 1.0 if step % 100 else 0.75  # Not right about all, once in a while.
        one.observe(step, _scalars(right, 1.0))
        one.observe_validation(step, HEALTHY)
    assert not one.findings


@pytest.mark.parametrize(
    "scalars",
    [
        {"generator_loss": 1.0},
        {"discriminator_loss": 0.1, "real_accuracy": 1.0, "fake_accuracy": 1.0},
    ],
)
def test_stages_of_one_network_have_no_balance(scalars):
    one = doctor.Doctor()
    for step in range(10, 3000, 10):
        one.observe(step, scalars)
    assert not one.findings


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
        (1.0, 1.0, "right about every image since step 10"),
        (0.0, 0.6, "wrong about nearly all real images since step 10"),
        (0.6, 0.02, "wrong about nearly all fake images since step 10"),
    ],
)
def test_a_discriminator_out_of_balance_for_long(real, fake, words):
    one = doctor.Doctor()
    for step in range(10, 1000, 10):
        one.observe(step, _scalars(real, fake))
    ((step, text),) = one.findings
    assert step == 310  # 300 steps after the first.
    assert words in text and "--" in text
    # A new stage may hear it again.
    one.enter_stage()
    for step in range(1000, 1400, 100):
        one.observe(step, _scalars(real, fake))
    assert len(one.findings) == 1  # Only 4 rows.
    one.observe(1400, _scalars(real, fake))
    assert len(one.findings) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contrast": 0.05}, "nearly constant (5% of"),
        ({"colour_drift_g": -7.5}, "moved by -7.5 of 255 grey levels (green)"),
        ({"checkerboard": 9.0}, "checkerboard is rising (score 9.0, lowest so far 1.2"),
    ],
)
def test_sick_pictures_twice_in_a_row(changes, words):
    one = doctor.Doctor()
    one.observe_validation(1, HEALTHY)
    one.observe_validation(2, {**HEALTHY, **changes})
    one.observe_validation(3, HEALTHY)
    assert not one.findings
    for step in (4, 5, 6):
        one.observe_validation(step, {**HEALTHY, **changes})
    ((step, text),) = one.findings
    assert step == 5 and words in text


def test_scores_that_are_not_known_say_nothing():
    one = doctor.Doctor()
    for step in range(5):
        one.observe_validation(step, {**HEALTHY, "checkerboard": float("nan")})
    assert not one.findings
