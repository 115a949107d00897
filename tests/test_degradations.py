"""data/degradations.py and what it is made of: shapes, seeds, alignment; formulas against NumPy."""

import dataclasses
import functools
import io
import math

import fixtures
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from srgan_tf import bicubic, images
from srgan_tf.config import BlindPass, DataConfig
from srgan_tf.data import (
    blind,
    compression,
    degradations,
    draws,
    filters,
    kernels,
    noise,
    pipeline,
)

NAMES = sorted(degradations.DEGRADATIONS)
RANDOM = [name for name in NAMES if name not in ("bicubic", "gaussian_bicubic")]


def _seed(number):
    return tf.constant([number, 5], tf.int64)


def _config(name, scale=4, **values):
    return DataConfig(degradation=name, scale=scale, crop_size=12 * scale, **values)


@functools.cache
def _graph(name):
    """One trace for all sizes and seeds, at scale 4."""
    config = _config(name)
    return tf.function(
        lambda hr, seed: pipeline.degrade(hr, config, seed=seed),
        input_signature=[
            tf.TensorSpec([None, None, 3], tf.float32),
            tf.TensorSpec([2], tf.int64),
        ],
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_shape_and_range_at_every_scale(name, scale):
    config = _config(name, scale)
    # Not square, odd LR sides.
    for height, width in ((13, 9), (7, 15)):
        hr = images.uint8_to_unit(fixtures.photo_like(height * scale, width * scale))
        lr = degradations.DEGRADATIONS[name].apply(hr, config=config, seed=_seed(1))
        assert lr.shape == (height, width, 3) and lr.dtype == tf.float32
        assert np.isfinite(lr).all() and -0.3 < np.min(lr) and np.max(lr) < 1.3


@pytest.mark.parametrize("name", NAMES)
def test_eagerly_and_in_map_to_the_bit(name):
    config = _config(name)
    hr = images.uint8_to_unit(fixtures.photo_like(100, 132))
    count = 6
    mapped = tf.data.Dataset.range(count).map(
        lambda i: pipeline.degrade(hr, config, seed=tf.stack([i, tf.constant(5, tf.int64)])),
        num_parallel_calls=2,
    )
    for number, lr in enumerate(mapped):
        np.testing.assert_array_equal(lr, pipeline.degrade(hr, config, seed=_seed(number)))
        # A tf.function multiplies by 1/255 where the others divide: the 256 levels are the same.
        other = images.unit_to_uint8(_graph(name)(hr, _seed(number)))
        np.testing.assert_array_equal(images.unit_to_uint8(lr), other)
    _graph(name)(hr[:52, :76], _seed(1))
    assert _graph(name).experimental_get_tracing_count() == 1


@pytest.mark.parametrize("name", RANDOM)
def test_seeds_decide_and_nothing_else_does(name):
    hr = images.uint8_to_unit(fixtures.photo_like(96, 96))
    seen = []
    for number in range(4):
        tf.random.set_seed(number)
        seen.append(_graph(name)(hr, _seed(number)).numpy())
        np.testing.assert_array_equal(seen[-1], _graph(name)(hr, _seed(number)))
    assert not any(np.array_equal(a, b) for a, b in zip(seen, seen[1:], strict=False))


@pytest.mark.parametrize("name", NAMES)
def test_lr_and_hr_stay_aligned(name):
    """The centroid of a bright spot, over seeds and places, is that of its HR picture."""
    scale, size = 4, 128
    rows, columns = np.mgrid[:size, :size]
    errors = []
    for number in range(24 if name in RANDOM else 4):
        centre = 64 + 20 * np.sin([number, 2.0 * number + 1])
        spot = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * 6.0**2))
        hr = tf.constant(np.repeat(0.1 + 0.8 * spot[..., None], 3, 2), tf.float32)
        lr = _graph(name)(hr, _seed(number)).numpy().mean(2)
        # Noise far from the spot would move the centroid of everything.
        weight = np.clip(lr - lr.min() - 0.3 * (lr.max() - lr.min()), 0, None)
        # The centre of LR pixel i lies at HR position 4 i + 1.5.
        found = [
            (weight * (scale * axis + (scale - 1) / 2)).sum() / weight.sum()
            for axis in np.mgrid[: size // scale, : size // scale]
        ]
        errors.append((np.array(found) - centre) / scale)
    # In LR pixels. A shift by half an LR pixel is the usual mistake.
    assert np.abs(np.mean(errors, 0)).max() < (0.15 if name == "blind" else 0.02)
    assert np.median(np.abs(errors)) < (0.15 if name == "blind" else 0.05)


@pytest.mark.parametrize("name", ["bicubic", "gaussian_bicubic"])
def test_a_flat_image_stays_what_it_is(name):
    lr = degradations.DEGRADATIONS[name].apply(
        tf.fill([52, 76, 3], 0.25), config=_config(name), seed=_seed(1)
    )
    np.testing.assert_allclose(lr, 0.25, atol=1e-6)


def test_bicubic_is_matlabs_but_for_the_rim():
    hr = fixtures.photo_like(96, 120)
    expected = bicubic.imresize(hr, 0.25).astype(int)
    lr = pipeline.degrade(images.uint8_to_unit(hr), _config("bicubic"), seed=_seed(1))
    got = images.unit_to_uint8(lr).numpy()
    # MATLAB rounds between its two passes: at most one grey level.
    assert np.abs(expected - got)[2:-2, 2:-2].max() <= 1


def test_gaussian_blur_is_the_formula():
    sigma = 1.3
    impulse = np.zeros((31, 33, 3), np.float32)
    impulse[14, 17] = 1.0
    blurred = filters.gaussian(tf.constant(impulse), sigma).numpy()
    rows, columns = np.mgrid[:31, :33]
    expected = np.exp(-((rows - 14) ** 2 + (columns - 17) ** 2) / (2 * sigma**2))
    # Cut off at 4 sigma: 5 pixels.
    expected *= (abs(rows - 14) <= 5) & (abs(columns - 17) <= 5)
    for channel in range(3):
        np.testing.assert_allclose(blurred[..., channel], expected / expected.sum(), atol=1e-6)


def test_borders_are_mirrored_even_when_the_image_is_smaller_than_the_margin():
    image = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    for margin in ([1, 2], [5, 7]):
        got = filters.mirror(tf.constant(image), tf.constant(margin), tf.constant([1, 3]))
        pads = [(margin[0], 1), (margin[1], 3), (0, 0)]
        np.testing.assert_array_equal(got, np.pad(image, pads, "symmetric"))


@pytest.mark.parametrize("size", [(40, 29), (5, 7)])
def test_convolution_by_fourier_transform_is_the_sum(size):
    random = np.random.RandomState(0)
    image, kernel = random.rand(*size, 3), random.rand(21, 21)
    kernel /= kernel.sum()
    padded = np.pad(image, [(10, 10), (10, 10), (0, 0)], "symmetric")
    expected = np.zeros_like(image)
    for i in range(21):
        for j in range(21):
            expected += kernel[20 - i, 20 - j] * padded[i : i + size[0], j : j + size[1]]
    got = filters.convolve(tf.constant(image, tf.float32), tf.constant(kernel, tf.float32))
    np.testing.assert_allclose(got, expected, atol=2e-6)


def _bell(sigma_x, sigma_y=None, angle=0.0, beta=1.0, size=21, plateau=False):
    values = (sigma_x, sigma_x if sigma_y is None else sigma_y, angle, beta)
    return kernels.bell_shaped(*map(tf.constant, values), size, plateau=plateau).numpy()


def test_bell_shaped_kernels_are_their_formulas():
    y, x = np.mgrid[-10:11, -10:11]
    angle, sigma_x, sigma_y, beta = 0.4, 2.5, 0.9, 1.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T)
    points = np.stack([x, y], -1)
    q = np.einsum("hwi,ij,hwj->hw", points, inverse, points)
    for plateau, values in ((False, np.exp(-0.5 * q**beta)), (True, 1 / (1 + q**beta))):
        for size in (7, 21):
            inside = np.maximum(abs(x), abs(y)) <= size // 2
            expected = values * inside / (values * inside).sum()
            got = _bell(sigma_x, sigma_y, angle, beta, size, plateau)
            np.testing.assert_allclose(got, expected, atol=1e-6)


def test_isotropic_kernels_are_symmetric_and_anisotropic_ones_point_where_they_should():
    round_one = _bell(2.0)
    for turned in (round_one.T, round_one[::-1], np.rot90(round_one)):
        np.testing.assert_allclose(round_one, turned, atol=1e-7)
    y, x = np.mgrid[-10:11, -10:11]
    long_one = _bell(3.0, 1.0, math.pi / 4)
    # At 45 degrees x and y (downwards) vary together: covariance (9 - 1) / 2, little is cut off.
    assert (long_one * x * y).sum() == pytest.approx(4.0, rel=0.02)


def test_sinc_kernel_is_its_formula_and_keeps_what_is_below_the_cut_off():
    cutoff = 0.5
    kernel = kernels.sinc(tf.constant(cutoff), tf.constant(21)).numpy()
    # J1(z) = 1/pi * integral of cos(t - z sin t) over 0..pi; here at r = 3.
    t = (np.arange(2000) + 0.5) * np.pi / 2000
    z = np.pi * cutoff * 3
    expected = np.pi * cutoff * np.cos(t - z * np.sin(t)).mean() / (2 * np.pi * 3)
    centre = (np.pi * cutoff) ** 2 / (4 * np.pi)
    assert kernel[10, 13] / kernel[10, 10] == pytest.approx(expected / centre, abs=1e-5)
    gain = np.abs(np.fft.fft2(kernel, (64, 64)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64))) * 2
    assert gain[frequency < 0.7 * cutoff].min() > 0.8
    assert gain[frequency > 1.4 * cutoff].max() < 0.15


def test_drawn_kernels_have_odd_sizes_sum_one_and_all_kinds():
    draw = tf.function(lambda seed: kernels.draw(BlindPass(), seed))
    drawn = np.stack([draw(_seed(number)) for number in range(300)])
    assert drawn.shape[1:] == (21, 21) and np.isfinite(drawn).all()
    np.testing.assert_allclose(drawn.sum((1, 2)), 1.0, atol=1e-5)
    # What lies outside a kernel's own size is 0; the smallest is 7, the largest 21.
    reach = [np.abs(np.argwhere(kernel > 0) - 10).max() for kernel in drawn]
    assert max(reach) == 10
    np.testing.assert_allclose(drawn, drawn[:, ::-1, ::-1], atol=1e-6)
    # Only sinc kernels have negative values: 0.1 of 300, standard deviation 5.
    negative = (drawn.min((1, 2)) < -1e-4).sum()
    assert 12 < negative < 48


def test_choices_follow_their_weights():
    uniform = tf.random.stateless_uniform([4000], _seed(1))
    weights = (("c", 3.0), ("a", 1.0))
    indices = [draws.choose(u, weights, ("a", "b", "c")) for u in tf.unstack(uniform[:600])]
    share = np.bincount(indices, minlength=3) / 600
    # Standard deviation 0.018.
    np.testing.assert_allclose(share, [0.25, 0.0, 0.75], atol=0.07)


@pytest.mark.parametrize("grey", [False, True])
def test_gaussian_noise_has_its_standard_deviation(grey):
    added = noise.gaussian(tf.fill([200, 200, 3], 0.5), 20.0, grey, _seed(1)).numpy() * 255
    # 40,000 numbers or more: the standard deviation of the estimate is 0.07.
    assert added.std() == pytest.approx(20.0, abs=0.35)
    assert abs(added.mean()) < 0.5
    assert np.array_equal(added[..., 0], added[..., 1]) == grey


@pytest.mark.parametrize("grey", [False, True])
def test_variance_of_poisson_noise_is_proportional_to_the_signal(grey):
    for level in (0.05, 0.2, 0.8):
        image = tf.fill([200, 200, 3], level)
        added = noise.poisson(image, 2.0, grey, _seed(1)).numpy()
        assert added.var() == pytest.approx(2.0**2 * level / 256, rel=0.06)
        assert abs(added.mean()) < 5e-3
        assert np.array_equal(added[..., 0], added[..., 1]) == grey
    assert not noise.poisson(tf.zeros([9, 9, 3]), 2.0, grey, _seed(1)).numpy().any()


def test_jpeg_is_pillows_and_worse_at_lower_quality():
    photo = fixtures.photo_like(64, 80)
    hr = images.uint8_to_unit(photo)
    seed = next(_seed(n) for n in range(4000) if max(_offset(_seed(n))) == 0)
    distances = []
    for quality in (10.0, 30.0, 60.0, 95.0):
        got = images.unit_to_uint8(compression.jpeg(hr, tf.constant(quality), seed)).numpy()
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "jpeg", quality=int(quality), subsampling="4:2:0")
        expected = np.asarray(Image.open(file)).astype(int)
        # Two builds of libjpeg.
        assert np.abs(expected - got).mean() < 0.5
        distances.append(np.square(got.astype(float) - photo).mean())
    assert distances == sorted(distances, reverse=True) and distances[-1] > 0


def _offset(seed):
    return [int(u * 16) for u in draws.uniforms(seed, 2)]


def test_jpeg_degradation_spans_its_qualities():
    hr = images.uint8_to_unit(fixtures.photo_like(96, 96))
    sharp = pipeline.degrade(hr, _config("bicubic"), seed=_seed(0))
    distance = []
    for low, high in ((10.0, 10.0), (30.0, 95.0), (95.0, 95.0)):
        config = _config("jpeg", jpeg_quality=(low, high))
        lrs = [pipeline.degrade(hr, config, seed=_seed(n)) for n in range(12)]
        distance.append(np.mean([np.abs(lr - sharp).mean() for lr in lrs]))
    assert distance[0] > distance[1] > distance[2] > 0


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic"])
def test_resize_uses_the_mode_that_has_the_weight(mode):
    image = images.uint8_to_unit(fixtures.photo_like(40, 56))
    size = tf.constant([23, 71])
    got = blind.resize(image, size, ((mode, 2.0),), tf.constant(0.99))
    np.testing.assert_allclose(got, tf.image.resize(image, size, mode), atol=1e-6)


def _quiet(config):
    """The passes without anything random but what a test then switches on."""
    off = {
        "blur_probability": 0.0,
        "resize": (("keep", 1.0),),
        "gaussian_probability": 1.0,
        "noise_sigma": (0.0, 0.0),
        "jpeg_quality": (100.0, 100.0),
    }
    final = dataclasses.replace(config.blind_final, sinc_probability=0.0)
    return dataclasses.replace(
        config,
        blind=dataclasses.replace(config.blind, **off),
        blind2=dataclasses.replace(config.blind2, **off),
        blind_final=final,
    )


def _distance(config):
    """Mean distance in grey levels to the LR image that only resizing gives."""
    # Grey, because 4:2:0 changes colours at any quality.
    hr = images.uint8_to_unit(np.repeat(fixtures.photo_like(64, 64)[..., :1], 3, 2))
    plain = tf.image.resize(hr, [16, 16], "area")
    lrs = [pipeline.degrade(hr, config, seed=_seed(n)) for n in range(3)]
    return 255 * np.mean([np.abs(lr - plain).mean() for lr in lrs])


def test_every_part_of_the_blind_degradation_can_be_switched_off_and_on():
    modes = (("area", 1.0),)
    config = _quiet(_config("blind"))
    config = dataclasses.replace(
        config,
        blind2=dataclasses.replace(config.blind2, resize_modes=modes),
        blind_final=dataclasses.replace(config.blind_final, resize_modes=modes),
    )
    quiet = _distance(config)
    assert quiet < 1.0  # Rounding to 8 bits, twice.
    for group, change in (
        ("blind", {"blur_probability": 1.0, "blur_sigma": (3.0, 3.0)}),
        ("blind", {"noise_sigma": (30.0, 30.0)}),
        ("blind", {"gaussian_probability": 0.0, "poisson_scale": (3.0, 3.0)}),
        ("blind", {"jpeg_quality": (10.0, 10.0)}),
        ("blind", {"resize": (("down", 1.0),), "resize_range": (0.15, 1.0)}),
        ("blind2", {"blur_probability": 1.0, "blur_sigma": (1.5, 1.5)}),
        ("blind2", {"noise_sigma": (25.0, 25.0)}),
        ("blind2", {"jpeg_quality": (10.0, 10.0)}),
        ("blind_final", {"sinc_probability": 1.0, "sinc_cutoff": (0.35, 0.35)}),
    ):
        changed = dataclasses.replace(getattr(config, group), **change)
        louder = _distance(dataclasses.replace(config, **{group: changed}))
        assert louder > quiet + 0.5, (group, change, louder, quiet)
