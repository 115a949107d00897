"""What the doctor advises: remedies that fit the stage, and not what the run has already.

Each function takes the run's config and the stage's name (pretrain or gan), and returns phrases
that name flags, the best first, at least one.
"""

from collections.abc import Callable

from srgan_tf.config import GanStage, TrainConfig
from srgan_tf.losses import objective
from srgan_tf.models import discriminators, generators


def strong(config: TrainConfig, stage: str) -> list[str]:
    """The discriminator is always right: what makes it weaker or smoother."""
    settings, found = getattr(config.stages, stage), []
    # Such as hinge have no labels: the config refuses soft ones.
    hard = (GanStage.real_labels, GanStage.fake_labels)
    labels = (settings.real_labels, settings.fake_labels)
    if objective.adversarial_pair(settings).has_labels and labels == hard:
        found.append("give it soft labels (--gan_real_labels=0.7,1.0 --gan_fake_labels=0,0.3)")
    if discriminators.resolve(config.discriminator).norm != "spectral":
        found.append("give it spectral norm (--discriminator_norm=spectral)")
    if settings.discriminator_updates > 1:
        updates = settings.discriminator_updates - 1
        found.append(f"give it fewer updates (--gan_discriminator_updates={updates})")
    weight = 2 * settings.r1_weight or 10
    kind = "larger" if settings.r1_weight else "gradient"
    return [*found, f"give it a {kind} penalty (--gan_r1_weight={weight:g})"]


def weak(config: TrainConfig, stage: str) -> list[str]:
    """The discriminator is always wrong: what lets it catch up."""
    settings = getattr(config.stages, stage)
    updates = settings.discriminator_updates + 1
    found = [f"give it more updates (--gan_discriminator_updates={updates})"]
    if not config.stages.discriminator.steps:
        found.append("train it alone first (--discriminator_steps=500)")
    return found + _less_adversarial(config, stage)


def collapsed(config: TrainConfig, stage: str) -> list[str]:
    """Pictures are constant: slower, or from weights that are good already."""
    found = [_slower(config, stage, 10)]
    if not config.init_from:
        found.append("begin from trained weights (--init_from)")
    return found


def drifted(config: TrainConfig, stage: str) -> list[str]:
    """Colours moved: docs/EXPERIMENTS.md ("The original's recipe") has what cured it."""
    found = []
    if generators.resolve(config.generator).norm == "batch":
        found.append("train anew with --generator_norm=none")
    return [
        *found,
        _slower(config, stage, 2),
        *_pixels(config, stage),
        *_less_adversarial(config, stage),
    ]


def checkered(config: TrainConfig, stage: str) -> list[str]:
    """There is a grid: upsampling first (docs/EXPERIMENTS.md, "Where the grids come from")."""
    found, upsampling = [], generators.resolve(config.generator).upsampling
    if upsampling != "nearest_conv":
        other = "" if upsampling == "subpixel" else " (or subpixel, which has less)"
        least = "train anew with --generator_upsampling=nearest_conv, which has least"
        found.append(least + other)
    found += [*_pixels(config, stage), *_less_adversarial(config, stage)]
    return found or [_slower(config, stage, 2)]


def _slower(config: TrainConfig, stage: str, factor: int) -> str:
    rate = getattr(config.stages, stage).learning_rate / factor
    return f"lower the learning rate (--{stage}_learning_rate={rate:g})"


def _pixels(config: TrainConfig, stage: str) -> list[str]:
    """Features alone hold neither colours nor flat areas; where pixels count there is no advice."""
    content = dict(getattr(config.stages, stage).content)
    if any(weight for name, weight in content.items() if name != "vgg"):
        return []
    return [f"add pixels to the content (l1 in --{stage}_content)"]


def _less_adversarial(config: TrainConfig, stage: str) -> list[str]:
    weight = getattr(getattr(config.stages, stage), "adversarial_weight", 0.0)
    return [f"lower --gan_adversarial_weight (it is {weight:g})"] if weight else []


REMEDIES: dict[str, Callable[[TrainConfig, str], list[str]]] = {
    "strong": strong,
    "weak": weak,
    "collapsed": collapsed,
    "drifted": drifted,
    "checkered": checkered,
}
