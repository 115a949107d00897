"""serving/backends.py: OpenVINO gives TensorFlow's pictures, or says why it cannot be had."""

import importlib.util
import sys
from concurrent import futures

import fixtures
import numpy as np
import pytest
from test_export import make_run

from srgan_tf import errors
from srgan_tf.serving import backends, export
from srgan_tf.serving.upscaler import Upscaler

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="needs the extra `openvino` (pip install openvino)",
)


@needs_openvino
@pytest.mark.parametrize("name", ["srresnet", "autoencoder", "lite", "rrdb"])
def test_same_pixels_within_one_grey_level(name, tmp_path):
    run_dir = make_run(tmp_path / "run", steps=(1,), name=name)
    lr = fixtures.photo_like(43, 51)
    expected = Upscaler.load(run_dir, tile_size=99).upscale(lr).astype(int)
    assert expected.std() > 1
    for path, tile_size in ((run_dir, 99), (export.export(run_dir), 9)):  # Tiles of several shapes.
        model = Upscaler.load(path, backend="openvino", tile_size=tile_size)
        np.testing.assert_allclose(model.upscale(lr), expected, atol=1)


@needs_openvino
def test_openvino_tells_nobody():
    telemetry = backends.import_openvino().tools.ovc.telemetry_utils.tm
    assert telemetry.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert "openvino_telemetry" not in sys.modules


@needs_openvino
def test_threads_share_a_model(tmp_path):
    run_dir = make_run(tmp_path / "run", steps=(1,))
    model = Upscaler.load(run_dir, backend="openvino", tile_size=9)
    pictures = [fixtures.photo_like(40 + number, 50) for number in range(6)]
    alone = [model.upscale(lr) for lr in pictures]
    with futures.ThreadPoolExecutor(6) as pool:  # Without a lock: "Infer Request is busy".
        together = list(pool.map(model.upscale, pictures))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@needs_openvino
def test_bfloat16_is_near_or_refused(tmp_path):
    run_dir = make_run(tmp_path / "run", steps=(1,))
    lr = fixtures.photo_like(20, 24)
    options = {"backend": "openvino", "precision": "bfloat16", "tile_size": 99}
    core = backends.import_openvino().Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(errors.InputError, match="no bfloat16 arithmetic"):
            Upscaler.load(run_dir, **options)
        return
    expected = Upscaler.load(run_dir, tile_size=99).upscale(lr).astype(int)
    difference = np.abs(Upscaler.load(run_dir, **options).upscale(lr) - expected)
    assert 0 < difference.mean() < 3


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    run_dir = make_run(tmp_path / "run", steps=(1,))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(errors.InputError, match="pip install openvino"):
        Upscaler.load(run_dir, backend="openvino")
    with pytest.raises(errors.InputError, match="--precision is for --backend=openvino"):
        Upscaler.load(run_dir, precision="bfloat16")
    with pytest.raises(errors.InputError, match="Unknown backend 'tpu'"):
        Upscaler.load(run_dir, backend="tpu")


def test_an_export_in_bfloat16_is_refused_with_the_way_out(tmp_path):
    run_dir = make_run(tmp_path / "run", steps=(1,))
    exported = export.export(run_dir, precision="bfloat16")
    for precision in (None, "bfloat16"):  # Known from the record: whether OpenVINO is there or not.
        with pytest.raises(errors.InputError, match="exported in bfloat16.*--precision=float32"):
            Upscaler.load(exported, backend="openvino", precision=precision)
    Upscaler.load(exported, tile_size=9)
