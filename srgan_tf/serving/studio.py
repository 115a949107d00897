"""What the page (web.py) does with photos, without knowing the page: open, upscale, forget.

One photo is opened and one is computed at a time; web_sessions.py keeps the photos, web_queue.py
the order, and web_jobs.py computes.
"""

import os
import pathlib
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping

from srgan_tf.serving import web_jobs, web_queue, web_sessions

_POLL_SECONDS = 0.25


class Studio:
    """The sessions and the queue in front of the models."""

    def __init__(
        self,
        models: Mapping[str, web_jobs.Model],
        folder: str,
        *,
        max_pixels: int,
        max_waiting: int,
    ):
        """Runs each model once, on noise, to make it ready and to learn its speed.

        Args:
            models: what people choose from, by the name that they see.
            folder: for the sessions' folders; whoever made it removes it.
            max_pixels: of the part that is upscaled.
            max_waiting: photos that may wait while one is computed.
        """
        self.models = dict(models)
        self.max_pixels, self.max_waiting = max_pixels, max_waiting
        self._folder = folder
        self._queue = web_queue.Queue(max_waiting)
        most = 4 * (max_waiting + 2)
        self._sessions = web_sessions.Sessions(folder, most, self._queue.cancel)
        self._lock = threading.Lock()
        self._pace = {name: web_jobs.measure(model) for name, model in self.models.items()}

    def open(self, session: str, path: str) -> web_sessions.Opened:
        """Opens the photo at `path`, which is removed with the last session that opened it.

        Two sessions may name one path: a page's upload lies where its content says.

        Raises:
            photos.PhotoError: it is none, or too large.
            Refusal: it is gone.
            Cancelled: by `close`, another photo, or too many newer sessions.
        """
        return self._sessions.open(session, path)

    def upscale(
        self, session: str, model: str, region: web_jobs.Region | None
    ) -> Iterator[web_jobs.Progress | web_jobs.Result]:
        """Yields how far it is a few times a second and, as the last, the result.

        Args:
            session: the photo is the one that it opened last.
            model: a name of `models`.
            region: the part; None is the whole photo.

        Raises:
            Refusal: nothing is open, the part is too large, or too many photos wait.
            Cancelled: by `cancel`, `close` or another photo.
        """
        job, state = self._job(session, model, region)
        try:
            threading.Thread(target=self._run, args=(job, state, model), daemon=True).start()
            yield job.progress(self._queue.before(job))
            while not job.finished.wait(_POLL_SECONDS):
                if job.cancelled.is_set():
                    raise web_jobs.Cancelled
                yield job.progress(self._queue.before(job))
            state.used = time.monotonic()
            result = job.result
            if job.error or not result:
                raise job.error or web_jobs.Cancelled
            yield result
        finally:
            self._queue.cancel(job)

    def cancel(self, session: str) -> None:
        """Ends what is computed for a session, at the latest after the strip in the works."""
        state = self._sessions.get(session)
        if state and state.job:
            self._queue.cancel(state.job)

    def close(self, session: str) -> None:
        """Cancels a session's photo and removes all its files."""
        self._sessions.close(session)

    def shut(self, seconds: float) -> None:
        """Closes all sessions and waits at most so long for the strip in the works."""
        self._sessions.close_all()
        self._queue.wait_until_empty(seconds)

    def picture(self, folder: str, name: str) -> str | None:
        """Returns the path of one of the pictures to show, by its address on the page."""
        state = self._sessions.in_folder(folder)
        if state is None:
            return None
        state.used, opened, job = time.monotonic(), state.opened, state.job
        result = job.result if job else None
        shown = [opened.preview] if opened else []
        shown += [result.after, result.bicubic] if result else []
        return next((path for path in shown if os.path.basename(path) == name), None)

    def address(self, path: str) -> str:
        """Returns what `picture` finds `path` by, as a part of a URL: FOLDER/NAME."""
        return urllib.parse.quote(pathlib.Path(path).relative_to(self._folder).as_posix())

    def _job(
        self, session: str, model: str, region: web_jobs.Region | None
    ) -> tuple[web_jobs.Job, web_sessions.Session]:
        """Puts what a session asks for into the queue, in place of what it asked for before."""
        with self._lock:
            state = self._sessions.get(session)
            opened = state.opened if state else None
            if state is None or opened is None:
                raise web_sessions.Refusal(web_sessions.GONE)
            if model not in self.models:
                raise web_sessions.Refusal("This model is not served here: load the page again.")
            region = self._check(region, opened)
            if state.job:
                self._queue.cancel(state.job)
                state.job.remove()
            job = web_jobs.Job(
                state.source, opened.name, region, self.models[model], self._pace[model]
            )
            if not self._queue.add(job):
                raise web_sessions.Refusal(
                    f"{self.max_waiting + 1} photos are being upscaled or waiting here, which is "
                    "as many as may: try again in a minute."
                )
            state.job, state.used = job, time.monotonic()
            if state.ended.is_set():  # Just now, perhaps before it had this job.
                self._queue.cancel(job)
        return job, state

    def _check(
        self, region: web_jobs.Region | None, opened: web_sessions.Opened
    ) -> web_jobs.Region:
        region = region or web_jobs.Region(0, 0, opened.width, opened.height)
        across = 0 <= region.left < region.left + region.width <= opened.width
        down = 0 <= region.top < region.top + region.height <= opened.height
        if not (across and down):
            raise web_sessions.Refusal(
                f"The part must lie within the photo ({opened.width} x {opened.height} pixels)."
            )
        pixels = region.width * region.height
        if pixels > self.max_pixels:
            raise web_sessions.Refusal(
                f"{region.width} x {region.height} are {pixels:,} pixels; at most "
                f"{self.max_pixels:,} are done at once here: choose a part of the photo."
            )
        return region

    def _run(self, job: web_jobs.Job, state: web_sessions.Session, model: str) -> None:
        """Computes a job when it is its turn (in a thread of its own)."""

        def compute() -> None:
            try:
                self._pace[model] = job.run()
            finally:
                # Whoever writes a file makes its folder again.
                if state.ended.is_set():
                    state.remove_files()

        self._queue.run(job, compute)
