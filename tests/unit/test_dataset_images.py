from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.dataset.images import LARGEST_PICTURE, Picture, UnreadableImage, decode
from incontext_lora.incontext.files.images import open_image
from incontext_lora.tests.dataset_sets import picture
from PIL import Image, ImageFile, UnidentifiedImageError, features

WHITE = (1.0, 1.0, 1.0)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def read(data: bytes, enough: tuple[int, int] = (4096, 4096)) -> Picture:
    return decode(data, WHITE, enough)


def test_a_plain_image_is_read_exactly_and_without_a_remark() -> None:
    result = read(encoded(picture(1)))
    assert np.array_equal(result.pixels, np.array(picture(1)))
    assert result.remarks == ()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: encoded(picture(1).convert("CMYK"), "JPEG"), "CMYK"),
        (lambda: encoded(picture(1).convert("P")), "palette"),
        (lambda: encoded(picture(1).convert("L")), "grey"),
        (lambda: encoded(picture(1).convert("1")), "black and white"),
        (lambda: encoded(Image.fromarray(np.full((8, 8), 65535, np.uint16))), "16"),
    ],
)
def test_conversions_are_reported(make: Callable[[], bytes], word: str) -> None:
    result = read(make())
    assert word in result.remarks[0].problem
    assert result.pixels.dtype == np.uint8
    assert result.pixels.shape[2] == 3


def test_cmyk_keeps_its_colours() -> None:
    red = read(encoded(Image.new("RGB", (32, 32), (255, 0, 0)).convert("CMYK"), "JPEG", quality=95)).pixels
    assert np.abs(red.astype(int) - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    deep = np.linspace(0, 65535, 256, dtype=np.float64).round().astype(np.uint16).reshape(16, 16)
    pixels = read(encoded(Image.fromarray(deep), kind)).pixels
    assert np.array_equal(pixels[..., 0], (deep / 257).round().astype(np.uint8))


def test_sixteen_bits_in_colour() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    values = np.array([[[0, 32768, 65535], [1000, 2000, 60000]]], ">u2")
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + values.tobytes())) + chunk(b"IEND", b"")
    result = read(b"\x89PNG\r\n\x1a\n" + body)
    assert np.abs(result.pixels.astype(float) - values.astype(float) / 257).max() <= 1
    assert "16" in result.remarks[0].problem


def test_floating_point() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    assert np.array_equal(read(encoded(Image.fromarray(values), "TIFF")).pixels[..., 0], (values * 255).round())
    with pytest.raises(UnreadableImage, match="white is unknown"):
        read(encoded(Image.fromarray(values * 1e6), "TIFF"))


def test_transparency_is_laid_on_the_padding_colour() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((0, 0), (10, 20, 30, 255))
    result = decode(encoded(image), (0.0, 1.0, 0.0), (64, 64))
    assert tuple(result.pixels[0, 0]) == (10, 20, 30)
    assert tuple(result.pixels[1, 1]) == (0, 255, 0)
    assert "ransparent" in result.remarks[0].problem
    opaque = Image.new("RGBA", (4, 4), (255, 0, 0, 255))
    assert read(encoded(opaque)).remarks == ()


def test_a_palette_with_transparency() -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    result = decode(encoded(image, transparency=0), (0.0, 0.0, 1.0), (64, 64))
    assert tuple(result.pixels[0, 0]) == (0, 0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_orientation_of_the_camera_is_applied(orientation: int, kind: str) -> None:
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:16, :32] = 255  # only the upper left is white
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[::-1],
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = read(encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif))
    assert (result.width, result.height) == (64, 32)
    assert np.abs(result.pixels.astype(int) - upright).mean() < 3
    assert bool(result.remarks) == (orientation > 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, keep: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as other packs leave it
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(UnreadableImage) as caught:
        read(data[: int(len(data) * keep)])
    assert caught.value.remedy
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\0", b"RIFF"]),
)
def test_nothing_but_a_refusal_comes_from_damaged_files(data: bytes, start: bytes) -> None:
    with suppress(UnreadableImage):
        read(start + data)


@given(st.integers(0, 3000), st.integers(0, 255))
def test_nothing_but_a_refusal_comes_from_one_wrong_byte(place: int, value: int) -> None:
    data = bytearray(encoded(picture(1), "JPEG"))
    data[place % len(data)] = value
    with suppress(UnreadableImage):
        read(bytes(data))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_more_than_one_frame_is_refused(kind: str) -> None:
    data = encoded(picture(1), kind, save_all=True, append_images=[picture(2), picture(3)])
    with pytest.raises(UnreadableImage, match="3 frames"):
        read(data)


def test_a_photograph_with_a_preview_is_one_picture() -> None:
    data = encoded(picture(1), "MPO", save_all=True, append_images=[picture(2)])
    assert np.abs(read(data).pixels.astype(int) - np.array(picture(1))).mean() < 6


def test_a_decompression_bomb_is_refused_without_being_unpacked() -> None:
    side = 10_000
    assert side * side > LARGEST_PICTURE
    with pytest.raises(UnreadableImage, match="million"):
        read(encoded(Image.new("1", (side, side))))


def test_formats_that_run_programs_are_refused() -> None:
    with pytest.raises(UnreadableImage):
        read(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize("kind", ["EPS", "PPM", "TGA", "JPEG2000", "PCX", "ICO", "SGI", "PDF"])
def test_other_formats_are_refused_whatever_the_file_is_called(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "1.png"
    picture(1, (64, 64)).save(path, kind)
    with pytest.raises(UnreadableImage, match=r"not an image that can be read here \(PNG, JPEG"):
        read(path.read_bytes())
    with pytest.raises(UnidentifiedImageError):
        open_image(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_formats_are_known_by_content_not_by_name(tmp_path: Path, kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / "1.tga"
    picture(1, (64, 64)).save(path, kind)
    assert read(path.read_bytes()).pixels.shape == (64, 64, 3)
    with open_image(path) as image:
        assert image.format == kind


def test_images_are_opened_in_one_place() -> None:
    root = Path(__file__).parents[2]
    files = [path for folder in ("incontext", "nodes", "training") for path in (root / folder).rglob("*.py")]
    opening = [path.name for path in files if "Image.open(" in path.read_text(encoding="utf-8")]
    assert opening == ["images.py"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_far_larger_than_needed_are_reduced_but_not_below_it(kind: str) -> None:
    result = read(encoded(picture(1, (2000, 1000)), kind), enough=(256, 128))
    assert (result.width, result.height) == (2000, 1000)
    height, width, _ = result.pixels.shape
    assert 256 <= width < 512
    assert 128 <= height < 256


def test_colour_images_stored_sideways_are_reduced_for_their_upright_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    result = read(encoded(picture(1, (3000, 1000)), "JPEG", exif=exif), enough=(128, 512))
    height, width, _ = result.pixels.shape
    assert (result.width, result.height) == (1000, 3000)
    assert width >= 128
    assert 512 <= height < 1024
