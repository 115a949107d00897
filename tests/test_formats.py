"""serving/formats.py: files of TensorFlow Lite and ONNX do what the generator does, or are not."""

import builtins
import dataclasses
import importlib.util
import os
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import tensorflow as tf
from test_export import make_run
from test_folding import trained_like

from srgan_tf import config, errors, images
from srgan_tf.models import generators, upsampling
from srgan_tf.serving import describe, export, formats, interpolation, servable, tflite_file

needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("tf2onnx") is None, reason="needs the extra `onnx`"
)
KINDS = [
    *(pytest.param("tflite", kind, id=f"tflite-{kind}") for kind in tflite_file.TYPES),
    pytest.param("onnx", None, id="onnx", marks=needs_onnx),
]
_LR = fixtures.photo_like(9, 14)[None]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("formats") / "run")


def run(path: str, lr: np.ndarray) -> np.ndarray:
    """Upscales uint8 `[B, H, W, 3]` with an exported file; floats in [0, 1]."""
    form = next(form for form in formats.FORMATS.values() if path.endswith(form.suffix))
    with open(path, "rb") as file:
        return form.runner(file.read())(images.uint8_to_unit(lr).numpy())


def _pairs():
    """Every generator with its own upsampling, and one with all."""
    own = [(name, config.AUTO) for name in sorted(generators.GENERATORS)]
    others = set(upsampling.UPSAMPLINGS) - {"subpixel"}
    return [*own, *(("srresnet", kind) for kind in sorted(others))]


@pytest.mark.parametrize("format", ["tflite", pytest.param("onnx", marks=needs_onnx)])
@pytest.mark.parametrize(("name", "kind"), _pairs())
def test_every_network_of_the_tables(name, kind, format, tmp_path):
    settings = config.GeneratorConfig(name=name, filters=4, blocks=1, upsampling=kind)
    scale = 3 if kind == "deconv" else 2
    generator = trained_like(settings, scale)
    path = export.publish(
        generator,
        str(tmp_path / "1"),
        source="random weights",
        generator_config=settings,
        scale=scale,
        overwrite=False,
        format=format,
        facts={},
    )
    # Two pictures, of another shape than the photos that publish compares.
    lr = np.concatenate([_LR, _LR[:, ::-1, ::-1]])
    wanted = generator(images.uint8_to_unit(lr), training=False)
    assert np.std(wanted) > 0.05
    wanted = np.clip(images.signed_to_unit(wanted), 0, 1)
    np.testing.assert_allclose(run(path, lr), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("format", "kind"), KINDS)
def test_file_of_a_run(run_dir, format, kind, tmp_path):
    path = export.export(run_dir, output=str(tmp_path), format=format, tflite_type=kind)
    suffix = f"-{kind}" if kind in ("float16", "dynamic") else ""
    assert os.listdir(tmp_path) == [f"7{suffix}.{format}"]
    record = formats.read(path)
    assert (record["step"], record["format"]) == (7, format)
    assert record["config"]["generator"]["filters"] == 6
    # As in test_export: the radius of this network on the LR grid.
    assert (record["receptive_radius"], record["alignment"]) == (10, 1)
    [verified] = record["verified"]["signatures"].values()
    most = {"float16": 2, "dynamic": 64}.get(kind, 0.1)
    assert 0 <= verified["max_difference"] <= most
    text = "\n".join(describe.lines(path, record))
    assert f"format      {format}" in text and "of 255 from the checkpoint" in text
    with pytest.raises(errors.InputError, match="exists; give --overwrite"):
        export.export(run_dir, output=str(tmp_path), format=format, tflite_type=kind)


def test_types_are_smaller_and_recorded(run_dir, tmp_path):
    settings = config.GeneratorConfig(name="lite", filters=24, blocks=1)
    module = servable.UnitModule(trained_like(settings, 2))
    made = {kind: tflite_file.convert(module, kind) for kind in tflite_file.TYPES}
    sizes = [len(content) for content in made.values()]
    # Some 15,000 weights of 4, 2 and 1 bytes and the graph around them.
    assert sizes[0] > 1.5 * sizes[1] and sizes[1] > 1.3 * sizes[2]
    for content in made.values():
        assert tflite_file.record(content) is None
        again = tflite_file.with_record(content, "{}")
        assert again.startswith(content) and tflite_file.record(again) == "{}"


def test_interpolated_and_in_the_run_folder(run_dir, tmp_path):
    path = interpolation.export(
        f"{run_dir}:3,{run_dir}:7,0.25", output=str(tmp_path), format="tflite", version=12
    )
    assert path == str(tmp_path / "12.tflite")
    assert formats.read(path)["interpolation"]["alpha"] == 0.25
    assert export.export(run_dir, format="tflite") == os.path.join(run_dir, "tflite", "7.tflite")


@pytest.mark.parametrize("format", ["tflite", pytest.param("onnx", marks=needs_onnx)])
def test_a_wrong_copy_is_not_published(run_dir, format, tmp_path, monkeypatch):
    form = formats.FORMATS[format]

    def convert(module, kind):
        module.weights[0].assign(module.weights[0] + 1)
        return form.convert(module, kind)

    monkeypatch.setitem(formats.FORMATS, format, dataclasses.replace(form, convert=convert))
    with pytest.raises(errors.RunError, match="differs"):
        export.export(run_dir, output=str(tmp_path), format=format)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("format", ["tflite", pytest.param("onnx", marks=needs_onnx)])
def test_operations_that_a_format_has_not_are_refused(format):
    class Odd(tf.Module):
        @tf.function(input_signature=[servable.UNIT_LR])
        def upscale(self, lr):
            return {"sr": tf.math.bessel_i0(lr)}

    with pytest.raises(
        errors.InputError, match=f"--format={format} cannot hold.*BesselI0"
    ) as caught:
        formats.FORMATS[format].convert(Odd(), "float32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "onnx", "tflite_type": "float16"}, "--tflite_type goes with --format=tflite"),
        ({"tflite_type": "float16"}, "--tflite_type goes with"),
        ({"format": "tflite", "precision": "bfloat16"}, "--precision=bfloat16 goes with"),
        ({"format": "onnx", "max_pixels": 10**6}, "--max_pixels goes with --format=savedmodel"),
        ({"format": "gguf"}, "Unknown format 'gguf'"),
    ],
)
def test_options_that_do_not_go_together(run_dir, tmp_path, options, words):
    with pytest.raises(errors.InputError, match=words):
        export.export(run_dir, output=str(tmp_path), **options)
    assert not os.listdir(tmp_path)


def test_without_the_extra_one_line_says_how_to_get_it(run_dir, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tf2onnx":
            raise ImportError("No module named 'tf2onnx'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(errors.InputError, match=r"tf2onnx.*pip install 'srgan-tf\[onnx\]'"):
        export.export(run_dir, output=str(tmp_path), format="onnx")
    assert not os.listdir(tmp_path)


def test_foreign_files(tmp_path):
    path = tmp_path / "model.tflite"
    with pytest.raises(errors.InputError, match="is no file"):
        formats.read(str(path))
    path.write_bytes(b"TFL3")
    with pytest.raises(errors.InputError, match="not written by srgan-export"):
        formats.read(str(path))


def test_command(run_dir, tmp_path):
    def call(*options):
        command = [sys.executable, str(fixtures.ROOT / "scripts" / "export.py"), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    made = call(f"--run_dir={run_dir}", f"--output={tmp_path}", "--format=tflite")
    assert made.returncode == 0 and not made.stderr, made.stderr
    assert made.stdout == f"Exported to {tmp_path / '7.tflite'}\n"
    refused = call(f"--run_dir={run_dir}", "--format=tflite", f"--deployment={tmp_path}")
    assert refused.returncode == 2 and "--deployment is for SavedModels" in refused.stderr
