"""Everything that a stage updates or needs: networks, optimizers, step counter, objective."""

import dataclasses
from typing import Any

import tensorflow as tf

from srgan_tf import registry
from srgan_tf.config import TrainConfig
from srgan_tf.losses import adversarial
from srgan_tf.losses import objective as objective_lib
from srgan_tf.models import discriminators, generators, vgg
from srgan_tf.training import optimizers


@dataclasses.dataclass
class TrainState:
    """What the step functions read and write.

    `discriminator` and its optimizer are None in a run without an adversarial stage. `best` is the
    best validation PSNR of the stage so far, `diverged_at` the first step with a non-finite scalar
    (-1: none). The VGG is frozen; it is neither checkpointed nor exported.
    """

    config: TrainConfig
    step: tf.Variable
    best: tf.Variable
    diverged_at: tf.Variable
    generator: tf.keras.Model
    discriminator: tf.keras.Model | None
    vgg: tf.keras.Model | None
    stage_name: str = ""
    stage: Any = None
    generator_optimizer: tf.keras.optimizers.Optimizer | None = None
    discriminator_optimizer: tf.keras.optimizers.Optimizer | None = None
    objective: objective_lib.GeneratorObjective | None = None
    pair: adversarial.AdversarialPair | None = None

    @property
    def global_batch(self) -> int:
        """Images per step over all replicas."""
        return self.config.data.batch_size

    def checkpoint(self) -> tf.train.Checkpoint:
        """Returns the one object that is saved: networks, optimizers, step, best so far."""
        parts = {
            "step": self.step,
            "best": self.best,
            "generator": self.generator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator": self.discriminator,
            "discriminator_optimizer": self.discriminator_optimizer,
        }
        return tf.train.Checkpoint(
            **{name: part for name, part in parts.items() if part is not None}
        )

    def enter_stage(self, name: str) -> None:
        """Starts stage `name`: new optimizers (their schedules count from 0) and its losses.

        Call inside the strategy's scope.
        """
        self.stage_name, self.stage = name, getattr(self.config.stages, name)
        self.generator_optimizer = optimizers.build(
            self.config.optimizer, self.stage, self.generator
        )
        if self.discriminator:
            self.discriminator_optimizer = optimizers.build(
                self.config.optimizer, self.stage, self.discriminator
            )
        self.objective, self.pair = self._losses(self.stage)
        self.best.assign(-1.0)

    def check_stages(self) -> None:
        """Resolves every name of every stage now, not after days when the stage begins.

        Raises:
            errors.InputError: an unknown loss, adversarial pair or optimizer.
        """
        registry.lookup(optimizers.OPTIMIZERS, self.config.optimizer.name, "optimizer")
        for _, stage in self.config.stages.active():
            self._losses(stage)

    def _losses(
        self, stage: Any
    ) -> tuple[objective_lib.GeneratorObjective | None, adversarial.AdversarialPair | None]:
        objective = pair = None
        if hasattr(stage, "content"):
            objective = objective_lib.GeneratorObjective(stage, self.config.vgg, self.vgg)
        if hasattr(stage, "adversarial"):
            pair = registry.lookup(adversarial.ADVERSARIAL, stage.adversarial, "adversarial pair")
        return objective, pair


def build(config: TrainConfig) -> TrainState:
    """Builds the networks of a run from its seed; call inside the strategy's scope."""
    tf.keras.utils.set_random_seed(config.seed)
    generator = generators.build(config.generator, config.data.scale)
    discriminator = None
    if config.adversarial:
        discriminator = discriminators.build(config.discriminator, config.data.crop_size)
    layers = config.vgg_layers
    made = TrainState(
        config=config,
        step=_counter(0),
        best=_counter(-1.0),
        diverged_at=_counter(-1),
        generator=generator,
        discriminator=discriminator,
        vgg=vgg.feature_model(config.vgg, layers) if layers else None,
    )
    made.check_stages()
    return made


def _counter(value: int | float) -> tf.Variable:
    """A number that the loop owns; all replicas see the same one."""
    return tf.Variable(
        value,
        dtype=tf.int64 if isinstance(value, int) else tf.float32,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
