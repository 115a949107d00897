"""What PSNR does not tell of an SR picture: colour drift, checkerboards, distance in VGG features.

Pictures are uint8 `[H, W, 3]`; scores are plain numbers, one picture at a time.
"""

import numpy as np
import tensorflow as tf

from srgan_tf import bicubic, config, images
from srgan_tf.losses import content
from srgan_tf.models import vgg

# Rec. BT.601 without the offset: only differences count here.
_LUMA = (0.299, 0.587, 0.114)
# Periods of the lowest upsampling frequency (1 / scale) in a window of the spectrum.
_PERIODS = 8
# Variance of rounding to whole grey levels: what a spectrum holds where the picture has nothing.
_ROUNDING = 1 / 12


def colour_drift(sr: np.ndarray, lr: np.ndarray) -> dict[str, float]:
    """Returns how far the colours moved, in grey levels of 255: mean(shrunk SR - LR) per channel.

    SR is shrunk to the size of LR by the exact bicubic, unrounded. 0 is none; above 0 the channel
    became brighter. Bicubic upscaling is within some hundredths of 0.
    """
    shrunk = bicubic.imresize(sr.astype(np.float64), lr.shape[0] / sr.shape[0])
    means = (shrunk - lr).mean(axis=(0, 1))
    return {f"colour_drift_{name}": float(mean) for name, mean in zip("rgb", means, strict=True)}


def checkerboard(sr: np.ndarray, hr: np.ndarray, *, scale: int, border: int) -> float:
    """Returns the energy of SR at the upsampling frequencies, as a multiple of the HR's.

    A network that treats the `scale` x `scale` pixels of an LR pixel differently leaves a pattern
    of that period: lines in the spectrum at multiples of 1 / scale along rows, columns or both.
    For each such frequency the power of the luma (Welch's method: Hann windows of 8 * scale pixels
    that overlap by half, their mean) is divided by the same of the HR; the mean of these ratios is
    returned. 1 is what the original has; smooth pictures such as bicubic's are below 1; a visible
    grid is far above. Pictures smaller than one window (after the border) give nan.
    """
    ratios = _comb_power(sr, scale, border) / _comb_power(hr, scale, border)
    return float(ratios.mean())


def _comb_power(image: np.ndarray, scale: int, border: int) -> np.ndarray:
    """Returns the mean power at each upsampling frequency, with the rounding's as a floor."""
    side = _PERIODS * scale
    window = np.outer(*[np.hanning(side + 1)[:-1]] * 2)
    luma = image[border : image.shape[0] - border, border : image.shape[1] - border] @ _LUMA
    if min(luma.shape) < side:
        return np.full(scale**2 - 1, np.nan)
    views = np.lib.stride_tricks.sliding_window_view(luma, (side, side))
    views = views[:: side // 2, :: side // 2].reshape(-1, side, side)
    comb = np.zeros((scale, scale))
    for view in views:
        spectrum = np.fft.fft2((view - view.mean()) * window)
        comb += np.abs(spectrum[::_PERIODS, ::_PERIODS]) ** 2
    power = comb.ravel()[1:] / len(views)  # Without frequency 0.
    return power + _ROUNDING * (window**2).sum()


class VggDistance:
    """Perceptual distance of two pictures: the paper's content loss (equation 5) in VGG features.

    Mean squared difference of the features of one layer, after its ReLU, divided by 12.75 as the
    paper does; 0 for equal pictures. Compare it between models at the same network and layer only.

    Attributes:
        description: network, layer and weights, for reports.
        smallest: sides that a picture needs at least, after its border is cut away.
    """

    def __init__(self, weights: str, *, network: str = "vgg19", layer: str = "block2_conv2"):
        """Loads the network.

        Args:
            weights: "imagenet" (downloaded) or an .h5 or .npz file; see `vgg_weights.load`.
            network: vgg16 or vgg19.
            layer: a convolution by its name in keras.applications.

        Raises:
            errors.InputError: weights or layer cannot be had.
        """
        self.description = f"{network} {layer}, weights {weights}"
        vgg_config = config.VggConfig(network=network, weights=weights)
        self._model, self._layer = vgg.feature_model(vgg_config, [layer]), layer
        self.smallest = 2 ** (int(layer[len("block")]) - 1)  # One position after the poolings.

    def __call__(self, sr: np.ndarray, hr: np.ndarray, border: int) -> float:
        """Returns the distance of two uint8 `[H, W, 3]` pictures without their borders."""
        features = [self._features(image, border) for image in (sr, hr)]
        return float(content.vgg_distance(*features, "element")[0])

    def _features(self, image: np.ndarray, border: int) -> tf.Tensor:
        inner = image[border : image.shape[0] - border, border : image.shape[1] - border]
        signed = images.unit_to_signed(images.uint8_to_unit(tf.constant(inner[None])))
        return self._model(signed, training=False)[self._layer]
