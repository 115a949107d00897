"""Optimizers of tensorflow-addons: the only module that imports it.

Its last release (0.23) imports with TensorFlow 2.15 alone, so on Python 3.10 and 3.11 alone.
Elsewhere asking for one of its optimizers is an `errors.InputError`.
"""

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

from srgan_tf import errors


def optimizer(name: str, *arguments: Any, instead: Sequence[str], **settings: Any) -> Any:
    """Returns `tensorflow_addons.optimizers.<name>(*arguments, **settings)`.

    They are of Keras' older kind: no `build` (see `create_slots`), otherwise used like the others.

    Args:
        name: class, such as RectifiedAdam.
        *arguments: of its constructor.
        instead: the optimizers that are there without addons, for the error.
        **settings: of its constructor.

    Raises:
        errors.InputError: tensorflow-addons are not there.
    """
    try:
        with warnings.catch_warnings():
            # It announces its end and the TensorFlow versions that it was tested with.
            warnings.simplefilter("ignore")
            package = importlib.import_module("tensorflow_addons")
    except ImportError as error:
        raise errors.InputError(
            f"The optimizer {name} is of tensorflow-addons, which are not here (they exist for "
            f"Python 3.10 and 3.11, with TensorFlow 2.15): choose from {sorted(instead)}."
        ) from error
    return getattr(package.optimizers, name)(*arguments, **settings)


def create_slots(made: Any, variables: Sequence[Any]) -> None:
    """Creates what an optimizer keeps for each of `variables`, which Keras' own do in `build`.

    It has no public name, but must happen before a checkpoint is restored: what is not there yet
    is silently left unread.
    """
    made._create_all_weights(variables)
