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
from srgan_tf.config_fields import Weights as Weights
from srgan_tf.config_fields import check_range, config_field, require
from srgan_tf.degradation_config import MIN_SIGMA, BlindFinal, BlindPass, BlindSecondPass
from srgan_tf.stage_config import DiscriminatorStage as DiscriminatorStage
from srgan_tf.stage_config import GanStage as GanStage
from srgan_tf.stage_config import PretrainStage as PretrainStage
from srgan_tf.stage_config import StagesConfig

SCALES = (2, 3, 4, 8)
# What the best checkpoint can be chosen by, of the scores in training/validation.py, and whether
# higher is better. (Contrast is best at 1.)
BEST_METRICS = {"psnr_y": True, "ssim_y": True, "colour_drift": False, "checkerboard": False}
# What the architecture itself has; which that is stands with the architecture.
AUTO = "auto"
# What networks compute in.
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What a training batch is: crops, degradation, augmentation."""

    scale: int = config_field(4, "Upscaling factor: 2, 3, 4 or 8.")
    crop_size: int = config_field(
        96, "Side of a training HR crop in pixels; a multiple of the scale."
    )
    batch_size: int = config_field(
        16, "Images per step over all replicas together (the global batch)."
    )
    crops_per_image: int = config_field(
        1, "Random crops taken from each decoded record; they go to as many successive batches."
    )
    degradation: str = config_field(
        "bicubic",
        "How the LR image is made from the HR crop (srgan-train --list names all).",
    )
    gaussian_sigma: float = config_field(
        1.0, "Blur of gaussian_bicubic before it shrinks: standard deviation in HR pixels."
    )
    jpeg_quality: tuple[float, float] = config_field(
        (30.0, 95.0), "JPEG qualities of the jpeg degradation, 1 to 100."
    )
    blind: BlindPass = BlindPass()
    blind2: BlindSecondPass = BlindSecondPass()
    blind_final: BlindFinal = BlindFinal()
    flip: bool = config_field(True, "Mirror crops at random, left to right.")
    rotate: bool = config_field(True, "Turn crops at random by multiples of 90 degrees.")
    shuffle_window: int = config_field(
        1024, "Encoded records that are shuffled together; about 60 KB each (192 px PNG)."
    )

    def __post_init__(self) -> None:
        require(self.scale in SCALES, f"scale must be one of {SCALES}", scale=self.scale)
        require(
            self.crop_size > 0 and self.crop_size % self.scale == 0,
            "crop_size must be a positive multiple of scale",
            crop_size=self.crop_size,
            scale=self.scale,
        )
        require(
            MIN_SIGMA <= self.gaussian_sigma <= 10,
            f"gaussian_sigma must be in {MIN_SIGMA:g} to 10",
            gaussian_sigma=self.gaussian_sigma,
        )
        check_range(self, "jpeg_quality", low=1, high=100)
        for name in ("batch_size", "crops_per_image", "shuffle_window"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1", **{name: value})


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """The generator's architecture; 64 filters and 16 blocks are the paper's (section 2.1.1)."""

    name: str = config_field("srresnet", "Generator architecture (srgan-train --list names all).")
    filters: int = config_field(64, "Channels of the residual trunk; at least 1.")
    blocks: int = config_field(
        16,
        "Residual blocks; at least 1 (published: srresnet 16, srresnet_seed 15 or 5, rrdb 23 or "
        "6).",
    )
    norm: str = config_field(
        AUTO,
        "Normalization: batch (synchronized) or none; auto is the architecture's own (batch for "
        "srresnet and srresnet_seed, none for the others; rrdb and lite cannot have batch).",
    )
    upsampling: str = config_field(
        AUTO,
        "How features are enlarged: subpixel (ICNR start; small in lite), subpixel_plain (random "
        "start), nearest_conv, deconv (leaves a grid); auto is the architecture's own "
        "(nearest_conv for srresnet_seed and rrdb, subpixel for the others).",
    )

    def __post_init__(self) -> None:
        require(self.filters >= 1, "generator_filters must be at least 1", filters=self.filters)
        require(self.blocks >= 1, "generator_blocks must be at least 1", blocks=self.blocks)


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator's architecture (paper, figure 4): 64 to 512 filters, dense 1024, 1."""

    name: str = config_field("srgan", "Discriminator architecture (srgan-train --list names all).")
    filters: int = config_field(
        64,
        "Channels of the first convolution; doubled three times (srgan_small: doubled, doubled "
        "again).",
    )
    dense_units: int = config_field(
        1024,
        "Units of the dense layer before the logit; at least 1 (srgan_small: an eighth of it; "
        "patch and unet have no dense layer).",
    )
    norm: str = config_field(
        AUTO,
        "Normalization: batch (synchronized), instance, spectral or none; auto is the "
        "architecture's own (spectral for unet, batch for the others).",
    )
    jitter: int = config_field(
        0,
        "The discriminator sees crops that are smaller by this many pixels, of SR and HR alike and "
        "at a place drawn for each update: its strides then hardly favour any place within an "
        "LR pixel (16 for srgan, 8 for patch and unet, 4 for srgan_small; 0 is the paper's).",
    )

    def __post_init__(self) -> None:
        require(self.filters >= 1, "discriminator_filters must be at least 1", filters=self.filters)
        require(
            self.dense_units >= 1,
            "discriminator_dense_units must be at least 1",
            dense_units=self.dense_units,
        )
        require(0 <= self.jitter <= 16, "discriminator_jitter must be 0 to 16", value=self.jitter)


@dataclasses.dataclass(frozen=True)
class VggConfig:
    """The frozen feature extractor of the `vgg` content loss (paper, equation 5)."""

    network: str = config_field("vgg19", "Feature network: vgg19 (paper) or vgg16.")
    weights: str = config_field(
        "imagenet",
        "Where its kernels come from: imagenet (download by keras.applications), a local .h5 or "
        ".npz file, or random (for tests only; recorded and warned about).",
    )
    activation: str = config_field(
        "after", "Take the layer's output after (paper) or before its ReLU."
    )
    feature_scale: float = config_field(
        1 / 12.75, "Features are multiplied by this (paper, section 3.2: 1/12.75)."
    )
    normalization: str = config_field(
        "element",
        "element: distance averaged over positions and channels; pixel: summed over the "
        "channels, as equation 5 is written (128 or 512 times larger).",
    )
    distance: str = config_field(
        "squared", "Distance of two features: squared (equation 5) or absolute (ESRGAN's code)."
    )
    jitter: int = config_field(
        0,
        "In each step SR and HR are shifted alike by 0 to this many pixels before the VGG, at "
        "random: its pooling grid then favours no place within an LR pixel (scale - 1 is right; 0 "
        "is the paper's).",
    )

    def __post_init__(self) -> None:
        for name, choices in (
            ("network", ("vgg16", "vgg19")),
            ("activation", ("after", "before")),
            ("normalization", ("element", "pixel")),
            ("distance", ("squared", "absolute")),
        ):
            value = getattr(self, name)
            require(value in choices, f"vgg_{name} must be one of {choices}", **{name: value})
        require(
            self.feature_scale > 0, "vgg_feature_scale must be positive", value=self.feature_scale
        )
        require(0 <= self.jitter <= 16, "vgg_jitter must be 0 to 16", value=self.jitter)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer of both networks; each stage starts a new one."""

    name: str = config_field("adam", "Optimizer (srgan-train --list names all).")
    beta_1: float = config_field(0.9, "Adam's first-moment decay (paper: 0.9); in [0, 1).")
    beta_2: float = config_field(0.999, "Adam's second-moment decay; in [0, 1).")
    epsilon: float = config_field(1e-8, "Adam's denominator constant; positive.")
    weight_decay: float = config_field(
        0.0,
        "Decoupled weight decay: a step also takes learning rate x this x the weight off each "
        "weight; not negative, and for adamw, radam, lamb and lookahead alone.",
    )
    clip_norm: float = config_field(
        0.0,
        "Each network's gradients are scaled down to this norm, all of them together, where it is "
        "larger; 0 leaves them as they are.",
    )

    def __post_init__(self) -> None:
        for name in ("beta_1", "beta_2"):
            value = getattr(self, name)
            require(0 <= value < 1, f"optimizer_{name} must be in [0, 1)", value=value)
        require(self.epsilon > 0, "optimizer_epsilon must be positive", value=self.epsilon)
        for name in ("weight_decay", "clip_norm"):
            value = getattr(self, name)
            rule = f"optimizer_{name} must be finite and not negative"
            require(0 <= value < math.inf, rule, value=value)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How a run is watched and kept; may differ when a run is continued."""

    log_every: int = config_field(10, "Steps between rows of metrics.csv and TensorBoard scalars.")
    validate_every: int = config_field(
        500, "Steps between validations on whole images, with samples."
    )
    validation_images: int = config_field(
        10, "Validation images used each time (the first by name)."
    )
    checkpoint_every: int = config_field(500, "Steps between checkpoints.")
    keep_checkpoints: int = config_field(3, "Recent checkpoints that are kept, besides the best.")
    best_metric: str = config_field(
        "psnr_y",
        "Validation score that the best checkpoint of a stage is chosen by: psnr_y, ssim_y, "
        "colour_drift or checkerboard (the last two: lowest is best).",
    )
    doctor: bool = config_field(
        True,
        "Warn when the discriminator wins or loses for long, pictures collapse, colours drift or a "
        "checkerboard rises or stays.",
    )
    deterministic: bool = config_field(
        False,
        "Use only operations that give the same bits each time: a run that is stopped, killed and "
        "continued ends as one that was not. CPUs do so anyway.",
    )
    on_divergence: str = config_field(
        "stop",
        "When a loss or weight is not finite: stop, or rollback (to the last good checkpoint, with "
        "a smaller learning rate).",
    )
    rollback_factor: float = config_field(
        0.5, "What a rollback multiplies the learning rate by; between 0 and 1."
    )
    max_rollbacks: int = config_field(3, "Rollbacks after which the run stops all the same.")
    profile: tuple[int, ...] = config_field(
        (), "FROM,TO: write a TensorBoard profile of these steps of the run (the first is 1)."
    )
    max_bad_records: int = config_field(
        0,
        "Training records that may be unreadable: others then take their place; with more, the run "
        "saves and stops.",
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int:
                least = min(1, field.default)
                require(
                    value >= least, f"{field.name} must be at least {least}", **{field.name: value}
                )
        require(
            self.best_metric in BEST_METRICS,
            f"best_metric must be one of {', '.join(BEST_METRICS)}",
            best_metric=self.best_metric,
        )
        require(
            self.on_divergence in ("stop", "rollback"),
            "on_divergence must be stop or rollback",
            on_divergence=self.on_divergence,
        )
        require(
            not self.profile
            or (len(self.profile) == 2 and 1 <= self.profile[0] <= self.profile[1]),
            "profile must be two steps FROM,TO, from 1 on",
            profile=self.profile,
        )
        require(
            0 < self.rollback_factor < 1,
            "rollback_factor must be between 0 and 1",
            rollback_factor=self.rollback_factor,
        )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A whole run. `recipe` says where the figures started from; the rest is what counts."""

    recipe: str = "paper"
    seed: int = config_field(1, "Seed of every random choice: weights, data order, crops, labels.")
    init_from: str = config_field(
        "",
        "Start from these weights: a pretrained model (lite, lite-gan, srresnet, srgan) or a run "
        "folder. The pretrain stage before others is then left out unless --pretrain_steps asks "
        "for it.",
    )
    init_checkpoint: str = config_field(
        "last", "Which checkpoint of a run folder in --init_from: last, best or a step."
    )
    ema_decay: float = config_field(
        0.0,
        "Decay of a moving average of the generator's weights, which is then validated, evaluated "
        "and exported instead of the weights themselves; in [0, 1), 0 is none.",
    )
    precision: str = config_field(
        "float32",
        "What the networks compute in while training: float32, bfloat16, or float16 (with loss "
        "scaling). Weights, losses and pictures are float32 in any.",
    )
    data: DataConfig = DataConfig()
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    vgg: VggConfig = VggConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    stages: StagesConfig = StagesConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed must be in 0 to 2**32 - 1", seed=self.seed)
        require(
            self.init_checkpoint in ("last", "best") or self.init_checkpoint.isdigit(),
            "init_checkpoint must be last, best or a step",
            init_checkpoint=self.init_checkpoint,
        )
        require(
            self.init_from or self.init_checkpoint == "last",
            "init_checkpoint is for the run folder in init_from",
            init_checkpoint=self.init_checkpoint,
        )
        require(
            self.precision in PRECISIONS,
            f"precision must be one of {PRECISIONS}",
            precision=self.precision,
        )
        require(0 <= self.ema_decay < 1, "ema_decay must be in [0, 1)", ema_decay=self.ema_decay)
        require(
            self.vgg.jitter <= self.data.crop_size // 2,
            "vgg_jitter must be at most half of crop_size",
            vgg_jitter=self.vgg.jitter,
            crop_size=self.data.crop_size,
        )
        require(
            self.discriminator.jitter <= self.data.crop_size // 2,
            "discriminator_jitter must be at most half of crop_size",
            discriminator_jitter=self.discriminator.jitter,
            crop_size=self.data.crop_size,
        )
        require(
            bool(self.stages.active()),
            "at least one stage must have steps",
            pretrain_steps=self.stages.pretrain.steps,
            discriminator_steps=self.stages.discriminator.steps,
            gan_steps=self.stages.gan.steps,
        )

    @property
    def discriminator_size(self) -> int:
        """Side in HR pixels of what the discriminator sees."""
        return self.data.crop_size - self.discriminator.jitter

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
