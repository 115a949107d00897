"""Validation on whole images, and sample pictures of always the same crops."""

import io
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from srgan_tf import bicubic, diagnostics, files, images, metrics, run_folder
from srgan_tf.config import TrainConfig
from srgan_tf.data import pipeline, records
from srgan_tf.models import generators
from srgan_tf.training import team as team_lib

# Sample pictures show this many validation images, and this many LR pixels of each (a side).
_SAMPLES = 4
_SAMPLE_LR_SIZE = 48
_GAP = 4
# What is scored, in the order of metrics.csv; see `Validator.evaluate`.
SCORES = (
    *("psnr_y", "ssim_y", "checkerboard", "blockiness", "contrast"),
    *("colour_drift", "colour_drift_r", "colour_drift_g", "colour_drift_b"),
)


class Validator:
    """PSNR and SSIM on luma of the first validation images, and samples for people to look at."""

    def __init__(
        self,
        split: records.Split,
        config: TrainConfig,
        generator: tf.keras.Model,
        team: team_lib.Team | None = None,
    ):
        """Loads the images and scores bicubic upscaling on them once.

        Args:
            split: the validation split; its records are whole images.
            config: gives the scale, the degradation and how many images are used.
            generator: what is validated, with the weights that it has at each call.
            team: the processes of the run, which share the images; None is this one alone.
        """
        self._scale = config.data.scale
        self._team = team or team_lib.Team(tf.distribute.get_strategy())
        self._source = None
        if self._team.count > 1:
            # Some of its variables can only be read by all processes at the same time.
            self._source = generator
            generator = generators.build(config.generator, config.data.scale, config.precision)

        self._generator = generator

        # One trace serves all sizes.
        @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32)])
        def forward(lr: tf.Tensor) -> tf.Tensor:
            return images.signed_to_unit(generator(lr, training=False))

        self._forward = forward
        limit = config.run.validation_images
        # Those that this process scores, None for those of others; and those of the samples.
        self._pairs: list[pipeline.Pair | None] = []
        self._samples: list[pipeline.Pair] = []
        with self._team.together():
            pairs = pipeline.validation_pairs(split, config.data, limit=limit)
            for number, pair in enumerate(pairs):
                mine = number % self._team.count == self._team.index
                self._pairs.append(pair if mine else None)
                if number < _SAMPLES and self._team.first:
                    self._samples.append(pair)
        scores = self._over_all(lambda pair: [self._score(self._bicubic(pair.lr), pair)["psnr_y"]])
        self.bicubic_psnr = float(np.mean(scores))

    def evaluate(self, interrupted: Callable[[], bool] = bool) -> dict[str, float] | None:
        """Returns the mean over images of `SCORES`; None if `interrupted` between two of them.

        PSNR (dB) and SSIM on luma; checkerboard, blockiness and colour drift as in diagnostics.py;
        contrast is the standard deviation over the picture, per channel, as a share of HR's.
        """
        if self._source is not None:
            self._generator.set_weights(self._source.get_weights())

        def score(pair: pipeline.Pair) -> list[float]:
            scores = self._score(self._forward(pair.lr), pair)
            return [scores[name] for name in SCORES]

        scores = self._over_all(score, interrupted)
        if scores is None:
            return None
        return {name: float(np.mean(scores[:, place])) for place, name in enumerate(SCORES)}

    def _over_all(
        self, score: Callable[[pipeline.Pair], list[float]], interrupted: Callable[[], bool] = bool
    ) -> np.ndarray | None:
        """Returns a row for each image of all processes; None once `interrupted`, in all alike."""
        rows: list[list[float] | None] = []
        for pair in self._pairs:
            if interrupted():
                return None
            rows.append(score(pair) if pair is not None else None)
        width = max((len(row) for row in rows if row is not None), default=0)
        width = int(self._team.from_first(width))
        mine = np.array([row if row is not None else [0.0] * width for row in rows])
        return self._team.sum(mine)

    def sample_sheet(self) -> np.ndarray:
        """Returns a uint8 picture: a row for each sample, bicubic | SR | HR."""
        rows = []
        for pair in self._samples:
            lr, hr = self._centre(pair)
            row = (self._bicubic(lr), self._forward(lr), images.signed_to_unit(hr))
            rows.append(_join([images.unit_to_uint8(image)[0].numpy() for image in row], axis=1))
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
        return _join(padded, axis=0)

    def _score(self, sr: tf.Tensor, pair: pipeline.Pair) -> dict[str, float]:
        """Scores an SR image in [0, 1], on the 256 levels of a file, the border cropped."""
        border = self._scale
        hr = images.signed_to_unit(pair.hr)
        luma = [images.to_luma(images.quantize(image)) for image in (sr, hr)]
        sr, hr, lr = (images.unit_to_uint8(image)[0].numpy() for image in (sr, hr, pair.lr))
        return {
            "psnr_y": float(metrics.psnr(*luma, border)[0]),
            "ssim_y": float(metrics.ssim(*luma, border)[0]),
            "checkerboard": diagnostics.checkerboard(sr, hr, scale=self._scale, border=border),
            "blockiness": diagnostics.blockiness(sr, scale=self._scale, border=border),
            "contrast": float(_contrast(sr) / max(_contrast(hr), 1.0)),
            **diagnostics.colour_drift(sr, lr),
        }

    def _bicubic(self, lr: tf.Tensor) -> tf.Tensor:
        lr = images.unit_to_uint8(lr)[0].numpy()
        return images.uint8_to_unit(bicubic.imresize(lr, self._scale))[tf.newaxis]

    def _centre(self, pair: pipeline.Pair) -> tuple[tf.Tensor, tf.Tensor]:
        height, width = pair.lr.shape[1:3]
        size = min(_SAMPLE_LR_SIZE, height, width)
        top, left = (height - size) // 2, (width - size) // 2
        lr = pair.lr[:, top : top + size, left : left + size]
        top, left, size = (value * self._scale for value in (top, left, size))
        return lr, pair.hr[:, top : top + size, left : left + size]


def _contrast(image: np.ndarray) -> float:
    return float(image.std(axis=(0, 1)).mean())


def write_png(path: str, picture: np.ndarray) -> None:
    """Writes a uint8 picture as PNG to any path that tf.io.gfile knows."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, format="png")
    with run_folder.writing(path):
        tf.io.gfile.makedirs(os.path.dirname(path))
        files.write_atomically(path, [encoded.getvalue()])


def _join(pictures: list[np.ndarray], axis: int) -> np.ndarray:
    shape = list(pictures[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, np.iinfo(np.uint8).max, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=axis)
