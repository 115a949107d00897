"""serving/upscaler.py and pictures.py: from a model's folder and files to files."""

import functools
import json
import os
import pathlib
import subprocess
import sys
import weakref

import fixtures
import numpy as np
import pytest
import test_export
from PIL import Image

from srgan_tf import bicubic, errors, images, photos, run_folder
from srgan_tf.serving import batch, comparison, export, model_record, pictures
from srgan_tf.serving.upscaler import Upscaler


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    made = test_export.make_run(tmp_path_factory.mktemp("upscaler") / "run")
    export.export(made)
    return made


@pytest.fixture(scope="module")
def upscaler(run_dir):
    return Upscaler.load(run_dir)


@pytest.fixture
def folder(tmp_path):
    """A folder as users have them; `named` by what is special about each."""
    photos = tmp_path / "in"
    (photos / "sub").mkdir(parents=True)
    colour = fixtures.photo_like(11, 14)
    Image.fromarray(colour).save(photos / "colour.png")
    Image.fromarray(colour[:9]).save(photos / "sub" / "colour.jpg")
    Image.fromarray(colour[..., 0]).save(photos / "grey.png")
    alpha = np.dstack([colour, np.arange(11 * 14, dtype=np.uint8).reshape(11, 14)])
    Image.fromarray(alpha).save(photos / "alpha.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (photos / "notes.txt").write_text("no picture")
    return photos


def test_every_kind_of_folder_gives_the_same_picture(run_dir):
    lr = fixtures.photo_like(12, 17)
    generator, _, _ = run_folder.load_generator(run_dir)
    unit = images.uint8_to_unit(lr[None])
    own = images.signed_to_uint8(generator(unit, training=False))[0].numpy()
    for path in (run_dir, f"{run_dir}/saved_model", f"{run_dir}/saved_model/7"):
        loaded = Upscaler.load(path)
        assert (loaded.scale, loaded.origin["step"]) == (2, 7)
        np.testing.assert_allclose(loaded.upscale(lr).astype(int), own, atol=1)
        tiled = Upscaler.load(path, tile_size=3).upscale(lr)
        np.testing.assert_allclose(tiled.astype(int), own, atol=1)
    older = Upscaler.load(run_dir, "3")
    assert older.origin["step"] == 3
    assert np.abs(older.upscale(lr).astype(int) - own).max() > 1


def test_a_generator_with_strides_is_tiled_in_step_with_them(tmp_path):
    made = test_export.make_run(tmp_path / "run", steps=(1,), name="autoencoder")
    exported = export.export(made)
    assert model_record.read(exported)["alignment"] == 4
    lr = fixtures.photo_like(67, 59)
    for path in (made, exported):
        # Tiles of 7 pixels would start at any place.
        whole, tiled = (Upscaler.load(path, tile_size=size).upscale(lr) for size in (999, 7))
        np.testing.assert_allclose(tiled.astype(int), whole, atol=1)
        assert np.ptp(whole) > 20


def test_an_export_of_an_older_version_does_not_name_the_alignment(run_dir, upscaler, tmp_path):
    target = pathlib.Path(export.export(run_dir, output=str(tmp_path)))
    record = target / model_record.PATH
    older = json.loads(record.read_text())
    del older["alignment"], older["config"]["generator"]["norm"]
    record.write_text(json.dumps(older))
    lr = fixtures.photo_like(12, 17)
    again = Upscaler.load(str(target), tile_size=3).upscale(lr)
    np.testing.assert_allclose(again.astype(int), upscaler.upscale(lr), atol=1)


def test_folders_that_are_no_model(run_dir, tmp_path):
    with pytest.raises(errors.InputError, match="no folder"):
        Upscaler.load(str(tmp_path / "missing"))
    with pytest.raises(errors.InputError, match="neither a run folder"):
        Upscaler.load(str(tmp_path))
    with pytest.raises(errors.InputError, match="--checkpoint=best is for run folders"):
        Upscaler.load(f"{run_dir}/saved_model", "best")
    target = pathlib.Path(export.export(run_dir, output=str(tmp_path)))
    (target / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(errors.InputError, match="cannot be loaded"):
        Upscaler.load(str(tmp_path))


def test_wrong_pictures(upscaler):
    with pytest.raises(ValueError, match="uint8"):
        upscaler.upscale(np.zeros((4, 4, 3), np.float32))


def test_a_folder_of_photos(upscaler, folder, tmp_path):
    output = tmp_path / "out"
    jobs = pictures.plan([str(folder)], str(output), scale=2, compare=True)
    summary = batch.run(jobs, upscaler)
    assert (summary.done, summary.skipped, len(summary.other_files)) == (4, 0, 1)
    assert len(summary.failed) == 1
    assert "broken.jpg: corrupt" in summary.failed[0]
    assert "broken.jpg" in summary.text("out").splitlines()[-1]
    written = sorted(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())
    stems = ["alpha", "colour", "grey", "sub/colour"]
    assert written == sorted(f"{s}_x2{c}.png" for s in stems for c in ("", "_compare"))

    colour = Image.open(output / "colour_x2.png")
    np.testing.assert_array_equal(colour, upscaler.upscale(fixtures.photo_like(11, 14)))
    assert Image.open(output / "grey_x2.png").mode == "L"
    alpha = Image.open(output / "alpha_x2.png")
    source = np.asarray(Image.open(folder / "alpha.png"))
    assert alpha.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(alpha)[..., 3], bicubic.imresize(source[..., 3], 2))


def test_what_cannot_be_written_is_named_and_the_others_go_on(
    upscaler, folder, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    (folder / "broken.jpg").unlink()
    output.mkdir()
    (output / "sub").write_text("a file where a folder is needed")
    monkeypatch.setattr(batch, "_MAX_PIXELS", 9 * 14 * 4)  # Fits sub/colour.jpg alone.
    Image.fromarray(fixtures.photo_like(5, 5)).save(folder / "small.png")
    summary = batch.run(pictures.plan([str(folder)], str(output), scale=2), upscaler)
    assert summary.done == 1
    assert len(summary.failed) == 4
    large = [line for line in summary.failed if "colour.png: too many pixels: 14x11" in line]
    assert "would become 28x22; the limit of an output is 504 pixels" in large[0]
    assert [line for line in summary.failed if "sub/colour.jpg: " in line]


def test_sides_that_a_format_cannot_hold_are_found_before_anything_is_computed(
    upscaler, tmp_path, monkeypatch
):
    (tmp_path / "in").mkdir()
    # Twice as wide: 65,502 of JPEG's 65,500; 16,384 of WebP's 16,383; 2 * 8,198 and a gap compared.
    widths = {"a.jpg": 32_751, "b.webp": 8_192, "c.webp": 4_099, "d.png": 32_751}
    for name, width in widths.items():
        Image.fromarray(np.zeros([2, width, 3], np.uint8)).save(tmp_path / "in" / name)
    decoded, real = [], photos.load
    monkeypatch.setattr(photos, "load", lambda path: decoded.append(path) or real(path))
    plan = functools.partial(
        pictures.plan, [str(tmp_path / "in")], str(tmp_path / "out"), scale=2, file_format="same"
    )
    summary = batch.run(plan(), upscaler)
    assert summary.done == 2 and [os.path.basename(path) for path in decoded] == ["c.webp", "d.png"]
    first, second = (line.split("/")[-1] for line in summary.failed)
    assert first == (
        "a.jpg: too large: 32751x2 would become 65502x4; the limit of JPEG is 65,500 pixels a "
        "side: choose --format=png"
    )
    assert second.startswith("b.webp: too large: 8192x2 would become 16384x4; the limit of WEBP is")
    summary = batch.run(plan(compare=True), upscaler)
    assert summary.done == 1 and len(decoded) == 3
    assert "c.webp: too large: the comparison would become 16400x23;" in summary.failed[2]


def test_an_interrupted_folder_continues(upscaler, folder, tmp_path):
    output = tmp_path / "out"
    (folder / "broken.jpg").unlink()
    jobs = pictures.plan([str(folder)], str(output), scale=2, compare=True)
    assert batch.run(jobs, upscaler).done == 4
    kept, lost = output / "grey_x2.png", output / "colour_x2_compare.png"
    kept.write_bytes(b"the user's own")
    lost.unlink()
    summary = batch.run(jobs, upscaler)
    assert (summary.done, summary.skipped) == (1, 3)
    assert lost.exists()
    assert kept.read_bytes() == b"the user's own"
    assert batch.run(jobs, upscaler, overwrite=True).done == 4
    assert Image.open(kept).size == (28, 22)


def test_names_that_would_collide(folder, tmp_path):
    Image.open(folder / "colour.png").save(folder / "colour.bmp")
    jobs = pictures.plan([str(folder)], "out", scale=2)
    targets = [job.target for job in jobs]
    assert len(set(targets)) == len(targets)
    assert {"out/colour_png_x2.png", "out/colour_bmp_x2.png"} <= set(targets)
    other = tmp_path / "other" / "sub"
    other.mkdir(parents=True)
    Image.open(folder / "colour.png").save(other / "colour.jpg")
    with pytest.raises(errors.InputError, match="both be written"):
        pictures.plan([str(folder), str(tmp_path / "other")], "out", scale=2)


@pytest.mark.parametrize("output", [".", "results"])
def test_results_are_no_new_inputs(upscaler, folder, output):
    target = str(folder / output)
    for file_format in ("png", "jpeg"):  # The second run finds the first one's results.
        jobs = pictures.plan([str(folder)], target, scale=2, compare=True, file_format=file_format)
        assert batch.run(jobs, upscaler).done == 4
    assert not list(folder.rglob("*_x2_x2*"))


def test_formats(folder):
    def endings(file_format):
        jobs = pictures.plan([str(folder)], "out", scale=2, file_format=file_format)
        return {os.path.splitext(job.target)[1] for job in jobs}

    assert endings("jpeg") == {".jpg"}
    assert endings("webp") == {".webp"}
    assert endings("same") == {".png", ".jpg"}
    with pytest.raises(errors.InputError, match="Unknown format"):
        endings("tga")


def test_nothing_to_do(tmp_path):
    with pytest.raises(errors.InputError, match="no pictures"):
        pictures.plan([str(tmp_path)], "out", scale=2)


def test_comparison_shows_both_at_equal_zoom():
    lr = fixtures.photo_like(30, 40)
    sr = bicubic.imresize(lr, 2)[::-1]
    picture = np.concatenate(list(comparison.rows(lr, [sr[:38], sr[38:]], 2)))
    assert picture.shape[:2] == comparison.size(60, 80)
    strip = picture.shape[0] - 60
    np.testing.assert_array_equal(picture[strip:, :80], sr[::-1])
    np.testing.assert_array_equal(picture[strip:, -80:], sr)
    caption = picture[:strip]
    assert caption[:, :80].min() < 50  # Something is written on either side.
    assert caption[:, -80:].min() < 50


def test_command(run_dir, folder, tmp_path):
    command = [sys.executable, str(fixtures.ROOT / "scripts" / "upscale.py"), f"--model={run_dir}"]
    output = tmp_path / "out"
    result = subprocess.run(
        [*command, f"--output={output}", str(folder / "grey.png"), str(folder / "broken.jpg")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 1, result.stderr
    assert result.stdout.splitlines()[0] == f"1 picture upscaled into {output}"
    assert "broken.jpg: corrupt" in result.stdout
    assert "Traceback" not in result.stderr
    assert os.listdir(output) == ["grey_x2.png"]


def test_a_broken_file_that_is_called_like_a_picture_has_failed(upscaler, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("broken.png", "notes.txt"):
        (tmp_path / "in" / name).write_text("no picture")
    Image.fromarray(fixtures.photo_like(9, 9)).save(tmp_path / "in" / "whole.png")
    jobs = pictures.plan([str(tmp_path / "in")], str(tmp_path / "out"), scale=2)
    summary = batch.run(jobs, upscaler)
    assert summary.done == 1 and "broken.png: not an image" in summary.failed[0]
    assert "left out, no pictures: " in summary.text("out") and "notes.txt" in summary.text("out")


def test_what_is_interrupted_leaves_whole_files_only(upscaler, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for number in range(4):
        picture = fixtures.photo_like(30, 30, seed=number)
        Image.fromarray(picture).save(tmp_path / "in" / f"{number}.png")
    jobs = pictures.plan([str(tmp_path / "in")], str(tmp_path / "out"), scale=2, compare=True)
    real, calls = upscaler.strips, []

    def interrupted(rgb):
        calls.append(1)
        strip = next(real(rgb))
        yield strip[:30]
        if len(calls) == 3:
            raise KeyboardInterrupt
        yield strip[30:]

    monkeypatch.setattr(upscaler, "strips", interrupted)
    with pytest.raises(KeyboardInterrupt):
        batch.run(jobs, upscaler)
    names = {f"{number}_x2{part}.png" for number in (0, 1) for part in ("", "_compare")}
    assert set(os.listdir(tmp_path / "out")) == names
    for name in names:
        Image.open(tmp_path / "out" / name).load()


def test_a_second_interruption_does_not_wait_for_ever(upscaler, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    Image.fromarray(fixtures.photo_like(40, 20)).save(tmp_path / "in" / "a.png")
    jobs = pictures.plan([str(tmp_path / "in")], str(tmp_path / "out"), scale=2, compare=True)

    def interrupted(rgb):
        yield np.zeros((30, 40, 3), np.uint8)
        raise KeyboardInterrupt

    def again(sink):
        raise KeyboardInterrupt

    monkeypatch.setattr(upscaler, "strips", interrupted)
    monkeypatch.setattr(batch.writers.Sink, "give_up", again)
    with pytest.raises(KeyboardInterrupt):
        batch.run(jobs, upscaler)
    assert os.listdir(tmp_path / "out") == []


def test_failures_are_named_in_the_order_of_the_pictures(upscaler, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(6):
        path = tmp_path / "in" / f"{number}.png"
        Image.fromarray(fixtures.photo_like(9, 9)).save(path)
        if number % 2:
            path.write_bytes(path.read_bytes()[:60])
    jobs = pictures.plan([str(tmp_path / "in")], str(tmp_path / "out"), scale=2)
    summary = batch.run(jobs, upscaler)
    assert summary.done == 3
    assert [os.path.basename(line.split(":")[0]) for line in summary.failed] == [
        "1.png",
        "3.png",
        "5.png",
    ]


def _folder_of(tmp_path, **pictures_by_name):
    (tmp_path / "in").mkdir()
    for name, picture in pictures_by_name.items():
        stem, _, extension = name.rpartition("_")
        Image.fromarray(picture).save(tmp_path / "in" / f"{stem}.{extension}")
    return str(tmp_path / "in")


def test_what_another_model_has_made_is_not_taken_for_done(run_dir, upscaler, tmp_path):
    source = _folder_of(tmp_path, a_png=fixtures.photo_like(8, 9), b_jpg=fixtures.photo_like(9, 8))
    older = Upscaler.load(run_dir, "3")
    exported = Upscaler.load(f"{run_dir}/saved_model")
    assert older.fingerprint != upscaler.fingerprint == exported.fingerprint
    for file_format in ("png", "jpeg", "webp", "tiff"):
        output = str(tmp_path / file_format)
        jobs = pictures.plan([source], output, scale=2, file_format=file_format, compare=True)
        assert batch.run(jobs, older).complete
        again = batch.run(jobs, older)
        assert (again.skipped, again.unmarked, again.complete) == (2, 0, True)
        os.remove(jobs[1].comparison)  # One that is half there is not finished by another model.
        before = {name: os.stat(f"{output}/{name}").st_mtime_ns for name in os.listdir(output)}
        other = batch.run(jobs, upscaler)
        assert (other.done, other.skipped, other.complete) == (0, 0, False)
        assert other.by_others == [job.target for job in jobs]
        assert before == {n: os.stat(f"{output}/{n}").st_mtime_ns for n in os.listdir(output)}
        said = other.text(output)
        assert "2 pictures made by another model kept (--overwrite, or another --output):" in said
        assert batch.run(jobs, upscaler, overwrite=True).done == 2
        assert batch.run(jobs, exported).skipped == 2
    Image.open(jobs[0].target).save(jobs[0].target)
    assert "1 of which do not say which model" in batch.run(jobs, upscaler).text("out")


def test_quality_makes_files_larger(upscaler, tmp_path):
    source = _folder_of(tmp_path, a_png=fixtures.photo_like(20, 20))
    for file_format in ("jpeg", "webp"):
        sizes = []
        for quality in (1, 60, 100):
            jobs = pictures.plan([source], str(tmp_path), scale=2, file_format=file_format)
            batch.run(jobs, upscaler, overwrite=True, quality=quality)
            sizes.append(os.path.getsize(jobs[0].target))
        assert sizes == sorted(set(sizes))


def test_quality_that_no_output_has_is_refused(tmp_path):
    source = _folder_of(tmp_path, a_png=fixtures.photo_like(4, 4))
    for file_format in ("png", "tiff", "same"):
        with pytest.raises(errors.InputError, match=f"--format={file_format} does not write here"):
            pictures.require_lossy([source], file_format)
    for file_format in ("jpeg", "webp"):
        pictures.require_lossy([source], file_format)
    Image.new("RGB", (4, 4)).save(tmp_path / "in" / "b.jpg")
    pictures.require_lossy([source], "same")


def test_16_bits_are_said(upscaler, tmp_path):
    wide = np.arange(80, dtype=np.uint16).reshape(8, 10) * 800
    source = _folder_of(tmp_path, a_png=wide, b_tif=wide, c_png=fixtures.photo_like(8, 8))
    summary = batch.run(pictures.plan([source], str(tmp_path / "out"), scale=2), upscaler)
    assert summary.done == 3
    assert summary.text("out").splitlines()[1] == (
        "2 pictures had 16 bits a channel; outputs have 8"
    )


def test_inputs_are_never_overwritten(upscaler, tmp_path):
    own = fixtures.photo_like(8, 8)
    source = _folder_of(tmp_path, a_png=own, a_x2_png=own, b_png=own)
    os.symlink(f"{source}/a.png", f"{source}/b_x2.png")  # Would write through a link.
    before = pathlib.Path(source, "a_x2.png").read_bytes()
    jobs = pictures.plan([source], source, scale=2)
    summary = batch.run(jobs, upscaler)
    assert (summary.skipped, summary.done) == (2, 1)  # The user's own a_x2.png is a picture, too.
    summary = batch.run(jobs, upscaler, overwrite=True)
    assert summary.done == 1 and len(summary.failed) == 2
    assert "a_x2.png is one of the inputs and stays as it is" in summary.failed[0]
    assert pathlib.Path(source, "a_x2.png").read_bytes() == before
    np.testing.assert_array_equal(Image.open(f"{source}/a.png"), own)
    # What was made here before is no input, though it is found there.
    for name in ("a_x2.png", "a_x2_x2.png", "b_x2.png"):
        os.remove(f"{source}/{name}")
    for overwrite in (False, True, True):
        jobs = pictures.plan([source], source, scale=2)
        assert batch.run(jobs, upscaler, overwrite=overwrite).done == 2


def test_only_results_that_say_so_are_left_out(upscaler, tmp_path):
    own = fixtures.photo_like(8, 8)
    source = _folder_of(tmp_path, a_png=own, b_png=own, b_x2_jpg=own, c_bmp=own)
    plan = functools.partial(pictures.plan, scale=2, file_format="same")
    assert batch.run(plan([source], source), upscaler).done == 4
    summary = pictures.Summary()
    jobs = plan([source], source, summary=summary)
    # b_x2.jpg is the user's own, in whatever format b.png is written; b_x2_x2.jpg is made of it.
    names = {os.path.basename(job.source) for job in jobs}
    assert names == {"a.png", "b.png", "b_x2.jpg", "c.bmp"}
    results = ["a_x2.png", "b_x2.png", "b_x2_x2.jpg", "c_x2.bmp"]
    assert [os.path.basename(path) for path in summary.results] == results
    batch.run(jobs, upscaler, summary=summary)
    assert summary.skipped == 4 and "4 results of earlier runs left out" in summary.text("out")


def test_what_the_user_names_is_neither_left_out_nor_overwritten(upscaler, tmp_path):
    source = _folder_of(tmp_path, a_png=fixtures.photo_like(8, 8))
    first, made = f"{source}/a.png", f"{source}/a_x2.png"
    assert batch.run(pictures.plan([first], source, scale=2), upscaler).done == 1
    before = pathlib.Path(made).read_bytes()
    jobs = pictures.plan([first, made], source, scale=2)
    assert [job.source for job in jobs] == [first, made]
    summary = batch.run(jobs, upscaler, overwrite=True)
    assert summary.done == 1 and "a_x2.png is one of the inputs" in summary.failed[0]
    assert pathlib.Path(made).read_bytes() == before
    assert Image.open(f"{source}/a_x2_x2.png").size == (32, 32)


def test_a_large_picture_is_gone_before_the_next_is_decoded(upscaler, tmp_path, monkeypatch):
    own = fixtures.photo_like(8, 8)
    source = _folder_of(tmp_path, a_png=own, b_png=own, c_png=own)
    monkeypatch.setattr(batch, "_AHEAD_PIXELS", 10)
    alive, seen, real = [], [], photos.load

    def load(path):
        seen.append([one() is None for one in alive])
        photo = real(path)
        alive.append(weakref.ref(photo))
        return photo

    monkeypatch.setattr(photos, "load", load)
    jobs = pictures.plan([source], str(tmp_path / "out"), scale=2, compare=True)
    assert batch.run(jobs, upscaler).done == 3
    assert seen == [[], [True], [True, True]]


def test_further_pages_are_said(upscaler, tmp_path):
    page = Image.fromarray(fixtures.photo_like(8, 8))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    jobs = pictures.plan([str(tmp_path / "a.tif")], str(tmp_path / "out"), scale=2)
    said = batch.run(jobs, upscaler).text("out")
    assert said.splitlines()[1] == "1 file had more than one page; outputs are of the first"


def test_names_that_differ_in_capitals_alone(upscaler, tmp_path):
    own = fixtures.photo_like(8, 8)
    source = _folder_of(tmp_path, a_png=own, A_png=own, a_PNG=own)
    if len(os.listdir(source)) < 3:
        pytest.skip("here they are one file")
    targets = [job.target for job in pictures.plan([source], "out", scale=2)]
    assert len({target.casefold() for target in targets}) == 3


def test_every_picture_is_like_its_input(upscaler, tmp_path):
    grey, colour = fixtures.photo_like(8, 10)[..., 0], fixtures.photo_like(8, 10)
    alpha = np.dstack([colour, grey])
    source = _folder_of(tmp_path, g_png=grey, ga_png=np.dstack([grey, grey]), ca_png=alpha)
    modes = {"png": "L LA RGBA", "tiff": "L LA RGBA", "webp": "RGB RGBA RGBA", "jpeg": "L L RGB"}
    for file_format, expected in modes.items():
        jobs = pictures.plan(
            [source], str(tmp_path / "out"), scale=2, file_format=file_format, compare=True
        )
        assert batch.run(jobs, upscaler).done == 3
        made = {os.path.basename(job.source): Image.open(job.target) for job in jobs}
        assert [made[f"{name}.png"].mode for name in ("g", "ga", "ca")] == expected.split()
        assert {picture.size for picture in made.values()} == {(20, 16)}
