"""Trains a run as one of its workers, in a process of its own; for test_workers.py.

`options` of a worker: `kill_at`, `sigterm_at` (the step after which it does so to itself), `data`,
`run_dir` and `seed` (in the place of those of the others); of all: `optimizer`, in Adam's place.
"""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import sys

import fixtures
import tensorflow as tf

from srgan_tf import errors
from srgan_tf.training import loop, optimizers
from srgan_tf.training import run as run_lib


def momentum(rate, _):
    """With slots, and linear: replicas add up to the last bits.

    (Adam makes a difference in the last bit of a gradient near 0 one of a whole step.)
    """
    return tf.keras.optimizers.SGD(rate, momentum=0.9)


def tensors(run_dir, step):
    """Returns all tensors of a checkpoint, by name."""
    reader = tf.train.load_checkpoint(f"{run_dir}/checkpoints/ckpt-{step}")
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if not name.startswith(("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter"))
    }


def work(config, data, run_dir, addresses, index, log, options, optimizer):
    """What the process does; what it says goes to the file `log`."""
    with open(log, "wb") as said:
        os.dup2(said.fileno(), 2)
    if len(addresses) > 1:
        task = {"type": "worker", "index": index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    if optimizer:
        # Graphs are small and run a few times: to optimize them takes a quarter of a process' time.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        optimizers.OPTIMIZERS["adam"] = optimizer
    real = run_lib.Run._after_step

    def after_step(self, step, *arguments):
        for name, number in (("sigterm_at", signal.SIGTERM), ("kill_at", signal.SIGKILL)):
            if options.get(name) == step:
                os.kill(os.getpid(), number)
        real(self, step, *arguments)

    run_lib.Run._after_step = after_step
    config = dataclasses.replace(config, seed=options.get("seed", config.seed))
    data, run_dir = options.get("data", data), options.get("run_dir", run_dir)
    try:
        sys.exit(loop.train(config, data_dir=data, run_dir=str(run_dir)))
    except (errors.InputError, errors.RunError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, errors.InputError) else 1)


class Job:
    """Workers that were started together; `options` are by worker."""

    def __init__(self, config, data, run_dir, count, optimizer=momentum, **options):
        run_dir = pathlib.Path(run_dir)
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        self._logs = [run_dir.parent / f"log-{index}" for index in range(count)]
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(count)]
        self._processes = []
        for index, log in enumerate(self._logs):
            mine = options.get(f"worker_{index}", {})
            arguments = (config, data, run_dir, addresses, index, log, mine, optimizer)
            self._processes.append(fixtures.fork_server().Process(target=work, args=arguments))
            self._processes[-1].start()

    def said(self, codes):
        """Returns what each said, once all have ended, and asserts their exit codes."""
        for process in self._processes:
            process.join(900)
        said = [log.read_text(errors="replace") for log in self._logs]
        found = [process.exitcode for process in self._processes]
        for process in self._processes:
            process.kill()
        assert found == codes, "\n\n".join(text[-3000:] for text in said)
        return said


def _free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
