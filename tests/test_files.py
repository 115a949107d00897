"""Finding files as users name them, and writing them whole or not at all."""

import os

import pytest

from srgan_tf import errors, files


def _names(inputs):
    return [[found.name for found in group] for group in files.find(inputs)]


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.txt", "sub/c.png", ".hidden.png", ".git/d.png", "__MACOSX/e.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


def test_a_folder_gives_all_visible_files_below_it(folder):
    assert _names([str(folder)]) == [["a.txt", "b.png", "sub/c.png"]]


def test_a_file_and_a_glob_are_inputs_too(folder):
    assert _names([str(folder / "b.png")]) == [["b.png"]]
    assert _names([str(folder / "*" / "*.png")]) == [["sub/c.png"]]
    assert _names([str(folder / "**" / "*.png")]) == [["b.png", "sub/c.png"]]


def test_a_file_that_two_inputs_reach_is_taken_once(folder):
    assert _names([str(folder / "sub"), str(folder)]) == [["c.png"], ["a.txt", "b.png"]]


def test_link_loops_end_and_dead_links_are_named(folder):
    os.symlink(folder, folder / "sub" / "loop")
    os.symlink(folder / "nothing", folder / "dead.png")
    assert _names([str(folder)]) == [["a.txt", "b.png", "dead.png", "sub/c.png"]]


def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.png")
    assert _names([str(folder)]) == [["a.txt", "b.png", "sub/c.png"]]


@pytest.mark.parametrize("missing", ["nothing", "nothing/*.png"])
def test_an_input_that_is_not_there_is_named(folder, missing):
    with pytest.raises(errors.InputError, match=r"input .*nothing"):
        files.find([str(folder / missing)])


def test_the_home_folder_is_expanded_in_local_paths_only(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    paths = ["~/x", "gs://~/x", "a/~", None]
    assert [files.expand(path) for path in paths] == ["/home/me/x", "gs://~/x", "a/~", None]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    def chunks():
        yield b"half"
        raise RuntimeError

    path = tmp_path / "file"
    files.write_atomically(str(path), [b"old"])
    with pytest.raises(RuntimeError):
        files.write_atomically(str(path), chunks())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
