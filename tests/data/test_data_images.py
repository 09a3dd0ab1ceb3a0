"""Image files of every common kind become 8-bit RGB."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from minimask.data.images import read_image, read_mask

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
COLOR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def test_rgb_is_unchanged(tmp_path):
    image = read_image(save(tmp_path / "a.png", COLOR))
    np.testing.assert_array_equal(image, COLOR)
    assert image.dtype == np.uint8 and image.flags.writeable


def test_grey_gets_three_equal_channels(tmp_path):
    image = read_image(save(tmp_path / "a.png", GREY))
    np.testing.assert_array_equal(image, GREY[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits(tmp_path, suffix):
    values = np.array([[0, 257, 65535], [128, 129, 32896]], np.uint16)
    image = read_image(save(tmp_path / f"a.{suffix}", values))
    np.testing.assert_array_equal(image[..., 0], [[0, 1, 255], [0, 1, 128]])
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_twelve_bits_in_sixteen(tmp_path):
    values = np.array([[0, 4095, 2048, 9999]], np.uint16)
    path = save(tmp_path / "a.png", values)
    np.testing.assert_array_equal(read_image(path, white=4095)[0, :, 0], [0, 255, 128, 255])


def test_transparency_lies_on_white(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 0] = 200
    pixels[0, :, 3] = [255, 0, 51]
    image = read_image(save(tmp_path / "a.png", pixels))
    np.testing.assert_array_equal(image[0], [[200, 0, 0], [255, 255, 255], [244, 204, 204]])


def test_grey_with_transparency(tmp_path):
    Image.merge("LA", [Image.new("L", (2, 2), 30), Image.new("L", (2, 2), 0)]).save(
        tmp_path / "a.png"
    )
    assert (read_image(tmp_path / "a.png") == 255).all()


@pytest.mark.parametrize("transparent", [False, True])
def test_palette(tmp_path, transparent):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode=None).convert("P")
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    picture.save(tmp_path / "a.png", **({"transparency": 1} if transparent else {}))
    middle = [255, 255, 255] if transparent else [0, 255, 0]
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image[0], [[255, 0, 0], middle, [0, 0, 255]])


def test_one_bit_and_cmyk(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 1], [255, 0])
    Image.new("CMYK", (2, 2), (0, 0, 0, 0)).save(tmp_path / "a.tif")
    assert (read_image(tmp_path / "a.tif") == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    """Each of the eight ways a camera can be held, undone by hand with NumPy."""
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", COLOR, exif=exif)
    np.testing.assert_array_equal(read_image(path), undo(COLOR))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_exif_orientation_of_grey(tmp_path, bits, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    values = GREY if bits == 8 else GREY.astype(np.uint16) * 257
    path = save(tmp_path / f"a.{suffix}", values, exif=exif)
    np.testing.assert_array_equal(read_image(path)[..., 0], GREY.T[:, ::-1])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow, before it fails
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif", "webp"])
def test_truncated_files_are_named(tmp_path, suffix):
    rng = np.random.default_rng(0)
    whole = tmp_path / f"whole.{suffix}"
    save(whole, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = whole.read_bytes()
    broken = tmp_path / f"broken.{suffix}"
    for length in (len(data) // 2, len(data) // 3, 20, 3, 0):
        broken.write_bytes(data[:length])
        with pytest.raises(ValueError, match=rf"broken\.{suffix}: .*(truncated|not a.* image)"):
            read_image(broken)


def test_no_image_at_all(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ValueError, match=r"a\.png: not an image file"):
        read_image(tmp_path / "a.png")


def test_floating_point_is_refused(tmp_path):
    save(tmp_path / "a.tif", np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="expected 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def test_more_than_sixteen_bits_is_refused(tmp_path):
    save(tmp_path / "a.tif", np.full((2, 2), 70000, np.int32))
    with pytest.raises(ValueError, match="values from 70000 to 70000; expected 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def test_missing_files_get_a_suggestion(tmp_path):
    save(tmp_path / "image_001.PNG", GREY)
    with pytest.raises(FileNotFoundError, match=r"did you mean 'image_001\.PNG'"):
        read_image(tmp_path / "image_001.png")
    with pytest.raises(FileNotFoundError, match="holds 1 others"):
        read_image(tmp_path / "zzz.tif")
    with pytest.raises(FileNotFoundError, match=r"because .*nowhere: no such folder"):
        read_image(tmp_path / "nowhere" / "deep" / "image_001.png")


def test_masks(tmp_path):
    pixels = np.zeros((3, 4), np.uint8)
    pixels[1, 2] = 1
    wanted = pixels > 0
    np.testing.assert_array_equal(read_mask(save(tmp_path / "grey.png", pixels)), wanted)
    opaque = np.dstack([pixels, pixels, pixels, np.full_like(pixels, 255)])
    np.testing.assert_array_equal(read_mask(save(tmp_path / "rgba.png", opaque)), wanted)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "bit.png", wanted)), wanted)
    deep = pixels.astype(np.uint16)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "deep.png", deep)), wanted)


def test_masks_with_soft_edges_begin_at_half(tmp_path):
    """A disk drawn at 8 times the size and averaged: true where at least half a pixel is inside."""
    y, x = np.mgrid[:160, :160]
    large = ((y - 80) ** 2 + (x - 80) ** 2 < 52**2).reshape(20, 8, 20, 8)
    share = large.mean(axis=(1, 3))
    for white, kind in ((255, np.uint8), (65535, np.uint16)):
        soft = np.round(share * white).astype(kind)
        assert len(np.unique(soft)) > 10
        path = save(tmp_path / f"{white}.png", soft)
        np.testing.assert_array_equal(read_mask(path), soft >= (white + 1) // 2)
        assert read_mask(path).sum() < (soft > 0).sum() * 0.85  # it grew by that before
    jpeg = tmp_path / "a.jpg"
    Image.fromarray((share >= 0.5).astype(np.uint8) * 255).save(jpeg, quality=60)
    assert len(np.unique(np.asarray(Image.open(jpeg)))) > 10
    np.testing.assert_array_equal(read_mask(jpeg), share >= 0.5)


@pytest.mark.parametrize("value", [1, 38, 128, 255])
def test_masks_of_any_one_value(tmp_path, value):
    pixels = np.zeros((3, 4), np.uint8)
    pixels[1, 1:] = value
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", pixels)), pixels > 0)


def test_an_image_of_labels_is_no_mask(tmp_path):
    few = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with pytest.raises(ValueError, match=r"few.png: 11 values besides 0 \(1, 2, 3, 4, \.\.\.\)"):
        read_mask(save(tmp_path / "few.png", few))
    many = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16), 5, axis=0)
    with pytest.raises(ValueError, match=r"255 values .* one file for each"):
        read_mask(save(tmp_path / "many.png", many))
    deep = many.astype(np.uint16) * 3
    with pytest.raises(ValueError, match=r"near white \(65535\)"):
        read_mask(save(tmp_path / "deep.png", deep))
