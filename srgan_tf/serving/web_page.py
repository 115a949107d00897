"""What the page of srgan-web shows, and what its buttons do (Gradio).

One way leads through it: a photo, a part of it and a model, Upscale, compare, download. page/ has
the style sheet and two elements of our own, for cropping and comparing; studio.py does the work,
and web_texts.py says how it went.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from srgan_tf.serving import studio as studio_lib
from srgan_tf.serving import web_jobs, web_sessions, web_texts

_PAGE = pathlib.Path(__file__).resolve().parent / "page"
_SCRIPTS = ("common.js", "crop.js", "compare.js")
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
        except web_jobs.Cancelled:
            return "", gradio.update(value=None), "", hidden, ""
        except Exception as error:
            return web_texts.alert(error), gradio.update(value=None), "", hidden, ""
        crop = web_texts.element(
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
                if isinstance(state, web_jobs.Progress):
                    yield "", running, shown, web_texts.progress(state), ""
                else:
                    before, after = map(studio.address, (state.bicubic, state.after))
                    compare = web_texts.comparison(model, state, before=before, after=after)
                    yield "", idle, hidden, "", compare
        except web_jobs.Cancelled:
            yield "", idle, hidden, "", ""
        except Exception as error:
            yield web_texts.alert(error), idle, hidden, "", ""

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
            "It is deleted when you close this page.</p>"
            # What screen readers are told must stay where it is while its text changes.
            '<p id="said" role="status"></p>',
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
        # All that the queue of the models can take; those that wait are known to the studio.
        openings = studio.max_waiting + 2
        drop.upload(opened, [drop, model], opening, concurrency_limit=openings, **quiet)
        done = go.click(
            upscaled,
            [model, region],
            [notice, go, cancel, progress, result],
            js="(model) => srgan.begin(model)",
            concurrency_limit=None,
            **quiet,
        )
        done.then(None, None, None, js="() => srgan.end()", **quiet)
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
        "css": _read("page.css"),
        "head": f"<script>(() => {{{''.join(map(_read, _SCRIPTS))}}})();</script>",
        "theme": _theme(gradio),
        "footer_links": [],
    }


def _read(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


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


def _region(value: Any) -> web_jobs.Region | None:
    """Returns what the page says was chosen.

    Raises:
        Refusal: it is not what our page sends.
    """
    if value is None:
        return None
    try:
        return web_jobs.Region(
            **{key: int(value[key]) for key in ("left", "top", "width", "height")}
        )
    except (TypeError, KeyError, ValueError) as error:
        raise web_sessions.Refusal("The part was not understood: load the page again.") from error
