"""Which steps are profiled; that a run writes its profile is in test_training.py."""

import fixtures  # noqa: F401
import pytest
import tensorflow as tf

from srgan_tf.config import RunConfig
from srgan_tf.training import profiling


@pytest.fixture
def calls(monkeypatch):
    made = []

    class Trace:
        def __init__(self, name, step_num, **_):
            made.append(step_num)

        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    profiler = tf.profiler.experimental
    monkeypatch.setattr(profiler, "start", lambda folder: made.append(f"start {folder}"))
    monkeypatch.setattr(profiler, "stop", lambda: made.append("stop"))
    monkeypatch.setattr(profiler, "Trace", Trace)
    return made


def _train(profile, steps):
    profiler = profiling.Profiler("run", RunConfig(profile=profile))
    for number in steps:
        with profiler.step(number):
            pass
    profiler.close()


@pytest.mark.parametrize(
    ("profile", "steps", "expected"),
    [
        ((2, 3), range(1, 6), ["start run/summaries", 2, 3, "stop"]),
        ((1, 1), range(1, 3), ["start run/summaries", 1, "stop"]),
        # Continued in the midst, and stopped in the midst.
        ((2, 9), range(5, 7), ["start run/summaries", 5, 6, "stop"]),
        ((2, 3), range(4, 6), []),
        ((), range(1, 3), []),
    ],
)
def test_the_steps_that_are_asked_for(calls, profile, steps, expected):
    _train(profile, steps)
    assert calls == expected
