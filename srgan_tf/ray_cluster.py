"""Connects a command to a Ray cluster (--engine=ray): flags, start, one line for what is wrong."""

import logging
import os
import socket
import types
from collections.abc import Sequence
from typing import Any

from absl import flags

from srgan_tf import cli, errors

ENGINES = ("local", "ray")
_DEFAULT_PORT = 6379
_PROBE_SECONDS = 10.0
# For Ray, unless the user has set them.
_ENVIRONMENT = {
    # Nothing is reported to anybody.
    "RAY_USAGE_STATS_ENABLED": "0",
    # What its C++ parts call errors (an actor could not start again, were its arguments lost) would
    # stand among the lines of the command.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Its colours are for terminals alone.
    "RAY_COLOR_PREFIX": "0",
}
# For the processes that Ray starts; as cli.prepare_tensorflow does it for this one.
_WORKERS = ("TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY", "TF_ENABLE_ONEDNN_OPTS")


def define_flags(work: str) -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """Returns --engine and --ray_address of a command that does `work`, such as "train"."""
    flags.disclaim_key_flags()
    engine = flags.DEFINE_enum(
        "engine",
        ENGINES[0],
        ENGINES,
        f"What runs the work: local to {work} on this machine, ray on a Ray cluster (pip install "
        "'srgan-tf[ray]').",
    )
    address = flags.DEFINE_string(
        "ray_address",
        None,
        "HOST:PORT of the head of a running Ray cluster, or auto for the one that this machine is "
        "part of (default: the variable RAY_ADDRESS, else a cluster made here for this command).",
    )
    return engine, address


def is_alone(address: str | None) -> bool:
    """Returns whether `connect` makes a cluster of this machine alone, which nothing can join."""
    return not (address or os.environ.get("RAY_ADDRESS"))


def connect(
    address: str | None = None, *, quiet: bool = False, modules: Sequence[str] = ()
) -> types.ModuleType:
    """Connects this process to a cluster and returns the module `ray`.

    Args:
        address: HOST:PORT of the head; "auto" for the cluster that this machine is part of; None
            for RAY_ADDRESS, and where that is not set a cluster of this machine alone that ends
            with this process (or with `ray.shutdown()`).
        quiet: whether what the workers print, and Ray's warnings, stay in Ray's own log files.
        modules: folders of packages that the workers are sent, instead of their own.

    Raises:
        errors.InputError: Ray is not installed, or there is no such cluster.
    """
    ray = require()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address not in ("auto", "local"):
        _require_head(address)
    cli.prepare_tensorflow()
    environment: dict[str, Any] = {
        "env_vars": {name: os.environ[name] for name in _WORKERS if name in os.environ}
    }
    if modules:
        environment["py_modules"] = list(modules)
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            logging_level=logging.ERROR if quiet else logging.WARNING,
            log_to_driver=not quiet,
            runtime_env=environment,
        )
    except ray.exceptions.AuthenticationError as error:
        raise errors.InputError(
            f"The Ray cluster at --ray_address={address} has tokens: set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN (or have the head's ~/.ray/auth_token here), on every node, too."
        ) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise errors.InputError(
            f"No Ray cluster at --ray_address={address}: {' '.join(str(error).split())[:300]}"
        ) from error
    return ray


def require() -> types.ModuleType:
    """Returns the module `ray`, quiet, or raises errors.InputError where it is not installed."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise errors.InputError(
            "--engine=ray needs Ray: pip install 'srgan-tf[ray]' (from the repository: pip install "
            f"'.[ray]'), on every machine of the cluster ({error})."
        ) from error
    return ray


def _require_head(address: str) -> None:
    """Asks the head's port: Ray itself would try for two minutes and end the process."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise errors.InputError(
            f"--ray_address={address} must be HOST:PORT of the head, such as head:{_DEFAULT_PORT}; "
            "start the command on a machine of the cluster (`ray start --address=...`), or by `ray "
            "job submit`."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise errors.InputError(
            f"No Ray cluster at --ray_address={address}: {error}; start its head with `ray start "
            f"--head --port={_DEFAULT_PORT}`, and look at firewalls between."
        ) from error
