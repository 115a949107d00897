"""training/averages.py: the formula, the replicas, where an average begins."""

import dataclasses

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import test_steps

from srgan_tf import errors, run_folder
from srgan_tf.config import GeneratorConfig
from srgan_tf.training import averages, state, steps


def _state(stage="pretrain", **changes):
    settings = {"ema_decay": 0.5, "generator": GeneratorConfig(filters=4, blocks=1), **changes}
    made = state.build(dataclasses.replace(test_steps.config(0.01), **settings))
    made.enter_stage(stage)
    return made


def test_average_follows_the_formula_step_by_step():
    made = _state()
    step = steps.distributed_step(tf.distribute.get_strategy(), made)
    expected = made.generator.get_weights()  # Moving statistics of batch normalization too.
    assert len(expected) > len(made.generator.trainable_variables)
    for number in range(1, 10):
        step(test_steps.batch(number))
        # 2/11, 3/12, ..., 9/18 = 0.5, and no more.
        decay = min(0.5, (1 + number) / (10 + number))
        for i, weight in enumerate(made.generator.get_weights()):
            expected[i] = decay * expected[i] + (1 - decay) * weight
    for value, average in zip(expected, made.averaged.get_weights(), strict=True):
        np.testing.assert_allclose(average, value, rtol=1e-4, atol=1e-6)
    assert not np.allclose(expected[0], made.generator.get_weights()[0], atol=1e-7)
    assert made.output_generator is made.averaged


def test_decay_rises_to_what_is_asked_for():
    values = [float(averages.decay_at(0.9, tf.constant(t, tf.int64))) for t in (1, 71, 80, 900)]
    assert values == pytest.approx([2 / 11, 72 / 81, 0.9, 0.9])


def test_replicas_move_their_own_copies_alike():
    strategy = fixtures.strategy()
    with strategy.scope():
        average, weight = (tf.keras.layers.BatchNormalization(synchronized=True) for _ in "ab")
        for layer in (average, weight):
            layer.build([None, 2])
        gamma_beta_mean_variance = [[3.0, 1.0], [0.0, 0.0], [5.0, 6.0], [2.0, 2.0]]
        weight.set_weights([np.array(values) for values in gamma_beta_mean_variance])
    run = tf.function(lambda: averages.update(strategy, average, weight, tf.constant(0.75)))
    run()
    run()
    # gamma from 1: 1 + 2/4 = 1.5, 1.5 + 1.5/4 = 1.875; mean from 0 and variance from 1 likewise.
    got = average.get_weights()
    np.testing.assert_allclose(got[0], [1.875, 1.0])
    np.testing.assert_allclose(got[2:], [[2.1875, 2.625], [1.4375, 1.4375]])
    for name, value in (("gamma", [1.875, 1.0]), ("moving_variance", [1.4375, 1.4375])):
        variable = getattr(average, name)
        variable = variable if isinstance(variable, tf.Variable) else variable.value
        for copy in strategy.experimental_local_results(variable):
            np.testing.assert_allclose(copy.numpy(), value)


def test_other_kinds_of_numbers():
    class Net(tf.Module):
        def __init__(self, count, half):
            super().__init__()
            self.count, self.half = tf.Variable(count), tf.Variable(half, dtype=tf.float16)

    average, weight = Net(1, 0.0), Net(5, 4.0)
    averages.update(tf.distribute.get_strategy(), average, weight, tf.constant(0.75))
    assert average.count.numpy() == 5  # A count is copied: there is no half of a seed.
    assert average.half.numpy() == 1.0


def test_a_stage_of_the_generator_begins_a_new_average():
    made = _state()
    weights = made.generator.get_weights()
    made.generator.set_weights([weight + 1.0 for weight in weights])

    def distance():
        pairs = zip(made.averaged.get_weights(), weights, strict=True)
        return [float(np.abs(average - weight).max()) for average, weight in pairs]

    made.enter_stage("discriminator")  # Leaves the generator alone, so its average as well.
    assert max(distance()) == 0
    made.enter_stage("gan")
    assert min(distance()) == pytest.approx(1.0)


def test_a_discriminator_stage_alone_averages_what_it_finds():
    made = _state("discriminator")
    for raw, average in zip(made.generator.get_weights(), made.averaged.get_weights(), strict=True):
        np.testing.assert_array_equal(raw, average)


def test_networks_begin_alike_with_and_without_average():
    with_average, without = _state(), _state(ema_decay=0.0)
    assert without.averaged is None and without.output_generator is without.generator
    for name in ("generator", "discriminator"):
        one, two = (getattr(made, name).get_weights() for made in (with_average, without))
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


def test_choice_of_weights():
    with_average, without = (
        dataclasses.replace(test_steps.config(), ema_decay=decay) for decay in (0.5, 0.0)
    )
    assert run_folder.choose_weights(with_average) == "ema"
    assert run_folder.choose_weights(with_average, "raw") == "raw"
    assert run_folder.choose_weights(without) == "raw"
    with pytest.raises(errors.InputError, match="keeps no moving average"):
        run_folder.choose_weights(without, "ema")
    with pytest.raises(errors.InputError, match="must be raw or ema"):
        run_folder.choose_weights(without, "mean")
