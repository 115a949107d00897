"""Trains on the nodes of a Ray cluster: Ray Train starts the workers, and starts them again.

This process, the driver, gives Ray Train's TensorflowTrainer what to run and waits. Each worker
gets a TF_CONFIG from Ray and runs `loop.train`, as workers do that are started otherwise (team.py).
When one is lost all fail, and Ray starts all again where there is room: they go on from the newest
checkpoint. Ray tells failures from success and no more; so what starting again cannot mend (a
user's mistake, a full disk) goes to the driver, which ends the run.

TensorFlow is imported in functions: Ray's own processes read this module, too, and workers do
before they are set up.
"""

import asyncio
import contextlib
import dataclasses
import os
import threading
import types
from collections.abc import Callable
from typing import Any

from absl import logging

from srgan_tf import cli, clusters, errors, files, ray_cluster
from srgan_tf.config import TrainConfig
from srgan_tf.training import stopping

_LOOK_SECONDS = 0.2
# For Ray Train, unless the user has set them.
_ENVIRONMENT = {
    # Workers import TensorFlow meanwhile, on busy machines and network file systems.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    # Relative paths are those of the driver.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What of a cluster a run takes."""

    num_workers: int
    address: str | None = None
    use_gpu: bool = False
    gpus_per_worker: int = 1
    cpus_per_worker: int = 1
    max_failures: int = 3


class Line:
    """What the driver and its workers tell each other; an actor beside the driver."""

    def __init__(self) -> None:
        """Nothing is said yet."""
        self._asked, self._ended = asyncio.Event(), asyncio.Event()
        self._signal, self._end, self._heard = 0, (0, ""), False

    async def ask(self, number: int) -> bool:
        """Asks the workers to stop as by a signal; returns whether any is there."""
        self._signal = number
        self._asked.set()
        return self._heard

    async def asked(self) -> int:
        """Returns the signal's number, once there is one."""
        self._heard = True
        await self._asked.wait()
        return self._signal

    async def lost(self) -> None:
        """Says that there are no workers until Ray starts others."""
        self._heard = False

    async def end(self, code: int, text: str) -> None:
        """Says that the run cannot go on; the first to say so counts."""
        if not self._ended.is_set():
            self._end = (code, text)
            self._ended.set()

    async def ended(self) -> tuple[int, str]:
        """Returns the exit code and why, once the run cannot go on."""
        await self._ended.wait()
        return self._end


def train(config: TrainConfig, *, data_dir: str, run_dir: str, cluster: Cluster) -> int:
    """Trains as `loop.train` does, with several workers on a Ray cluster; the same exit codes.

    Args:
        config: the run.
        data_dir: a folder that srgan-prepare wrote, which all nodes see.
        run_dir: where everything goes, on a file system that all nodes see.
        cluster: which cluster, and what of it.

    Raises:
        errors.InputError: there is no such cluster, or what `loop.train` says.
        errors.RunError: what `loop.train` says, or the workers failed too often.
    """
    data_dir, run_dir = (
        path if files.is_remote(path) else os.path.abspath(path) for path in (data_dir, run_dir)
    )
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with stopping.StopRequest() as stop:
        ray = ray_cluster.connect(cluster.address, modules=clusters.modules())
        try:
            _check_room(ray, cluster)
            clusters.require_fit(
                _nearest_folder(run_dir), [data_dir] if files.exists(data_dir) else []
            )
            stop.between_steps()
            return _drive(ray, config, data_dir, run_dir, cluster, stop)
        finally:
            # Workers that are still there end with it.
            ray.shutdown()
            files.remove_folder(os.path.join(*_result_folder(run_dir)))
    return stop.exit_code  # It was stopped before the workers began.


def _drive(ray, config, data_dir, run_dir, cluster, stop) -> int:
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    line = ray.remote(num_cpus=0, scheduling_strategy=here)(Line).remote()
    settings = {"config": config, "data_dir": data_dir, "run_dir": run_dir, "line": line}
    settings |= {"folder": os.getcwd(), "verbosity": logging.get_verbosity()}
    settings["use_gpu"] = cluster.use_gpu
    storage = _result_folder(run_dir)
    fit = _Fit(_trainer(settings, cluster, *storage), storage)
    return _wait(ray, line, fit, cluster, stop)


def _result_folder(run_dir: str) -> tuple[str, str]:
    """Returns folder and name of what Ray Train keeps for itself: beside the run folder.

    It must be on a file system that all nodes see. Nothing of ours is in it.
    """
    folder, name = os.path.split(run_dir.rstrip("/"))
    return folder, f".{name}.ray"


def _nearest_folder(path: str) -> str:
    """Returns the folder that `path` is in, or will be: the innermost that is there already."""
    folder = os.path.dirname(path.rstrip("/"))
    while not (files.is_remote(folder) or os.path.isdir(folder)):
        folder = os.path.dirname(folder)
    return folder


def _trainer(settings: dict[str, Any], cluster: Cluster, storage: str, name: str):
    from ray import train as ray_train
    from ray.train import tensorflow as ray_tensorflow

    return ray_tensorflow.TensorflowTrainer(
        _work,
        train_loop_config=settings,
        scaling_config=ray_train.ScalingConfig(
            num_workers=cluster.num_workers,
            use_gpu=cluster.use_gpu,
            resources_per_worker=_resources(cluster),
            # GPUs of a machine talk fastest to each other, while workers on CPUs share its cores.
            placement_strategy="PACK" if cluster.use_gpu else "SPREAD",
        ),
        run_config=ray_train.RunConfig(
            name=name,
            storage_path=storage,
            failure_config=ray_train.FailureConfig(max_failures=cluster.max_failures),
            callbacks=[_again(settings["line"])],
            logging_config=ray_train.LoggingConfig(log_level="ERROR"),
        ),
    )


def _resources(cluster: Cluster) -> dict[str, int]:
    """Returns what each worker takes of a node, in Ray's words."""
    gpus = {"GPU": cluster.gpus_per_worker} if cluster.use_gpu else {}
    return {"CPU": cluster.cpus_per_worker, **gpus}


def _again(line):
    """Returns what says, beside Ray's controller, that workers failed and are started again."""
    from ray import train as ray_train

    class Again(ray_train.UserCallback):
        def after_exception(self, run_context, worker_exceptions):
            del run_context
            line.lost.remote()
            cli.log_as_commands_do()
            for rank, error in sorted(worker_exceptions.items()):
                logging.warning("Worker %d failed: %s", rank, _first_line(error))

    return Again()


class _Fit(threading.Thread):
    """Runs the trainer. In the main thread it would take the signals, and kill the workers."""

    def __init__(self, trainer: Any, storage: tuple[str, str]):
        super().__init__(daemon=True)
        self._trainer = trainer
        self.storage = storage
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self._trainer.fit()
        except (Exception, SystemExit) as error:  # The latter when Ray is shut down meanwhile.
            self.error = error


def _wait(ray, line, fit: _Fit, cluster: Cluster, stop: stopping.StopRequest) -> int:
    """Returns the exit code of the first worker; passes a stop on to all."""
    fit.start()
    ended = line.ended.remote()
    while fit.is_alive():
        if stop.signal and not ray.get(line.ask.remote(stop.signal)):
            logging.info("Stopped while there were no workers: there was nothing to save.")
            return stop.exit_code
        ready, _ = ray.wait([ended], timeout=_LOOK_SECONDS)
        if ready:
            code, text = ray.get(ended)
            raise (errors.InputError if code == cli.EXIT_INPUT_ERROR else errors.RunError)(text)
    if fit.error is not None:
        logging.debug("Ray Train ended with an error.", exc_info=fit.error)
        if not getattr(fit.error, "worker_failures", None):
            folder = os.path.join(*fit.storage)
            raise errors.RunError(
                f"Ray Train, which keeps its files in {folder}, failed: {_first_line(fit.error)}"
            ) from fit.error
        raise errors.RunError(
            f"The workers failed more often than --max_failures={cluster.max_failures}; at last: "
            f"{_first_line(fit.error)}. The same command goes on from the newest checkpoint."
        ) from fit.error
    return fit.result.return_value


def _first_line(error: BaseException) -> str:
    """Returns what is worst of an error, or of those of several workers, in one line."""
    failures = list(getattr(error, "worker_failures", {}).values())
    # Those that only lost another are not to blame.
    failures.sort(key=lambda failure: "lost another one" in str(failure))
    lines = [line.strip() for line in str(failures[0] if failures else error).splitlines()]
    return next((line for line in reversed(lines) if line), type(error).__name__)[:300]


def _check_room(ray: types.ModuleType, cluster: Cluster) -> None:
    """Refuses what a cluster of this machine alone can never have; warns of it for others."""
    there = ray.cluster_resources()
    needed = {kind: n * cluster.num_workers for kind, n in _resources(cluster).items()}
    short = [
        f"{n} {kind}s of {there.get(kind, 0):g}"
        for kind, n in needed.items()
        if n > there.get(kind, 0)
    ]
    if not short:
        return
    text = f"{cluster.num_workers} workers need {' and '.join(short)} in the cluster"
    if ray_cluster.is_alone(cluster.address):
        raise errors.InputError(
            f"{text}, which is this machine alone: lower --num_workers or --cpus_per_worker, or "
            "name a cluster (--ray_address=HOST:PORT)."
        )
    logging.warning("%s: waiting for more nodes.", text)


def _work(settings: dict[str, Any]) -> int:
    """Is one worker, in a process and on a node that Ray has chosen; returns the exit code."""
    import ray
    from ray import train as ray_train

    # Ray sets it for programs that were written for Keras 2; here it would need another package.
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    with contextlib.suppress(OSError):  # On this node there may be no such folder.
        os.chdir(settings["folder"])
    rank, line = ray_train.get_context().get_world_rank(), settings["line"]
    cli.log_as_commands_do(logging.WARNING if rank else settings["verbosity"])
    cli.import_tensorflow()
    import tensorflow as tf

    from srgan_tf.training import loop, team

    if not settings["use_gpu"]:  # Ray hides none, and TensorFlow would take all.
        tf.config.set_visible_devices([], "GPU")
    stop = stopping.StopRequest()
    _in_background(lambda: stop.ask(ray.get(line.asked.remote())))
    folders = {name: settings[name] for name in ("data_dir", "run_dir")}
    try:
        return loop.train(settings["config"], **folders, stop=stop)
    except team.Lost:
        raise
    except (errors.InputError, errors.RunError, tf.errors.ResourceExhaustedError) as error:
        mistake = isinstance(error, errors.InputError)
        code = cli.EXIT_INPUT_ERROR if mistake else cli.EXIT_RUN_ERROR
        ray.get(line.end.remote(code, cli.machine_reason(error) or str(error)))
        # The driver ends all; to return, or to raise, would be taken for success, or for a reason
        # to start again.
        threading.Event().wait()
    except Exception:
        logging.exception("Worker %d fails.", rank)
        raise


def _in_background(function: Callable[[], None]) -> None:
    threading.Thread(target=function, daemon=True).start()
