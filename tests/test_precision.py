"""16-bit training: it learns, float16 leaves out what overflows, weights fit every precision."""

import dataclasses

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import test_steps

from srgan_tf import config, errors
from srgan_tf.models import generators, precision, vgg
from srgan_tf.training import checkpoints, optimizers, steps

_SHORT = config.PRECISIONS[1:]


def _settings(short, **changes):
    small = config.DiscriminatorConfig(name="srgan_small", filters=4, dense_units=64)
    settings = dataclasses.replace(test_steps.config(0.003), discriminator=small)
    return dataclasses.replace(settings, precision=short, **changes)


def test_an_unknown_precision_lists_the_choices():
    with (
        pytest.raises(errors.InputError, match="precision 'half'.*float16"),
        precision.scope("half"),
    ):
        pass
    with pytest.raises(RuntimeError), precision.scope("bfloat16"):
        raise RuntimeError
    assert tf.keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.parametrize("short", _SHORT)
def test_all_networks_compute_in_the_precision_of_the_run(short):
    made = test_steps.make_state("gan", settings=_settings(short, ema_decay=0.9))
    for network in (made.generator, made.averaged, made.discriminator):
        assert network.get_layer(index=1).compute_dtype == short
    assert sorted(made.loss_scales) == (
        ["discriminator", "generator"] if short == "float16" else []
    )


@pytest.mark.parametrize("short", _SHORT)
def test_it_learns_what_float32_learns(short):
    """The weights move in the same direction, up to what 8 or 11 bits leave."""
    moves = {}
    for name in ("float32", short):
        made = test_steps.make_state("gan", settings=_settings(name))
        before = made.generator.get_weights()
        for number in range(2):
            scalars = steps.gan_step(made, test_steps.batch(number))
        assert all(scalar.dtype == tf.float32 for scalar in scalars.values())
        assert all(np.isfinite(float(scalar)) for scalar in scalars.values())
        after = made.generator.get_weights()
        moves[name] = np.concatenate([(b - a).ravel() for a, b in zip(before, after, strict=True)])
    one, other = moves.values()
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    # Adam's first steps are signs of gradients, so what is near zero may go either way.
    assert cosine > 0.8


def test_float16_leaves_out_an_update_that_overflows():
    strategy = fixtures.strategy()
    made = test_steps.make_state("pretrain", strategy, settings=_settings("float16"))
    step = steps.distributed_step(strategy, made)
    whole = test_steps.batch()

    def local(context):
        first = 2 * context.replica_id_in_sync_group
        return test_steps.Pair(*(x[first : first + 2] for x in whole))

    batch = strategy.experimental_distribute_values_from_function(local)
    scale = made.loss_scales["generator"]
    before = made.generator.trainable_variables[0].numpy()
    scale.value.assign(2.0**100)  # Far above what float16 holds.
    scalars = step(batch)
    np.testing.assert_array_equal(made.generator.trainable_variables[0].numpy(), before)
    assert np.isfinite(float(scalars["generator_loss"]))
    assert float(scale.value.numpy()) == 2.0**99
    assert int(scale.good_steps.numpy()) == 0
    assert int(made.generator_optimizer.iterations.numpy()) == int(made.step.numpy()) == 1
    assert int(made.diverged_at.numpy()) == -1
    scale.value.assign(2.0**10)
    scale.good_steps.assign(1999)
    step(batch)
    assert not np.array_equal(made.generator.trainable_variables[0].numpy(), before)
    assert (float(scale.value.numpy()), int(scale.good_steps.numpy())) == (2.0**11, 0)
    assert int(made.generator_optimizer.iterations.numpy()) == int(made.step.numpy()) == 2
    assert step.experimental_get_tracing_count() == 1


def test_the_scale_cancels(monkeypatch):
    """Four times the scale is the same update: gradients are divided by it again."""
    # Adam would divide a factor out again.
    table = {"adam": lambda rate, _: tf.keras.optimizers.SGD(rate)}
    monkeypatch.setattr(optimizers, "OPTIMIZERS", table)
    moves = []
    for value in (2.0**8, 2.0**10):
        made = test_steps.make_state("pretrain", settings=_settings("float16"))
        made.loss_scales["generator"].value.assign(value)
        before = made.generator.get_layer("tail_conv").get_weights()[0]
        steps.pretrain_step(made, test_steps.batch())
        moves.append(made.generator.get_layer("tail_conv").get_weights()[0] - before)
    one, other = moves
    assert np.linalg.norm(one) > 0
    assert np.linalg.norm(one - other) < 0.01 * np.linalg.norm(one)


def test_what_is_not_finite_at_the_lowest_scale_is_divergence():
    made = test_steps.make_state("pretrain", settings=_settings("float16"))
    step = steps.distributed_step(tf.distribute.get_strategy(), made)
    lr, hr = test_steps.batch()
    broken = test_steps.Pair(lr, hr * np.nan)
    step(broken)
    assert (
        int(made.diverged_at.numpy()) == -1
    )  # The update was left out, statistics are those of LR.
    assert all(np.isfinite(weight).all() for weight in made.generator.get_weights())
    made.loss_scales["generator"].value.assign(1.0)
    step(broken)
    assert int(made.diverged_at.numpy()) == 2
    # Half the lowest says that updates would be left out from now on.
    assert float(made.loss_scales["generator"].value) == 0.5


def test_gradients_that_stay_infinite_are_divergence_though_the_loss_is_not():
    made = test_steps.make_state("pretrain", settings=_settings("float16"))
    scale = made.loss_scales["generator"]
    scale.value.assign(1.0)
    assert not scale.stuck
    gradients = [tf.fill(one.shape, np.nan) for one in made.generator.trainable_variables]

    def update():
        scale.apply(made.generator_optimizer, gradients, lambda _: None)

    tf.distribute.get_strategy().run(tf.function(update))
    assert scale.stuck
    train_step = steps.distributed_step(tf.distribute.get_strategy(), made)
    train_step(test_steps.Pair(*test_steps.batch()))
    assert int(made.diverged_at.numpy()) == int(made.step.numpy())


def test_loss_scales_are_saved(tmp_path):
    settings = _settings("float16")
    made, fresh = (test_steps.make_state("pretrain", settings=settings) for _ in "ab")
    made.loss_scales["discriminator"].value.assign(64.0)
    made.loss_scales["generator"].good_steps.assign(7)
    checkpoints.Checkpoints(str(tmp_path), made, keep=1).save()
    checkpoints.Checkpoints(str(tmp_path), fresh, keep=1).restore(0)
    assert float(fresh.loss_scales["discriminator"].value) == 64.0
    assert int(fresh.loss_scales["generator"].good_steps) == 7


@pytest.mark.parametrize("short", _SHORT)
def test_generators_of_a_run_load_in_every_precision(short, tmp_path):
    settings = config.GeneratorConfig(filters=4, blocks=1)
    made = fixtures.awaken(generators.build(settings, 2, short))
    path = tf.train.Checkpoint(generator=made).save(str(tmp_path / "ckpt"))
    lr = tf.random.stateless_uniform([1, 6, 7, 3], [1, 2])
    expected = made(lr, training=False)
    for other in config.PRECISIONS:
        loaded = generators.build(settings, 2, other)
        tf.train.Checkpoint(generator=loaded).restore(path).assert_consumed()
        np.testing.assert_allclose(loaded(lr, training=False), expected, atol=0.03)


def test_vgg_features_do_not_overflow_in_float16(tmp_path):
    random, layers = np.random.RandomState(0), ("block1_conv1", "block1_conv2")
    arrays = {f"{name}/bias": random.uniform(0, 1e5, 64) for name in layers}
    for name, inputs in zip(layers, (3, 64), strict=True):
        arrays[f"{name}/kernel"] = random.normal(0, 1, (3, 3, inputs, 64))
    path = str(tmp_path / "vgg.npz")
    np.savez(path, **{name: array.astype(np.float32) for name, array in arrays.items()})
    made = [
        vgg.feature_model(config.VggConfig(weights=path), layers, name)
        for name in ("float32", "float16")
    ]
    image = tf.random.stateless_uniform([1, 6, 7, 3], [1, 2], -1, 1)
    expected, features = (model(image, training=False) for model in made)
    for name in layers:
        assert float(tf.reduce_max(expected[name])) * 12.75 > 65504
        assert features[name].dtype == tf.float32
        size = float(tf.reduce_max(expected[name]))
        np.testing.assert_allclose(features[name], expected[name], atol=0.01 * size)


def test_a_run_keeps_its_precision():
    one, other = (_settings(name) for name in ("float32", "bfloat16"))
    assert config.differences(one, other, ignore=("run.",)) == [
        "precision: 'float32' -> 'bfloat16'"
    ]
