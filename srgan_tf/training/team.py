"""The processes that train one run together: which is the first, and how they agree.

Without TF_CONFIG, or with one worker in it, a run is one process. With more it is a
MultiWorkerMirroredStrategy: every worker runs the same steps, each on its part of the batch. Only
the first writes in the run folder. What a worker decides by itself (a signal, what lies on a disk)
could differ, and workers that do different things wait for each other for ever; so such decisions
are made by the first, or by all together, at the same step.
"""

import contextlib
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from srgan_tf import errors
from srgan_tf.training import stopping, tf_config
from srgan_tf.training import strategy as strategy_lib

# What collective operations raise when a process at the other end is gone.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)

Scalars = dict[str, tf.Tensor]
# The others take what a process gives from it: one that ends at once may be gone before they have,
# and be taken for lost.
_LINGER_SECONDS = 3.0
# A message that goes from one process to the others may have so many bytes.
_TEXT_BYTES = 1000


class Lost(errors.RunError):
    """Another process of the run is gone; started again, all go on from the newest checkpoint."""


class Team:
    """One process alone; `Workers` has the same for several."""

    index, count = 0, 1

    def __init__(self, strategy: tf.distribute.Strategy):
        """Args: what the process computes with."""
        self.strategy = strategy

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Returns the sum of what each process gives; a call of all of them, as all that follow."""
        return values

    def from_first(self, value: float) -> float:
        """Returns the first process' value, a number that float64 holds."""
        return float(self.sum(np.float64(value if self.first else 0.0)))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Ends all processes when one fails within it, which must hold no call of all of them.

        Without this, those that did not fail would wait for it for ever.
        """
        yield

    def require_same(
        self, text: str, what: str, remedy: str = "start all workers with the same command"
    ) -> None:
        """Raises errors.InputError unless all processes have the same `text`."""
        number = zlib.crc32(text.encode())
        wanted = self.from_first(number)
        with self.together():
            if number != wanted:
                raise errors.InputError(
                    f"Worker {self.index} has another {what} than worker 0: {remedy}."
                )

    def agreed(self, stop: stopping.StopRequest) -> "stopping.StopRequest | AgreedStop":
        """Returns what the loop looks at to see whether it is to stop."""
        return stop

    def watched(
        self, train_step: Callable[[Any], Scalars], stop: "AgreedStop"
    ) -> Callable[[Any], Scalars]:
        """Returns `train_step` with what lets all processes see a stop at the same step."""
        del stop
        return train_step

    @contextlib.contextmanager
    def lost_is_one_line(self) -> Iterator[None]:
        """Within it the loss of another process raises `Lost`."""
        yield

    def batches(self, dataset: tf.data.Dataset, part_size: int) -> Iterator[Any]:
        """Returns the batches of `dataset`, this process' part, as the strategy takes them."""
        # A single CPU needs no distribution, and is better off without: TensorFlow's iterator for
        # it tunes its buffers in a thread that may take up to a minute to end (see
        # `pipeline.training_dataset`).
        devices = self.strategy.extended.worker_devices
        if len(devices) == 1 and tf.DeviceSpec.from_string(devices[0]).device_type == "CPU":
            return iter(dataset)
        return iter(self._distributed(dataset, part_size))

    def _distributed(self, dataset: tf.data.Dataset, part_size: int) -> Any:
        del part_size
        return self.strategy.experimental_distribute_dataset(dataset)


class Workers(Team):
    """Several processes, one of which this is."""

    def __init__(self, strategy: tf.distribute.Strategy, index: int, count: int):
        """Args: the strategy of them all, this process' place from 0, how many there are."""
        super().__init__(strategy)
        self.index, self.count = index, count
        self._local = strategy.num_replicas_in_sync // count

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Returns the sum of what each process gives, float64."""
        mine = tf.constant(values, tf.float64)

        def of_replica(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
            first = context.replica_id_in_sync_group % self._local == 0
            return mine if first else tf.zeros_like(mine)

        given = self.strategy.experimental_distribute_values_from_function(of_replica)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, given, axis=None).numpy()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Ends all processes when one fails within it; the others say what that one says."""
        failed = None
        try:
            yield
        except Exception as error:
            failed = error
        codes = np.zeros([self.count])
        # A bug counts as what a run cannot go on with.
        codes[self.index] = failed and (1 if isinstance(failed, errors.InputError) else 2) or 0
        codes = self.sum(codes)
        if not codes.any():
            return
        which = int(np.flatnonzero(codes)[0])
        text = self._said_by(which, f"{failed or ''}")
        time.sleep(_LINGER_SECONDS)
        if failed:
            raise failed
        kind = errors.InputError if codes[which] == 1 else errors.RunError
        raise kind(f"Worker {which} of {self.count} cannot go on: {text}")

    def _said_by(self, index: int, text: str) -> str:
        """Returns the text of the process at `index`, in all of them."""
        encoded = np.zeros([_TEXT_BYTES])
        if self.index == index:
            mine = " ".join(text.split()).encode()[:_TEXT_BYTES]
            encoded[: len(mine)] = list(mine)
        encoded = self.sum(encoded).astype(np.uint8).tobytes()
        return encoded.rstrip(b"\0").decode(errors="ignore")

    def agreed(self, stop: stopping.StopRequest) -> "AgreedStop":
        """Returns a stop that all processes see at the same step."""
        return AgreedStop(stop)

    def watched(
        self, train_step: Callable[[Any], Scalars], stop: "AgreedStop"
    ) -> Callable[[Any], Scalars]:
        """Returns `train_step` with what lets all processes see a stop at the same step."""
        strategy = self.strategy

        @tf.function
        def asking(batch: Any, asked: tf.Tensor) -> tuple[Scalars, tf.Tensor]:
            asked = strategy.run(tf.identity, args=(asked,))
            return train_step(batch), strategy.reduce(tf.distribute.ReduceOp.SUM, asked, axis=None)

        def step(batch: Any) -> Scalars:
            scalars, asked = asking(batch, stop.flag)
            stop.note(asked)
            return scalars

        return step

    @contextlib.contextmanager
    def lost_is_one_line(self) -> Iterator[None]:
        """Within it the loss of another process raises `Lost`."""
        try:
            yield
        except _LOST as error:
            raise Lost(
                f"Worker {self.index} of {self.count} lost another one "
                f"({str(error).splitlines()[0][:200]}). Start all workers again with the same "
                "command: the run goes on from its newest checkpoint."
            ) from error

    def _distributed(self, dataset: tf.data.Dataset, part_size: int) -> Any:
        if self._local > 1:
            dataset = dataset.rebatch(part_size // self._local)
        # Of a dataset that could end, all processes would ask each other before every batch.
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        dataset = dataset.apply(endless)
        return self.strategy.distribute_datasets_from_function(lambda _: dataset)


class AgreedStop:
    """A request to stop that any of the processes got, known to all at the same step.

    Each step adds up who is asked (`flag`, in the step's own reductions); the sum is looked at one
    step later, when it is there without waiting.
    """

    def __init__(self, own: stopping.StopRequest):
        """Args: what this process is asked."""
        self._own = own
        self._pending: tf.Tensor | None = None
        self.signal: int | None = None

    @property
    def flag(self) -> tf.Tensor:
        """1 if this process is asked to stop, else 0."""
        return tf.constant(float(self._own.signal is not None))

    def note(self, asked: tf.Tensor) -> None:
        """Takes how many replicas were asked by the step that was just started."""
        pending, self._pending = self._pending, asked
        if pending is not None and float(pending) > 0:
            # Another was asked: schedulers ask by SIGTERM.
            self.signal = self._own.signal or signal.SIGTERM

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number."""
        return 128 + self.signal if self.signal else 0

    def between_steps(self) -> None:
        """From now on a signal does not interrupt what is being done."""
        self._own.between_steps()


def join(devices: tuple[str, ...] = ()) -> Team:
    """Returns this process' team; with several workers, once all of them are there.

    Call before TensorFlow computes anything.

    Raises:
        errors.InputError: TF_CONFIG cannot be used, or a device is not there.
    """
    addresses, index = tf_config.workers()
    if len(addresses) < 2:
        return Team(strategy_lib.make_strategy(devices))
    if devices:
        raise errors.InputError(
            "With several workers (TF_CONFIG) each uses all its GPUs: leave --devices out, and "
            "limit them by CUDA_VISIBLE_DEVICES."
        )
    logging.info("Worker %d of %d; waiting for the others.", index, len(addresses))
    with _signals_end_the_process():
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return Workers(strategy, index, len(addresses))


@contextlib.contextmanager
def _signals_end_the_process() -> Iterator[None]:
    """Within it SIGINT and SIGTERM do what they do to any process.

    TensorFlow waits without Python: its handlers would not be called.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals are another thread's business.
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
