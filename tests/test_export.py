"""serving/export.py: the artefact equals the generator, appears whole, and says what it is."""

import json
import os

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors, images, run_folder
from srgan_tf.models import generators
from srgan_tf.serving import export, model_record, servable

_SCALE = 2


def make_run(path, *, steps=(3, 7), scale=_SCALE, name="srresnet"):
    """Writes a run folder with a checkpoint of other random weights at each step."""
    run_dir = str(path)
    config = config_lib.TrainConfig(
        data=config_lib.DataConfig(scale=scale),
        generator=config_lib.GeneratorConfig(name=name, filters=6, blocks=1),
        stages=config_lib.StagesConfig(pretrain=config_lib.PretrainStage(steps=10)),
    )
    os.makedirs(run_dir, exist_ok=True)
    run_folder.write_config(run_dir, config)
    generator = generators.build(config.generator, scale)
    step = tf.Variable(0, dtype=tf.int64)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(generator=generator, step=step),
        os.path.join(run_dir, run_folder.CHECKPOINTS),
        max_to_keep=None,
        checkpoint_name="ckpt",
    )
    for number in steps:
        random = np.random.RandomState(number)
        for weight in generator.weights:
            noise = np.abs(random.normal(0, 0.2, weight.shape))
            weight.assign(weight.numpy() + (noise if noise.ndim == 1 else noise - noise.mean()))
        step.assign(number)
        manager.save(checkpoint_number=number)
    return run_dir


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("export") / "run")


@pytest.fixture(scope="module")
def exported(run_dir):
    return export.export(run_dir)


def _operations(function) -> set[str]:
    """Returns the types of the operations of a signature's graph, functions it calls included."""
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    return {node.op for node in nodes}


def test_signature_takes_any_size_and_number(run_dir, exported):
    assert exported == os.path.join(run_dir, "saved_model", "7")
    generator, _, _ = run_folder.load_generator(run_dir)
    signature = tf.saved_model.load(exported).signatures["serving_default"]
    assert signature.structured_input_signature[1]["lr"].shape.as_list() == [None, None, None, 3]
    assert list(signature.structured_outputs) == ["sr"]
    assert not [op for op in _operations(signature) if "BatchNorm" in op]
    for count, height, width in ((1, 5, 7), (3, 8, 3)):
        lr = np.stack([fixtures.photo_like(height, width, seed) for seed in range(count)])
        sr = signature(lr=tf.constant(lr))["sr"]
        own = images.signed_to_uint8(generator(images.uint8_to_unit(lr), training=False))
        assert sr.dtype == tf.uint8
        assert sr.shape == (count, height * _SCALE, width * _SCALE, 3)
        assert np.ptp(own.numpy()) > 0
        np.testing.assert_allclose(sr.numpy().astype(int), own.numpy(), atol=1)


def test_one_trace_for_all_sizes(run_dir):
    generator, _, _ = run_folder.load_generator(run_dir)
    module = servable.ServingModule(generator)
    for size in ((1, 4, 6, 3), (2, 9, 5, 3)):
        module.upscale(np.zeros(size, np.uint8))
    assert module.upscale.experimental_get_tracing_count() == 1


def test_provenance(exported):
    recorded = model_record.read(exported)
    with open(os.path.join(exported, "assets.extra", "srgan_tf.json")) as file:
        assert recorded == json.load(file)
    assert recorded["scale"] == _SCALE
    assert recorded["step"] == 7
    assert recorded["config"]["generator"]["filters"] == 6
    # conv9, one block of two conv3, conv3 on the LR grid; conv3 there too; conv9 on the x2 grid.
    assert recorded["receptive_radius"] == 4 + 2 + 1 + 1 + 2
    assert recorded["alignment"] == 1
    # What the run's "auto" stood for.
    assert recorded["config"]["generator"]["norm"] == "batch"
    assert recorded["config"]["generator"]["upsampling"] == "subpixel"


def test_existing_export_is_kept_unless_told(run_dir, exported):
    with pytest.raises(errors.InputError, match="overwrite"):
        export.export(run_dir)
    before = os.stat(exported).st_ino
    assert export.export(run_dir, overwrite=True) == exported
    assert os.stat(exported).st_ino != before
    assert os.listdir(os.path.dirname(exported)) == ["7"]


def test_another_step_and_folder(run_dir, tmp_path):
    target = export.export(run_dir, checkpoint="3", output=str(tmp_path / "models"))
    assert target == str(tmp_path / "models" / "3")
    assert model_record.read(target)["step"] == 3
    with pytest.raises(errors.InputError, match="ckpt-3, ckpt-7"):
        export.export(run_dir, checkpoint="5")


def test_a_wrong_copy_is_not_published(run_dir, tmp_path, monkeypatch):
    def save_something_else(module, directory, save=export._save):
        module.weights[0].assign(module.weights[0] + 1)
        save(module, directory)

    monkeypatch.setattr(export, "_save", save_something_else)
    with pytest.raises(errors.RunError, match="differs"):
        export.export(run_dir, output=str(tmp_path))
    assert not os.listdir(tmp_path)


def test_weights_that_are_not_finite(tmp_path, monkeypatch):
    made = make_run(tmp_path / "run", steps=(1,))
    generator, config, step = run_folder.load_generator(made)
    generator.weights[0].assign(np.full(generator.weights[0].shape, np.nan))
    monkeypatch.setattr(run_folder, "load_generator", lambda *_: (generator, config, step))
    with pytest.raises(errors.InputError, match="not finite"):
        export.export(made)


def test_a_foreign_saved_model(tmp_path):
    with pytest.raises(errors.InputError, match="srgan-export"):
        model_record.read(str(tmp_path))
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "srgan_tf.json").write_text("{}")
    with pytest.raises(errors.InputError, match="scale"):
        model_record.read(str(tmp_path))


def test_bfloat16_is_near_and_recorded(run_dir, tmp_path):
    target = export.export(run_dir, output=str(tmp_path), precision="bfloat16")
    assert model_record.read(target)["precision"] == "bfloat16"
    signature = tf.saved_model.load(target).signatures["serving_default"]
    dtypes = [output.dtype for op in signature.graph.get_operations() for output in op.outputs]
    functions = str(signature.graph.as_graph_def().library)
    assert tf.bfloat16 in dtypes or "DT_BFLOAT16" in functions
    generator, _, _ = run_folder.load_generator(run_dir)
    lr = fixtures.photo_like(20, 24)[None]
    own = images.signed_to_uint8(generator(images.uint8_to_unit(lr), training=False)).numpy()
    difference = np.abs(signature(lr=tf.constant(lr))["sr"].numpy().astype(int) - own)
    assert 0 < difference.mean() < 4
