"""Pictures are opened in a few formats, and none whose size would take the memory of the machine."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdan_edge.config import Config
from fdan_edge.data import pictures
from fdan_edge.data.corpora import Item
from fdan_edge.errors import DataError
from fdan_edge.features.extract import crop_faces

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n"
SIDES = (13300, 30000, 65000)  # of these Pillow says nothing, warns, refuses


def header(width: int, height: int) -> bytes:
    """The first chunk of a PNG."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return chunk + struct.pack(">I", zlib.crc32(chunk))


def resized(path: Path, old: bytes, new: bytes) -> Path:
    """A picture of 40 x 30 whose header names another size."""
    Image.new("RGB", (40, 30)).save(path)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    return path


def huge(path: Path, side: int) -> Path:
    """A picture of any format that says that it is that large."""
    big, little = struct.pack(">HH", side, side), struct.pack("<HH", side, side)
    if path.suffix == ".png":
        return resized(path, header(40, 30), header(side, side))
    if path.suffix == ".jpg":
        return resized(path, struct.pack(">HH", 30, 40), big)
    if path.suffix == ".gif":
        return resized(path, struct.pack("<HH", 40, 30), little)
    if path.suffix == ".bmp":
        return resized(path, struct.pack("<ii", 40, 30), struct.pack("<ii", side, side))
    path.write_bytes(b"P6 %d %d 255\n" % (side, side))
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".ppm"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.filterwarnings("error")
def test_too_many_pixels(tmp_path: Path, suffix: str, side: int) -> None:
    path = huge(tmp_path / f"a{suffix}", side)
    with pytest.raises(DataError) as caught:
        crop_faces(Item("folder", "a", path, "sad"), Config())
    assert str(caught.value).startswith(
        (
            f"{path}: a picture of {side} x {side}; at most 67108864 pixels are read",
            f"{path}: not a readable image: Image size",
        )
    )


def test_the_largest_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "a.png")
    item = Item("folder", "a", tmp_path / "a.png", "sad")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 40 * 30)
    assert crop_faces(item, Config(face_size=32)).pixels.max() == 9
    monkeypatch.setattr(pictures, "MOST_PIXELS", 40 * 30 - 1)
    with pytest.raises(DataError, match="a picture of 40 x 30; at most 1199 pixels are read"):
        crop_faces(item, Config(face_size=32))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "PPM", "TIFF", "GIF", "WEBP"])
def test_formats(tmp_path: Path, format_: str) -> None:
    """The content decides, and not the name."""
    Image.new("RGB", (40, 30), (200, 200, 200)).save(tmp_path / "a.jpg", format=format_)
    with pictures.opened(tmp_path / "a.jpg") as image:
        assert abs(int(np.array(image.convert("RGB")).mean()) - 200) < 3


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", b"", b"text", None]
)
def test_what_is_no_picture(tmp_path: Path, content: bytes | None) -> None:
    """PostScript, above all, is a program, which Pillow has another one run."""
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}: not a readable image: "), pictures.opened(path) as image:
        image.load()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with (
        pytest.raises(DataError, match="is a folder, a pipe or a device, not a file"),
        pictures.opened(tmp_path / "a.png"),
    ):
        pass
