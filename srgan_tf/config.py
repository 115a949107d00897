"""Everything a training run is made of, as frozen dataclasses: json in, json out, no TensorFlow.

A recipe (recipes.py) gives a `TrainConfig`; the command line overrides single fields (flags are
generated from these classes by flag_utils.py); `config.json` in the run folder records the result.
Defaults are those of Ledig et al. 2017 (arXiv 1609.04802), section 3.2, unless a field says
otherwise. Field help names the range; `__post_init__` enforces it.
"""

import dataclasses
import json
import math
import typing
from typing import Any

from srgan_tf import errors

SCALES = (2, 3, 4, 8)
# Kernels of the blind degradation live in arrays of this side, so that shapes are static.
MAX_KERNEL = 21
# Narrower Gaussians are a single pixel; lower cut-offs leave nothing of a picture.
MIN_SIGMA = 0.1
MIN_CUTOFF = 0.05
# What the architecture itself has; which that is stands with the architecture.
AUTO = "auto"
SCHEDULES = ("step", "cosine")

# Weighted terms, e.g. (("vgg", 1.0), ("mse", 0.01)); written `vgg:1,mse:0.01` on the command line.
Weights = tuple[tuple[str, float], ...]


def _field(default: Any, text: str, **metadata: Any) -> Any:
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


def _require(condition: bool, rule: str, **values: Any) -> None:
    if not condition:
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise errors.InputError(f"{rule}: {shown}.")


def _check_range(config: Any, name: str, *, low: float = 0.0, high: float = math.inf) -> None:
    """Requires a field to be a finite range within [`low`, `high`]."""
    value = getattr(config, name)
    _require(
        len(value) == 2 and low <= value[0] <= value[1] <= high and value[1] < math.inf,
        f"{name} must be low,high within {low:g} to {high:g}",
        **{name: value},
    )


def _check_probabilities(config: Any) -> None:
    for field in dataclasses.fields(config):
        if field.name.endswith("probability"):
            value = getattr(config, field.name)
            _require(0 <= value <= 1, f"{field.name} must be in [0, 1]", **{field.name: value})


def _check_choices(config: Any) -> None:
    """Requires each field of weights to name nothing but what its default names, each once."""
    for field in dataclasses.fields(config):
        if isinstance(field.default, tuple) and isinstance(field.default[0], tuple):
            value = getattr(config, field.name)
            names, weights = [name for name, _ in value], [weight for _, weight in value]
            choices = [name for name, _ in field.default]
            _require(
                set(names) <= set(choices) and len(set(names)) == len(names),
                f"{field.name} must name some of {choices}, each once",
                **{field.name: value},
            )
            _require(
                all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0,
                f"{field.name} needs weights that are finite, not negative and not all 0",
                **{field.name: value},
            )


def _check_kernel_size(config: Any) -> None:
    low, high = config.kernel_size if len(config.kernel_size) == 2 else (0, 0)
    _require(
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

    blur_probability: float = _field(1.0, "Probability that this pass blurs; in [0, 1].")
    kernels: Weights = _field(
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
    kernel_size: tuple[int, int] = _field((7, 21), "Sides of the kernels in pixels: odd, 3 to 21.")
    blur_sigma: tuple[float, float] = _field(
        (0.2, 3.0), "Standard deviation along each axis in pixels."
    )
    generalized_beta: tuple[float, float] = _field(
        (0.5, 4.0),
        "Exponents of generalized kernels; half of the draws are below 1, half above, so the range "
        "must hold 1.",
    )
    plateau_beta: tuple[float, float] = _field(
        (1.0, 2.0), "Exponents of plateau kernels; drawn likewise."
    )
    sinc_probability: float = _field(
        0.1, "Probability that a sinc kernel (ringing) takes the place of the others; in [0, 1]."
    )
    sinc_cutoff: tuple[float, float] = _field(
        (1 / 5, 1.0),
        "Cut-off frequency of sinc kernels of 13 pixels or more, in half cycles/pixel.",
    )
    small_sinc_cutoff: tuple[float, float] = _field((1 / 3, 1.0), "The same for smaller kernels.")
    resize: Weights = _field(
        (("up", 0.2), ("down", 0.7), ("keep", 0.1)),
        "Weights of up, down and keep: what is done to the size.",
    )
    resize_range: tuple[float, float] = _field(
        (0.15, 1.5), "Smallest factor of down (at most 1) and largest factor of up (at least 1)."
    )
    resize_modes: Weights = _field(
        (("area", 1.0), ("bilinear", 1.0), ("bicubic", 1.0)),
        "Weights of area, bilinear and bicubic.",
    )
    gaussian_probability: float = _field(
        0.5, "Probability that the noise is Gaussian instead of Poisson; in [0, 1]."
    )
    noise_sigma: tuple[float, float] = _field(
        (1.0, 30.0), "Standard deviation of Gaussian noise in grey levels (of 255)."
    )
    poisson_scale: tuple[float, float] = _field(
        (0.05, 3.0), "Poisson noise: its variance is scale**2 * intensity / 256, image in [0, 1]."
    )
    grey_probability: float = _field(
        0.4, "Probability that the noise is the same in all channels; in [0, 1]."
    )
    jpeg_quality: tuple[float, float] = _field((30.0, 95.0), "JPEG qualities, 1 to 100.")

    def __post_init__(self) -> None:
        _check_probabilities(self)
        _check_choices(self)
        _check_kernel_size(self)
        _check_range(self, "blur_sigma", low=MIN_SIGMA)
        for name in ("noise_sigma", "poisson_scale"):
            _check_range(self, name)
        for name in ("sinc_cutoff", "small_sinc_cutoff"):
            _check_range(self, name, low=MIN_CUTOFF, high=1)
        for name, low, high in (
            ("generalized_beta", 0.1, 100),
            ("plateau_beta", 0.1, 100),
            ("resize_range", 0.05, 4),
        ):
            _check_range(self, name, low=low, high=high)
            value = getattr(self, name)
            _require(value[0] <= 1 <= value[1], f"{name} must hold 1", **{name: value})
        _check_range(self, "jpeg_quality", low=1, high=100)


@dataclasses.dataclass(frozen=True)
class BlindSecondPass(BlindPass):
    """Second pass, milder. Its factors are relative to the LR size; its JPEG is the last step's."""

    blur_probability: float = _field(0.8, "Probability that this pass blurs; in [0, 1].")
    blur_sigma: tuple[float, float] = _field(
        (0.2, 1.5), "Standard deviation along each axis in pixels."
    )
    resize: Weights = _field(
        (("up", 0.3), ("down", 0.4), ("keep", 0.3)),
        "Weights of up, down and keep: what is done to the size.",
    )
    resize_range: tuple[float, float] = _field(
        (0.3, 1.2), "Smallest factor of down and largest of up, relative to the LR size."
    )
    noise_sigma: tuple[float, float] = _field(
        (1.0, 25.0), "Standard deviation of Gaussian noise in grey levels (of 255)."
    )
    poisson_scale: tuple[float, float] = _field(
        (0.05, 2.5), "Poisson noise: its variance is scale**2 * intensity / 256, image in [0, 1]."
    )


@dataclasses.dataclass(frozen=True)
class BlindFinal:
    """Last step of the `blind` degradation: to the LR size, sinc, and JPEG before or after both."""

    resize_modes: Weights = _field(
        (("area", 1.0), ("bilinear", 1.0), ("bicubic", 1.0)),
        "Weights of area, bilinear and bicubic.",
    )
    sinc_probability: float = _field(0.8, "Probability of the sinc filter; in [0, 1].")
    sinc_cutoff: tuple[float, float] = _field(
        (1 / 3, 1.0), "Its cut-off frequency in half cycles/pixel."
    )
    kernel_size: tuple[int, int] = _field((7, 21), "Sides of its kernel in pixels: odd, 3 to 21.")
    jpeg_last_probability: float = _field(
        0.5, "Probability that JPEG comes last instead of before resize and sinc; in [0, 1]."
    )

    def __post_init__(self) -> None:
        _check_probabilities(self)
        _check_choices(self)
        _check_range(self, "sinc_cutoff", low=MIN_CUTOFF, high=1)
        _check_kernel_size(self)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What a training batch is: crops, degradation, augmentation."""

    scale: int = _field(4, "Upscaling factor: 2, 3, 4 or 8.")
    crop_size: int = _field(96, "Side of a training HR crop in pixels; a multiple of the scale.")
    batch_size: int = _field(16, "Images per step over all replicas together (the global batch).")
    crops_per_image: int = _field(
        1, "Random crops taken from each decoded record; they go to as many successive batches."
    )
    degradation: str = _field(
        "bicubic",
        "How the LR image is made from the HR crop (srgan-train --list names all).",
    )
    gaussian_sigma: float = _field(
        1.0, "Blur of gaussian_bicubic before it shrinks: standard deviation in HR pixels."
    )
    jpeg_quality: tuple[float, float] = _field(
        (30.0, 95.0), "JPEG qualities of the jpeg degradation, 1 to 100."
    )
    blind: BlindPass = BlindPass()
    blind2: BlindSecondPass = BlindSecondPass()
    blind_final: BlindFinal = BlindFinal()
    flip: bool = _field(True, "Mirror crops at random, left to right.")
    rotate: bool = _field(True, "Turn crops at random by multiples of 90 degrees.")
    shuffle_window: int = _field(
        1024, "Encoded records that are shuffled together; about 60 KB each (192 px PNG)."
    )

    def __post_init__(self) -> None:
        _require(self.scale in SCALES, f"scale must be one of {SCALES}", scale=self.scale)
        _require(
            self.crop_size > 0 and self.crop_size % self.scale == 0,
            "crop_size must be a positive multiple of scale",
            crop_size=self.crop_size,
            scale=self.scale,
        )
        _require(
            MIN_SIGMA <= self.gaussian_sigma <= 10,
            f"gaussian_sigma must be in {MIN_SIGMA:g} to 10",
            gaussian_sigma=self.gaussian_sigma,
        )
        _check_range(self, "jpeg_quality", low=1, high=100)
        for name in ("batch_size", "crops_per_image", "shuffle_window"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} must be at least 1", **{name: value})


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """The generator's architecture; 64 filters and 16 blocks are the paper's (section 2.1.1)."""

    name: str = _field("srresnet", "Generator architecture (srgan-train --list names all).")
    filters: int = _field(64, "Channels of the residual trunk; at least 1.")
    blocks: int = _field(
        16,
        "Residual blocks; at least 1 (published: srresnet 16, srresnet_seed 15 or 5, rrdb 23 or "
        "6).",
    )
    norm: str = _field(
        AUTO,
        "Normalization: batch (synchronized) or none; auto is the architecture's own (batch for "
        "srresnet and srresnet_seed, none for the others; rrdb and lite cannot have batch).",
    )
    upsampling: str = _field(
        AUTO,
        "How features are enlarged: subpixel (ICNR start), subpixel_plain (without), nearest_conv, "
        "deconv (leaves a grid); auto is the architecture's own (nearest_conv for srresnet_seed "
        "and rrdb, subpixel for the others).",
    )

    def __post_init__(self) -> None:
        _require(self.filters >= 1, "generator_filters must be at least 1", filters=self.filters)
        _require(self.blocks >= 1, "generator_blocks must be at least 1", blocks=self.blocks)


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator's architecture (paper, figure 4): 64 to 512 filters, dense 1024, 1."""

    name: str = _field("srgan", "Discriminator architecture (srgan-train --list names all).")
    filters: int = _field(
        64,
        "Channels of the first convolution; doubled three times (srgan_small: doubled, doubled "
        "again).",
    )
    dense_units: int = _field(
        1024,
        "Units of the dense layer before the logit; at least 1 (srgan_small: an eighth of it; "
        "patch and unet have no dense layer).",
    )
    norm: str = _field(
        AUTO,
        "Normalization: batch (synchronized), instance, spectral or none; auto is the "
        "architecture's own (spectral for unet, batch for the others).",
    )

    def __post_init__(self) -> None:
        _require(
            self.filters >= 1, "discriminator_filters must be at least 1", filters=self.filters
        )
        _require(
            self.dense_units >= 1,
            "discriminator_dense_units must be at least 1",
            dense_units=self.dense_units,
        )


@dataclasses.dataclass(frozen=True)
class VggConfig:
    """The frozen feature extractor of the `vgg` content loss (paper, equation 5)."""

    network: str = _field("vgg19", "Feature network: vgg19 (paper) or vgg16.")
    weights: str = _field(
        "imagenet",
        "Where its kernels come from: imagenet (download by keras.applications), a local .h5 or "
        ".npz file, or random (for tests only; recorded and warned about).",
    )
    activation: str = _field("after", "Take the layer's output after (paper) or before its ReLU.")
    feature_scale: float = _field(
        1 / 12.75, "Features are multiplied by this (paper, section 3.2: 1/12.75)."
    )
    normalization: str = _field(
        "element",
        "element: distance averaged over positions and channels; pixel: summed over the "
        "channels, as equation 5 is written (128 or 512 times larger).",
    )
    distance: str = _field(
        "squared", "Distance of two features: squared (equation 5) or absolute (ESRGAN's code)."
    )

    def __post_init__(self) -> None:
        for name, choices in (
            ("network", ("vgg16", "vgg19")),
            ("activation", ("after", "before")),
            ("normalization", ("element", "pixel")),
            ("distance", ("squared", "absolute")),
        ):
            value = getattr(self, name)
            _require(value in choices, f"vgg_{name} must be one of {choices}", **{name: value})
        _require(
            self.feature_scale > 0, "vgg_feature_scale must be positive", value=self.feature_scale
        )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer of both networks; each stage starts a new one."""

    name: str = _field("adam", "Optimizer (srgan-train --list names all).")
    beta_1: float = _field(0.9, "Adam's first-moment decay (paper: 0.9); in [0, 1).")
    beta_2: float = _field(0.999, "Adam's second-moment decay; in [0, 1).")
    epsilon: float = _field(1e-8, "Adam's denominator constant; positive.")
    weight_decay: float = _field(
        0.0,
        "Decoupled weight decay: a step also takes learning rate x this x the weight off each "
        "weight; not negative, and for adamw, radam, lamb and lookahead alone.",
    )
    clip_norm: float = _field(
        0.0,
        "Each network's gradients are scaled down to this norm, all of them together, where it is "
        "larger; 0 leaves them as they are.",
    )

    def __post_init__(self) -> None:
        for name in ("beta_1", "beta_2"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"optimizer_{name} must be in [0, 1)", value=value)
        _require(self.epsilon > 0, "optimizer_epsilon must be positive", value=self.epsilon)
        for name in ("weight_decay", "clip_norm"):
            value = getattr(self, name)
            rule = f"optimizer_{name} must be finite and not negative"
            _require(0 <= value < math.inf, rule, value=value)


@dataclasses.dataclass(frozen=True)
class _Schedule:
    """Length and learning rate of a stage."""

    steps: int = _field(0, "Updates in this stage; 0 leaves the stage out.")
    learning_rate: float = _field(1e-4, "Learning rate at the start of the stage; positive.")
    schedule: str = _field(
        "step",
        "step: the learning rate falls at the steps of decay_at (none: it is constant); cosine: it "
        "falls along half a cosine, from the end of the warm-up to the end of the stage.",
    )
    decay_at: tuple[int, ...] = _field(
        (), "Steps of this stage at which the learning rate is multiplied by the decay factor."
    )
    decay_factor: float = _field(0.1, "What the learning rate is multiplied by at each such step.")
    final_fraction: float = _field(
        0.0, "Share of the learning rate at which the cosine schedule ends; in [0, 1]."
    )
    warmup_steps: int = _field(
        0, "Steps over which the learning rate rises linearly at the start; 0 is none."
    )

    def __post_init__(self) -> None:
        _require(self.steps >= 0, "a stage's steps must not be negative", steps=self.steps)
        _require(
            self.learning_rate > 0,
            "learning_rate must be positive",
            learning_rate=self.learning_rate,
        )
        _require(
            list(self.decay_at) == sorted(set(self.decay_at)) and all(s > 0 for s in self.decay_at),
            "decay_at must be increasing positive steps",
            decay_at=self.decay_at,
        )
        _require(self.decay_factor > 0, "decay_factor must be positive", factor=self.decay_factor)
        _require(
            self.schedule in SCHEDULES,
            f"schedule must be one of {SCHEDULES}",
            schedule=self.schedule,
        )
        _require(
            self.schedule == "step" or not self.decay_at,
            "decay_at is for the step schedule (empty it: --pretrain_decay_at= or --gan_decay_at=)",
            schedule=self.schedule,
            decay_at=self.decay_at,
        )
        _require(
            0 <= self.final_fraction <= 1,
            "final_fraction must be in [0, 1]",
            final_fraction=self.final_fraction,
        )
        _require(
            0 <= self.warmup_steps and (self.warmup_steps < self.steps or not self.steps),
            "warmup_steps must not be negative, and fewer than the stage's steps",
            warmup_steps=self.warmup_steps,
            steps=self.steps,
        )


@dataclasses.dataclass(frozen=True)
class _GeneratorTerms:
    """What the generator is asked for, besides fooling the discriminator."""

    content: Weights = _field(
        (("mse", 1.0),), "Weighted content losses, for example vgg:1 or mse:1,vgg:0.006."
    )
    vgg_layer: Weights = _field(
        (("block5_conv4", 1.0),),
        "VGG layers of the vgg content loss, each with its weight (a bare name counts 1), for "
        "example block2_conv2 (the paper's VGG22) or block1_conv2:0.1,block5_conv4:1.",
    )
    tv_weight: float = _field(0.0, "Weight of the total variation; 0 leaves it out.")

    def _check_weights(self, **others: float) -> None:
        if isinstance(self.vgg_layer, str):  # As recipes and older config.json files write it.
            object.__setattr__(self, "vgg_layer", ((self.vgg_layer, 1.0),))
        for field, kind in (("content", "a loss"), ("vgg_layer", "a layer")):
            names = [name for name, _ in getattr(self, field)]
            rule = f"{field} names {kind} twice"
            _require(len(set(names)) == len(names), rule, **{field: getattr(self, field)})
        named = [*self.content, *self.vgg_layer, ("tv_weight", self.tv_weight), *others.items()]
        for name, weight in named:
            _require(
                0 <= weight < math.inf, "weights must be finite and not negative", **{name: weight}
            )
        _require(
            not dict(self.content).get("vgg") or any(weight for _, weight in self.vgg_layer),
            "the vgg content loss needs a vgg_layer with a weight above 0",
            vgg_layer=self.vgg_layer,
        )


@dataclasses.dataclass(frozen=True)
class _AdversarialTerms:
    """The adversarial pair and the labels that the discriminator is given."""

    adversarial: str = _field("vanilla", "Adversarial pair (srgan-train --list names all).")
    real_labels: tuple[float, float] = _field(
        (1.0, 1.0), "Labels of HR images are drawn uniformly from this range."
    )
    fake_labels: tuple[float, float] = _field(
        (0.0, 0.0), "Labels of SR images are drawn uniformly from this range."
    )
    flip_labels: float = _field(
        0.0, "Probability that a step swaps the labels of its whole batch; in [0, 1]."
    )
    r1_weight: float = _field(
        0.0,
        "Weight gamma of the R1 penalty gamma/2 * |dD/dHR|^2 on the discriminator (Mescheder et "
        "al. 2018, equation 9); 0 leaves it out.",
    )

    def _check_adversarial(self) -> None:
        _require(
            0 <= self.r1_weight < math.inf,
            "r1_weight must be finite and not negative",
            r1_weight=self.r1_weight,
        )
        for name in ("real_labels", "fake_labels"):
            value = getattr(self, name)
            _require(
                len(value) == 2 and value[0] <= value[1],
                f"{name} must be a range low,high",
                **{name: value},
            )
        _require(
            0 <= self.flip_labels <= 1,
            "flip_labels must be in [0, 1]",
            flip_labels=self.flip_labels,
        )


@dataclasses.dataclass(frozen=True)
class PretrainStage(_GeneratorTerms, _Schedule):
    """Generator alone (the paper's SRResNet)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_weights()


@dataclasses.dataclass(frozen=True)
class DiscriminatorStage(_AdversarialTerms, _Schedule):
    """Discriminator alone, on a frozen generator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_adversarial()


@dataclasses.dataclass(frozen=True)
class GanStage(_GeneratorTerms, _AdversarialTerms, _Schedule):
    """Both networks, the generator updated once a step (paper, equations 2 and 3)."""

    adversarial_weight: float = _field(1e-3, "Weight of the adversarial term (equation 3).")
    adversarial_ramp: int = _field(
        0, "Steps over which that weight rises linearly from 0; 0 gives all of it at once."
    )
    discriminator_updates: int = _field(
        1,
        "Discriminator updates in a step, each on batch_size images of its own; the generator's "
        "update comes with the last.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_adversarial()
        self._check_weights(adversarial_weight=self.adversarial_weight)
        _require(
            self.adversarial_ramp >= 0,
            "adversarial_ramp must not be negative",
            ramp=self.adversarial_ramp,
        )
        _require(
            self.discriminator_updates >= 1,
            "discriminator_updates must be at least 1",
            discriminator_updates=self.discriminator_updates,
        )


@dataclasses.dataclass(frozen=True)
class StagesConfig:
    """The stages in the order in which they run; one with 0 steps is left out."""

    pretrain: PretrainStage = PretrainStage()
    discriminator: DiscriminatorStage = DiscriminatorStage()
    gan: GanStage = GanStage()

    def active(self) -> list[tuple[str, _Schedule]]:
        """Returns (name, stage) of the stages that have steps, in order."""
        stages = [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]
        return [(name, stage) for name, stage in stages if stage.steps]


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How a run is watched and kept; may differ when a run is continued."""

    log_every: int = _field(10, "Steps between rows of metrics.csv and TensorBoard scalars.")
    validate_every: int = _field(500, "Steps between validations on whole images, with samples.")
    validation_images: int = _field(10, "Validation images used each time (the first by name).")
    checkpoint_every: int = _field(500, "Steps between checkpoints.")
    keep_checkpoints: int = _field(3, "Recent checkpoints that are kept, besides the best.")
    doctor: bool = _field(
        True,
        "Warn when the discriminator wins or loses for long, pictures collapse, colours drift or a "
        "checkerboard rises.",
    )
    on_divergence: str = _field(
        "stop",
        "When a loss or weight is not finite: stop, or rollback (to the last good checkpoint, with "
        "a smaller learning rate).",
    )
    rollback_factor: float = _field(
        0.5, "What a rollback multiplies the learning rate by; between 0 and 1."
    )
    max_rollbacks: int = _field(3, "Rollbacks after which the run stops all the same.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int:
                _require(value >= 1, f"{field.name} must be at least 1", **{field.name: value})
        _require(
            self.on_divergence in ("stop", "rollback"),
            "on_divergence must be stop or rollback",
            on_divergence=self.on_divergence,
        )
        _require(
            0 < self.rollback_factor < 1,
            "rollback_factor must be between 0 and 1",
            rollback_factor=self.rollback_factor,
        )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A whole run. `recipe` says where the figures started from; the rest is what counts."""

    recipe: str = "paper"
    seed: int = _field(1, "Seed of every random choice: weights, data order, crops, labels.")
    init_from: str = _field(
        "",
        "Start from these weights: a pretrained model (srresnet, srgan) or a run folder. The "
        "pretrain stage before others is then left out unless --pretrain_steps asks for it.",
    )
    init_checkpoint: str = _field(
        "last", "Which checkpoint of a run folder in --init_from: last, best or a step."
    )
    ema_decay: float = _field(
        0.0,
        "Decay of a moving average of the generator's weights, which is then validated, evaluated "
        "and exported instead of the weights themselves; in [0, 1), 0 is none.",
    )
    data: DataConfig = DataConfig()
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    vgg: VggConfig = VggConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    stages: StagesConfig = StagesConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**32, "seed must be in 0 to 2**32 - 1", seed=self.seed)
        _require(
            self.init_checkpoint in ("last", "best") or self.init_checkpoint.isdigit(),
            "init_checkpoint must be last, best or a step",
            init_checkpoint=self.init_checkpoint,
        )
        _require(
            self.init_from or self.init_checkpoint == "last",
            "init_checkpoint is for the run folder in init_from",
            init_checkpoint=self.init_checkpoint,
        )
        _require(0 <= self.ema_decay < 1, "ema_decay must be in [0, 1)", ema_decay=self.ema_decay)
        _require(
            bool(self.stages.active()),
            "at least one stage must have steps",
            pretrain_steps=self.stages.pretrain.steps,
            discriminator_steps=self.stages.discriminator.steps,
            gan_steps=self.stages.gan.steps,
        )

    def without_pretraining(self) -> "TrainConfig":
        """Returns this run without its pretrain stage, unless that is all it has."""
        if not self.adversarial:
            return self
        pretrain = dataclasses.replace(self.stages.pretrain, steps=0)
        stages = dataclasses.replace(self.stages, pretrain=pretrain)
        return dataclasses.replace(self, stages=stages)

    @property
    def total_steps(self) -> int:
        """Updates over all stages."""
        return sum(stage.steps for _, stage in self.stages.active())

    @property
    def adversarial(self) -> bool:
        """Whether any stage needs the discriminator."""
        return bool(self.stages.discriminator.steps or self.stages.gan.steps)

    @property
    def vgg_layers(self) -> tuple[str, ...]:
        """The VGG layers that the content losses of all stages ask for, each once."""
        stages = (self.stages.pretrain, self.stages.gan)
        used = [s.vgg_layer for s in stages if s.steps and dict(s.content).get("vgg")]
        return tuple(dict.fromkeys(name for layers in used for name, weight in layers if weight))


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a config dataclass as plain dicts, lists, strings and numbers."""
    return dataclasses.asdict(config)


def from_dict(cls: type, values: dict[str, Any], where: str = "config") -> Any:
    """Builds config dataclass `cls` from `to_dict`'s output (or from its json).

    Raises:
        errors.InputError: a field is unknown; `where` names the file that holds it.
    """
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
    if unknown:
        raise errors.InputError(
            f"{where} has fields that this version does not know: {', '.join(unknown)}."
        )
    made = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(hints[name], value, f"{where}:{name}")
        made[name] = _freeze(value)
    return cls(**made)


def to_json(config: Any) -> str:
    """Returns `config` as indented json."""
    return json.dumps(to_dict(config), indent=2) + "\n"


def differences(old: Any, new: Any, ignore: tuple[str, ...] = ()) -> list[str]:
    """Lists the fields in which two configs differ, as `data.scale: 4 -> 2`."""
    before, after = _flatten(to_dict(old)), _flatten(to_dict(new))
    return [
        f"{path}: {before.get(path)!r} -> {after.get(path)!r}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path) and not path.startswith(ignore)
    ]


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, (list, tuple)) else value
