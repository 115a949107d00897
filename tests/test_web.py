"""The page of srgan-web in a real browser without a window; studio.py without one."""

import contextlib
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import fixtures
import numpy as np
import pytest
import test_export
from PIL import Image

from srgan_tf import errors, photos
from srgan_tf.serving import (
    client,
    comparison,
    protocols,
    studio,
    web,
    web_jobs,
    web_queue,
    web_sessions,
    web_texts,
)
from srgan_tf.serving.upscaler import Upscaler

COMMAND = [sys.executable, str(fixtures.ROOT / "scripts" / "web.py")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A run folder, which is ready sooner than an export; scale 2."""
    return str(test_export.make_run(tmp_path_factory.mktemp("web") / "run", steps=(7,)))


class Doubling:
    """A model that repeats pixels, in strips of two LR rows; `gate` is passed before each."""

    scale = 2
    fingerprint = "double"

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()

    def strips(self, rgb):
        for top in range(0, len(rgb), 2):
            assert self.gate.wait(20)
            yield rgb[top : top + 2].repeat(2, axis=0).repeat(2, axis=1)


@pytest.fixture
def doubling(tmp_path):
    folder = tmp_path / "sessions"
    folder.mkdir()
    return studio.Studio({"double": Doubling()}, str(folder), max_pixels=600, max_waiting=1)


def upload(folder, picture, name="photo.png"):
    """Saves a picture as a page's upload and returns its path."""
    path = folder / name
    Image.fromarray(picture).save(path)
    return str(path)


def need_gradio():
    """Skips where it is not installed; importing it would take seconds."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs the extra `web`")


@pytest.mark.parametrize("kind", ["colour", "grey", "alpha"])
def test_a_part_is_upscaled_and_its_kind_kept(doubling, tmp_path, kind):
    picture = fixtures.photo_like(20, 30)
    if kind == "grey":
        picture = picture[..., 0]
    if kind == "alpha":
        picture = np.dstack([picture, np.full((20, 30), 77, np.uint8)])
    opened = doubling.open("me", upload(tmp_path, picture))
    assert (opened.name, opened.height, opened.width) == ("photo", 20, 30)
    assert Image.open(opened.preview).size == (30, 20)
    *states, result = doubling.upscale("me", "double", web_jobs.Region(4, 3, 11, 7))
    assert all(0 <= state.share <= 1 and state.total == 14 for state in states)
    after = np.asarray(Image.open(result.after))
    np.testing.assert_array_equal(after, picture[3:10, 4:15].repeat(2, axis=0).repeat(2, axis=1))
    assert result.name == "photo_x2.png"
    assert Image.open(result.bicubic).mode == Image.open(result.after).mode
    if kind == "colour":
        bicubic = comparison.enlarged(picture[3:10, 4:15], 2, 0, 7)
        np.testing.assert_array_equal(np.asarray(Image.open(result.bicubic)), bicubic)
    doubling.close("me")
    assert os.listdir(tmp_path / "sessions") == []


def test_progress_counts_rows(doubling, tmp_path):
    doubling.open("me", upload(tmp_path, fixtures.photo_like(20, 30)))
    gate = doubling.models["double"].gate
    gate.clear()
    running = doubling.upscale("me", "double", None)
    state = next(running)
    while state.seconds_left is None:
        state = next(running)
    # Nothing is done, and no estimate says that all of it is.
    assert (state.rows, state.total) == (0, 40) and state.share <= 0.97
    gate.set()
    assert isinstance([state, *running][-1], web_jobs.Result)


def test_too_large_a_part_and_too_many_photos_are_refused(doubling, tmp_path):
    gate = doubling.models["double"].gate
    for session in ("a", "b", "c"):
        doubling.open(session, upload(tmp_path, fixtures.photo_like(20, 31)))
    with pytest.raises(errors.InputError, match="620 pixels; at most 600"):
        next(doubling.upscale("a", "double", None))
    with pytest.raises(errors.InputError, match="within the photo"):
        next(doubling.upscale("a", "double", web_jobs.Region(25, 0, 10, 10)))
    gate.clear()
    part = web_jobs.Region(0, 0, 10, 10)
    first, second = (doubling.upscale(one, "double", part) for one in "ab")
    next(first)
    assert next(second).before == 1
    with pytest.raises(errors.InputError, match="try again in a minute"):
        next(doubling.upscale("c", "double", part))
    gate.set()
    for running in (first, second):
        assert isinstance(list(running)[-1], web_jobs.Result)


def test_cancelling_leaves_no_file_and_the_next_photo_is_done(doubling, tmp_path):
    opened = doubling.open("me", upload(tmp_path, fixtures.photo_like(20, 30)))
    gate = doubling.models["double"].gate
    gate.clear()
    running = doubling.upscale("me", "double", None)
    next(running)
    doubling.cancel("me")
    with pytest.raises(web_jobs.Cancelled):
        list(running)
    gate.set()
    assert isinstance(list(doubling.upscale("me", "double", None))[-1], web_jobs.Result)
    first = list(doubling.upscale("me", "double", None))[-1]
    second = list(doubling.upscale("me", "double", None))[-1]
    # A result goes with the next one, whose address is another.
    paths = {"source", "preview.png", *map(os.path.basename, (second.after, second.bicubic))}
    assert set(os.listdir(os.path.dirname(opened.preview))) == paths
    assert first.after != second.after and not os.path.exists(first.after)


def test_cancelled_photos_leave_the_queue_at_once(doubling, tmp_path):
    gate = doubling.models["double"].gate
    for session in ("a", "b"):
        doubling.open(session, upload(tmp_path, fixtures.photo_like(20, 30), f"{session}.png"))
    gate.clear()
    # The queue has one that computes, and room for one more.
    for _ in range(4):
        impatient = doubling.upscale("a", "double", None)
        next(impatient)
        doubling.cancel("a")
        with pytest.raises(web_jobs.Cancelled):
            list(impatient)
    other = doubling.upscale("b", "double", None)
    assert next(other).before == 1
    gate.set()
    assert isinstance(list(other)[-1], web_jobs.Result)


def test_who_comes_first_is_done_first(tmp_path):
    queue, done = web_queue.Queue(8), []
    jobs = [
        web_jobs.Job("source", "name", web_jobs.Region(0, 0, 1, 1), Doubling(), 1.0)
        for _ in range(8)
    ]
    assert all(map(queue.add, jobs))
    threads = [
        threading.Thread(target=queue.run, args=(job, lambda job=job: done.append(job)))
        for job in reversed(jobs)
    ]
    queue.cancel(jobs[3])
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == jobs[:3] + jobs[4:]
    assert isinstance(jobs[3].error, web_jobs.Cancelled)


class Slow:
    """Stands in for `photos.load`: waits for `gate`, and counts."""

    def __init__(self, monkeypatch):
        self.gate, self.count = threading.Event(), 0
        self._load = photos.load
        monkeypatch.setattr(web_sessions.photos, "load", self)

    def __call__(self, *args, **keywords):
        self.count += 1
        assert self.gate.wait(60)
        return self._load(*args, **keywords)


def in_thread(function, *arguments):
    """Calls it in a thread; returns the thread, and a list that gets what it raises."""
    raised = []

    def call():
        try:
            function(*arguments)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread, raised


def test_a_tab_closed_while_its_photo_is_opened_leaves_nothing(doubling, tmp_path, monkeypatch):
    slow, sessions = Slow(monkeypatch), tmp_path / "sessions"
    paths = {
        name: upload(tmp_path, fixtures.photo_like(20, 30), f"{name}.png")
        for name in ("opening", "waiting")
    }
    opening = in_thread(doubling.open, "opening", paths["opening"])
    _wait_until(lambda: slow.count == 1)
    waiting = in_thread(doubling.open, "waiting", paths["waiting"])
    _wait_until(lambda: len(list(sessions.rglob("source"))) == 2)
    for session in paths:
        doubling.close(session)
    slow.gate.set()
    for thread, raised in (opening, waiting):
        thread.join(60)
        assert [type(error) for error in raised] == [web_jobs.Cancelled]
    assert slow.count == 1
    assert os.listdir(sessions) == [] and not any(map(os.path.exists, paths.values()))


def test_one_photo_in_two_tabs(doubling, tmp_path):
    # Gradio puts both uploads into one place.
    path = upload(tmp_path, fixtures.photo_like(20, 30))
    for session in ("a", "b"):
        doubling.open(session, path)
    doubling.close("a")
    assert os.path.exists(path)
    assert isinstance(list(doubling.upscale("b", "double", None))[-1], web_jobs.Result)
    doubling.close("b")
    assert not os.path.exists(path)
    with pytest.raises(web_sessions.Refusal, match="choose it again"):
        doubling.open("c", path)


def test_the_longest_idle_of_too_many_sessions_goes(doubling, tmp_path):
    # 4 * (max_waiting + 2) of them; the first computes, the second was looked at.
    gate, most = doubling.models["double"].gate, 12
    picture = fixtures.photo_like(20, 30)
    opened = [doubling.open(f"{i}", upload(tmp_path, picture, f"{i}.png")) for i in range(most)]
    gate.clear()
    running = doubling.upscale("0", "double", None)
    next(running)
    assert doubling.picture(*doubling.address(opened[1].preview).split("/"))
    doubling.open("new", upload(tmp_path, picture, "new.png"))
    gone = [one.name for one in opened if not os.path.exists(one.preview)]
    assert gone == ["2"] and len(os.listdir(tmp_path / "sessions")) == most
    gate.set()
    assert isinstance(list(running)[-1], web_jobs.Result)


@pytest.mark.parametrize(
    "error, text",
    [
        (client.RequestError(protocols.DEADLINE, "raise --deadline_s"), "That took too long"),
        (client.RequestError(protocols.EXHAUSTED, "a smaller --in_flight"), "is busy"),
        (client.RequestError("INTERNAL", "grpc://inside:8500"), "Something went wrong"),
        (client.Unavailable("the same command goes on"), "cannot be reached"),
        (errors.InputError("--memory_mb=1 is too little"), "Something went wrong"),
        (web_sessions.Refusal("choose <another>"), "Choose &lt;another&gt;."),
    ],
)
def test_visitors_read_nothing_about_the_command_line(error, text):
    shown = web_texts.alert(error)
    assert text in shown
    assert not re.search("--|command|inside", shown)


def test_no_photo_leaves_nothing_and_says_why(doubling, tmp_path):
    path = tmp_path / "text.png"
    path.write_text("no picture")
    with pytest.raises(photos.PhotoError, match="not an image"):
        doubling.open("me", str(path))
    assert not path.exists() and os.listdir(tmp_path / "sessions") == []
    with pytest.raises(errors.InputError, match="choose it again"):
        next(doubling.upscale("me", "double", None))


def test_pictures_are_found_by_their_address_only(doubling, tmp_path):
    opened = doubling.open("me", upload(tmp_path, fixtures.photo_like(20, 30)))
    folder, name = doubling.address(opened.preview).split("/")
    assert doubling.picture(folder, name) == opened.preview
    for place in [(folder, "source"), ("x" + folder[1:], name), ("..", "photo.png"), ("é", "x")]:
        assert doubling.picture(*place) is None


@pytest.mark.parametrize(
    "text, name",
    [
        ("runs/first", "first"),
        ("runs/first/saved_model/1650", "first"),
        ("srgan", "srgan"),
        ("soft=runs/first", "soft"),
    ],
)
def test_models_have_names_that_people_know(text, name):
    assert web.named(text) == (name, text.partition("=")[2] or text)


def test_a_busy_port_is_one_line(tmp_path):
    need_gradio()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = subprocess.run(
            [*COMMAND, f"--port={port}", "--model=x"], capture_output=True, text=True, timeout=120
        )
    assert result.returncode == 2
    assert re.fullmatch(rf".*error: --host=127\.0\.0\.1 --port={port} .*\n", result.stderr)


@contextlib.contextmanager
def serving(model, folder, *flags):
    """Runs srgan-web with `folder` for its temporary files; yields its address."""
    process = subprocess.Popen(
        [*COMMAND, f"--model=tiny={model}", "--port=0", *flags],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("The page is at http://127.0.0.1:"), process.stderr.read()
        yield re.search(r"http://\S+", line)[0]
        process.send_signal(signal.SIGINT)
        output, complaints = process.communicate(timeout=120)
        assert (process.returncode, output) == (0, "Ended; nothing was kept.\n"), complaints
        assert "Traceback" not in complaints
    finally:
        process.kill()


def test_in_a_browser(model, tmp_path):
    need_gradio()
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")
    names = ("chromium", "chromium-browser", "google-chrome")
    browser_path = next(filter(None, map(shutil.which, names)), None)
    if browser_path is None:
        pytest.skip("needs a browser: chromium or google-chrome")
    picture = fixtures.photo_like(40, 56)
    photo = upload(tmp_path, picture, "my #1 %20photo.png")
    name = "my #1 %20photo_x2.png"
    text = tmp_path / "text.png"
    text.write_text("no picture")
    kept = tmp_path / "kept"
    kept.mkdir()
    requests = []
    with serving(model, kept, "--max_file_mb=1") as address, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.on("request", lambda request: requests.append(request.url))
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)

        # What is no photo is named, and the page goes on.
        drop = "#drop input[type=file]"
        page.set_input_files(drop, str(text))
        assert "Not an image" in page.inner_text("[role=alert]")
        page.set_input_files(drop, photo)
        page.wait_for_selector("srgan-crop img")
        assert page.locator("[role=alert]").count() == 0

        # All of it, by keyboard: the pictures have the focus, the end is announced.
        said = page.locator("[role=status]#said")
        said.evaluate("(element) => { window.firstSaid = element }")
        page.focus("#go")
        page.keyboard.press("Enter")
        page.wait_for_selector("srgan-compare[ready]")
        assert said.inner_text() == "Done: 112 × 80 pixels."
        assert said.evaluate("(element) => element === window.firstSaid")
        assert page.evaluate("document.activeElement.localName") == "srgan-compare"
        note = page.inner_text("srgan-compare #note")
        page.keyboard.press("+")
        assert page.inner_text("srgan-compare #note") != note

        # The slider is there, the download is what Upscaler makes of it.
        assert page.get_by_label("How much of the view shows bicubic").is_visible()
        upscaler = Upscaler.load(model)
        downloaded = _downloaded(page, tmp_path, name).astype(int)
        np.testing.assert_allclose(downloaded, upscaler.upscale(picture), atol=1)
        page.get_by_role("button", name="8×").click()
        assert "800 %" in page.inner_text("srgan-compare #note")
        before = page.inner_text("srgan-compare #note")
        page.get_by_role("button", name="All").click()
        assert page.inner_text("srgan-compare #note") != before
        sizes = page.evaluate(
            "[...document.querySelector('srgan-compare').shadowRoot.querySelectorAll('img')]"
            ".map((image) => [image.naturalWidth, image.naturalHeight])"
        )
        assert sizes == [[112, 80], [112, 80]]

        # A part, by the keyboard's way: fields instead of dragging.
        page.get_by_role("button", name="A part").click()
        for field, value in [("left", 5), ("top", 3), ("width", 30), ("height", 21)]:
            page.get_by_label(field, exact=True).fill(str(value))
            page.keyboard.press("Tab")
        page.click("#go")
        page.wait_for_selector("srgan-compare[width='60'][height='42'][ready]")
        downloaded = _downloaded(page, tmp_path, name).astype(int)
        np.testing.assert_allclose(downloaded, upscaler.upscale(picture[3:24, 5:35]), atol=1)

        # A closed page takes its photo with it.
        shown = page.get_attribute("srgan-compare", "after")
        assert urllib.request.urlopen(f"{address}/{shown}").status == 200
        assert list(kept.rglob("source"))
        page.close()
        _wait_until(lambda: not list(kept.rglob("*.png")) and not list(kept.rglob("source")))
        for gone in (shown, "picture/%C3%A9/x"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{address}/{gone}")
        browser.close()
    assert not problems
    local = (address, "data:", "blob:")
    assert len(requests) > 10 and not [url for url in requests if not url.startswith(local)]
    assert os.listdir(kept) == []


def _downloaded(page, folder, name):
    """Clicks on the download, and returns the picture if it has the name."""
    with page.expect_download() as download:
        page.click("srgan-compare #download")
    assert download.value.suggested_filename == name
    path = pathlib.Path(folder) / "downloaded.png"
    download.value.save_as(path)
    return np.asarray(Image.open(path))


def _wait_until(condition, seconds=120):
    done = threading.Event()
    for _ in range(10 * seconds):
        if condition():
            return
        done.wait(0.1)
    raise AssertionError("it did not happen in time")
