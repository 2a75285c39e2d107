"""Image files of any kind → RGB pixels."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from ..files.images import open_image
from ..panels.colours import Colour
from .report import Level, Remark

SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
    | {".avif", ".heic", ".heif", ".jxl", ".jp2", ".tga", ".ppm"}
)
LARGEST_FILE = 1 << 28  # bytes
LARGEST_PICTURE = 89_478_485  # pixels; above it Pillow suspects a decompression bomb

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_AS_PNG = "Open it in an image editor and save it as PNG."

_strict = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as it should be seen.

    Attributes:
        pixels: uint8 [height, width, 3]; already reduced where the file holds far more than is needed.
        width, height: of the upright image before that.
        remarks: what was converted.
    """

    pixels: np.ndarray
    width: int
    height: int
    remarks: tuple[Remark, ...] = ()


class UnreadableImage(Exception):
    """A file that gives no usable image; says why, and the remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy


def decode(data: bytes, padding: Colour, enough: tuple[int, int]) -> Picture:
    """Decode an image file.

    Args:
        data: the file's bytes.
        padding: colour under transparent parts.
        enough: width and height; larger images are reduced by a whole factor that leaves at least this.

    Raises:
        UnreadableImage: if the file does not contain exactly one complete picture.
    """
    if not data:
        raise UnreadableImage("The file is empty.", "Copy or export it again.")
    try:
        with _refusing_truncated():
            return _decode(data, padding, enough)
    except UnreadableImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large("") from None
    except Image.UnidentifiedImageError:
        raise UnreadableImage(
            "The file is damaged, or not an image that can be read here (PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF).",
            _AS_PNG,
        ) from None
    except Exception as error:  # decoders raise almost anything on damaged files
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise UnreadableImage(f"The image is damaged ({reason}).", "Copy or export it again.") from error


def _decode(data: bytes, padding: Colour, enough: tuple[int, int]) -> Picture:
    image = open_image(io.BytesIO(data))
    width, height = image.size
    if width * height > LARGEST_PICTURE:
        raise _too_large(f" of {width}×{height}")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # cameras put a preview beside the photograph
        raise UnreadableImage(f"The image has {frames} frames or pages.", "Save the one you mean as PNG.")
    remarks: list[Remark] = []
    if image.format in ("JPEG", "MPO"):
        turned = _orientation(image) in _SIDEWAYS
        image.draft(None, (enough[1], enough[0]) if turned else enough)  # decodes at a half, quarter or eighth
    image.load()
    orientation = _orientation(image)  # some formats tell only after loading
    flat = _as_rgb(image, data, padding, remarks)
    if orientation in _TURNS:
        flat = flat.transpose(_TURNS[orientation])
        remarks.append(Remark(Level.NOTE, "The camera's orientation was applied."))
    if orientation in _SIDEWAYS:
        width, height = height, width
    factor = min(flat.width // enough[0], flat.height // enough[1])
    if factor > 1:
        flat = flat.reduce(factor)
    return Picture(np.array(flat), width, height, tuple(remarks))


def _as_rgb(image: Image.Image, data: bytes, padding: Colour, remarks: list[Remark]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        remarks.append(Remark(Level.NOTE, "16 or 32 bits per channel were reduced to 8."))
        return _deep_grey(image).convert("RGB")
    if _png_depth(data) == 16:
        remarks.append(Remark(Level.NOTE, "16 or 32 bits per channel were reduced to 8."))
    if image.mode == "CMYK":
        remarks.append(Remark(Level.NOTE, "CMYK colours were converted to RGB."))
        return _cmyk(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        if coloured.getchannel("A").getextrema() != (255, 255):
            remarks.append(Remark(Level.NOTE, "Transparent parts were filled with the padding colour."))
            ground = Image.new("RGBA", image.size, (*(round(channel * 255) for channel in padding), 255))
            coloured = Image.alpha_composite(ground, coloured)
        return coloured.convert("RGB")
    if image.mode != "RGB":
        kind = {"P": "A palette image", "L": "A grey image", "1": "A black and white image"}.get(
            image.mode, f"An image of mode {image.mode}"
        )
        remarks.append(Remark(Level.NOTE, f"{kind} was converted to RGB."))
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating grey → 8 bits, over the whole range; Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and low >= 0 and high <= 1:
        full = 1.0
    elif image.mode == "F" and low >= 0 and high <= 255:
        full = 255.0
    elif image.mode != "F" and low >= 0 and high <= 65535:
        full = 65535.0
    else:  # also if values are not numbers
        raise UnreadableImage(
            f"The image holds values from {low:g} to {high:g}, and white is unknown.",
            "Save it as PNG with 8 or 16 bits.",
        )
    return Image.fromarray((values * (255 / full)).round().astype(np.uint8))


def _cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            from PIL import ImageCms  # not in every build of Pillow

            source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImportError, OSError, ValueError):  # a profile that cannot be used is as good as none
            pass
        except Exception as error:  # PyCMSError cannot be named where the import failed
            if type(error).__name__ != "PyCMSError":
                raise
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # camera data is often damaged, and then says nothing about the picture
        return 1


def _png_depth(data: bytes) -> int:
    return data[24] if len(data) > 24 and data.startswith(b"\x89PNG") else 8


def _too_large(size: str) -> UnreadableImage:
    return UnreadableImage(
        f"The image{size} has more than {LARGEST_PICTURE // 1_000_000} million pixels.",
        "Reduce it; panels hold a few million at most.",
    )


@contextmanager
def _refusing_truncated() -> Iterator[None]:
    """Other packs in the same process tell Pillow to accept half images as whole ones."""
    with _strict:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
