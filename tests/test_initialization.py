"""training/initialization.py: a new run that begins with the weights of another."""

import dataclasses
import json
import shutil

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import test_steps

from srgan_tf import config as config_lib
from srgan_tf import errors, run_folder
from srgan_tf.models import discriminators, generators, pretrained
from srgan_tf.training import initialization, loop

_ADVERSARIAL = ("discriminator", "gan")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return fixtures.prepared(tmp_path_factory.mktemp("data"), photos=3, size=(96, 96), crop=72)


def train(config, data, run_dir):
    return loop.train(config, data_dir=data, run_dir=str(run_dir), devices=("cpu:0",))


def tiny(**changes):
    run = config_lib.RunConfig(validation_images=1)
    return dataclasses.replace(test_steps.config(), run=run, **changes)


def _weights(model):
    return [weight.numpy() for weight in model.weights]


def _equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(_weights(one), _weights(other), strict=True))


def test_a_run_starts_where_another_ended(data, tmp_path):
    first = tmp_path / "first"
    stages = tiny().stages
    idle = {name: dataclasses.replace(getattr(stages, name), steps=0) for name in _ADVERSARIAL}
    assert train(tiny(stages=dataclasses.replace(stages, **idle)), data, first) == 0
    source, _, _ = run_folder.load_generator(str(first))
    second = tiny(init_from=str(first)).without_pretraining()
    assert [name for name, _ in second.stages.active()] == ["discriminator", "gan"]
    # The generator does not move in the discriminator's stage: what is there is what it began with.
    one_step = dataclasses.replace(second.stages.gan, steps=0)
    only = dataclasses.replace(second, stages=dataclasses.replace(second.stages, gan=one_step))
    assert train(only, data, tmp_path / "second") == 0
    generator, _, _ = run_folder.load_generator(str(tmp_path / "second"))
    assert _equal(generator, source)
    record = json.loads((tmp_path / "second" / "config.json").read_text())
    assert record["initialized_from"] == {
        "source": str(first),
        "step": 3,
        "discriminator": False,
    }
    # Once a checkpoint is there, the source is no longer needed.
    shutil.rmtree(first)
    assert train(only, data, tmp_path / "second") == 0
    assert json.loads((tmp_path / "second" / "config.json").read_text())["initialized_from"]


def test_pretrained_weights_go_into_both_networks(monkeypatch):
    given = []
    monkeypatch.setattr(pretrained, "assign_generator", lambda name, _: given.append(("g", name)))
    monkeypatch.setattr(
        pretrained, "assign_discriminator", lambda name, _: given.append(("d", name))
    )
    generator = discriminator = tf.keras.Sequential()
    for name in ("srresnet", "srgan"):
        config = config_lib.TrainConfig(
            init_from=name,
            stages=config_lib.StagesConfig(gan=config_lib.GanStage(steps=1)),
        )
        initialization.initialize(config, generator, discriminator)
    assert given == [("g", "srresnet"), ("g", "srgan"), ("d", "srgan")]
    # Another discriminator keeps its own; without one there is nothing to give.
    other = dataclasses.replace(config, data=config_lib.DataConfig(crop_size=64))
    initialization.initialize(other, generator, discriminator)
    initialization.initialize(config, generator, None)
    assert given[3:] == [("g", "srgan"), ("g", "srgan")]
    # What counts is the size of what it sees.
    jitter = config_lib.DiscriminatorConfig(jitter=16)
    for crop_size in (96, 112):
        other = dataclasses.replace(
            config, data=config_lib.DataConfig(crop_size=crop_size), discriminator=jitter
        )
        initialization.initialize(other, generator, discriminator)
    assert given[5:] == [("g", "srgan"), ("g", "srgan"), ("d", "srgan")]


def test_the_papers_networks_are_those_of_the_pretrained_weights():
    config = config_lib.TrainConfig(
        stages=config_lib.StagesConfig(gan=config_lib.GanStage(steps=1))
    )
    for name in ("srresnet", "srgan"):
        assert config.generator == pretrained.generator_config(name)
    assert config.discriminator == pretrained.DISCRIMINATOR
    assert (config.data.scale, config.data.crop_size) == (pretrained.SCALE, pretrained.CROP_SIZE)
    assert generators.build(config.generator, 4).count_params() == 1_554_883
    built = discriminators.build(config.discriminator, 96)
    # 18,432 x 1024 of the dense layer are most of it.
    assert built.count_params() == 23_569_217


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"generator": config_lib.GeneratorConfig(blocks=5)}, "blocks: 16 -> 5"),
        ({"data": config_lib.DataConfig(scale=2)}, "scale: 4 -> 2"),
        (
            {"init_from": "nothing-here"},
            "neither a pretrained model .lite, lite-gan, srresnet, srgan. nor a run",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(changes, words, monkeypatch):
    config = dataclasses.replace(
        config_lib.TrainConfig(stages=config_lib.StagesConfig(gan=config_lib.GanStage(steps=1))),
        **{"init_from": "srresnet", **changes},
    )
    monkeypatch.setattr(pretrained, "locate", lambda name: name)
    with pytest.raises(errors.InputError, match=words):
        initialization.check(config)


def test_a_recipe_of_pretraining_alone_keeps_it():
    config = config_lib.TrainConfig(
        init_from="srresnet",
        stages=config_lib.StagesConfig(pretrain=config_lib.PretrainStage(steps=3)),
    )
    assert config.without_pretraining() == config
