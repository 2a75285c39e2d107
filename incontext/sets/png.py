"""Read a PNG's header: its size, and the texts that ComfyUI stores before the pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST = 8 << 20  # bytes of a text; the prompt of a thousand nodes takes half a million
MOST_CHUNKS = 1000  # before the pixels; ComfyUI writes five
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


class UnreadablePng(ValueError):
    """The file is not a PNG, or is damaged."""


@dataclass(frozen=True, slots=True)
class Header:
    """
    Attributes:
        width, height: in pixels.
        texts: keyword → text, for the wanted texts that could be read.
    """

    width: int
    height: int
    texts: dict[str, str] = field(default_factory=dict)


def read_header(path: Path, wanted: Collection[str]) -> Header:
    """Size and texts of a PNG; the pixels are not read.

    A text is skipped if it is not valid text, or larger than `LARGEST` before or after unpacking.

    Args:
        wanted: keywords of the texts, such as ``prompt``.

    Raises:
        UnreadablePng: if it is not a PNG, or is cut short.
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise UnreadablePng(f"{path.name} is not a PNG file.")
        size: tuple[int, int] | None = None
        texts: dict[str, str] = {}
        for kind, length in _chunks(file, path):
            if size is None:
                size = _size(kind, _read(file, length, path), path)
            elif kind in _TEXTS and length <= LARGEST:
                name, _, rest = _read(file, length, path).partition(b"\0")
                keyword = name.decode("latin-1")
                if keyword in wanted and keyword not in texts and (text := _text(kind, rest)) is not None:
                    texts[keyword] = text
            else:
                file.seek(length, 1)
            file.seek(4, 1)  # the checksum
        if size is None:
            raise UnreadablePng(f"{path.name} is damaged: it does not contain a picture.")
        return Header(*size, texts)


def _chunks(file: IO[bytes], path: Path) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk before the pixels. The caller must read or skip the chunk before the next one."""
    for _ in range(MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            raise UnreadablePng(f"{path.name} is damaged: it ends before its pixels.")
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"IEND"):
            return
        yield kind, length
    raise UnreadablePng(f"{path.name} has more than {MOST_CHUNKS} chunks before its pixels.")


def _read(file: IO[bytes], length: int, path: Path) -> bytes:
    data = file.read(length) if length <= LARGEST else b""
    if len(data) < length:
        raise UnreadablePng(f"{path.name} is damaged: it ends within its header.")
    return data


def _size(kind: bytes, data: bytes, path: Path) -> tuple[int, int]:
    if kind != b"IHDR" or len(data) < 8:
        raise UnreadablePng(f"{path.name} is damaged: its size is missing.")
    width, height = struct.unpack(">II", data[:8])
    return width, height


def _text(kind: bytes, data: bytes) -> str | None:
    """What follows the keyword, as text; None if it cannot be read."""
    try:
        if kind == b"tEXt":
            return data.decode("latin-1")
        if kind == b"zTXt":
            return _unpack(data[1:]).decode("latin-1")
        is_packed = data[:1] == b"\1"
        text = data[2:].split(b"\0", 2)[2]  # after the language and the translated keyword
        return (_unpack(text) if is_packed else text).decode()
    except (IndexError, UnicodeDecodeError, zlib.error):
        return None


def _unpack(data: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(data, LARGEST)
    if unpacking.unconsumed_tail:
        raise zlib.error("too large")
    return text
