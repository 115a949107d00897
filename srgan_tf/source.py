"""The source that this process runs."""

import os
import subprocess


def commit() -> str | None:
    """Returns the git commit of the source, marked when it was changed; None outside git."""
    folder = os.path.dirname(os.path.abspath(__file__))
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        # A package that is installed inside somebody else's repository is not part of it.
        tracked = ["git", "-C", folder, "ls-files", "--error-unmatch", "config.py"]
        subprocess.run(tracked, capture_output=True, check=True, timeout=10)
        return subprocess.run(
            command, capture_output=True, check=True, text=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
