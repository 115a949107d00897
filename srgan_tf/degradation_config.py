"""The `blind` degradation's figures, as frozen dataclasses; part of `config.DataConfig`."""

import dataclasses
import math
from typing import Any

from srgan_tf.config_fields import Weights, check_range, config_field, require

# Kernels of the blind degradation live in arrays of this side, so that shapes are static.
MAX_KERNEL = 21
# Narrower Gaussians are a single pixel; lower cut-offs leave nothing of a picture.
MIN_SIGMA = 0.1
MIN_CUTOFF = 0.05


def _check_probabilities(config: Any) -> None:
    for field in dataclasses.fields(config):
        if field.name.endswith("probability"):
            value = getattr(config, field.name)
            require(0 <= value <= 1, f"{field.name} must be in [0, 1]", **{field.name: value})


def _check_choices(config: Any) -> None:
    """Requires each field of weights to name nothing but what its default names, each once."""
    for field in dataclasses.fields(config):
        if isinstance(field.default, tuple) and isinstance(field.default[0], tuple):
            value = getattr(config, field.name)
            names, weights = [name for name, _ in value], [weight for _, weight in value]
            choices = [name for name, _ in field.default]
            require(
                set(names) <= set(choices) and len(set(names)) == len(names),
                f"{field.name} must name some of {choices}, each once",
                **{field.name: value},
            )
            require(
                all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0,
                f"{field.name} needs weights that are finite, not negative and not all 0",
                **{field.name: value},
            )


def _check_kernel_size(config: Any) -> None:
    low, high = config.kernel_size if len(config.kernel_size) == 2 else (0, 0)
    require(
        3 <= low <= high <= MAX_KERNEL and low % 2 and high % 2,
        f"kernel_size must be low,high, both odd and within 3 to {MAX_KERNEL}",
        kernel_size=config.kernel_size,
    )


@dataclasses.dataclass(frozen=True)
class BlindPass:
    """First pass of the `blind` degradation; figures are those of Real-ESRGAN's x4 training.

    Wang et al. 2021 (arXiv 2107.10833), section 3 and the authors' published options. A range is
    drawn from uniformly. Weights need not add up to 1; an entry that is left out has weight 0.
    """

    blur_probability: float = config_field(1.0, "Probability that this pass blurs; in [0, 1].")
    kernels: Weights = config_field(
        (
            ("iso", 0.45),
            ("aniso", 0.25),
            ("generalized_iso", 0.12),
            ("generalized_aniso", 0.03),
            ("plateau_iso", 0.12),
            ("plateau_aniso", 0.03),
        ),
        "Weights of the blur kernels: iso, aniso, generalized_iso, generalized_aniso, plateau_iso, "
        "plateau_aniso; what is left out is never drawn.",
    )
    kernel_size: tuple[int, int] = config_field(
        (7, 21), "Sides of the kernels in pixels: odd, 3 to 21."
    )
    blur_sigma: tuple[float, float] = config_field(
        (0.2, 3.0), "Standard deviation along each axis in pixels."
    )
    generalized_beta: tuple[float, float] = config_field(
        (0.5, 4.0),
        "Exponents of generalized kernels; half of the draws are below 1, half above, so the range "
        "must hold 1.",
    )
    plateau_beta: tuple[float, float] = config_field(
        (1.0, 2.0), "Exponents of plateau kernels; drawn likewise."
    )
    sinc_probability: float = config_field(
        0.1, "Probability that a sinc kernel (ringing) takes the place of the others; in [0, 1]."
    )
    sinc_cutoff: tuple[float, float] = config_field(
        (1 / 5, 1.0),
        "Cut-off frequency of sinc kernels of 13 pixels or more, in half cycles/pixel.",
    )
    small_sinc_cutoff: tuple[float, float] = config_field(
        (1 / 3, 1.0), "The same for smaller kernels."
    )
    resize: Weights = config_field(
        (("up", 0.2), ("down", 0.7), ("keep", 0.1)),
        "Weights of up, down and keep: what is done to the size.",
    )
    resize_range: tuple[float, float] = config_field(
        (0.15, 1.5), "Smallest factor of down (at most 1) and largest factor of up (at least 1)."
    )
    resize_modes: Weights = config_field(
        (("area", 1.0), ("bilinear", 1.0), ("bicubic", 1.0)),
        "Weights of area, bilinear and bicubic.",
    )
    gaussian_probability: float = config_field(
        0.5, "Probability that the noise is Gaussian instead of Poisson; in [0, 1]."
    )
    noise_sigma: tuple[float, float] = config_field(
        (1.0, 30.0), "Standard deviation of Gaussian noise in grey levels (of 255)."
    )
    poisson_scale: tuple[float, float] = config_field(
        (0.05, 3.0), "Poisson noise: its variance is scale**2 * intensity / 256, image in [0, 1]."
    )
    grey_probability: float = config_field(
        0.4, "Probability that the noise is the same in all channels; in [0, 1]."
    )
    jpeg_quality: tuple[float, float] = config_field((30.0, 95.0), "JPEG qualities, 1 to 100.")

    def __post_init__(self) -> None:
        _check_probabilities(self)
        _check_choices(self)
        _check_kernel_size(self)
        check_range(self, "blur_sigma", low=MIN_SIGMA)
        for name in ("noise_sigma", "poisson_scale"):
            check_range(self, name)
        for name in ("sinc_cutoff", "small_sinc_cutoff"):
            check_range(self, name, low=MIN_CUTOFF, high=1)
        for name, low, high in (
            ("generalized_beta", 0.1, 100),
            ("plateau_beta", 0.1, 100),
            ("resize_range", 0.05, 4),
        ):
            check_range(self, name, low=low, high=high)
            value = getattr(self, name)
            require(value[0] <= 1 <= value[1], f"{name} must hold 1", **{name: value})
        check_range(self, "jpeg_quality", low=1, high=100)


@dataclasses.dataclass(frozen=True)
class BlindSecondPass(BlindPass):
    """Second pass, milder. Its factors are relative to the LR size; its JPEG is the last step's."""

    blur_probability: float = config_field(0.8, "Probability that this pass blurs; in [0, 1].")
    blur_sigma: tuple[float, float] = config_field(
        (0.2, 1.5), "Standard deviation along each axis in pixels."
    )
    resize: Weights = config_field(
        (("up", 0.3), ("down", 0.4), ("keep", 0.3)),
        "Weights of up, down and keep: what is done to the size.",
    )
    resize_range: tuple[float, float] = config_field(
        (0.3, 1.2), "Smallest factor of down and largest of up, relative to the LR size."
    )
    noise_sigma: tuple[float, float] = config_field(
        (1.0, 25.0), "Standard deviation of Gaussian noise in grey levels (of 255)."
    )
    poisson_scale: tuple[float, float] = config_field(
        (0.05, 2.5), "Poisson noise: its variance is scale**2 * intensity / 256, image in [0, 1]."
    )


@dataclasses.dataclass(frozen=True)
class BlindFinal:
    """Last step of the `blind` degradation: to the LR size, sinc, and JPEG before or after both."""

    resize_modes: Weights = config_field(
        (("area", 1.0), ("bilinear", 1.0), ("bicubic", 1.0)),
        "Weights of area, bilinear and bicubic.",
    )
    sinc_probability: float = config_field(0.8, "Probability of the sinc filter; in [0, 1].")
    sinc_cutoff: tuple[float, float] = config_field(
        (1 / 3, 1.0), "Its cut-off frequency in half cycles/pixel."
    )
    kernel_size: tuple[int, int] = config_field(
        (7, 21), "Sides of its kernel in pixels: odd, 3 to 21."
    )
    jpeg_last_probability: float = config_field(
        0.5, "Probability that JPEG comes last instead of before resize and sinc; in [0, 1]."
    )

    def __post_init__(self) -> None:
        _check_probabilities(self)
        _check_choices(self)
        check_range(self, "sinc_cutoff", low=MIN_CUTOFF, high=1)
        _check_kernel_size(self)
