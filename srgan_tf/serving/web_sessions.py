"""The sessions of the page (browser tabs) and their photos, each in a folder that goes with it."""

import contextlib
import dataclasses
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable

from PIL import Image

from srgan_tf import errors, photos
from srgan_tf.serving import web_jobs

_PREVIEW_SIDE = 1200
GONE = "This photo is no longer here: choose it again."


class Refusal(errors.InputError):
    """What cannot be done, in words for people who see nothing but the page."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """A photo that can be upscaled: its size in pixels, and the path of a small copy (PNG)."""

    name: str
    height: int
    width: int
    preview: str


class Session:
    """One photo of one tab; `opened` is None as long as it is being opened, and afterwards."""

    def __init__(self, folder: str, upload: str):
        """Of the photo at `upload`, in a folder that is not there yet."""
        self.folder, self.upload = folder, upload
        self.source = os.path.join(folder, "source")
        self.opened: Opened | None = None
        self.job: web_jobs.Job | None = None
        self.ended = threading.Event()
        self.used = time.monotonic()

    @property
    def idleness(self) -> tuple[bool, float]:
        """Sorts sessions: first those that wait for nothing, the longest idle before others."""
        busy = self.opened is None or (self.job is not None and not self.job.finished.is_set())
        return busy, self.used

    def remove_files(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All of them; above `most` the one that is idle for longest ends."""

    def __init__(self, folder: str, most: int, cancel: Callable[[web_jobs.Job], None]):
        """Makes their folders in `folder`; `cancel` is called with the job of one that ends."""
        self._folder, self._most, self._cancel = folder, most, cancel
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def open(self, key: str, path: str) -> Opened:
        """As `Studio.open`."""
        session = Session(os.path.join(self._folder, secrets.token_urlsafe(16)), path)
        self._register(key, session)
        try:
            _take(path, session)
            with self._opening:
                self._require(key, session)
                opened = _open(session)
            with self._lock:
                self._require(key, session)
                session.opened, session.used = opened, time.monotonic()
        except BaseException as error:
            with self._lock:
                registered = self._sessions.get(key) is session
                if registered:
                    del self._sessions[key]
            self._end(session)
            if not registered:  # Whatever it stumbled over.
                raise web_jobs.Cancelled from error
            raise
        return opened

    def get(self, key: str) -> Session | None:
        with self._lock:
            return self._sessions.get(key)

    def close(self, key: str) -> None:
        """Cancels a session's photo and removes all its files."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session:
            self._end(session)

    def close_all(self) -> None:
        for key in list(self._sessions):
            self.close(key)

    def in_folder(self, name: str) -> Session | None:
        """Returns the one with a folder of this name, which only its page knows."""
        asked = name.encode()
        with self._lock:
            found = list(self._sessions.values())
        for session in found:
            if secrets.compare_digest(os.path.basename(session.folder).encode(), asked):
                return session
        return None

    def _register(self, key: str, session: Session) -> None:
        """Makes a session known before anything of it is there: from then on `close` ends it."""
        with self._lock:
            ended = [self._sessions.pop(key, None)]
            while len(self._sessions) >= self._most:
                # Not every client says when it goes.
                idlest = min(self._sessions, key=lambda one: self._sessions[one].idleness)
                ended.append(self._sessions.pop(idlest))
            self._sessions[key] = session
        for one in filter(None, ended):
            self._end(one)

    def _require(self, key: str, session: Session) -> None:
        """Raises Cancelled where a tab was closed or has another photo."""
        if self._sessions.get(key) is not session:
            raise web_jobs.Cancelled

    def _end(self, session: Session) -> None:
        """Cancels and removes all of a session that is no longer registered."""
        session.ended.set()
        session.opened = None
        if session.job:
            self._cancel(session.job)
        session.remove_files()
        with self._lock:
            if not any(one.upload == session.upload for one in self._sessions.values()):
                with contextlib.suppress(OSError):
                    os.remove(session.upload)


def _take(upload: str, session: Session) -> None:
    """Makes an upload the session's own, whatever becomes of the upload."""
    os.makedirs(session.folder)
    try:
        os.link(upload, session.source)
    except FileNotFoundError as error:
        raise Refusal(GONE) from error
    except OSError:  # A file system without links.
        shutil.copyfile(upload, session.source)


def _open(session: Session) -> Opened:
    """Decodes a session's photo and writes the small copy."""
    photo = photos.load(session.source, max_pixels=web_jobs.MOST_PIXELS_OF_A_PHOTO)
    picture = Image.fromarray(photo.rgb)
    if photo.alpha is not None:
        picture.putalpha(Image.fromarray(photo.alpha))
    picture.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    preview = os.path.join(session.folder, "preview.png")
    picture.save(preview, "PNG")
    name = os.path.splitext(os.path.basename(session.upload))[0] or "photo"
    return Opened(name, *photo.rgb.shape[:2], preview)
