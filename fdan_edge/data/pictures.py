"""Open pictures with Pillow: of a few formats, and no larger than a camera's; nothing is decoded before."""

from __future__ import annotations

import contextlib
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fdan_edge.errors import INSTALL_TRAINING, DataError, MissingDependencyError, one_line

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 1 << 26  # 8192 x 8192, 200 MB as RGB
#: What pictures of faces are in. Pillow knows more: EPS, for one, it gives to a program that runs it.
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "GIF", "WEBP")

#: What damaged files make Pillow raise.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture; errors of Pillow within the block become one line that names the file.

    Raises:
        DataError: missing, damaged, of another format, or of more than `MOST_PIXELS`.
        MissingDependencyError: Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingDependencyError("pillow", "looking at faces", INSTALL_TRAINING) from None
    if path.exists() and not path.is_file():  # opening a pipe could wait for ever
        raise DataError(f"{path}: is a folder, a pipe or a device, not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such pictures are refused, in a line
            picture = Image.open(path, formats=_FORMATS)
        with picture as image:
            if image.width * image.height > MOST_PIXELS:
                size = f"{image.width} x {image.height}"
                raise DataError(f"{path}: a picture of {size}; at most {MOST_PIXELS} pixels are read")
            yield image
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a readable image: not of a known kind") from None
    except (*_DAMAGED, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image: {one_line(error)}") from None
