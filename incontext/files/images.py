"""Open image files by their content, regardless of their names, and only in formats that need no other program."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image

# Pillow opens many more; some of them start other programs (EPS starts Ghostscript)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """An image that is not decoded yet; the caller closes it.

    Raises:
        PIL.UnidentifiedImageError: if the content is in none of `FORMATS`.
        OSError: if the file cannot be read.
    """
    Image.init()
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
