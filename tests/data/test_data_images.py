"""Image files of every common kind become 8-bit RGB."""

from __future__ import annotations

import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from minimask.data import images, opening, remarks
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


def test_floating_point_needs_a_white(tmp_path):
    values = np.array([[0, 0.5, 1.5], [np.nan, -1, np.inf]], np.float32)
    path = save(tmp_path / "a.tif", values)
    with pytest.raises(
        ValueError, match=r"a\.tif: holds floating-point values, -1 to 1\.5.*--white 2"
    ):
        read_image(path)
    assert read_image(path, white=1)[..., 0].tolist() == [[0, 128, 255], [0, 0, 255]]


def test_more_than_sixteen_bits_needs_a_white(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[70000, 35000]], np.int32))
    with pytest.raises(ValueError, match="values from 35000 to 70000; expected 8 or 16 bits"):
        read_image(path)
    assert read_image(path, white=70000)[0, :, 0].tolist() == [255, 128]


def test_negative_values_need_a_white(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[-1000, 0, 1000]], np.int32))
    with pytest.raises(ValueError, match="values from -1000 to 1000"):
        read_image(path)
    assert read_image(path, white=1000)[0, :, 0].tolist() == [0, 0, 255]
    assert read_image(path, white="auto")[0, :, 0].tolist() == [0, 128, 255]


def test_auto_white_is_the_images_own(tmp_path):
    values = np.full((100, 100), 1000, np.uint16)
    values[0, :5] = 60000  # 0.05 % of the pixels: specks of dust
    values[1] = 500
    image = read_image(save(tmp_path / "a.png", values), white="auto")
    assert image[1, 0, 0] == 128 and image[2, 0, 0] == 255 and image[0, 0, 0] == 255
    assert (read_image(save(tmp_path / "b.png", values * 0), white="auto") == 0).all()
    assert (read_image(save(tmp_path / "c.png", GREY), white="auto")[..., 0] == GREY).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_white_counts_for_every_pixel_of_large_and_small(tmp_path, suffix, monkeypatch):
    """In strips as in one piece, with transparency and turned."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (37, 23, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 7
    path = save(tmp_path / f"a.{suffix}", pixels, exif=exif)
    whole = read_image(path)
    monkeypatch.setattr(images, "STRIP", 100)
    np.testing.assert_array_equal(read_image(path), whole)
    assert whole.shape == (23, 37, 3)


# ---------------------------------------------------------------- more than 8 bits


def tiff(path, values, tags=(), *, photometric=1, bits=16, sample_format=1, planar=1):
    """A little-endian TIFF written by hand: one strip, uncompressed, any tags."""
    data = np.ascontiguousarray(values).tobytes()
    height, width = values.shape[-2:] if planar == 2 else values.shape[:2]
    samples = values.size // (height * width)
    entries = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * samples),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [8 + i * len(data) // samples for i in range(samples)] if planar == 2 else [8]),
        277: (3, [samples]),
        278: (4, [height]),
        279: (4, [len(data) // samples] * samples if planar == 2 else [len(data)]),
        284: (3, [planar]),
        339: (3, [sample_format] * samples),
        **{tag: (3, [value]) for tag, value in tags},
    }
    start = 8 + len(data) + len(data) % 2
    after = start + 2 + 12 * len(entries) + 4
    directory, extra = struct.pack("<H", len(entries)), b""
    for tag, (kind, numbers) in sorted(entries.items()):
        packed = struct.pack(f"<{len(numbers)}{'HI'[kind == 4]}", *numbers)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", after + len(extra)), extra + packed
        directory += struct.pack("<HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<I", start)
    path.write_bytes(head + data.ljust(start - 8, b"\0") + directory + b"\0" * 4 + extra)
    return path


def png(path, values, chunks=()):
    """A 16-bit PNG written by hand: (H, W, 3 or 4), with other chunks before the pixels."""
    height, width, channels = values.shape

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0))]
    parts += [chunk(*pair) for pair in chunks]
    parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


TWELVE = np.array([[0, 4095, 2048], [1024, 9, 17]], np.uint16)
WANTED = [[0, 255, 128], [64, 1, 1]]


def test_twelve_bits_that_tiff_tells(tmp_path):
    path = tiff(tmp_path / "max.tif", TWELVE, [(281, 4095)])
    assert read_image(path)[..., 0].tolist() == WANTED
    path = tiff(tmp_path / "brightest.tif", TWELVE, [(281, 3000)])  # a statistic, not the camera's
    assert read_image(path)[..., 0].tolist() == WANTED
    assert read_image(path, white=65535).max() == 16  # who says more, knows better
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00])  # 0, 4095 and 2048 in 12 bits each
    values = np.frombuffer(packed, np.uint8).reshape(1, 6)
    path = tiff(tmp_path / "twelve.tif", values, [(256, 3)], bits=12)
    path.write_bytes(path.read_bytes())
    assert read_image(path)[0, :, 0].tolist() == [0, 255, 128]


def test_twelve_bits_that_png_tells(tmp_path):
    bits = (b"sBIT", bytes([12]))
    assert read_image(png(tmp_path / "a.png", TWELVE[..., None], [bits]))[..., 0].tolist() == WANTED
    # by the standard, values are shifted up: then all 16 bits count
    shifted = png(tmp_path / "b.png", TWELVE[..., None] * 16, [bits])
    assert read_image(shifted)[0, 1, 0] == 255
    dark = png(tmp_path / "c.png", TWELVE[..., None] // 16 * 16, [bits])
    assert read_image(dark).max() == 16


@pytest.mark.parametrize("kind", ["tif", "png", "alpha.png"])
def test_sixteen_bit_color_keeps_all_bits(tmp_path, kind):
    rng = np.random.default_rng(2)
    values = rng.integers(0, 4096, (5, 7, 4 if "alpha" in kind else 3)).astype(np.uint16)
    if "alpha" in kind:
        values[..., 3] = 65535
    path = tmp_path / f"a.{kind}"
    tiff(path, values, photometric=2) if kind == "tif" else png(path, values)
    wanted = (values[..., :3].astype(int) * 255 + 2047) // 4095
    np.testing.assert_array_equal(read_image(path, white=4095), wanted)
    np.testing.assert_array_equal(read_image(path), values[..., :3] >> 8)
    with remarks.collected() as said:
        read_image(path)
    brightest = values[..., :3].max()
    assert (
        f"brightest value is {brightest}, so it is nearly black; say --white 4095"
        in said.lines()[0]
    )


def test_grey_with_sixteen_bit_transparency(tmp_path):
    values = np.stack([TWELVE, np.full_like(TWELVE, 65535)], axis=2)
    path = png(tmp_path / "a.png", values)
    assert read_image(path).shape == (2, 3, 3)
    with pytest.raises(ValueError, match=r"a\.png: .*only the upper 8 bits"):
        read_image(path, white=4095)


def test_white_is_zero(tmp_path):
    path = tiff(tmp_path / "a.tif", np.array([[0, 65535, 257]], np.uint16), photometric=0)
    assert read_image(path)[0, :, 0].tolist() == [255, 0, 254]


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.zeros((3, 4, 5), np.uint16), {}, r"5 channels in each pixel; expected 1, 3 or 4"),
        (np.zeros((4, 5), np.float64), {"bits": 64, "sample_format": 3}, r"64 floating-point bits"),
        (np.zeros((4, 5), np.int8), {"bits": 8, "sample_format": 2}, r"8 signed bits"),
        (np.zeros((3, 4, 5), np.uint16), {"planar": 2, "photometric": 2}, r"one after the other"),
    ],
)
def test_tiff_that_pillow_would_garble_or_refuse(tmp_path, values, options, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)  # as if it were not installed
    path = tiff(tmp_path / "a.tif", values, **options)
    with pytest.raises(ValueError, match=rf"a\.tif: .*{said}") as caught:
        read_image(path)
    assert "channels in" in said or "pip install minimask[images]" in str(caught.value)


def test_tifffile_reads_what_pillow_does_not(tmp_path):
    pytest.importorskip("tifffile", reason="tifffile is an extra")
    planes = np.arange(24, dtype=np.uint16).reshape(3, 2, 4) * 100
    path = tiff(tmp_path / "a.tif", planes, planar=2, photometric=2)
    wanted = (planes.transpose(1, 2, 0).astype(int) * 255 + 2047) // 4095
    np.testing.assert_array_equal(read_image(path, white=4095), wanted)
    path = tiff(tmp_path / "b.tif", np.array([[0, 0.5, 1.0]]), bits=64, sample_format=3)
    assert read_image(path, white=1)[0, :, 0].tolist() == [0, 128, 255]


# ---------------------------------------------------------------- pages, size, kinds


def stack(path, count=3):
    pages = [Image.fromarray(np.full((4, 6, 3), 40 * i, np.uint8)) for i in range(1, count + 1)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_pages_are_counted_from_one(tmp_path, suffix):
    path = stack(tmp_path / f"s.{suffix}")
    for page in (None, 1, 2, 3):
        with remarks.collected() as said:
            assert abs(int(read_image(path, page=page)[0, 0, 0]) - 40 * (page or 1)) < 3
        if page is None:
            assert said.lines() == [f"{path}: 3 pages, the first is read; --page 3 chooses another"]
        else:
            assert not said.lines()
    with pytest.raises(ValueError, match=rf"s\.{suffix}: has 3 pages, so there is no page 4"):
        read_image(path, page=4)
    with pytest.raises(ValueError, match=r"page: expected a whole number from 1, got 0"):
        read_image(path, page=0)


def test_a_phones_photo_with_a_preview_is_one_image(tmp_path):
    stack(tmp_path / "a.mpo", 2)
    with remarks.collected() as said:
        read_image((tmp_path / "a.mpo").rename(tmp_path / "a.jpg"))
    assert not said.lines()


def test_remarks_are_counted_and_silent_without_a_listener(tmp_path, capfd):
    for i, top in enumerate((900, 3000, 20)):
        save(tmp_path / f"{i}.png", np.full((4, 4), top, np.uint16))
    save(tmp_path / "bright.png", np.full((4, 4), 30000, np.uint16))
    for path in tmp_path.iterdir():
        read_image(path)
    assert capfd.readouterr() == ("", "")
    with remarks.collected() as said:
        for path in tmp_path.iterdir():
            read_image(path)
            read_image(path)
    (line,) = said.lines()
    assert "1.png (and 2 others): 16-bit image whose brightest value is 3000" in line
    assert line.endswith("nearly black; say --white 4095")
    with remarks.collected() as said:
        read_image(tmp_path / "bright.png", white=255)
        read_image(tmp_path / "2.png", white=4095)
    assert len(said.lines()) == 2
    assert "more than half of it is white with --white 255" in said.lines()[0]
    assert "nearly black with --white 4095: its brightest value is 20" in said.lines()[1]
    assert not remarks.wanted()


def test_large_images_are_read_and_pillow_is_left_alone(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", np.full((300, 400), 7, np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 120 000 pixels are a bomb to Pillow
    assert (read_image(path) == 7).all() and Image.MAX_IMAGE_PIXELS == 1000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    monkeypatch.setattr(opening, "LARGEST", 100_000)
    with pytest.raises(
        ValueError, match=r"a\.png: 400 x 300 pixels, more than .*cut it into tiles"
    ):
        read_image(path)


def test_more_than_the_free_memory(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", np.full((300, 400, 3), 7, np.uint8))
    monkeypatch.setattr(opening, "LARGE", 1000)
    monkeypatch.setattr(opening, "free_memory", lambda: 840_001)
    assert read_image(path).shape == (300, 400, 3)
    monkeypatch.setattr(opening, "free_memory", lambda: 839_999)
    with pytest.raises(
        MemoryError, match=r"a\.png: 400 x 300 pixels need 0\.0 GB.*cut it into tiles"
    ):
        read_image(path)


def test_free_memory_is_known_where_the_system_says_it():
    free = opening.free_memory()
    assert free is None or 10**6 < free < 10**14


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r"HEIC needs pip install minimask\[images\]"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL is not read; convert it to PNG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41avc1", "not an image file but a video; save its frames"),
        (b"\0" * 128 + b"DICM" + b"\0" * 40, "DICOM is not read; export it"),
        (b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 90, "camera raw is not read; develop it"),
        (b"\x93NUMPY\x01\0", "an array of NumPy; save it as PNG or TIFF"),
        (b"%PDF-1.7\n", "PDF; save its pages as images"),
        (b"<?xml version='1.0'?>\n<svg xmlns=''>", "SVG is not read; draw it as PNG"),
        (b"<!DOCTYPE html><html>", "a web page under the name of an image"),
        (b"PK\x03\x04", "a ZIP archive; unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"hello", "not an image file"),
        (b"", "not an image file: it is empty"),
    ],
)
def test_other_kinds_of_files_get_one_sentence(tmp_path, head, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.jpg"
    path.write_bytes(head)
    with pytest.raises(ValueError, match=rf"photo\.jpg: .*{said}") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_raw_files_are_not_read_as_their_thumbnail(tmp_path):
    save(tmp_path / "a.tif", GREY)
    (tmp_path / "a.tif").rename(tmp_path / "a.NEF")
    with pytest.raises(ValueError, match=r"a\.NEF: camera raw is not read"):
        read_image(tmp_path / "a.NEF")
    tiff(tmp_path / "b.tif", GREY, [(50706, 1)], bits=8)  # DNGVersion
    with pytest.raises(ValueError, match=r"b\.tif: camera raw is not read"):
        read_image(tmp_path / "b.tif")


def test_heic_and_avif(tmp_path):
    pytest.importorskip("pillow_heif", reason="pillow-heif is an extra").from_pillow(
        Image.fromarray(COLOR)
    ).save(tmp_path / "a.heic", quality=-1)
    before = set(Image.ID)
    assert np.abs(read_image(tmp_path / "a.heic").astype(int) - COLOR).mean() < 20
    assert set(Image.ID) == before


def test_the_content_decides_not_the_name(tmp_path):
    Image.fromarray(COLOR).save(tmp_path / "a.tif", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), COLOR)


def test_folders_are_no_images(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_broken_exif_does_not_stop_reading(tmp_path, suffix):
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"nonsense" * 9):
        path = save(tmp_path / f"a.{suffix}", COLOR, exif=exif, quality=95)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own
            assert read_image(path).shape == COLOR.shape


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
