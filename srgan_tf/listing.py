"""What `srgan-train --list` and `--show` print: the tables' entries, and the figures of a run."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from srgan_tf import config as config_lib
from srgan_tf import errors, flag_utils, recipes, registry
from srgan_tf.config import OptimizerConfig, TrainConfig
from srgan_tf.data import degradations
from srgan_tf.losses import adversarial, content
from srgan_tf.models import discriminators, generators, pretrained, upsampling
from srgan_tf.training import optimizers


def tables() -> str:
    """Returns every table: its flag, and a line for each entry."""
    width = max(len(name) for _, _, table, _ in _TABLES for name in table) + 2
    sections = []
    for title, flag, table, describe in _TABLES:
        lines = [f"  {name:<{width}}{describe(name, entry)}" for name, entry in table.items()]
        sections.append("\n".join([f"{title}: {flag}", *lines]))
    return "\n\n".join(sections)


def figures(config: TrainConfig) -> str:
    """Returns the figures of a run as flags, which `--flagfile` reads.

    Left out is what the run has no use for and what is the recipe's anyway, such as the ranges of
    the blind degradation in a run with another.

    Raises:
        errors.InputError: a name that the config gives is in none of the tables.
    """
    _check_names(config)
    recipe = recipes.RECIPES[config.recipe]
    lines = [f"# {config.recipe}: {_first_line(recipe)}", f"--recipe={config.recipe}"]
    of_recipe = dict(flag_utils.as_flags(recipe()))
    notes = _what_auto_is(config)
    groups: dict[tuple[str, ...], list[str]] = {}
    for path, text in flag_utils.as_flags(config):
        if path == ("recipe",) or (_idle(config, path) and text == of_recipe[path]):
            continue
        group = groups.setdefault(path[:-1], [])
        group.append(text)
        if path in notes:
            group.append(f"# {config_lib.AUTO} is {notes[path]}")
    for group, texts in groups.items():
        lines += ["", f"# {' '.join(group) or 'training'}", *texts]
    return "\n".join(lines) + "\n"


def _check_names(config: TrainConfig) -> None:
    """Networks are looked up by `_what_auto_is`."""
    registry.lookup(degradations.DEGRADATIONS, config.data.degradation, "degradation")
    registry.lookup(optimizers.OPTIMIZERS, config.optimizer.name, "optimizer")
    resolved = generators.resolve(config.generator)
    norm = discriminators.resolve(config.discriminator).norm
    registry.lookup(discriminators.NORMS, norm, "discriminator_norm")
    registry.lookup(upsampling.UPSAMPLINGS, resolved.upsampling, "generator_upsampling")
    for _, stage in config.stages.active():
        for name, _ in getattr(stage, "content", ()):
            registry.lookup(content.CONTENT, name, "content loss")
        if hasattr(stage, "adversarial"):
            registry.lookup(adversarial.ADVERSARIAL, stage.adversarial, "adversarial pair")


def _what_auto_is(config: TrainConfig) -> dict[tuple[str, str], str]:
    """Returns what the architectures have where the config leaves it to them, by field."""
    resolved = {
        "generator": generators.resolve(config.generator),
        "discriminator": discriminators.resolve(config.discriminator),
    }
    return {
        (group, name): getattr(network, name)
        for group, network in resolved.items()
        for name in ("norm", "upsampling")
        if getattr(getattr(config, group), name, None) == config_lib.AUTO
    }


def _idle(config: TrainConfig, path: tuple[str, ...]) -> bool:
    """Whether the run never looks at the field."""
    if path[0] == "data" and len(path) > 2:
        return config.data.degradation != "blind"
    if path[0] == "stages":
        return not getattr(config.stages, path[1]).steps and path[2] != "steps"
    if path[0] == "discriminator":
        return not config.adversarial
    return path[0] == "vgg" and not config.vgg_layers


def _first_line(function: Callable) -> str:
    return function.__doc__.splitlines()[0]


def _of_function(_: str, entry: Callable) -> str:
    return _first_line(entry)


def _of_network(_: str, entry: Callable) -> str:
    """Its line, and what `auto` is for it: the defaults of its norm and upsampling."""
    parameters = inspect.signature(entry).parameters
    own = [
        f"{name}: {parameters[name].default}"
        for name in ("norm", "upsampling")
        if name in parameters
    ]
    return f"{_first_line(entry)} [{', '.join(own)}]"


def _of_optimizer(name: str, entry: Callable) -> str:
    try:
        optimizers.make(OptimizerConfig(name=name), learning_rate=0.0)
    except errors.InputError:
        return f"{_first_line(entry)} NOT HERE: it is of tensorflow-addons."
    return _first_line(entry)


# (what, its flag, the table, a line of an entry given its name).
_TABLES: tuple[tuple[str, str, Mapping[str, Any], Callable[[str, Any], str]], ...] = (
    (
        "recipes",
        "--recipe (all figures of one: --recipe=NAME --show)",
        recipes.RECIPES,
        _of_function,
    ),
    (
        "generators",
        "--generator [what --generator_norm=auto and --generator_upsampling=auto are]",
        generators.GENERATORS,
        _of_network,
    ),
    ("upsamplings", "--generator_upsampling", upsampling.UPSAMPLINGS, _of_function),
    (
        "discriminators",
        "--discriminator [what --discriminator_norm=auto is]",
        discriminators.DISCRIMINATORS,
        _of_network,
    ),
    (
        "normalizations",
        "--discriminator_norm (--generator_norm: batch or none)",
        discriminators.NORMS,
        _of_function,
    ),
    (
        "adversarial pairs",
        "--gan_adversarial, --discriminator_adversarial (here: the discriminator's loss)",
        adversarial.ADVERSARIAL,
        lambda _, pair: _first_line(pair.discriminator),
    ),
    (
        "content losses",
        "--pretrain_content, --gan_content (NAME:WEIGHT,...)",
        content.CONTENT,
        _of_function,
    ),
    (
        "degradations",
        "--degradation (srgan-degrade shows them)",
        degradations.DEGRADATIONS,
        lambda _, degradation: _first_line(degradation.apply),
    ),
    ("optimizers", "--optimizer", optimizers.OPTIMIZERS, _of_optimizer),
    (
        "schedules",
        "--pretrain_schedule, --discriminator_schedule, --gan_schedule",
        optimizers.SCHEDULES,
        _of_function,
    ),
    (
        "pretrained models",
        "--init_from (and --model of the other commands)",
        pretrained.PRETRAINED,
        lambda _, model: f"{model.text[0].upper()}{model.text[1:]}.",
    ),
)
