"""Times this package: `python -m srgan_tf.benchmark.worker SPEC`; see contenders.py.

Weights are random: how long a network takes does not depend on them.
"""

import dataclasses
import multiprocessing
import os
import subprocess
import sys
import tempfile
from concurrent import futures

import numpy as np
import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import images, recipes
from srgan_tf.benchmark import protocol
from srgan_tf.config import GeneratorConfig, TrainConfig
from srgan_tf.data import pipeline, records
from srgan_tf.models import generators
from srgan_tf.serving import export
from srgan_tf.serving.upscaler import Upscaler
from srgan_tf.training import state, steps
from srgan_tf.training import strategy as strategy_lib

# The first runs trace, allocate and choose algorithms.
_WARM_UP = 2


def gemm(*, size: int, precision: str) -> protocol.Prepared:
    """Product of two square matrices: what the machine can do at most, in GFLOP/s."""
    dtype = tf.dtypes.as_dtype(precision)
    a, b = (tf.cast(tf.random.stateless_uniform([size, size], [1, n]), dtype) for n in (1, 2))
    product = tf.function(lambda: tf.reduce_sum(tf.cast(a @ b, tf.float32)))
    return _warm(product), 2e-9 * size**3, "GFLOP"


def train(
    *, stage: str, precision: str, batch: int, crop: int, scale: int, generator: dict, gan: dict
) -> protocol.Prepared:
    """One update of `stage`, on a batch that is there already: images a second."""
    config = _train_config(stage, precision, batch, crop, scale, generator, gan)
    strategy = strategy_lib.make_strategy()
    with strategy.scope():
        made = state.build(config)
        made.enter_stage(stage)
    hr = tf.random.stateless_uniform([batch, crop, crop, 3], [1, 2])
    lr = tf.image.resize(hr, [crop // scale] * 2, "area")
    pair = pipeline.Pair(lr, images.unit_to_signed(hr))
    step = steps.distributed_step(strategy, made)
    return _warm(lambda: [value.numpy() for value in step(pair).values()]), batch, "image"


def upscale(
    *,
    height: int,
    width: int,
    scale: int,
    precision: str,
    generator: dict,
    options: dict,
) -> protocol.Prepared:
    """A picture through an exported model, uint8 in and out: SR megapixels a second."""
    folder = _exported_apart(GeneratorConfig(**generator), scale, precision)
    upscaler = Upscaler.load(folder.name, **options)
    lr = np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)
    run = _warm(lambda keep=folder: upscaler.upscale(lr) if keep else None)
    return run, height * width * scale**2 / 1e6, "megapixel"


def batches(*, data_dir: str, batch: int, crop: int, scale: int, crops: int) -> protocol.Prepared:
    """Batches of (lr, hr) crops from prepared shards: crops a second."""
    split = records.open_split(data_dir, "train")
    data = config_lib.DataConfig(
        crop_size=crop, batch_size=batch, scale=scale, crops_per_image=crops
    )
    iterator = iter(pipeline.training_dataset(split, data, seed=1))
    count = max(1, 512 // batch)

    def run() -> None:
        for _ in range(count):
            next(iterator)

    return _warm(run), count * batch, "crop"


def start(*, generator: dict, scale: int) -> protocol.Prepared:
    """From nothing to the first small picture: a new Python, the imports, a SavedModel."""
    folder = _exported(GeneratorConfig(**generator), scale, "float32")
    code = (
        "import numpy, sys; from srgan_tf.serving.upscaler import Upscaler; "
        "Upscaler.load(sys.argv[1]).upscale(numpy.zeros((32, 32, 3), numpy.uint8))"
    )
    command = [sys.executable, "-c", code, folder.name]

    def run(keep: tempfile.TemporaryDirectory = folder) -> None:
        del keep  # It is removed when nobody holds it.
        subprocess.run(command, check=True, capture_output=True)

    run.has_memory = False  # This process's is that of the export.
    return run, 1, "start"


def publish(*, generator: dict, scale: int) -> protocol.Prepared:
    """Export of a generator as a SavedModel, the check of the copy included."""
    config = GeneratorConfig(**generator)
    return lambda: _exported(config, scale, "float32").cleanup(), 1, "export"


def _exported(config: GeneratorConfig, scale: int, precision: str) -> tempfile.TemporaryDirectory:
    """Exports a new generator into a temporary folder."""
    folder = tempfile.TemporaryDirectory()
    _export(folder.name, config, scale, precision)
    return folder


def _exported_apart(
    config: GeneratorConfig, scale: int, precision: str
) -> tempfile.TemporaryDirectory:
    """Exports in a process of its own, so that its memory does not count as this one's."""
    folder = tempfile.TemporaryDirectory()
    with futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(_export, folder.name, config, scale, precision).result()
    return folder


def _export(folder: str, config: GeneratorConfig, scale: int, precision: str) -> None:
    export.publish(
        generators.build(config, scale),
        os.path.join(folder, "1"),
        source="benchmark",
        generator_config=config,
        precision=precision,
        scale=scale,
        overwrite=False,
        facts={"step": 0},
    )


def _train_config(
    stage: str, precision: str, batch: int, crop: int, scale: int, generator: dict, gan: dict
) -> TrainConfig:
    """The paper's run (VGG19 conv5_4, its discriminator), with random VGG kernels."""
    config = recipes.paper()
    stages = {name: dataclasses.replace(one, steps=0) for name, one in config.stages.active()}
    chosen = getattr(config.stages, stage)
    stages[stage] = dataclasses.replace(chosen, steps=chosen.steps or 1)
    if stage == "gan":
        stages[stage] = dataclasses.replace(stages[stage], vgg_layer=gan["vgg_layer"])
    return dataclasses.replace(
        config,
        precision=precision,
        vgg=dataclasses.replace(config.vgg, weights="random"),
        generator=GeneratorConfig(**generator),
        data=dataclasses.replace(config.data, scale=scale, batch_size=batch, crop_size=crop),
        discriminator=dataclasses.replace(
            config.discriminator, filters=gan["filters"], dense_units=gan["dense_units"]
        ),
        stages=dataclasses.replace(config.stages, **stages),
    )


def _warm(run):
    for _ in range(_WARM_UP):
        run()
    return run


KINDS = {
    "gemm": gemm,
    "train": train,
    "upscale": upscale,
    "batches": batches,
    "start": start,
    "publish": publish,
}

if __name__ == "__main__":
    protocol.serve(KINDS)
