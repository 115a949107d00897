"""A model on a server as an engine: whole pictures, or tiles of them, several at a time."""

import collections
import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

from srgan_tf import errors
from srgan_tf.serving import client as client_lib
from srgan_tf.serving import memory, tiling

# Side of a request in LR pixels where nothing else is asked for: 0.3 MB there, 4.9 MB back at scale
# 4. A server on CPUs has to answer --in_flight of them before the deadline; its REST has 30 s.
TILE_SIDE = 320
# Where that is little beside the rim, so many rims.
_RIMS = 3


class Engine:
    """A network on a server, with what engine.Engine has for one in this process."""

    def __init__(self, client: client_lib.Client, facts: dict[str, Any]):
        """Serves through `client` what `facts` (description.py) describe."""
        self.scale = facts["scale"]
        self.receptive_radius = facts["receptive_radius"]
        self.alignment = facts["alignment"]
        self.parallel = client.options.in_flight
        self._max_pixels = facts["max_pixels"]
        self._client = client
        # As many threads as requests may be in flight: all pictures and tiles go through them.
        self._pool = futures.ThreadPoolExecutor(self.parallel, thread_name_prefix="srgan_request")

    def planner(self, memory_mb: int | None, tile_size: int | None) -> memory.Planner:
        """Returns what chooses the tiles: of `tile_size`, or so that a request is bounded.

        Raises:
            errors.InputError: the server takes no picture as large as such a tile with its rim.
        """
        del memory_mb  # The server's memory is the server's.
        rim = -(-self.receptive_radius // self.alignment) * self.alignment
        # By which the last tile of a row may be wider, since all begin at multiples (tiling.spans).
        more = self.alignment - 1
        if tile_size is None:
            wide = min(math.isqrt(self._max_pixels) - more, max(TILE_SIDE, _RIMS * rim))
            tile_size = (wide - 2 * rim) // self.alignment * self.alignment
        side = -(-max(tile_size, 1) // self.alignment) * self.alignment + 2 * rim + more
        if tile_size < 1 or side**2 > self._max_pixels:
            raise errors.InputError(
                f"The server takes {self._max_pixels:,} pixels at a time; a tile of "
                f"{max(tile_size, 1)} pixels a side has a rim of {rim} around it and would be "
                f"{side}x{side}."
            )
        return lambda height, width: memory.Plan((tile_size, tile_size), 0)

    def tile_function(self, part_pixels: int) -> tiling.TileFunction:
        """Returns what sends a tile to the server."""
        del part_pixels  # The server's own business.
        return tiling.keeping(self._client.upscale, self.scale)

    def in_order(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Yields `function` of each item, in order, while the next ones are on their way."""
        waiting: collections.deque[futures.Future] = collections.deque()
        try:
            for item in items:
                with self._closing():
                    waiting.append(self._pool.submit(function, item))
                if len(waiting) > self.parallel:
                    with self._closing():
                        done = waiting.popleft().result()
                    yield done
            while waiting:
                with self._closing():
                    done = waiting.popleft().result()
                yield done
        finally:
            for future in waiting:
                future.cancel()

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        """Turns what a pool raises that `close` has shut down into the client's own error."""
        try:
            yield
        except (RuntimeError, futures.CancelledError):
            self._client.require_open()
            raise

    def close(self) -> None:
        """Ends the requests in flight; there can be no more."""
        self._client.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def connect(address: str, options: client_lib.Options) -> tuple[Engine, dict[str, Any]]:
    """Returns the model at `address` and where it comes from.

    Raises:
        errors.InputError: as `Client` and `Client.describe`.
        errors.RunError: there is no server.
    """
    client = client_lib.Client(address, options)
    try:
        facts = client.describe()
    except BaseException:
        client.close()
        raise
    origin = {
        "kind": "server",
        "path": address,
        "model_name": options.model_name,
        "model_version": options.model_version,
        "fingerprint": facts["fingerprint"],
    }
    return Engine(client, facts), origin
