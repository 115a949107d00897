"""Named recipes: whole runs with where their figures come from. No TensorFlow import.

Each function's docstring names its source and what differs from it. `srgan-train --recipe=NAME`
starts from one; any figure can be overridden by its flag.
"""

from collections.abc import Callable

from srgan_tf.config import (
    DataConfig,
    DiscriminatorConfig,
    DiscriminatorStage,
    GanStage,
    GeneratorConfig,
    PretrainStage,
    RunConfig,
    StagesConfig,
    TrainConfig,
    VggConfig,
)

# Total variation weight of the SRResNet-VGG22 variant (Ledig et al. 2017, supplementary) and of
# the original Keras project.
_TV_WEIGHT = 2e-8


def paper() -> TrainConfig:
    """SRGAN-VGG54 of Ledig et al. 2017 (arXiv 1609.04802, section 3.2).

    MSE pre-training of 10^6 updates at 1e-4; then 10^5 updates at 1e-4 and 10^5 at 1e-5 with VGG19
    conv5_4 content (after the activation, scaled by 1/12.75) and 1e-3 times the adversarial loss.
    Differs: flips and turns of the crops (the paper names none); the squared feature distance is
    averaged over the channels too (`--vgg_normalization=pixel` is equation 5 to the letter);
    residual branches start at zero, PReLU slopes at 0.25, batch normalization's momentum is 0.9
    (the paper names none of these).
    """
    return TrainConfig(
        recipe="paper",
        stages=StagesConfig(
            pretrain=PretrainStage(steps=1_000_000, content=(("mse", 1.0),)),
            gan=GanStage(
                steps=200_000,
                decay_at=(100_000,),
                content=(("vgg", 1.0),),
                vgg_layer="block5_conv4",
                adversarial_weight=1e-3,
            ),
        ),
        run=RunConfig(log_every=100, validate_every=5000, checkpoint_every=5000),
    )


def seed() -> TrainConfig:
    """The Keras 1 project that this package succeeds, without its faults.

    Its figures: VGG16 conv2_2 content and total variation (2e-8) alone; then the discriminator
    alone; then VGG16 conv5_3 content, total variation and the adversarial loss; Adam at 1e-4;
    fake labels U(0, 0.3), real labels U(0.7, 1.2), a whole batch flipped with probability 0.1.
    Differs: RGB is turned into BGR before the means are taken off, LR images are not
    contrast-stretched, the discriminator is trained by a tape of its own, the adversarial term is
    the non-saturating one, and networks are this package's. It named no lengths; these are ours.
    """
    labels = {"fake_labels": (0.0, 0.3), "real_labels": (0.7, 1.2), "flip_labels": 0.1}
    return TrainConfig(
        recipe="seed",
        vgg=VggConfig(network="vgg16"),
        stages=StagesConfig(
            pretrain=PretrainStage(
                steps=100_000,
                content=(("vgg", 1.0),),
                vgg_layer="block2_conv2",
                tv_weight=_TV_WEIGHT,
            ),
            discriminator=DiscriminatorStage(steps=2_000, **labels),
            gan=GanStage(
                steps=100_000,
                content=(("vgg", 1.0),),
                vgg_layer="block5_conv3",
                tv_weight=_TV_WEIGHT,
                **labels,
            ),
        ),
        run=RunConfig(log_every=50, validate_every=1000, checkpoint_every=1000),
    )


def quick() -> TrainConfig:
    """All three stages within minutes on two CPU cores; downloads nothing (our own figures).

    The fast generator and a small discriminator, L1 instead of VGG features. It shows that
    everything works and is better than bicubic; it is not meant to be the best model.
    """
    return TrainConfig(
        recipe="quick",
        data=DataConfig(crop_size=96, batch_size=16, crops_per_image=4),
        generator=GeneratorConfig(name="lite", filters=32, blocks=4),
        discriminator=DiscriminatorConfig(filters=8, dense_units=64),
        stages=StagesConfig(
            pretrain=PretrainStage(
                steps=1200, learning_rate=1e-3, decay_at=(800,), content=(("l1", 1.0),)
            ),
            discriminator=DiscriminatorStage(steps=60),
            gan=GanStage(steps=120, content=(("l1", 1.0),), adversarial_weight=1e-3),
        ),
        run=RunConfig(log_every=10, validate_every=300, validation_images=4, checkpoint_every=300),
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {"paper": paper, "seed": seed, "quick": quick}
