"""Runs one generator from many threads on images of many sizes; started by test_concurrency.py.

python tests/concurrent_runs.py GENERATOR SECONDS

Prints the number of runs; fails where one differs from the same run alone. A process of its own,
since what it looks for ends the process.
"""

import sys
import threading
import time

import fixtures
import numpy as np
import tensorflow as tf

from srgan_tf import config as config_lib
from srgan_tf.models import generators

_THREADS = 8
_SIZES = [(height, width) for height in range(6, 30, 4) for width in range(7, 30, 5)]


def main(name: str, seconds: float) -> int:
    # As they are served: without normalization, which exports fold into the convolutions.
    config = config_lib.GeneratorConfig(name=name, filters=8, blocks=1, norm="none")
    generator = generators.build(config, 2)
    upscale = tf.function(
        lambda lr: generator(lr, training=False),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)],
    )
    images = [fixtures.photo_like(*size)[None] / np.float32(255) for size in _SIZES]
    alone = [upscale(image).numpy() for image in images]
    end = time.monotonic() + seconds
    wrong, counts = [], []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        counts.append(0)
        place = len(counts) - 1
        while time.monotonic() < end and not wrong:
            index = random.integers(len(images))
            difference = np.abs(upscale(images[index]).numpy() - alone[index]).max()
            if not difference < 1e-4:
                wrong.append(f"{name}, image {_SIZES[index]}: off by {difference:g}")
            counts[place] += 1

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(wrong[0] if wrong else f"{sum(counts)} runs")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
