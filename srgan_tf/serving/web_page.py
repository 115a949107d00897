"""What the page of srgan-web shows, and what its buttons do (Gradio).

One way leads through it: a photo, a part of it and a model, Upscale, compare, download. page/ has
the style sheet and two elements of our own, for cropping and comparing; studio.py does the work.
"""

import html
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from absl import logging

from srgan_tf import errors
from srgan_tf.serving import studio as studio_lib

_PAGE = pathlib.Path(__file__).resolve().parent / "page"
# An upload that never became a photo is removed after a while, in seconds.
_SWEEP = (60, 600)


def build(gradio: Any, studio: studio_lib.Studio) -> Any:
    """Returns the page (a `gradio.Blocks`) in front of `studio`."""
    names = list(studio.models)
    first = names[0]
    hidden, shown = gradio.update(visible=False), gradio.update(visible=True)

    def opened(path: str, model: str, request: gradio.Request) -> tuple:
        try:
            photo = studio.open(request.session_hash, path)
        except Exception as error:
            return _alert(error), gradio.update(value=None), "", hidden, ""
        crop = _element(
            "srgan-crop",
            src=f"picture/{studio.address(photo.preview)}",
            width=photo.width,
            height=photo.height,
            scale=studio.models[model].scale,
            limit=studio.max_pixels,
        )
        return "", gradio.update(value=None, visible=False), crop, shown, ""

    def upscaled(model: str, region: Any, request: gradio.Request) -> Iterator[tuple]:
        running = gradio.update(interactive=False)
        idle = gradio.update(interactive=True)
        try:
            for state in studio.upscale(request.session_hash, model, _region(region)):
                if isinstance(state, studio_lib.Progress):
                    yield "", running, shown, _progress(state), ""
                else:
                    yield "", idle, hidden, "", _comparison(studio, model, state)
        except studio_lib.Cancelled:
            yield "", idle, hidden, "", ""
        except Exception as error:
            yield _alert(error), idle, hidden, "", ""

    def forgotten(request: gradio.Request) -> tuple:
        studio.close(request.session_hash)
        return "", shown, "", hidden, ""

    def cancelled(request: gradio.Request) -> None:
        studio.cancel(request.session_hash)

    def closed(request: gradio.Request) -> None:
        studio.close(request.session_hash)

    with gradio.Blocks(title="srgan: larger photos", delete_cache=_SWEEP) as page:
        gradio.HTML(
            "<h1>Make a photo larger</h1><p>Drop a photo, choose a part or all of it, and compare. "
            "It is deleted when you close this page.</p>",
            elem_id="title",
        )
        notice = gradio.HTML(elem_id="notice")
        drop = gradio.File(
            label="Photo",
            file_types=["image"],
            height=260,
            elem_id="drop",
        )
        crop = gradio.HTML(elem_id="crop")
        with gradio.Column(visible=False) as controls:
            with gradio.Row(equal_height=True):
                model = gradio.Radio(
                    [(_labelled(name, studio), name) for name in names],
                    value=first,
                    label="Model",
                    visible=len(names) > 1,
                    elem_id="model",
                )
                region = gradio.JSON(visible=False)
            with gradio.Row():
                go = gradio.Button("Upscale", variant="primary", size="lg", elem_id="go")
                other = gradio.Button(
                    "Another photo", size="lg", elem_id="other", scale=0, min_width=200
                )
        progress = gradio.HTML(elem_id="progress")
        cancel = gradio.Button("Cancel", visible=False, elem_id="cancel")
        result = gradio.HTML(elem_id="result")

        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        opening = [notice, drop, crop, controls, result]
        drop.upload(opened, [drop, model], opening, concurrency_limit=1, **quiet)
        go.click(
            upscaled,
            [model, region],
            [notice, go, cancel, progress, result],
            js="(model) => [model, document.querySelector('srgan-crop').region]",
            concurrency_limit=None,
            **quiet,
        )
        other.click(forgotten, None, opening, concurrency_limit=None, **quiet)
        cancel.click(cancelled, None, None, concurrency_limit=None, queue=False, **quiet)
        scales = {name: one.scale for name, one in studio.models.items()}
        model.change(
            None,
            model,
            None,
            js=f"(model) => document.querySelector('srgan-crop')?.setAttribute('scale', "
            f"({scales})[model])",
            **quiet,
        )
        page.unload(closed)
    return page


def look(gradio: Any) -> dict[str, Any]:
    """Returns the arguments of `launch` that say how the page looks."""
    return {
        "css": (_PAGE / "page.css").read_text(encoding="utf-8"),
        "head": f"<script>{(_PAGE / 'elements.js').read_text(encoding='utf-8')}</script>",
        "theme": _theme(gradio),
        "footer_links": [],
    }


def _theme(gradio: Any) -> Any:
    """Returns a theme of the system's fonts: the usual ones come with Gradio or from Google."""
    font = gradio.themes.Font("sans-serif")
    return gradio.themes.Base(
        primary_hue="orange",
        neutral_hue="stone",
        radius_size="lg",
        font=[font],
        font_mono=[gradio.themes.Font("monospace")],
    ).set(
        body_background_fill="*neutral_50",
        button_primary_background_fill="#c2410c",
        button_primary_background_fill_dark="#c2410c",
        button_primary_background_fill_hover="#9a3412",
        button_primary_background_fill_hover_dark="#ea580c",
        button_primary_text_color="white",
    )


def picture_route(studio: studio_lib.Studio) -> Any:
    """Returns what serves previews and results, which no browser may keep."""
    from starlette import responses, routing

    async def picture(request: Any) -> Any:
        path = studio.picture(request.path_params["folder"], request.path_params["name"])
        if path is None:
            return responses.PlainTextResponse("This picture is no longer here.", 404)
        return responses.FileResponse(
            path, media_type="image/png", headers={"cache-control": "no-store"}
        )

    return routing.Route("/picture/{folder}/{name}", picture)


def _labelled(name: str, studio: studio_lib.Studio) -> str:
    return f"{name} (×{studio.models[name].scale})"


def _region(value: Any) -> studio_lib.Region | None:
    """Returns what the page says was chosen.

    Raises:
        errors.InputError: it is not what our page sends.
    """
    if value is None:
        return None
    try:
        return studio_lib.Region(
            **{key: int(value[key]) for key in ("left", "top", "width", "height")}
        )
    except (TypeError, KeyError, ValueError) as error:
        raise errors.InputError("The part was not understood: load the page again.") from error


def _comparison(studio: studio_lib.Studio, model: str, result: studio_lib.Result) -> str:
    return _element(
        "srgan-compare",
        before=f"picture/{studio.address(result.bicubic)}",
        after=f"picture/{studio.address(result.after)}",
        name=os.path.basename(result.after),
        model=model,
        width=result.width,
        height=result.height,
    )


def _element(tag: str, /, **attributes: Any) -> str:
    pairs = (f'{key}="{html.escape(str(value))}"' for key, value in attributes.items())
    return f"<{tag} {' '.join(pairs)}></{tag}>"


def _alert(error: Exception) -> str:
    """Returns what is wrong in a sentence; what nobody foresaw is told on the terminal."""
    if isinstance(error, (errors.InputError, errors.RunError)):
        text = str(error)
        text = text if "://" in text.split()[0] else text[:1].upper() + text[1:]
        text = f"{text.rstrip('.')}."
    elif isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        text = "There was not enough memory: choose a smaller part."
    else:
        logging.error("The page could not answer a request.", exc_info=error)
        text = "Something went wrong; whoever runs this page finds the reason on the terminal."
    return f'<p role="alert">{html.escape(text)}</p>'


def _progress(state: studio_lib.Progress) -> str:
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
