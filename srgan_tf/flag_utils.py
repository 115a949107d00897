"""Command-line flags made from the config dataclasses, by name; no default is written twice.

A field `stages.gan.learning_rate` is the flag `--gan_learning_rate`, `generator.name` is
`--generator`, and fields of `data`, `run` and the top level keep their plain names. Every flag
defaults to None, which means "what the recipe says"; the binary's help says so once.
"""

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any, TypeVar

from absl import flags

from srgan_tf import config as config_lib
from srgan_tf import errors

T = TypeVar("T")

# Groups whose fields need no prefix: their names are clear by themselves.
_PLAIN_GROUPS = ("data", "run")
_PLAIN = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}


def define_flags(cls: type = config_lib.TrainConfig, skip: tuple[str, ...] = ("recipe",)) -> None:
    """Defines one flag for every leaf field of `cls`, except the top-level ones in `skip`."""
    # Without this, absl would list the flags under this module instead of the binary's.
    flags.disclaim_key_flags()
    for path, field, hint in _leaves(cls):
        if path[0] not in skip:
            parser, kind = _parser(hint)
            text = f"{field.metadata['help']} ({kind})"
            if hint is bool:
                flags.DEFINE_boolean(flag_name(path), None, text)
            else:
                flags.DEFINE(
                    parser, flag_name(path), None, text, serializer=flags.ArgumentSerializer()
                )


def define_fields(cls: type, note: str) -> list[flags.FlagHolder]:
    """Defines a flag for every field of a flat dataclass, `note` before its help.

    Where a flag is not given its value is None: the default is the dataclass's.
    """
    flags.disclaim_key_flags()
    made = []
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        (kind,) = {hints[field.name], *typing.get_args(hints[field.name])} & _PLAIN.keys()
        default = "" if field.default in (None, "") else f" (default: {field.default:g})"
        made.append(_PLAIN[kind](field.name, None, f"{note}{field.metadata['help']}{default}"))
    return made


def flag_name(path: tuple[str, ...]) -> str:
    """Returns the flag of a field: ("stages", "gan", "steps") gives "gan_steps"."""
    *groups, name = path
    if not groups or groups[-1] in _PLAIN_GROUPS:
        return name
    return groups[-1] if name == "name" else f"{groups[-1]}_{name}"


def apply_flags(base: T, values: flags.FlagValues = flags.FLAGS) -> T:
    """Returns the config dataclass `base` with every field replaced whose flag was given.

    Raises:
        errors.InputError: a value is out of its documented range.
    """
    made = config_lib.to_dict(base)
    for path, _, _ in _leaves(type(base)):
        name = flag_name(path)
        value = values[name].value if name in values else None
        if value is not None and path != ("recipe",):
            group = made
            for part in path[:-1]:
                group = group[part]
            group[path[-1]] = value
    return config_lib.from_dict(type(base), made, "flags")


def as_flags(config: Any) -> list[tuple[tuple[str, ...], str]]:
    """Returns (path of the field, `--flag=value`) of every field of `config`, in order.

    absl parses each back to the field's value, on the command line or from a `--flagfile`.
    """
    made = []
    for path, _, _ in _leaves(type(config)):
        value = config
        for part in path:
            value = getattr(value, part)
        made.append((path, f"--{flag_name(path)}={_text(value)}"))
    return made


def _text(value: Any) -> str:
    """Returns what a flag's parser reads as `value`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        named = value and isinstance(value[0], tuple)
        return ",".join(f"{one[0]}:{one[1]}" if named else str(one) for one in value)
    return str(value)


def _leaves(
    cls: type, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dataclasses.Field, Any]]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint, path = hints[field.name], (*prefix, field.name)
        if dataclasses.is_dataclass(hint):
            yield from _leaves(hint, path)
        else:
            yield path, field, hint


class _ListParser(flags.ArgumentParser):
    """Parses `a,b,c` with `item` for each; an empty string is an empty list."""

    def __init__(self, item: Any, example: str):
        self._item, self._example = item, example
        self.syntactic_help = f"for example {example}"

    def parse(self, argument: Any) -> tuple:
        if isinstance(argument, tuple):
            return argument
        try:
            return tuple(self._item(part.strip()) for part in argument.split(",") if part.strip())
        except ValueError as error:
            raise ValueError(f"expected a list like {self._example}, got {argument!r}") from error

    def flag_type(self) -> str:
        return "list"


def _weighted(text: str) -> tuple[str, float]:
    name, _, weight = text.partition(":")
    return name.strip(), float(weight) if weight else 1.0


def _parser(hint: Any) -> tuple[flags.ArgumentParser | None, str]:
    """Returns the parser for a field's type, and what to call that type in the help."""
    parsers = {
        bool: (flags.BooleanParser(), "yes/no"),
        int: (flags.IntegerParser(), "whole number"),
        float: (flags.FloatParser(), "number"),
        str: (flags.ArgumentParser(), "text"),
        tuple[int, ...]: (_ListParser(int, "50000,100000"), "list"),
        tuple[int, int]: (_ListParser(int, "7,21"), "range"),
        tuple[float, float]: (_ListParser(float, "0.7,1.2"), "range"),
        config_lib.Weights: (_ListParser(_weighted, "mse:1,vgg:0.006"), "name:weight,..."),
    }
    if hint not in parsers:
        raise errors.InputError(f"No flag can be made for a field of type {hint}.")
    return parsers[hint]
