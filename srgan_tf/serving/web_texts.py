"""What people read on the page: the comparison's element, progress, and what went wrong.

Messages for people at the command line ("raise --deadline_s") are no help to those who only see the
page: they go to the terminal, and the page has words of its own.
"""

import html
from typing import Any

from absl import logging

from srgan_tf import errors, photos
from srgan_tf.serving import client, protocols, web_jobs, web_sessions

_LATER = "try again in a minute."
_REFUSALS = {
    protocols.DEADLINE: f"That took too long: choose a smaller part, or {_LATER}",
    protocols.EXHAUSTED: f"The server that computes is busy: {_LATER}",
}
_ELSE = "Something went wrong; whoever runs this page finds the reason on the terminal."


def element(tag: str, /, **attributes: Any) -> str:
    """Returns one of the page's own elements."""
    pairs = (f'{key}="{html.escape(str(value))}"' for key, value in attributes.items())
    return f"<{tag} {' '.join(pairs)}></{tag}>"


def comparison(model: str, result: web_jobs.Result, *, before: str, after: str) -> str:
    """Returns the element that compares two pictures, by their addresses."""
    return element(
        "srgan-compare",
        before=f"picture/{before}",
        after=f"picture/{after}",
        name=result.name,
        model=model,
        width=result.width,
        height=result.height,
    )


def alert(error: Exception) -> str:
    """Returns what is wrong in a sentence; what visitors can do nothing about is logged."""
    if isinstance(error, (web_sessions.Refusal, photos.PhotoError)):
        text = str(error)
        text = f"{text[:1].upper()}{text[1:].rstrip('.')}."
    elif isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        text = "There was not enough memory: choose a smaller part."
    else:
        foreseen = isinstance(error, (errors.InputError, errors.RunError))
        logging.error(
            "The page could not answer a request: %s", error, exc_info=None if foreseen else error
        )
        text = _ELSE
        if isinstance(error, client.Unavailable):
            text = f"The server that computes cannot be reached: {_LATER}"
        if isinstance(error, client.RequestError):
            text = _REFUSALS.get(error.kind, _ELSE)
    return f'<p role="alert">{html.escape(text)}</p>'


def progress(state: web_jobs.Progress) -> str:
    """Returns a bar and a line."""
    if state.seconds_left is None:
        others = f"{state.before} photo{'s' if state.before != 1 else ''}"
        text = f"Waiting for {others} to be finished first." if state.before else "Starting."
    else:
        text = (
            f"{state.rows:,} of {state.total:,} rows done, about "
            f"{_duration(state.seconds_left)} left"
        )
    percent = round(100 * state.share)
    return (
        f'<div class="bar" role="progressbar" aria-label="Upscaling" aria-valuenow="{percent}">'
        f'<i style="width:{percent}%"></i></div><p>{text}</p>'
    )


def _duration(seconds: float) -> str:
    seconds = max(1, round(seconds))
    return f"{seconds} s" if seconds < 100 else f"{round(seconds / 60)} min"
