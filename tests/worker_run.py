"""Trains a run as one of its workers; started by test_workers.py and with TF_CONFIG.

python tests/worker_run.py CONFIG.json DATA RUN_DIR [sgd] [sigterm_at=STEP] [kill_at=STEP]

`sgd` replaces the optimizer by plain gradient descent, in which replicas add up to the last bits
(Adam makes a difference in the last bit of a gradient near 0 one of a whole step).
"""

import json
import os
import signal
import sys

import fixtures  # noqa: F401  It sets TensorFlow up.
import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf import errors
from srgan_tf.training import loop, optimizers
from srgan_tf.training import run as run_lib


def main(config_path: str, data: str, run_dir: str, *options: str) -> int:
    with open(config_path, encoding="utf-8") as file:
        config = config_lib.from_dict(config_lib.TrainConfig, json.load(file))
    settings = dict(option.partition("=")[::2] for option in options)
    if "sgd" in settings:
        optimizers.OPTIMIZERS["adam"] = lambda rate, _: tf.keras.optimizers.SGD(rate)
    real = run_lib.Run._after_step

    def after_step(self, step, *arguments):
        for name, number in (("sigterm_at", signal.SIGTERM), ("kill_at", signal.SIGKILL)):
            if settings.get(name) == str(step):
                os.kill(os.getpid(), number)
        real(self, step, *arguments)

    run_lib.Run._after_step = after_step
    try:
        return loop.train(config, data_dir=data, run_dir=run_dir)
    except errors.RunError as error:
        sys.stderr.write(f"one line: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
