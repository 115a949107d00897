"""training/strategy.py, and what the steps must be like for it: shared by replicas, fit for XLA."""

import dataclasses
import functools
import types

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import test_steps

from srgan_tf import errors
from srgan_tf.config import DataConfig, PretrainStage, StagesConfig, TrainConfig, VggConfig
from srgan_tf.data import pipeline, records, scan
from srgan_tf.training import feeding, steps, strategy, team

STAGES = sorted(steps.STEPS)
# Operations that call Python, or the host, from within a graph.
HOST = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction", "Print", "PrintV2", "Assert"}

SGD = {"adam": lambda rate, _: tf.keras.optimizers.SGD(rate)}


def _devices(*names):
    """Stands in for the devices of a machine."""
    return [tf.config.LogicalDevice(f"/device:{name}", name.split(":")[0]) for name in names]


@pytest.fixture
def machine(monkeypatch):
    """A machine with two GPUs; strategies on it are the arguments that make them."""
    monkeypatch.setattr(
        strategy, "_logical_devices", lambda: _devices("CPU:0", "CPU:1", "GPU:0", "GPU:1")
    )
    monkeypatch.setattr(
        tf.distribute,
        "MirroredStrategy",
        lambda devices, cross_device_ops: (devices, cross_device_ops),
    )


def test_all_gpus_are_the_default_and_devices_chooses(machine):
    for asked, expected in (
        ((), ["gpu:0", "gpu:1"]),
        (("gpu:1",), ["gpu:1"]),
        ((" GPU:0", "/gpu:1"), ["gpu:0", "gpu:1"]),
    ):
        # None is the strategy's own default on GPUs, NCCL.
        assert strategy.make_strategy(asked) == (expected, None)


def test_replicas_on_cpus_are_added_up_on_one_of_them(machine):
    for asked in (("cpu:0",), ("cpu:0", "cpu:1"), ("gpu:0", "cpu:0")):
        _, operations = strategy.make_strategy(asked)
        assert isinstance(operations, tf.distribute.ReductionToOneDevice)


def test_without_gpus_the_cpu_is_the_default(machine, monkeypatch):
    monkeypatch.setattr(strategy, "_logical_devices", lambda: _devices("CPU:0", "CPU:1"))
    devices, operations = strategy.make_strategy()
    assert devices == ["cpu:0"]
    assert isinstance(operations, tf.distribute.ReductionToOneDevice)


def test_wrong_devices_are_named():
    with pytest.raises(errors.InputError, match="gpu:7.*there are cpu:0, cpu:1"):
        strategy.make_strategy(("gpu:7",))
    with pytest.raises(errors.InputError, match="named twice"):
        strategy.make_strategy(("cpu:0", "CPU:0"))


def test_a_tpu_is_used_whole(monkeypatch):
    calls = []
    monkeypatch.setattr(
        tf.distribute.cluster_resolver, "TPUClusterResolver", lambda tpu: f"resolver of {tpu}"
    )
    monkeypatch.setattr(
        tf.config, "experimental_connect_to_cluster", lambda resolver: calls.append("connect")
    )
    monkeypatch.setattr(
        tf.tpu.experimental, "initialize_tpu_system", lambda resolver: calls.append("initialize")
    )
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda resolver: resolver)
    assert strategy.make_strategy(("tpu",)) == "resolver of local"
    assert strategy.make_strategy(("tpu:Mine-1",)) == "resolver of Mine-1"
    assert calls == ["initialize", "connect", "initialize"]
    with pytest.raises(errors.InputError, match="whole and alone"):
        strategy.make_strategy(("tpu", "cpu:0"))


def test_a_tpu_that_is_not_there_is_one_line(monkeypatch):
    def resolver(tpu):
        raise ValueError("Please provide a TPU Name to connect to. And more\nand more")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
    with pytest.raises(errors.InputError, match="No TPU 'mine' can be used: Please") as raised:
        strategy.make_strategy(("tpu:mine",))
    assert len(str(raised.value).splitlines()) == 1 and "And more" not in str(raised.value)


def settings():
    """The tiny run with a VGG of one convolution and hard labels."""
    # The labels of a step are others under XLA, which has random numbers of its own.
    hard = {"real_labels": (1.0, 1.0), "fake_labels": (0.0, 0.0), "flip_labels": 0.0}
    made = dataclasses.replace(test_steps.with_options(decay=0.0), vgg=VggConfig(weights="random"))
    content = {"content": (("mse", 1.0), ("vgg", 0.1)), "vgg_layer": "block1_conv1"}
    stages = dataclasses.replace(
        made.stages,
        pretrain=dataclasses.replace(made.stages.pretrain, **content),
        discriminator=dataclasses.replace(made.stages.discriminator, **hard),
        gan=dataclasses.replace(made.stages.gan, **content, **hard),
    )
    return dataclasses.replace(made, stages=stages)


@pytest.fixture
def tiny(monkeypatch):
    """Two convolutions for a discriminator: the paper's takes long to trace."""
    monkeypatch.setattr(test_steps.discriminators, "build", test_steps.small_discriminator)


def test_a_wrong_loss_scale_would_be_seen_in_the_gan_stage_too(tiny, monkeypatch):
    """The mean over a replica instead of all doubles the gradient: 5e-2 with SGD, hidden by Adam.

    That two replicas give the weights of one is tested in test_steps.py, for all stages, and
    that the pretrain stage would show a wrong scale.
    """
    monkeypatch.setattr(test_steps.optimizers, "OPTIMIZERS", SGD)
    monkeypatch.setattr(
        steps.objective, "mean_over_global_batch", lambda per_image, _: tf.reduce_mean(per_image)
    )
    with pytest.raises(AssertionError):
        test_steps.test_two_replicas_give_the_weights_of_one(None, "gan", test_steps.LABELS)


@pytest.mark.parametrize("replicas", [1, 2])
def test_each_replica_has_the_vgg_look_at_its_own_share_alone(tiny, replicas):
    """Of a global batch of 4, SR and HR: 8 pictures in all, however many replicas there are."""
    chosen = fixtures.strategy() if replicas == 2 else tf.distribute.get_strategy()
    made = test_steps.make_state("gan", chosen, settings=settings())
    seen, network = [], made.vgg

    def vgg(image, training):
        seen.append(image.shape[0])
        return network(image, training=training)

    made.objective._vgg_model = vgg
    batch = test_steps.batch()
    share = 4 // replicas

    def local(context):
        first = context.replica_id_in_sync_group * share
        return test_steps.Pair(*(x[first : first + share] for x in batch))

    step = steps.distributed_step(chosen, made)
    step.get_concrete_function(chosen.experimental_distribute_values_from_function(local))
    assert seen == [share] * 2 * replicas


@pytest.mark.parametrize("stage", STAGES)
def test_steps_are_fit_for_a_tpu(stage, tiny, monkeypatch):
    """No Python and no open shapes in a step; XLA, which TPUs need, compiles it to the same."""
    # Adam would make steps of the learning rate's size out of gradients that are rounding errors.
    monkeypatch.setattr(test_steps.optimizers, "OPTIMIZERS", SGD)
    # XLA has random numbers of its own.
    monkeypatch.setattr(steps.objective, "draw_shift", lambda *_, **__: tf.constant([1, 2]))
    plain, compiled = (test_steps.make_state(stage, settings=settings()) for _ in "ab")
    function = tf.function(functools.partial(steps.STEPS[stage], plain))
    concrete = function.get_concrete_function(test_steps.batch())
    definition = concrete.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    assert len(nodes) > 100 and not HOST & {node.op for node in nodes}
    pictures = [
        tensor
        for operation in concrete.graph.get_operations()
        for tensor in operation.outputs
        # Without a rank: scratch space of the fused normalization, which XLA has none of.
        if tensor.dtype == tf.float32 and tensor.shape.rank is not None
    ]
    assert len(pictures) > 100
    assert [tensor for tensor in pictures if not tensor.shape.is_fully_defined()] == []
    scalars = function(test_steps.batch())
    step = tf.function(functools.partial(steps.STEPS[stage], compiled), jit_compile=True)
    for name, value in step(test_steps.batch()).items():
        assert float(value) == pytest.approx(float(scalars[name]), rel=1e-4, abs=1e-6), name
    for network in ("generator", "discriminator"):
        for one, two in zip(
            test_steps.values(getattr(plain, network)),
            test_steps.values(getattr(compiled, network)),
            strict=True,
        ):
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


def test_a_replicas_labels_can_be_cut_out_by_xla(tiny, monkeypatch):
    """On a TPU the number of the replica is a tensor; then the size must be known all the same."""
    made = test_steps.make_state("gan", settings=settings())
    whole = tf.reshape(tf.range(4.0), [4, 1])
    monkeypatch.setattr(steps.objective, "draw_labels", lambda *_, **__: (whole, -whole))

    def labels(replica):
        context = types.SimpleNamespace(replica_id_in_sync_group=replica)
        monkeypatch.setattr(tf.distribute, "get_replica_context", lambda: context)
        return steps._labels(made, 2, 0)

    real, fake = tf.function(labels, jit_compile=True)(tf.constant(1))
    np.testing.assert_array_equal(real, [[2.0], [3.0]])
    np.testing.assert_array_equal(fake, [[-2.0], [-3.0]])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return fixtures.prepared(tmp_path_factory.mktemp("data"), photos=2, size=(60, 60), crop=24)


def test_one_cpu_reads_without_a_thread_that_tunes(data_dir, tmp_path):
    """Freeing an iterator waits for that thread, up to a minute at the end of each stage."""
    stages = StagesConfig(pretrain=PretrainStage(steps=1))
    config = TrainConfig(data=DataConfig(crop_size=16, batch_size=1), stages=stages)
    feed = feeding.Feed(config, data_dir=data_dir, run_dir=str(tmp_path))
    dataset = pipeline.training_dataset(feed.split, config.data, seed=1)
    assert dataset.options().autotune.enabled is False
    # TensorFlow's distributed iterators are one more dataset, with options of its own.
    one = strategy.make_strategy(("cpu:0",))
    plain = team.Team(one).batches(dataset, 1)
    assert type(plain) is type(iter(dataset))
    assert next(feed.batches(team.Team(one), config.data, 0)).hr.shape == [1, 16, 16, 3]


def test_validation_and_scan_read_without_a_thread_that_tunes(data_dir, monkeypatch):
    validation = records.open_split(data_dir, "validation")
    read, real = [], tf.data.Dataset.__iter__

    def watched(dataset):
        read.append(dataset.options().autotune.enabled)
        return real(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", watched)
    config = DataConfig(crop_size=16, batch_size=1)
    assert len(list(pipeline.validation_pairs(validation, config, limit=1))) == 1
    assert read == [False]
    assert scan.scan(validation, min_side=24) == ()
    assert len(read) > 1 and not any(read)
