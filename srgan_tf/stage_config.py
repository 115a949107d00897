"""The stages of a run: lengths, learning rates, losses, labels; part of `config.TrainConfig`."""

import dataclasses
import math

from srgan_tf.config_fields import Weights, config_field, require

SCHEDULES = ("step", "cosine")


@dataclasses.dataclass(frozen=True)
class _Schedule:
    """Length and learning rate of a stage."""

    steps: int = config_field(0, "Updates in this stage; 0 leaves the stage out.")
    learning_rate: float = config_field(1e-4, "Learning rate at the start of the stage; positive.")
    schedule: str = config_field(
        "step",
        "step: the learning rate falls at the steps of decay_at (none: it is constant); cosine: it "
        "falls along half a cosine, from the end of the warm-up to the end of the stage.",
    )
    decay_at: tuple[int, ...] = config_field(
        (), "Steps of this stage at which the learning rate is multiplied by the decay factor."
    )
    decay_factor: float = config_field(
        0.1, "What the learning rate is multiplied by at each such step."
    )
    final_fraction: float = config_field(
        0.0, "Share of the learning rate at which the cosine schedule ends; in [0, 1]."
    )
    warmup_steps: int = config_field(
        0, "Steps over which the learning rate rises linearly at the start; 0 is none."
    )

    def __post_init__(self) -> None:
        require(self.steps >= 0, "a stage's steps must not be negative", steps=self.steps)
        require(
            self.learning_rate > 0,
            "learning_rate must be positive",
            learning_rate=self.learning_rate,
        )
        require(
            list(self.decay_at) == sorted(set(self.decay_at)) and all(s > 0 for s in self.decay_at),
            "decay_at must be increasing positive steps",
            decay_at=self.decay_at,
        )
        require(self.decay_factor > 0, "decay_factor must be positive", factor=self.decay_factor)
        require(
            self.schedule in SCHEDULES,
            f"schedule must be one of {SCHEDULES}",
            schedule=self.schedule,
        )
        require(
            self.schedule == "step" or not self.decay_at,
            "decay_at is for the step schedule (empty it: --pretrain_decay_at= or --gan_decay_at=)",
            schedule=self.schedule,
            decay_at=self.decay_at,
        )
        require(
            0 <= self.final_fraction <= 1,
            "final_fraction must be in [0, 1]",
            final_fraction=self.final_fraction,
        )
        require(
            self.schedule == "cosine" or not self.final_fraction,
            "final_fraction is for the cosine schedule",
            schedule=self.schedule,
            final_fraction=self.final_fraction,
        )
        require(
            0 <= self.warmup_steps and (self.warmup_steps < self.steps or not self.steps),
            "warmup_steps must not be negative, and fewer than the stage's steps",
            warmup_steps=self.warmup_steps,
            steps=self.steps,
        )


@dataclasses.dataclass(frozen=True)
class _GeneratorTerms:
    """What the generator is asked for, besides fooling the discriminator."""

    content: Weights = config_field(
        (("mse", 1.0),), "Weighted content losses, for example vgg:1 or mse:1,vgg:0.006."
    )
    vgg_layer: Weights = config_field(
        (("block5_conv4", 1.0),),
        "VGG layers of the vgg content loss, each with its weight (a bare name counts 1), for "
        "example block2_conv2 (the paper's VGG22) or block1_conv2:0.1,block5_conv4:1.",
    )
    tv_weight: float = config_field(0.0, "Weight of the total variation; 0 leaves it out.")

    def _check_weights(self, **others: float) -> None:
        if isinstance(self.vgg_layer, str):  # As recipes and older config.json files write it.
            object.__setattr__(self, "vgg_layer", ((self.vgg_layer, 1.0),))
        for field, kind in (("content", "a loss"), ("vgg_layer", "a layer")):
            names = [name for name, _ in getattr(self, field)]
            rule = f"{field} names {kind} twice"
            require(len(set(names)) == len(names), rule, **{field: getattr(self, field)})
        named = [*self.content, *self.vgg_layer, ("tv_weight", self.tv_weight), *others.items()]
        for name, weight in named:
            require(
                0 <= weight < math.inf, "weights must be finite and not negative", **{name: weight}
            )
        require(
            not dict(self.content).get("vgg") or any(weight for _, weight in self.vgg_layer),
            "the vgg content loss needs a vgg_layer with a weight above 0",
            vgg_layer=self.vgg_layer,
        )


@dataclasses.dataclass(frozen=True)
class _AdversarialTerms:
    """The adversarial pair and the labels that the discriminator is given."""

    adversarial: str = config_field("vanilla", "Adversarial pair (srgan-train --list names all).")
    real_labels: tuple[float, float] = config_field(
        (1.0, 1.0), "Labels of HR images are drawn uniformly from this range."
    )
    fake_labels: tuple[float, float] = config_field(
        (0.0, 0.0), "Labels of SR images are drawn uniformly from this range."
    )
    flip_labels: float = config_field(
        0.0, "Probability that a step swaps the labels of its whole batch; in [0, 1]."
    )
    r1_weight: float = config_field(
        0.0,
        "Weight gamma of the R1 penalty gamma/2 * |dD/dHR|^2 on the discriminator (Mescheder et "
        "al. 2018, equation 9); 0 leaves it out.",
    )

    def _check_adversarial(self) -> None:
        require(
            0 <= self.r1_weight < math.inf,
            "r1_weight must be finite and not negative",
            r1_weight=self.r1_weight,
        )
        for name in ("real_labels", "fake_labels"):
            value = getattr(self, name)
            require(
                len(value) == 2 and value[0] <= value[1],
                f"{name} must be a range low,high",
                **{name: value},
            )
        require(
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

    adversarial_weight: float = config_field(1e-3, "Weight of the adversarial term (equation 3).")
    adversarial_ramp: int = config_field(
        0, "Steps over which that weight rises linearly from 0; 0 gives all of it at once."
    )
    discriminator_updates: int = config_field(
        1,
        "Discriminator updates in a step, each on batch_size images of its own; the generator's "
        "update comes with the last.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_adversarial()
        self._check_weights(adversarial_weight=self.adversarial_weight)
        require(
            self.adversarial_ramp >= 0,
            "adversarial_ramp must not be negative",
            ramp=self.adversarial_ramp,
        )
        require(
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
