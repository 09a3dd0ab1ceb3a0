"""What a file is by its first bytes, and what to do about those that are no pictures."""

from __future__ import annotations

from dataclasses import dataclass

HEAD = 512  # bytes that tell
EXTRA = "pip install minimask[images]"
CONVERT = "convert it to PNG or TIFF"

# suffixes of camera raw files that are TIFF inside: a reader of TIFF finds a thumbnail in them
RAW: tuple[str, ...] = (
    ".3fr",
    ".arw",
    ".cr2",
    ".dng",
    ".erf",
    ".iiq",
    ".kdc",
    ".mos",
    ".nef",
    ".nrw",
    ".pef",
)
RAW += (".sr2", ".srw")


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: such as "PNG", or "a video".
        image: it is one picture or several, whether or not it can be read.
        advice: what to do about it; "" for kinds that are read.
    """

    name: str
    image: bool = True
    advice: str = CONVERT


PNG, JPEG, TIFF = Kind("PNG", advice=""), Kind("JPEG", advice=""), Kind("TIFF", advice="")
HEIC, AVIF = Kind("HEIC", advice=""), Kind("AVIF", advice="")
CAMERA_RAW = Kind("camera raw", advice="develop it to TIFF or PNG first, with the camera's program")
VIDEO = Kind("a video", False, "save its frames as images, e.g. ffmpeg -i VIDEO frame%05d.png")
MICROSCOPE = "export it as TIFF, with the microscope's program or Fiji"

# (where the bytes stand, the bytes, the kind)
SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89PNG\r\n", PNG),
    (0, b"\xff\xd8\xff", JPEG),
    (8, b"CR\x02\x00", CAMERA_RAW),
    (0, b"II*\x00", TIFF),
    (0, b"MM\x00*", TIFF),
    (0, b"II+\x00", TIFF),
    (0, b"MM\x00+", TIFF),
    (0, b"GIF8", Kind("GIF", advice="")),
    (8, b"WEBP", Kind("WebP", advice="")),
    (4, b"ftypcrx", CAMERA_RAW),
    (0, b"FUJIFILMCCD-RAW", CAMERA_RAW),
    (0, b"IIRO", CAMERA_RAW),
    (0, b"IIU\x00", CAMERA_RAW),
    (0, b"\x00\x00\x00\x0cjP  ", Kind("JPEG 2000", advice="")),
    (0, b"\xff\x4f\xff\x51", Kind("JPEG 2000", advice="")),
    (0, b"\x00\x00\x00\x0cJXL ", Kind("JPEG XL")),
    (0, b"\xff\x0a", Kind("JPEG XL")),
    (0, b"8BPS", Kind("Photoshop", advice="")),
    (0, b"gimp xcf", Kind("GIMP")),
    (0, b"v/1\x01", Kind("OpenEXR")),
    (128, b"DICM", Kind("DICOM", advice="export it as 16-bit PNG or TIFF")),
    (0, b"ZISRAWFILE", Kind("Zeiss CZI", advice=MICROSCOPE)),
    (0, b"\xda\xce\xbe\x0a", Kind("Nikon ND2", advice=MICROSCOPE)),
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        Kind("a container (OIB, ZVI, Office)", False, CONVERT),
    ),
    (0, b"\x93NUMPY", Kind("an array of NumPy", False, "save it as PNG or TIFF")),
    (0, b"\x89HDF", Kind("HDF5", False, "save its images as PNG or TIFF")),
    (0, b"%PDF", Kind("PDF", False, "save its pages as images, e.g. pdftoppm -png")),
    (0, b"%!PS", Kind("PostScript", False, "draw it as PNG first")),
    (0, b"PK\x03\x04", Kind("a ZIP archive", False, "unpack it")),
    (0, b"\x1f\x8b", Kind("compressed with gzip", False, "unpack it")),
    (0, b"\x1aE\xdf\xa3", VIDEO),
    (8, b"AVI ", VIDEO),
    (0, b"\x00\x05\x16\x07", Kind("notes of macOS on another file", False, "remove it")),
    (
        0,
        b"version https://git-lfs",
        Kind("a Git LFS pointer, not the file itself", False, "run git lfs pull"),
    ),
)


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file.

    Args:
        head: its first `HEAD` bytes.

    Returns:
        None: not one that is known here.
    """
    for start, signature, kind in SIGNATURES:
        if head[start : start + len(signature)] == signature:
            return kind
    if head[4:8] == b"ftyp":
        return _container(head)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        advice = "download the image again"
        return Kind("a web page under the name of an image", False, advice)
    if b"<svg" in text:
        return Kind("SVG", advice="draw it as PNG first")
    if head[:2] == b"BM":
        return Kind("BMP", advice="")
    return None


def _container(head: bytes) -> Kind | None:
    """HEIC, AVIF and videos are boxes that begin alike."""
    size = int.from_bytes(head[:4], "big")
    brands = {head[i : i + 4] for i in (8, *range(16, min(size, len(head)), 4))}
    if brands & {b"avif", b"avis"}:
        return AVIF
    if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return HEIC
    return VIDEO
