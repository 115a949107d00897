"""training/waiting.py: the share of time spent waiting for data, on a clock of the test's own."""

import pytest

from srgan_tf.training import waiting


class Time:
    """A clock that only moves when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


def batches(time, seconds):
    while True:
        time.pass_by(seconds)
        yield object()


def run(clock, time, *, steps, fetch, update):
    slow = batches(time, fetch)
    for _ in range(steps):
        clock.fetch(slow)
        time.pass_by(update)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def clock(time):
    made = waiting.Clock(time)
    made.restart()
    return made


def test_share_is_that_of_waiting_in_whole_steps(clock, time):
    run(clock, time, steps=60, fetch=0.3, update=0.9)
    assert clock.share == pytest.approx(0.25) and clock.total_share == pytest.approx(0.25)


def test_slow_data_are_complained_about_once_in_a_while(clock, time, caplog):
    run(clock, time, steps=60, fetch=0.2, update=0.8)
    assert clock.observe() == {"waiting_for_data": pytest.approx(0.2)}
    clock.observe()
    assert caplog.text.count("20 % of the training time") == 1
    for flag in ("--crops_per_image", "--encoding=raw"):
        assert flag in caplog.text
    time.pass_by(3601)
    clock.observe()
    assert caplog.text.count("20 % of the training time") == 2


def test_fast_data_are_not(clock, time, caplog):
    run(clock, time, steps=60, fetch=0.05, update=0.95)
    assert clock.observe() == {"waiting_for_data": pytest.approx(0.05)}
    assert caplog.text == ""


def test_few_steps_say_nothing(clock, time, caplog):
    run(clock, time, steps=15, fetch=1.0, update=0.1)
    assert clock.share is None and clock.observe() == {} and caplog.text == ""


def test_first_step_validation_and_checkpoints_do_not_count(clock, time):
    slow = batches(time, 0.0)
    for step in range(60):
        clock.fetch(slow)
        time.pass_by(50.0 if step == 0 else 1.0)  # Tracing.
        if step % 10 == 5:
            clock.skip()
            time.pass_by(30.0)
    # 59 steps are over: without the first and six with a validation.
    assert clock._total == pytest.approx(52.0)


def test_a_new_stage_begins_anew(clock, time):
    run(clock, time, steps=60, fetch=1.0, update=1.0)
    clock.restart()
    assert clock.share is None
    run(clock, time, steps=60, fetch=0.0, update=1.0)
    assert clock.share == 0.0
    # Of steps that take 2 seconds and as many that take 1, a second each of the former.
    assert clock.total_share == pytest.approx(1 / 3)


def test_only_the_last_steps_count(clock, time):
    run(clock, time, steps=100, fetch=1.0, update=1.0)
    run(clock, time, steps=300, fetch=0.0, update=1.0)
    assert clock.share == 0.0
