"""What PSNR does not tell of an SR picture: colour drift, grids, blocks, distance in VGG features.

Pictures are uint8 `[H, W, 3]`; scores are plain numbers, one picture at a time.
"""

import numpy as np
import tensorflow as tf

from srgan_tf import bicubic, config, errors, images
from srgan_tf.losses import content
from srgan_tf.models import vgg

# Periods of the lowest upsampling frequency (1 / scale) in a window of the spectrum.
_PERIODS = 8
# Beside a frequency: a ring that the main lobe of the Hann window (1 bin) does not reach.
_RING = [
    (rows, columns)
    for rows in range(-3, 4)
    for columns in range(-3, 4)
    if max(abs(rows), abs(columns)) >= 2
]
# Variance of rounding to whole grey levels: what a spectrum holds where the picture has nothing.
_ROUNDING = 1 / 12


def colour_drift(sr: np.ndarray, lr: np.ndarray) -> dict[str, float]:
    """Returns how far the colours moved, in grey levels of 255: mean(shrunk SR - LR) per channel.

    `colour_drift` is the mean of the three channels' absolute values, which cannot cancel.

    SR is shrunk to the size of LR by the exact bicubic, unrounded. 0 is none; above 0 the channel
    became brighter. Bicubic upscaling is within some hundredths of 0.
    """
    shrunk = bicubic.imresize(sr.astype(np.float64), lr.shape[0] / sr.shape[0])
    means = (shrunk - lr).mean(axis=(0, 1))
    return {
        "colour_drift": float(np.abs(means).mean()),
        **{f"colour_drift_{name}": float(mean) for name, mean in zip("rgb", means, strict=True)},
    }


def checkerboard(sr: np.ndarray, hr: np.ndarray, *, scale: int, border: int) -> float:
    """Returns how far SR stands out at the upsampling frequencies, as a multiple of the HR.

    A network that treats the `scale` x `scale` pixels of an LR pixel differently leaves a pattern
    of that period: peaks in the spectrum at multiples of 1 / scale along rows, columns or both.
    For each such frequency the power of the luma is divided by the power beside it, so that detail
    and noise, which have no peaks, do not count; the mean of these ratios is divided by the HR's.
    Up to about 2: no grid (smooth pictures may be far below 1). A grid of one grey level in smooth
    pictures gives about 5, of three about 50. Pictures smaller than one window of the spectrum
    (after the border) give nan.
    """
    return _peaks(sr, scale, border) / _peaks(hr, scale, border)


def blockiness(sr: np.ndarray, *, scale: int, border: int) -> float:
    """Returns how far SR's pixels come in blocks: 0, all borders are alike; 1, repeated pixels.

    The mean size of the step from a pixel to the next one, of the luma, is taken for each of the
    `scale` places where it may lie within an LR pixel; the score is 1 - smallest / largest of these
    means, along rows or columns, whichever is larger. Photos have up to 0.1, bicubic x4 0.3. Unlike
    a grid (`checkerboard`) blocks leave no peaks in the spectrum: their steps go up and down as the
    picture does. A picture without any step, or with none left after the border, gives nan.
    """
    inner = _without_border(sr, border) @ images.FULL_RANGE_LUMA
    scores = []
    for luma in (inner, inner.T):
        steps = np.abs(np.diff(luma, axis=1))
        means = [steps[:, place::scale].mean() for place in range(min(scale, steps.shape[1]))]
        if steps.any() and len(means) == scale:
            scores.append(1 - min(means) / max(means))
    return float(max(scores, default=np.nan))


def _peaks(image: np.ndarray, scale: int, border: int) -> float:
    """Returns the mean over the upsampling frequencies of their power over that beside them."""
    power = _spectrum(image, _PERIODS * scale, border)
    beside = np.mean([np.roll(power, shift, axis=(0, 1)) for shift in _RING], axis=0)
    # Every _PERIODS-th bin is a multiple of 1 / scale; the first is the mean.
    return float((power / beside)[::_PERIODS, ::_PERIODS].ravel()[1:].mean())


def _spectrum(image: np.ndarray, side: int, border: int) -> np.ndarray:
    """Returns the power of the luma, `[side, side]`: Welch's mean over half-overlapping windows."""
    luma = _without_border(image, border) @ images.FULL_RANGE_LUMA
    if min(luma.shape) < side:
        return np.full([side, side], np.nan)
    window = np.outer(*[np.hanning(side + 1)[:-1]] * 2)
    views = np.lib.stride_tricks.sliding_window_view(luma, (side, side))
    views = views[:: side // 2, :: side // 2]
    power = np.zeros([side, side])
    for view in (view for row in views for view in row):
        power += np.abs(np.fft.fft2((view - view.mean()) * window)) ** 2
    # What rounding alone holds keeps flat pictures from dividing by nothing.
    return power / (views.shape[0] * views.shape[1]) + _ROUNDING * (window**2).sum()


def _without_border(image: np.ndarray, border: int) -> np.ndarray:
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


class VggDistance:
    """Perceptual distance of two pictures: the paper's content loss (equation 5) in VGG features.

    Squared difference of the features of one layer, after its ReLU and divided by 12.75 as in the
    paper, averaged over positions and channels (equation 5 has no division by the channels); 0 for
    equal pictures. Pictures go through the network whole: 2000x1400 pixels take some 3 GB. Compare
    it between models at the same network and layer only.

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
        if weights == "random":
            raise errors.InputError("A distance in random features means nothing: give weights.")
        self.description = f"{network} {layer}, weights {weights}"
        vgg_config = config.VggConfig(network=network, weights=weights)
        self._model, self._layer = vgg.feature_model(vgg_config, [layer]), layer
        self.smallest = 2 ** (int(layer[len("block")]) - 1)  # One position after the poolings.

    def __call__(self, sr: np.ndarray, hr: np.ndarray, border: int) -> float:
        """Returns the distance of two uint8 `[H, W, 3]` pictures without their borders."""
        features = [self._features(image, border) for image in (sr, hr)]
        return float(content.vgg_distance(*features, "element")[0])

    def _features(self, image: np.ndarray, border: int) -> tf.Tensor:
        inner = _without_border(image, border)
        signed = images.unit_to_signed(images.uint8_to_unit(tf.constant(inner[None])))
        return self._model(signed, training=False)[self._layer]
