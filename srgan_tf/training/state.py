"""Everything that a stage updates or needs: networks, optimizers, step counter, objective."""

import dataclasses
from typing import Any

import tensorflow as tf
from absl import logging

from srgan_tf import errors, run_folder
from srgan_tf.config import TrainConfig
from srgan_tf.losses import adversarial
from srgan_tf.losses import objective as objective_lib
from srgan_tf.models import discriminators, generators, vgg
from srgan_tf.training import averages, initialization, loss_scaling, optimizers

# Below every score; finite, so that everything in a checkpoint is.
NO_SCORE = float(tf.float32.min)


@dataclasses.dataclass
class TrainState:
    """What the step functions read and write.

    `discriminator` and its optimizer are None in a run without an adversarial stage. `best` is the
    best validation score of the stage so far (by `best_metric`, negated where lower is better),
    `learning_rate_scale` what rollbacks have left of the learning rate, `diverged_at` the first
    step with a non-finite scalar (-1: none). `averaged` is the moving average of the generator,
    None without `ema_decay`. `loss_scales` holds one for each trained network in float16 and is
    empty otherwise. The VGG is frozen; it is neither checkpointed nor exported.
    """

    config: TrainConfig
    step: tf.Variable
    best: tf.Variable
    diverged_at: tf.Variable
    learning_rate_scale: tf.Variable
    generator: tf.keras.Model
    discriminator: tf.keras.Model | None
    vgg: tf.keras.Model | None
    averaged: tf.keras.Model | None = None
    loss_scales: dict[str, loss_scaling.LossScale] = dataclasses.field(default_factory=dict)
    stage_name: str = ""
    stage: Any = None
    generator_optimizer: tf.keras.optimizers.Optimizer | None = None
    discriminator_optimizer: tf.keras.optimizers.Optimizer | None = None
    objective: objective_lib.GeneratorObjective | None = None
    pair: adversarial.AdversarialPair | None = None

    @property
    def global_batch(self) -> int:
        """Images per update over all replicas."""
        return self.config.data.batch_size

    @property
    def output_generator(self) -> tf.keras.Model:
        """The generator that people are to see: validated, and exported by default."""
        return self.generator if self.averaged is None else self.averaged

    def checkpoint(self, without: tuple[str, ...] = ()) -> tf.train.Checkpoint:
        """Returns the one object that is saved: networks, optimizers, step, best so far."""
        parts = {
            "step": self.step,
            "best": self.best,
            "learning_rate_scale": self.learning_rate_scale,
            **self.generators(),
            "generator_optimizer": self.generator_optimizer,
            "discriminator": self.discriminator,
            "discriminator_optimizer": self.discriminator_optimizer,
            **{f"{name}_loss_scale": scale for name, scale in self.loss_scales.items()},
        }
        return tf.train.Checkpoint(
            **{n: part for n, part in parts.items() if part is not None and n not in without}
        )

    def generators(self) -> dict[str, tf.keras.Model]:
        """Returns the generator and, where there is one, its average, by name in checkpoints."""
        made = {"generator": self.generator, run_folder.AVERAGED: self.averaged}
        return {name: network for name, network in made.items() if network is not None}

    def initialize(self) -> dict[str, Any] | None:
        """Gives a new run the weights that its config asks for; see `initialization`."""
        loaded = initialization.initialize(self.config, self.generator, self.discriminator)
        if self.averaged is not None:
            averages.restart(self.averaged, self.generator)
        return loaded

    def enter_stage(self, name: str) -> None:
        """Starts stage `name`: new optimizers (their schedules count from 0) and its losses.

        Call inside the strategy's scope.
        """
        first = not self.stage_name
        self.stage_name, self.stage = name, getattr(self.config.stages, name)
        self.generator_optimizer = optimizers.build(
            self.config.optimizer, self.stage, self.generator, scale=self.learning_rate_scale
        )
        if self.discriminator:
            self.discriminator_optimizer = optimizers.build(
                self.config.optimizer,
                self.stage,
                self.discriminator,
                updates_per_step=getattr(self.stage, "discriminator_updates", 1),
                scale=self.learning_rate_scale,
            )
        self.objective, self.pair = self._losses(self.stage)
        if self.averaged is not None and (self.objective or first):
            averages.restart(self.averaged, self.generator)
        self.best.assign(NO_SCORE)

    def check_stages(self) -> None:
        """Resolves every name of every stage now, not after days when the stage begins.

        Raises:
            errors.InputError: an unknown loss, adversarial pair or optimizer, or one that is not
                here or cannot have what it is given.
        """
        optimizers.make(self.config.optimizer, learning_rate=0.0)
        games = {}
        for name, stage in self.config.stages.active():
            self._losses(stage)
            if hasattr(stage, "adversarial"):
                games[f"--{name}_adversarial={stage.adversarial}"] = stage.adversarial
        if len(set(games.values())) > 1:
            logging.warning(
                "The discriminator is pre-trained for another game than it will play: %s. Their "
                "logits mean different things; set both alike unless that is what you study.",
                " and ".join(games),
            )

    def _losses(
        self, stage: Any
    ) -> tuple[objective_lib.GeneratorObjective | None, adversarial.AdversarialPair | None]:
        objective = pair = None
        if hasattr(stage, "content"):
            objective = objective_lib.GeneratorObjective(stage, self.config.vgg, self.vgg)
        if hasattr(stage, "adversarial"):
            pair = objective_lib.adversarial_pair(stage)
        return objective, pair


def _build_discriminator(config: TrainConfig) -> tf.keras.Model:
    size, jitter = config.discriminator_size, config.discriminator.jitter
    try:
        return discriminators.build(config.discriminator, size, config.precision)
    except errors.InputError as error:
        if not jitter:
            raise
        raise errors.InputError(
            f"{error} (It sees {size} pixels: crop_size less --discriminator_jitter={jitter}.)"
        ) from None


def build(config: TrainConfig) -> TrainState:
    """Builds the networks of a run from its seed; call inside the strategy's scope."""
    tf.keras.utils.set_random_seed(config.seed)
    generator = generators.build(config.generator, config.data.scale, config.precision)
    discriminator = None
    if config.adversarial:
        discriminator = _build_discriminator(config)
    averaged = None
    if config.ema_decay:  # Last, so that the other networks begin as they would without it.
        averaged = generators.build(config.generator, config.data.scale, config.precision)
    layers = config.vgg_layers
    made = TrainState(
        config=config,
        step=_counter(0),
        best=_counter(NO_SCORE),
        diverged_at=_counter(-1),
        learning_rate_scale=_counter(1.0),
        generator=generator,
        discriminator=discriminator,
        averaged=averaged,
        loss_scales={
            name: loss_scaling.LossScale()
            for name, network in (("generator", generator), ("discriminator", discriminator))
            if config.precision == "float16" and network
        },
        vgg=vgg.feature_model(config.vgg, layers, config.precision) if layers else None,
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
