"""Shared by all tests: two logical CPUs before TensorFlow starts, pictures, the data at hand."""

import dataclasses
import functools
import multiprocessing
import os
import pathlib
import sys

from srgan_tf import cli

cli.prepare_tensorflow()  # As all commands begin.

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from srgan_tf import config as config_lib
from srgan_tf.models import pretrained

ROOT = pathlib.Path(__file__).resolve().parent.parent

_CPU = tf.config.list_physical_devices("CPU")[0]
if len(tf.config.get_logical_device_configuration(_CPU) or ()) != 2:
    tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)


def shared(path: str) -> str:
    """Returns a path in the data at hand (`../shared`), or skips the test where it is missing."""
    found = ROOT.parent / "shared" / path
    if not found.exists():
        pytest.skip(f"needs ../shared/{path}, which is not on this machine")
    return str(found)


def photo_like(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns a uint8 `[height, width, 3]` picture with smooth areas, edges and texture."""
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    image = np.zeros((height, width, 3))
    for channel in range(3):
        a, b, c = random.uniform(0.02, 0.3, 3)
        image[..., channel] = 110 + 60 * np.sin(a * rows + c) + 40 * np.cos(b * columns)
    for _ in range(6):
        top, left = random.randint(0, height), random.randint(0, width)
        image[top : top + height // 4, left : left + width // 4] = random.uniform(0, 255, 3)
    return np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def use_generator(monkeypatch: pytest.MonkeyPatch, config: config_lib.GeneratorConfig) -> None:
    """Lets all pretrained models be of another generator, a small one: stand-ins for the real."""
    for name, model in pretrained.PRETRAINED.items():
        stand_in = dataclasses.replace(model, config=config)
        monkeypatch.setitem(pretrained.PRETRAINED, name, stand_in)


@functools.cache
def strategy() -> tf.distribute.MirroredStrategy:
    """Returns the test process's one MirroredStrategy, over two logical CPUs.

    One, because a second object's collectives clash with the first's; and with this reduction,
    because the default one aborts on CPU with unsynchronized batch normalization.
    """
    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


def prepared(
    folder,
    *,
    photos: int,
    size: tuple[int, int],
    crop: int = 120,
    seed: int = 0,
    encoding: str = "raw",
) -> str:
    """Writes pictures, has srgan-prepare's library convert them, returns the data set's folder."""
    from data_prep import convert, settings, sources

    pictures, output = pathlib.Path(folder) / "photos", pathlib.Path(folder) / "data"
    pictures.mkdir(parents=True)
    for number in range(photos):
        picture = photo_like(*size, seed=100 * seed + number)
        Image.fromarray(picture).save(pictures / f"{number}.png")
    wanted = sources.from_files([str(pictures)], str(output))
    chosen = settings.Settings(
        crop_size=crop, stride=48, shards=3, validation_percent=1, encoding=encoding
    )
    convert.convert(chosen, wanted, str(output), workers=2, overwrite=False)
    return str(output)


def awaken(model: tf.keras.Model, seed: int = 0) -> tf.keras.Model:
    """Gives every scale of batch normalization a random value and returns the model.

    Residual branches start at zero, so that a fresh network's output hides what its blocks do.
    """
    random = np.random.RandomState(seed)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
    return model


@functools.cache
def fork_server() -> multiprocessing.context.ForkServerContext:
    """Returns what starts processes that have imported TensorFlow: 8 s less for each.

    The server computes nothing itself, for TensorFlow's threads do not survive a fork. Of this
    folder it knows nothing either: a process imports the test module that its function is from.
    """
    context = multiprocessing.get_context("forkserver")
    modules = ["tensorflow", "pytest", "PIL.Image", "matplotlib.figure", "srgan_tf.training.loop"]
    context.set_forkserver_preload(modules)
    # The server is a new interpreter, which must find the package that is tested.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        context.Process(target=os.getpid).start()
    return context
