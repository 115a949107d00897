"""Reads TF_CONFIG: which processes train together, and which of them this one is."""

import json
import os

from srgan_tf import errors

# What trains, in order; TensorFlow takes the chief for worker 0.
_KINDS = ("chief", "worker")


def workers() -> tuple[list[str], int]:
    """Returns the addresses of all workers and this one's place from 0; none without TF_CONFIG.

    Raises:
        errors.InputError: it cannot be used.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return [], 0
    try:
        found = json.loads(text)
        cluster, task = found.get("cluster", {}), found.get("task", {})
        addresses = [address for kind in _KINDS for address in cluster.get(kind, [])]
        if len(addresses) < 2:
            return addresses, 0
        kind, number = task["type"], int(task["index"])
        before = len(cluster.get("chief", [])) if kind == "worker" else 0
        if kind not in _KINDS or not 0 <= number < len(cluster[kind]):
            raise ValueError(f"there is no {kind} {number} that trains")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.InputError(
            f"TF_CONFIG cannot be used ({error!r}): it must be JSON such as "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}.'
        ) from error
    return addresses, before + number
