"""Gaussian and Poisson noise on `[H, W, 3]` images in [0, 1], colour or grey; results are clipped.

Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833), section 3.3.
"""

import tensorflow as tf

from srgan_tf import images
from srgan_tf.config import BlindPass
from srgan_tf.data import draws

# Photons that white stands for at scale 1. Real-ESRGAN counts the distinct values of each image and
# takes the next power of two, which for photos is 256; fixed, noise does not depend on the crop.
_LEVELS = 256.0


def add(image: tf.Tensor, config: BlindPass, seed: tf.Tensor) -> tf.Tensor:
    """Adds noise of a random kind and strength to `image` and clips the sum to [0, 1]."""
    choice, field = draws.seeds(seed, 2)
    u = draws.uniforms(choice, 4)
    grey = u[1] < config.grey_probability
    image = tf.clip_by_value(image, 0.0, 1.0)
    noise = tf.cond(
        u[0] < config.gaussian_probability,
        lambda: gaussian(image, draws.between(u[2], config.noise_sigma), grey, field),
        lambda: poisson(image, draws.between(u[3], config.poisson_scale), grey, field),
    )
    return tf.clip_by_value(image + noise, 0.0, 1.0)


def gaussian(image: tf.Tensor, sigma: tf.Tensor, grey: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns noise of the standard deviation `sigma` (grey levels); equal channels if `grey`."""
    noise = tf.random.stateless_normal(tf.shape(image), seed)
    return _same_channels(noise, grey) * images.uint8_to_unit(sigma)


def poisson(image: tf.Tensor, scale: tf.Tensor, grey: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns noise of the variance scale^2 * intensity / 256; `grey`: of the luma, in all three.

    At scale 1 it is the noise of counting photons, where white is 256 of them.
    """
    luma = tf.image.rgb_to_grayscale(image)
    intensity = tf.where(grey, tf.broadcast_to(luma, tf.shape(image)), image)
    counted = tf.random.stateless_poisson(
        tf.shape(image), seed, intensity * _LEVELS, dtype=tf.float32
    )
    return _same_channels(counted / _LEVELS - intensity, grey) * scale


def _same_channels(noise: tf.Tensor, grey: tf.Tensor) -> tf.Tensor:
    return tf.where(grey, noise[..., :1], noise)
