"""What the machine gives to this process."""

import os


def cores() -> int:
    """Returns the processor cores that this process may use."""
    # Not every system has affinities; TensorFlow counts so where there are.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
