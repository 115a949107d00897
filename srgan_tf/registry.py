"""Looks names up in the package's tables; a miss lists the choices."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from srgan_tf import errors

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """Returns `table[name]`.

    Raises:
        errors.InputError: `name` is not in the table; the message lists what is, and a near miss.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise errors.InputError(f"Unknown {kind} {name!r}{hint}; choose from {sorted(table)}.")
