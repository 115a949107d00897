"""The VGG extractor against keras.applications; every source of weights, right and wrong."""

import io

import fixtures
import h5py
import numpy as np
import pytest
import tensorflow as tf
from absl import logging

from srgan_tf import config, errors
from srgan_tf.models import vgg, vgg_weights


def _reference(network: str) -> tf.keras.Model:
    """Returns keras.applications' own network with random weights."""
    tf.keras.utils.set_random_seed(3)
    applications = tf.keras.applications
    make = {"vgg16": applications.VGG16, "vgg19": applications.VGG19}[network]
    return make(include_top=False, weights=None)


@pytest.fixture(scope="module")
def references():
    return {network: _reference(network) for network in ("vgg16", "vgg19")}


def _arrays(names: list[str], seed: int = 0) -> dict[str, np.ndarray]:
    """Returns npz content: random kernels of the first convolutions of a VGG."""
    random = np.random.RandomState(seed)
    widths = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}
    arrays, channels = {}, 3
    for name in names:
        width = widths[int(name[5])]
        arrays[f"{name}/kernel"] = random.normal(0, 0.05, [3, 3, channels, width]).astype("float32")
        arrays[f"{name}/bias"] = random.normal(0, 0.05, [width]).astype("float32")
        channels = width
    return arrays


FIRST_TWO = ["block1_conv1", "block1_conv2"]


def _write_npz(path, arrays: dict[str, np.ndarray]) -> str:
    np.savez(path, **arrays)
    return str(path)


def _image() -> np.ndarray:
    """Returns uint8 `[1, 33, 46, 3]`."""
    return fixtures.photo_like(33, 46)[np.newaxis]


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_features_equal_keras_applications(network, references, tmp_path):
    reference = references[network]
    names = [x.name for x in reference.layers if isinstance(x, tf.keras.layers.Conv2D)]
    assert names == vgg_weights.conv_names(network)
    path = str(tmp_path / "whole.weights.h5")
    reference.save_weights(path)
    made = vgg.feature_model(config.VggConfig(network=network, weights=path), names)
    preprocess = getattr(tf.keras.applications, network).preprocess_input
    expected = tf.keras.Model(
        reference.input, {name: reference.get_layer(name).output for name in names}
    )(preprocess(_image().astype(np.float32)), training=False)
    features = made(_image() / np.float32(127.5) - 1, training=False)
    assert set(features) == set(names)
    for name in names:
        scaled = expected[name].numpy() / 12.75
        np.testing.assert_allclose(features[name], scaled, rtol=1e-3, atol=1e-5 * scaled.max())


def test_network_ends_at_the_deepest_layer_and_is_frozen():
    made = vgg.feature_model(config.VggConfig(weights="random"), ["block2_conv2", "block1_conv1"])
    convolutions = [x.name for x in made.layers if isinstance(x, tf.keras.layers.Conv2D)]
    assert convolutions == [*FIRST_TWO, "block2_conv1", "block2_conv2"]
    assert not made.trainable_variables
    features = made(tf.zeros([2, 9, 13, 3]), training=False)
    # One pooling so far: 9 x 13 becomes 4 x 6.
    assert {name: tuple(value.shape) for name, value in features.items()} == {
        "block1_conv1": (2, 9, 13, 64),
        "block2_conv2": (2, 4, 6, 128),
    }


def test_activation_after_or_before_relu_and_scale(tmp_path):
    path = _write_npz(tmp_path / "two.npz", _arrays(FIRST_TWO))

    def features(**kwargs) -> dict[str, np.ndarray]:
        settings = config.VggConfig(weights=path, **kwargs)
        made = vgg.feature_model(settings, FIRST_TWO)(_image() / np.float32(255), training=False)
        return {name: value.numpy() for name, value in made.items()}

    after, before = features(feature_scale=1.0), features(feature_scale=1.0, activation="before")
    scaled = features()
    for name in FIRST_TWO:
        assert before[name].min() < 0
        # The second layer's input comes after the first one's ReLU either way.
        np.testing.assert_allclose(after[name], np.maximum(before[name], 0), rtol=1e-6)
        np.testing.assert_allclose(scaled[name], after[name] / 12.75, rtol=1e-6)


def test_gradient_reaches_the_image():
    made = vgg.feature_model(config.VggConfig(weights="random"), ["block2_conv1"])
    image = tf.constant(_image() / np.float32(127.5) - 1)
    with tf.GradientTape() as tape:
        tape.watch(image)
        loss = tf.reduce_sum(made(image, training=False)["block2_conv1"])
    assert float(tf.reduce_max(tf.abs(tape.gradient(loss, image)))) > 0


def test_features_are_float32_under_mixed_precision():
    made = vgg.feature_model(config.VggConfig(weights="random"), ["block1_conv1"], "bfloat16")
    assert made.get_layer("block1_conv1").compute_dtype == "bfloat16"
    features = made(tf.zeros([1, 8, 8, 3]), training=False)["block1_conv1"]
    assert features.dtype == tf.float32


def test_weights_at_hand_give_the_papers_vgg22():
    path = fixtures.shared("weights/vgg19_block1-3.npz")
    made = vgg.feature_model(config.VggConfig(weights=path), ["block2_conv2"])
    with np.load(path) as arrays:
        kernel = arrays["block2_conv2/kernel"]
    np.testing.assert_array_equal(made.get_layer("block2_conv2").get_weights()[0], kernel)
    features = made(_image() / np.float32(127.5) - 1, training=False)["block2_conv2"]
    # Trained features: neither dead nor exploded once scaled by 1/12.75.
    assert 0.1 < float(tf.reduce_mean(features)) < 100
    with pytest.raises(errors.InputError, match="no layer block4_conv1, which vgg19 needs"):
        vgg.feature_model(config.VggConfig(weights=path), ["block4_conv1"])
    with pytest.raises(errors.InputError, match="does not hold the weights of vgg16"):
        vgg.feature_model(config.VggConfig(weights=path, network="vgg16"), ["block2_conv2"])


def _legacy_h5(path, arrays: dict[str, np.ndarray], style: str) -> str:
    """Writes what keras.applications offers for download, in the old or the newer naming."""
    names = list(dict.fromkeys(key.split("/")[0] for key in arrays))
    pattern = {"old": ("{}_W_1:0", "{}_b_1:0"), "new": ("{0}/kernel:0", "{0}/bias:0")}[style]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in ["input_1", *names, "block1_pool"]]
        for empty in ("input_1", "block1_pool"):
            file.create_group(empty).attrs["weight_names"] = []
        for name in names:
            keys = [key.format(name) for key in pattern]
            group = file.create_group(name)
            group.attrs["weight_names"] = [key.encode() for key in keys]
            for key, part in zip(keys, ("kernel", "bias"), strict=True):
                group[key] = arrays[f"{name}/{part}"]
    return str(path)


def _assert_loaded(path: str, arrays: dict[str, np.ndarray]):
    made = vgg.feature_model(config.VggConfig(weights=path), FIRST_TWO)
    for name in FIRST_TWO:
        for value, part in zip(made.get_layer(name).get_weights(), ("kernel", "bias"), strict=True):
            np.testing.assert_array_equal(value, arrays[f"{name}/{part}"])


@pytest.mark.parametrize("style", ["old", "new"])
def test_legacy_h5(style, tmp_path):
    arrays = _arrays([*FIRST_TWO, "block2_conv1"])
    _assert_loaded(_legacy_h5(tmp_path / "vgg19_notop.h5", arrays, style), arrays)


def test_keras3_h5_with_recorded_names(tmp_path):
    arrays = _arrays(FIRST_TWO)
    path = str(tmp_path / "vgg19.weights.h5")
    with h5py.File(path, "w") as file:
        file.create_group("layers/input_layer/vars").attrs["name"] = "input_layer"
        for group, name in (("conv2d", "block1_conv1"), ("conv2d_1", "block1_conv2")):
            stored = file.create_group(f"layers/{group}/vars")
            stored.attrs["name"] = name
            stored["0"], stored["1"] = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
    _assert_loaded(path, arrays)


def test_keras3_h5_without_names_goes_by_order_for_a_whole_network_alone(tmp_path):
    names = vgg_weights.conv_names("vgg19")
    path = str(tmp_path / "vgg19.weights.h5")

    def write(count: int) -> dict[str, np.ndarray]:
        arrays = _arrays(names[:2])
        with h5py.File(path, "w") as file:
            for index, name in enumerate(names[:count]):
                stored = file.create_group(f"layers/conv2d{f'_{index}' if index else ''}/vars")
                stored["0"] = arrays.get(f"{name}/kernel", np.zeros(1))
                stored["1"] = arrays.get(f"{name}/bias", np.zeros(1))
        return arrays

    _assert_loaded(path, write(16))
    write(13)
    with pytest.raises(errors.InputError, match="does not hold the weights of vgg19"):
        vgg.feature_model(config.VggConfig(weights=path), FIRST_TWO)
    write(4)
    with pytest.raises(errors.InputError, match="4 convolutions have no names"):
        vgg.feature_model(config.VggConfig(weights=path), FIRST_TWO)


def test_whole_model_h5_of_this_keras(references, tmp_path):
    path = str(tmp_path / "model.h5")
    references["vgg16"].save(path)
    found = vgg_weights.load("vgg16", path, {"block5_conv3": (3, 3, 512, 512)})
    kernel = references["vgg16"].get_layer("block5_conv3").get_weights()[0]
    np.testing.assert_array_equal(found["block5_conv3"][0], kernel)


def test_another_networks_file_is_refused(references, tmp_path):
    path = str(tmp_path / "vgg16.weights.h5")
    references["vgg16"].save_weights(path)
    with pytest.raises(errors.InputError, match="no layer block3_conv4, which vgg19 needs"):
        vgg.feature_model(config.VggConfig(weights=path), ["block3_conv4"])
    # These layers exist in both, with the same shapes, but not with the same kernels.
    with pytest.raises(errors.InputError, match="does not hold the weights of vgg19"):
        vgg.feature_model(config.VggConfig(weights=path), ["block2_conv2"])


def test_wrong_shape_names_layer_and_file(tmp_path):
    arrays = _arrays(FIRST_TWO)
    arrays["block1_conv2/kernel"] = arrays["block1_conv2/kernel"][..., :32]
    path = _write_npz(tmp_path / "thin.npz", arrays)
    with pytest.raises(errors.InputError, match=r"block1_conv2 in .*thin.npz.*\(3, 3, 64, 32\)"):
        vgg.feature_model(config.VggConfig(weights=path), FIRST_TWO)


def test_unusable_files_are_clear(tmp_path):
    def load(path):
        return vgg.feature_model(config.VggConfig(weights=str(path)), ["block1_conv1"])

    with pytest.raises(errors.InputError, match=r"missing\.npz does not exist.*--vgg_weights="):
        load(tmp_path / "missing.npz")
    with pytest.raises(errors.InputError, match=r"imagenet, random, or the path of an \.h5"):
        load(tmp_path / "vgg19.pth")
    for name in ("torn.npz", "torn.h5"):
        (tmp_path / name).write_bytes(b"PK not really")
        with pytest.raises(errors.InputError, match=f"{name} cannot be read"):
            load(tmp_path / name)
    other = _write_npz(tmp_path / "other.npz", {"dense/kernel": np.zeros(2), "dense/bias": [0.0]})
    with pytest.raises(errors.InputError, match="no layer block1_conv1"):
        load(other)


def test_files_may_lie_wherever_gfile_reads():
    arrays = _arrays(FIRST_TWO)
    path = "ram://test_vgg/two.npz"
    content = io.BytesIO()
    np.savez(content, **arrays)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(content.getvalue())
    _assert_loaded(path, arrays)


def test_unknown_layer_lists_the_networks_layers():
    settings = config.VggConfig(network="vgg16", weights="random")
    with pytest.raises(errors.InputError, match="'block3_conv4'.*choose from .*'block5_conv3'"):
        vgg.feature_model(settings, ["block3_conv4"])


def test_random_weights_are_warned_about(monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: warnings.append(text % args))
    vgg.feature_model(config.VggConfig(weights="random"), ["block1_conv1"])
    assert len(warnings) == 1
    assert "RANDOM" in warnings[0]


def test_failed_download_says_what_to_do(monkeypatch):
    def refuse(**kwargs):
        assert kwargs == {"include_top": False, "weights": "imagenet"}
        raise Exception("URL fetch failure on\n https://example.org/vgg19.h5")

    monkeypatch.setattr(tf.keras.applications, "VGG19", refuse)
    with pytest.raises(errors.InputError) as caught:
        vgg.feature_model(config.VggConfig(), ["block5_conv4"])
    message = str(caught.value)
    assert "\n" not in message
    for part in ("vgg19", "URL fetch failure", "~/.keras/models", "--vgg_weights=", "without VGG"):
        assert part in message


def test_imagenet_takes_what_keras_applications_gives(monkeypatch, references):
    monkeypatch.setattr(tf.keras.applications, "VGG19", lambda **kwargs: references["vgg19"])
    made = vgg.feature_model(config.VggConfig(), ["block1_conv2"])
    expected = references["vgg19"].get_layer("block1_conv2").get_weights()
    for value, other in zip(made.get_layer("block1_conv2").get_weights(), expected, strict=True):
        np.testing.assert_array_equal(value, other)
