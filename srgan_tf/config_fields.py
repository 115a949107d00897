"""What config dataclasses are made of: fields with help, and checks that say rule and value."""

import dataclasses
import math
from typing import Any

from srgan_tf import errors

# Weighted terms, e.g. (("vgg", 1.0), ("mse", 0.01)); written `vgg:1,mse:0.01` on the command line.
Weights = tuple[tuple[str, float], ...]


def config_field(default: Any, text: str, **metadata: Any) -> Any:
    """Returns a dataclass field with its help text, which becomes the flag's."""
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


def require(condition: bool, rule: str, **values: Any) -> None:
    """Raises `errors.InputError` with the rule and the values, unless `condition` holds."""
    if not condition:
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise errors.InputError(f"{rule}: {shown}.")


def check_range(config: Any, name: str, *, low: float = 0.0, high: float = math.inf) -> None:
    """Requires a field to be a finite range within [`low`, `high`]."""
    value = getattr(config, name)
    require(
        len(value) == 2 and low <= value[0] <= value[1] <= high and value[1] < math.inf,
        f"{name} must be low,high within {low:g} to {high:g}",
        **{name: value},
    )
