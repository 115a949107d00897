"""PSNR and SSIM against values by hand and an independent NumPy implementation."""

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import errors, metrics


def _noisy_pair(height: int = 37, width: int = 52) -> tuple[np.ndarray, np.ndarray]:
    """Returns (sr, hr) float64 `[2, H, W, 3]` in [0, 1]: pictures and noisy ones."""
    hr = np.stack([fixtures.photo_like(height, width, seed) for seed in (0, 1)]) / 255
    noise = np.random.RandomState(2).normal(0, [[[[0.02]]], [[[0.08]]]], hr.shape)
    return np.clip(hr + noise, 0, 1), hr


def _numpy_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004 on one float64 channel `[H, W]` in [0, 1], straight from the paper."""
    offsets = np.arange(11) - 5
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()

    def mean(x):
        patches = np.lib.stride_tricks.sliding_window_view(x, (11, 11))
        return (patches * window).sum(axis=(2, 3))

    c1, c2 = 0.01**2, 0.03**2
    mu_a, mu_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2
    covariance = mean(a * b) - mu_a * mu_b
    return float(
        np.mean(
            (2 * mu_a * mu_b + c1)
            * (2 * covariance + c2)
            / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))
        )
    )


def _numpy_luma(rgb: np.ndarray) -> np.ndarray:
    return 16 / 255 + rgb @ (np.array([65.481, 128.553, 24.966]) / 255)


def _float32(*arrays: np.ndarray) -> list[tf.Tensor]:
    return [tf.constant(array, tf.float32) for array in arrays]


def test_psnr_of_uniform_offset():
    black, grey = tf.zeros([2, 16, 12, 3]), tf.fill([2, 16, 12, 3], 0.1)
    # 10 * log10(1 / 0.1**2)
    np.testing.assert_allclose(metrics.psnr(grey, black, 0), [20.0, 20.0], atol=1e-4)


def test_identical_images():
    image = tf.random.stateless_uniform([1, 16, 16, 3], [1, 2])
    assert np.isposinf(metrics.psnr(image, image, 0).numpy())
    np.testing.assert_allclose(metrics.ssim(image, image, 0), [1.0], atol=1e-6)


def test_luma_of_a_uniform_offset():
    black, grey = tf.zeros([1, 16, 16, 3]), tf.fill([1, 16, 16, 3], 0.1)
    # Luma spans 219 of 255 levels: 20 + 20 * log10(255 / 219) = 21.3220.
    np.testing.assert_allclose(metrics.METRICS["psnr_y"].fn(grey, black, 0), [21.3220], atol=1e-3)


def test_all_metrics_equal_numpy():
    sr, hr = _noisy_pair()
    border = 4
    inside = np.s_[border:-border, border:-border]
    for index in range(2):
        a, b = sr[index][inside], hr[index][inside]
        luma_a, luma_b = _numpy_luma(a), _numpy_luma(b)
        expected = {
            "psnr_rgb": -10 * np.log10(np.mean((a - b) ** 2)),
            "psnr_y": -10 * np.log10(np.mean((luma_a - luma_b) ** 2)),
            "ssim_rgb": np.mean([_numpy_ssim(a[..., c], b[..., c]) for c in range(3)]),
            "ssim_y": _numpy_ssim(luma_a, luma_b),
        }
        assert set(expected) == set(metrics.METRICS)
        for name, value in expected.items():
            scores = metrics.METRICS[name].fn(*_float32(sr, hr), border)
            assert scores.shape == (2,)
            np.testing.assert_allclose(scores[index], value, rtol=2e-5, err_msg=name)


def test_means_over_large_images_are_exact():
    # A million summands: sums in float32 are off in the fourth digit.
    hr = tf.random.stateless_uniform([1, 512, 768, 3], [1, 2])
    sr = hr + 0.05 * tf.random.stateless_normal(hr.shape, [3, 4])
    per_channel = [metrics.ssim(sr[..., c : c + 1], hr[..., c : c + 1], 0) for c in range(3)]
    np.testing.assert_allclose(metrics.ssim(sr, hr, 0), tf.add_n(per_channel) / 3, atol=1e-6)
    expected = [_numpy_ssim(sr[0, ..., 0].numpy(), hr[0, ..., 0].numpy())]
    np.testing.assert_allclose(per_channel[0], expected, atol=1e-6)
    mse = np.mean((sr.numpy().astype(np.float64) - hr.numpy()) ** 2)
    np.testing.assert_allclose(metrics.psnr(sr, hr, 0), [-10 * np.log10(mse)], atol=1e-4)


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_border_is_cut_from_all_four_sides_and_better_scores_higher(name):
    metric = metrics.METRICS[name]
    sr, hr = _float32(*_noisy_pair())
    plain = metric.fn(sr, hr, 3)
    rim = tf.pad(tf.ones([2, 31, 46, 3]), [[0, 0], [3, 3], [3, 3], [0, 0]])
    np.testing.assert_array_equal(plain, metric.fn(sr * rim, hr, 3))
    assert not np.any(metric.fn(sr, hr, 2) == metric.fn(sr * rim, hr, 2))
    # The second picture has four times the first one's noise.
    assert metric.higher_is_better == bool(plain[0] > plain[1])


def test_one_trace_serves_every_size():
    spec = tf.TensorSpec([None, None, None, 3])
    score = tf.function(lambda sr, hr: metrics.ssim(sr, hr, 2), input_signature=[spec, spec])
    for height, width in ((20, 31), (33, 18)):
        sr, hr = _float32(*_noisy_pair(height, width))
        np.testing.assert_allclose(score(sr, hr), metrics.ssim(sr, hr, 2), rtol=1e-5)
    assert score.experimental_get_tracing_count() == 1


def test_too_small_images_are_refused():
    image = tf.zeros([1, 18, 40, 3])
    with pytest.raises(errors.InputError, match="40x18 pixels.*border of 4.*at least 19x19"):
        metrics.ssim(image, image, 4)
    assert metrics.ssim(image, image, 3).shape == (1,)
    with pytest.raises(errors.InputError, match="at least 19x19"):
        metrics.psnr(image, image, 9)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="incompatible"):
        metrics.psnr(tf.zeros([1, 16, 16, 3]), tf.zeros([1, 16, 15, 3]), 0)
