"""Opening image files: by what they contain, whatever they are called, and only in formats that need no other program."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image

# Pillow opens many more; some of them start other programs (EPS starts Ghostscript)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """An image, not decoded yet; to be closed by the caller.

    Raises:
        PIL.UnidentifiedImageError: where the content is of none of `FORMATS`.
        OSError: where the file cannot be read.
    """
    Image.init()
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
