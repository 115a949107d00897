"""Named recipes: whole runs with where their figures come from. No TensorFlow import.

Each function's docstring names its source and what differs from it. `srgan-train --recipe=NAME`
starts from one; any figure can be overridden by its flag. `srgan-train --list` prints the first
lines, `srgan-train --recipe=NAME --show` all figures.

Sizes of VGG terms, by which the weights below were chosen. Measured: 16 crops (96 px) of BSDS400
against their bicubic x4, features of VGG19 multiplied by 1/12.75, squared, averaged over the
channels: conv2_2 252, conv3_4 2152, while MSE is 0.028. Reported by others for conv5_4 at the end
of a training: 0.066 (github.com/krasserm/super-resolution, issue 45).
"""

import dataclasses
from collections.abc import Callable

from srgan_tf.config import (
    DataConfig,
    DiscriminatorConfig,
    DiscriminatorStage,
    GanStage,
    GeneratorConfig,
    OptimizerConfig,
    PretrainStage,
    RunConfig,
    StagesConfig,
    TrainConfig,
    VggConfig,
)

# Total variation weight of the SRResNet-VGG22 variant (Ledig et al. 2017, supplementary) and of
# the original Keras project.
_TV_WEIGHT = 2e-8
# Of runs of 10^5 steps and more.
_LONG_RUN = RunConfig(log_every=100, validate_every=5000, checkpoint_every=5000)


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
        run=_LONG_RUN,
    )


def paper_vgg22() -> TrainConfig:
    """SRGAN-VGG22 of Ledig et al. 2017: as `paper`, with VGG19 conv2_2 as the content.

    Its generator starts from SRResNet-MSE too, without total variation. That (2e-8) is for their
    SRResNet-VGG22 alone, which is `--gan_steps=0 --pretrain_content=vgg:1
    --pretrain_vgg_layer=block2_conv2 --pretrain_tv_weight=2e-8` here.
    Differs as `paper` does, and: the content is multiplied by 1e-3. The paper scales features so
    that VGG losses are comparable to MSE; with keras.applications' kernels that of conv2_2 is 9000
    times as large (see above), and 1e-3 of an adversarial loss would not count beside it. So it has
    the size that conv5_4 has in `paper`; the gradients were measured for `seed`, below.
    """
    base = paper()
    gan = dataclasses.replace(
        base.stages.gan, content=(("vgg", 1e-3),), vgg_layer=(("block2_conv2", 1.0),)
    )
    stages = dataclasses.replace(base.stages, gan=gan)
    return dataclasses.replace(base, recipe="paper_vgg22", stages=stages)


def seed() -> TrainConfig:
    """The Keras 1 project that this package succeeds, without its faults; nearest + conv at last.

    Its figures: conv5, 15 residual blocks, nearest + conv3-128; LR by a Gaussian blur, then
    bicubic; batch normalization; VGG16 conv2_2 content and total variation (2e-8) alone; then the
    discriminator alone; then VGG16 conv5_3 content, total variation and the adversarial loss; Adam
    at 1e-4; fake labels U(0, 0.3), real labels U(0.7, 1.2), a batch flipped with probability 0.1.
    Differs: RGB is turned into BGR before the means are taken off, LR images are not
    contrast-stretched nor photos squashed to a square, the discriminator is trained by a tape of
    its own, and the adversarial term is the non-saturating one. It named no lengths, batch, crop or
    weight of content against adversarial; these are ours. Against shifted colours (features hardly
    see them) and blocks: no normalization, L1 beside the features, a start as bilinear enlargement
    (`upsampling.Linear`); for short trainings: pre-training at 5e-4 along a cosine, and the moving
    average of the weights. What each does is in docs/EXPERIMENTS.md.

    The weights: the VGG distance and the adversarial loss count 1e-3 each, so that conv2_2 is
    about 0.25 (VGG19's figure above). In the VGG distance conv5_3 counts a thousand times as much
    as conv2_2: a guess from what is reported of VGG19's conv5_4, for it was not measured.
    Measured with VGG19 conv2_2 in both stages on BSDS400 (5 blocks of 32 filters, crops of 48, 150
    + 20 + 45 steps): the adversarial gradient is 0.13 to 0.25 of the content's by SR, 0.03 to 0.07
    by the generator's weights; it was a thousandth of that with content at 1. Total variation at
    its original weight is 1e-5 of the content and changes nothing.
    For figures to compare with others' train on their LR: `--degradation=bicubic`.
    """
    labels = {"fake_labels": (0.0, 0.3), "real_labels": (0.7, 1.2), "flip_labels": 0.1}
    content = (("vgg", 1e-3), ("l1", 1.0))
    return TrainConfig(
        recipe="seed",
        ema_decay=0.999,
        data=DataConfig(degradation="gaussian_bicubic"),
        generator=GeneratorConfig(
            name="srresnet_seed", blocks=15, norm="none", upsampling="nearest_conv"
        ),
        vgg=VggConfig(network="vgg16", jitter=3),
        stages=StagesConfig(
            pretrain=PretrainStage(
                steps=100_000,
                learning_rate=5e-4,
                schedule="cosine",
                warmup_steps=50,
                final_fraction=0.05,
                content=content,
                vgg_layer=(("block2_conv2", 1.0),),
                tv_weight=_TV_WEIGHT,
            ),
            discriminator=DiscriminatorStage(steps=2_000, **labels),
            gan=GanStage(
                steps=100_000,
                content=content,
                vgg_layer=(("block5_conv3", 1000.0),),
                tv_weight=_TV_WEIGHT,
                **labels,
            ),
        ),
        run=RunConfig(log_every=50, validate_every=1000, checkpoint_every=1000),
    )


def seed_subpixel() -> TrainConfig:
    """As `seed`, with the sub-pixel upsampling that the original had before (ICNR start: ours)."""
    base = seed()
    generator = dataclasses.replace(base.generator, upsampling="subpixel")
    return dataclasses.replace(base, recipe="seed_subpixel", generator=generator)


# Real-ESRGAN's VGG takes inputs divided by ImageNet's standard deviation, 0.226 of the range.
_DEVIATION_IN_GREY_LEVELS = 57.6
# Their 1 on [0, 1] would be 0.5 on [-1, 1]; but Adam's steps do not depend on the loss's size.
_L1_ALONE = (("l1", 1.0),)


def esrgan() -> TrainConfig:
    """ESRGAN of Wang et al. 2018 (arXiv 1809.00219, section 4.1).

    RRDB generator of 23 blocks; L1 alone for 10^6 updates at 2e-4, halved every 2 x 10^5; then
    4 x 10^5 updates at 1e-4, halved at 50k, 100k, 200k and 300k, on VGG19 conv5_4 before the
    activation + 5e-3 times the relativistic average loss + 1e-2 L1; crops of 128, batches of 16.
    Their code (not the paper) gives the absolute feature distance. Features are divided by 57.6:
    their VGG takes inputs divided by ImageNet's deviation, keras.applications' takes grey levels.
    Two of the GAN stage's weights are half of theirs, to count as much as there: L1 5e-3 for 1e-2,
    for ours is on [-1, 1], twice that on [0, 1]; adversarial 2.5e-3 for 5e-3, for their code (not
    the paper) halves the generator's sum of two terms. Features know no [-1, 1]: no such factor.
    Differs: the discriminator is SRGAN's (theirs has two convolutions more, 4x4 where it strides,
    and 100 dense units); features are those of keras.applications' kernels on grey levels, theirs
    of torchvision's.
    """
    return TrainConfig(
        recipe="esrgan",
        data=DataConfig(crop_size=128, batch_size=16),
        generator=GeneratorConfig(name="rrdb", filters=64, blocks=23),
        discriminator=DiscriminatorConfig(name="srgan"),
        vgg=VggConfig(
            activation="before", feature_scale=1 / _DEVIATION_IN_GREY_LEVELS, distance="absolute"
        ),
        stages=StagesConfig(
            pretrain=PretrainStage(
                steps=1_000_000,
                learning_rate=2e-4,
                decay_at=(200_000, 400_000, 600_000, 800_000),
                decay_factor=0.5,
                content=_L1_ALONE,
            ),
            gan=GanStage(
                steps=400_000,
                decay_at=(50_000, 100_000, 200_000, 300_000),
                decay_factor=0.5,
                content=(("vgg", 1.0), ("l1", 5e-3)),
                vgg_layer=(("block5_conv4", 1.0),),
                adversarial="ragan",
                adversarial_weight=2.5e-3,
            ),
        ),
        run=_LONG_RUN,
    )


def real_esrgan() -> TrainConfig:
    """Real-ESRGAN of Wang et al. 2021 (arXiv 2107.10833, section 4.1), for photos as they are.

    RRDB generator, blind second-order degradation, U-Net discriminator with spectral normalization.
    L1 alone for 10^6 updates at 2e-4; then 4 x 10^5 at 1e-4 on L1 + VGG19 features before the
    activation (conv1_2 and conv2_2 a tenth, conv3_4, conv4_4 and conv5_4 whole) + 0.1 times the
    adversarial loss; a moving average of 0.999; crops of 256, batches of 48 (theirs: 4 GPUs). Their
    options give: beta2 0.99, flips without turns, the absolute feature distance. L1 counts 0.5 in
    the GAN stage for their 1: ours is on [-1, 1], twice that on [0, 1].
    Differs: starts from random weights (theirs: from ESRGAN's; `--init_from=RUN` does that); HR is
    not sharpened (their "+" model's is); each crop is degraded by itself, without a pool; features
    are of keras.applications' kernels on grey levels, divided by 57.6 to be of the size that theirs
    have (on bicubic pictures 0.12 and 0.35 of the weighted conv1_2 and conv2_2, 8.1 of conv3_4; the
    deeper ones were not measured).
    """
    return TrainConfig(
        recipe="real_esrgan",
        ema_decay=0.999,
        data=DataConfig(crop_size=256, batch_size=48, degradation="blind", rotate=False),
        generator=GeneratorConfig(name="rrdb", filters=64, blocks=23),
        discriminator=DiscriminatorConfig(name="unet"),
        vgg=VggConfig(
            activation="before", feature_scale=1 / _DEVIATION_IN_GREY_LEVELS, distance="absolute"
        ),
        optimizer=OptimizerConfig(beta_2=0.99),
        stages=StagesConfig(
            pretrain=PretrainStage(steps=1_000_000, learning_rate=2e-4, content=_L1_ALONE),
            gan=GanStage(
                steps=400_000,
                content=(("l1", 0.5), ("vgg", 1.0)),
                vgg_layer=(
                    ("block1_conv2", 0.1),
                    ("block2_conv2", 0.1),
                    ("block3_conv4", 1.0),
                    ("block4_conv4", 1.0),
                    ("block5_conv4", 1.0),
                ),
                adversarial_weight=0.1,
            ),
        ),
        run=_LONG_RUN,
    )


def lite() -> TrainConfig:
    """A fast generator trained well on CPUs, for PSNR; downloads nothing (our own figures).

    48 filters, 6 blocks (292,320 parameters at scale 4), L1, Adam at 1e-3 along a cosine, moving
    average 0.999, batches of 16 crops of 128. No GAN: `--gan_steps` adds one. On the
    pictures of docs/MODELS.md it reaches 31.66 / 28.26 dB (Set5 / Set14, Y) after 85,000 steps. On
    BSDS400 one trial of a like model reached 31.15 / 27.96 after 4,000, and at best
    31.38 / 28.10 after 18,000; from there on the data, not the time, was the limit.
    """
    return TrainConfig(
        recipe="lite",
        ema_decay=0.999,
        data=DataConfig(crop_size=128, batch_size=16, crops_per_image=4),
        generator=GeneratorConfig(name="lite", filters=48, blocks=6),
        stages=StagesConfig(
            pretrain=PretrainStage(
                steps=20_000, learning_rate=1e-3, schedule="cosine", content=(("l1", 1.0),)
            ),
            gan=GanStage(content=(("l1", 1.0),)),
        ),
        run=RunConfig(log_every=50, validate_every=1000, checkpoint_every=1000),
    )


def lite_gan() -> TrainConfig:
    """`lite`, then a GAN stage on L1, VGG19 conv2_2 and a small SRGAN discriminator: sharper.

    `--init_from=lite` starts from the weights that come with the package, and does what follows
    alone (our own figures). The discriminator (32 filters, dense 256) learns by itself for 150
    steps; it and the VGG see SR and HR shifted alike, against a grid of their strides.
    Features count 2e-4 beside L1, a fifth of `paper_vgg22`: by themselves they draw a grid in a
    generator as small as this one (checkerboard, EVALUATION.md: after 120 steps 4.7 with conv2_2
    at 1e-3, 56 with conv3_4 beside it; the discriminator takes it away again). Crops of 96,
    batches of 8, moving average 0.995.
    """
    base = lite()
    return dataclasses.replace(
        base,
        recipe="lite_gan",
        ema_decay=0.995,
        data=DataConfig(crop_size=96, batch_size=8, crops_per_image=4),
        discriminator=DiscriminatorConfig(filters=32, dense_units=256, jitter=16),
        vgg=VggConfig(jitter=3),
        stages=dataclasses.replace(
            base.stages,
            discriminator=DiscriminatorStage(steps=150),
            gan=GanStage(
                steps=4_000,
                decay_at=(3_000,),
                content=(("l1", 1.0), ("vgg", 2e-4)),
                vgg_layer=(("block2_conv2", 1.0),),
                adversarial_weight=0.01,
            ),
        ),
        run=RunConfig(log_every=20, validate_every=200, checkpoint_every=200),
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


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "paper": paper,
    "paper_vgg22": paper_vgg22,
    "seed": seed,
    "seed_subpixel": seed_subpixel,
    "esrgan": esrgan,
    "real_esrgan": real_esrgan,
    "lite": lite,
    "lite_gan": lite_gan,
    "quick": quick,
}
