"""serving/channels.py: grey, alpha and what lies beneath it."""

import weakref

import fixtures
import numpy as np
import pytest

from srgan_tf import bicubic, photos
from srgan_tf.serving import channels

RGB = fixtures.photo_like(40, 52)


def _by_bicubic(rgb):
    """Stands for a network; in two strips."""
    yield from np.split(bicubic.imresize(rgb, 2), [48])


def _upscaled(rgb, alpha, *, is_grey=False):
    photo = photos.Photo(rgb, alpha, is_grey)
    strips = list(channels.strips(_by_bicubic, photo, 2))
    assert all(strip.shape[2] == channels.count(photo) for strip in strips)
    return np.concatenate(strips)


def _cut_out():
    """A grey disc, black beneath transparency as editors leave it; the alpha has soft edges."""
    rows, columns = np.mgrid[:40, :52]
    distance = np.hypot(rows - 20, columns - 26)
    alpha = np.clip((14 - distance) * 128 + 128, 0, 255).astype(np.uint8)
    rgb = np.where(alpha[..., None] > 0, 200, 0).astype(np.uint8).repeat(3, 2)
    return rgb, alpha


def test_a_cut_out_gets_no_dark_fringe():
    rgb, alpha = _cut_out()
    sr = _upscaled(rgb, alpha)
    seen = sr[..., 3] > 0
    # Bicubic of the picture as it is would be dark where alpha is not yet 0.
    assert bicubic.imresize(rgb, 2)[seen].min() < 150
    assert np.abs(sr[..., :3][seen].astype(int) - 200).max() <= 2
    assert set(np.unique(alpha)) >= {0, 255} and sr[0, 0, 3] == 0 and sr[40, 52, 3] == 255


@pytest.mark.parametrize("is_grey", [False, True])
def test_what_is_seen_is_not_changed_before_the_network(is_grey):
    rgb, alpha = RGB.copy(), _cut_out()[1]
    rgb = np.stack([rgb[..., 0]] * 3, -1) if is_grey else rgb
    filled = channels.spread(rgb, alpha)
    np.testing.assert_array_equal(filled[alpha > 0], rgb[alpha > 0])
    assert (filled[alpha == 0] != rgb[alpha == 0]).any()
    assert _upscaled(rgb, alpha, is_grey=is_grey).shape == (80, 104, 2 if is_grey else 4)


def test_spread_colours_do_not_depend_on_the_parts(monkeypatch):
    rgb, alpha = _cut_out()
    whole = channels.spread(rgb, alpha)
    monkeypatch.setattr(channels, "_ROWS", 8)
    np.testing.assert_array_equal(channels.spread(rgb, alpha), whole)
    np.testing.assert_array_equal(channels.spread(rgb, np.zeros_like(alpha)), rgb)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_alpha_stays_and_costs_nothing(value):
    calls = []

    def counted(rgb):
        calls.append(1)
        return _by_bicubic(rgb)

    photo = photos.Photo(RGB, np.full(RGB.shape[:2], value, np.uint8), False)
    sr = np.concatenate(list(channels.strips(counted, photo, 2)))
    assert len(calls) == 1 and (sr[..., 3] == value).all()
    np.testing.assert_array_equal(sr[..., :3], bicubic.imresize(RGB, 2))


def test_soft_alpha_is_bicubic_and_hard_edges_are_the_networks():
    soft = np.broadcast_to(np.arange(52, dtype=np.uint8) * 4, (40, 52)).copy()

    def black(rgb):
        yield np.zeros((80, 104, 3), np.uint8)

    def alpha_of(alpha):
        photo = photos.Photo(RGB, alpha, False)
        return np.concatenate(list(channels.strips(black, photo, 2)))[..., 3]

    np.testing.assert_array_equal(alpha_of(soft), bicubic.imresize(soft, 2))
    hard = np.zeros((40, 52), np.uint8)
    hard[:, 26:] = 255
    made = alpha_of(hard)
    # Two pixels to either side of the edge see both; beyond them it is constant.
    assert (made[:, : 2 * 28] == 0).all() and (made[:, 2 * 28 :] == 255).all()


def test_no_more_strips_are_held_than_memory_counts_on():
    held, most = [], []

    def upscale(rgb):
        for top in range(0, len(rgb), 20):
            strip = rgb[top : top + 20].repeat(2, 0).repeat(2, 1)
            held.append(weakref.ref(strip))
            most.append(sum(one() is not None for one in held))
            yield strip
            del strip

    alpha = np.arange(100 * 8, dtype=np.uint32).reshape(100, 8).astype(np.uint8)
    photo = photos.Photo(np.zeros((100, 8, 3), np.uint8), alpha, is_grey=False)
    for _ in channels.strips(upscale, photo, 2):
        pass
    assert len(most) == 10 and max(most) == 2
