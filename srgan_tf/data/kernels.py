"""Random blur kernels `[21, 21]` of Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833, section 3.1).

All formulas are evaluated on one fixed grid and masked to the kernel's own odd size, so shapes are
static and a kernel costs a fraction of a millisecond. Every kernel adds up to 1.
"""

import math

import numpy as np
import tensorflow as tf

from srgan_tf.data import draws
from srgan_tf.degradation_config import MAX_KERNEL, BlindFinal, BlindPass

KINDS = (
    "iso",
    "aniso",
    "generalized_iso",
    "generalized_aniso",
    "plateau_iso",
    "plateau_aniso",
)
# Sinc kernels below this size ring too little at low cut-offs (Real-ESRGAN's data loader).
_SMALL = 13

_RADIUS = MAX_KERNEL // 2
_Y, _X = np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1].astype(np.float32)
_CENTRE = (_X == 0) & (_Y == 0)
_DISTANCE = np.hypot(_X, _Y)


def draw(config: BlindPass, seed: tf.Tensor) -> tf.Tensor:
    """Draws the kernel of one pass: a (generalized) Gaussian, a plateau, or a sinc."""
    u = draws.uniforms(seed, 8)
    size = _draw_size(u[0], config.kernel_size)
    kind = draws.choose(u[1], config.kernels, KINDS)
    sigma_x = draws.between(u[2], config.blur_sigma)
    sigma_y = tf.where(kind % 2 == 0, sigma_x, draws.between(u[3], config.blur_sigma))
    beta = tf.stack(
        [1.0, _exponent(u[5], config.generalized_beta), _exponent(u[5], config.plateau_beta)]
    )[kind // 2]
    angle = draws.between(u[4], (-math.pi, math.pi))
    bell = bell_shaped(sigma_x, sigma_y, angle, beta, size, plateau=kind // 2 == 2)
    cutoff = tf.where(
        size < _SMALL,
        draws.between(u[6], config.small_sinc_cutoff),
        draws.between(u[6], config.sinc_cutoff),
    )
    return tf.where(u[7] < config.sinc_probability, sinc(cutoff, size), bell)


def draw_sinc(config: BlindFinal, seed: tf.Tensor) -> tf.Tensor:
    """Draws the sinc kernel of the final step."""
    u = draws.uniforms(seed, 2)
    return sinc(draws.between(u[0], config.sinc_cutoff), _draw_size(u[1], config.kernel_size))


def bell_shaped(
    sigma_x: tf.Tensor,
    sigma_y: tf.Tensor,
    angle: tf.Tensor,
    beta: tf.Tensor,
    size: tf.Tensor,
    *,
    plateau: tf.Tensor,
) -> tf.Tensor:
    """Returns exp(-q^beta / 2), or 1 / (1 + q^beta) with a plateau; beta = 1: a Gaussian.

    q = d' S^-1 d (equations 2 to 4 of the paper's section 3.1), where S has the axes sigma_x and
    sigma_y (pixels), turned by `angle` (radians) from the x axis towards the y axis, downwards.
    """
    along = (tf.cos(angle) * _X + tf.sin(angle) * _Y) / sigma_x
    across = (tf.cos(angle) * _Y - tf.sin(angle) * _X) / sigma_y
    power = tf.pow(along**2 + across**2, beta)
    return _normalized(tf.where(plateau, 1.0 / (1.0 + power), tf.exp(-0.5 * power)), size)


def sinc(cutoff: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns the circular low-pass kernel c J1(c r) / (2 pi r), c = pi * `cutoff` (equation 6).

    It keeps frequencies below `cutoff` (1: half a cycle per pixel) and rings at edges.
    """
    omega = math.pi * cutoff
    distance = tf.where(_CENTRE, 1.0, _DISTANCE)
    around = omega * tf.math.special.bessel_j1(omega * distance) / (2 * math.pi * distance)
    # The limit at r = 0: J1(z) is z / 2 there.
    return _normalized(tf.where(_CENTRE, omega**2 / (4 * math.pi), around), size)


def _normalized(kernel: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    inside = tf.cast(tf.maximum(abs(_X), abs(_Y)), tf.int32) <= size // 2
    kernel = tf.where(inside, kernel, 0.0)
    return kernel / tf.reduce_sum(kernel)


def _draw_size(uniform: tf.Tensor, limits: tuple[int, int]) -> tf.Tensor:
    """Draws an odd size; each is equally likely."""
    count = (limits[1] - limits[0]) // 2 + 1
    return limits[0] + 2 * tf.cast(uniform * count, tf.int32)


def _exponent(uniform: tf.Tensor, limits: tuple[float, float]) -> tf.Tensor:
    """Half of the draws are uniform below 1, half above: pointed and flat kernels alike."""
    below = draws.between(2.0 * uniform, (limits[0], 1.0))
    above = draws.between(2.0 * uniform - 1.0, (1.0, limits[1]))
    return tf.where(uniform < 1 / 2, below, above)
