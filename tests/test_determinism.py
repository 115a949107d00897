"""--deterministic: every operation that a run can use has a deterministic form, and is used.

On CPUs this can show an operation without one only where TensorFlow refuses it there too; what a
GPU would refuse it cannot show.
"""

import dataclasses
import json

import fixtures
import numpy as np
import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import images, recipes
from srgan_tf.data import degradations, pipeline
from srgan_tf.losses import content, regularizers
from srgan_tf.models import discriminators, generators, upsampling, vgg
from srgan_tf.training import environment

NORMS = ("batch", "instance", "spectral", "none")


def _data(name):
    settings = config_lib.DataConfig(degradation=name)
    hr = images.uint8_to_unit(fixtures.photo_like(48, 60))
    degrade = tf.function(lambda seed: pipeline.degrade(hr, settings, seed=seed))
    return [degrade(tf.constant([1, 2], tf.int64))]


def _gradients(network, image, variables):
    """Returns what a stage takes: the gradients with respect to the image and to the weights."""
    with tf.GradientTape() as tape:
        tape.watch(image)
        loss = tf.reduce_mean(network(image) ** 2)
    return tape.gradient(loss, [image, *variables])


def _generator(**options):
    tf.keras.utils.set_random_seed(1)
    settings = config_lib.GeneratorConfig(filters=4, blocks=1, **options)
    network = generators.build(settings, 4)
    lr = tf.random.stateless_uniform([2, 8, 8, 3], [1, 2])
    return _gradients(lambda x: network(x, training=True), lr, network.trainable_variables)


def _discriminator(**options):
    tf.keras.utils.set_random_seed(1)
    settings = config_lib.DiscriminatorConfig(filters=2, dense_units=4, **options)
    network = discriminators.build(settings, 24)
    hr = tf.random.stateless_uniform([2, 24, 24, 3], [3, 4], -1, 1)

    def logits(image):
        return network(image, training=True)

    with tf.GradientTape() as tape:
        _, penalty = regularizers.with_gradient_penalty(logits, hr)
    slopes = tape.gradient(penalty, network.trainable_variables)
    first_order = _gradients(logits, hr, network.trainable_variables)
    return [*first_order, *(slope for slope in slopes if slope is not None)]


def _content(name):
    sr, hr = (tf.random.stateless_uniform([2, 16, 16, 3], [5, seed], -1, 1) for seed in (6, 7))
    if name == "vgg":
        tf.keras.utils.set_random_seed(1)
        network = vgg.feature_model(config_lib.VggConfig(weights="random"), ["block2_conv1"])
        return _gradients(lambda x: network(x, training=False)["block2_conv1"], sr, [])
    with tf.GradientTape() as tape:
        tape.watch(sr)
        loss = tf.reduce_sum(content.CONTENT[name](sr, hr) + regularizers.total_variation(sr))
    return [tape.gradient(loss, sr)]


def cases():
    """Returns by name what gives tensors, over all tables."""
    made = {}
    for name in degradations.DEGRADATIONS:
        made[f"degradation {name}"] = (_data, {"name": name})
    for name in generators.GENERATORS:
        made[f"generator {name}"] = (_generator, {"name": name})
    for name in upsampling.UPSAMPLINGS:
        made[f"upsampling {name}"] = (_generator, {"upsampling": name})
    for name in discriminators.DISCRIMINATORS:
        made[f"discriminator {name}"] = (_discriminator, {"name": name})
    for norm in NORMS:
        made[f"norm {norm}"] = (_discriminator, {"name": "srgan_small", "norm": norm})
    for name in content.CONTENT:
        made[f"content {name}"] = (_content, {"name": name})
    return made


def _run_all(connection):
    """Runs every case twice in a process of its own: determinism cannot be switched off again."""
    environment.make_deterministic()
    problems = {}
    for name, (function, arguments) in cases().items():
        try:
            first, second = ([np.array(t) for t in function(**arguments)] for _ in "ab")
            if any(a.tobytes() != b.tobytes() for a, b in zip(first, second, strict=True)):
                problems[name] = "differs"
        except Exception as error:  # Whatever it is, it is what the test is about.
            problems[name] = repr(error)[:500]
    connection.send(problems)


def test_everything_has_a_deterministic_form():
    server = fixtures.fork_server()
    ours, theirs = server.Pipe(duplex=False)
    process = server.Process(target=_run_all, args=(theirs,))
    process.start()
    theirs.close()
    problems = ours.recv()
    process.join()
    assert problems == {}


def test_the_flag_is_recorded():
    """That it is obeyed before anything is computed is tested with the run in test_kill.py."""
    made = recipes.RECIPES["quick"]()
    chosen = dataclasses.replace(made, run=dataclasses.replace(made.run, deterministic=True))
    recorded = json.loads(json.dumps(config_lib.to_dict(chosen)))
    assert recorded["run"]["deterministic"] is True


def test_what_decides_about_the_last_bits_is_recorded():
    threads = environment.describe()["threads"]
    assert threads["cores"] >= 1 and {"intra_op", "inter_op"} < set(threads)
