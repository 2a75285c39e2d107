"""The header of a safetensors file, checked before anything in it is trusted.

Format: 8 bytes with the header's length (little endian), the header as JSON, then the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import LoraError
from ..files import strict_json
from ..files.strict_json import JsonError, shown

METADATA_KEY = "incontext_lora"  # of the recipe, in ``__metadata__``
COPY_CHUNK = 1 << 20  # bytes
_LARGEST_HEADER = 8_000_000  # bytes; the header of ten thousand tensors takes one million
_MOST_IN_HEADER = 500_000  # JSON values; a tensor takes about seven
_MOST_DIMENSIONS = 16
# safetensors' types; a newer one is left to the library that reads the tensors
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
_ALIGNMENT = 8  # bytes: the tensors begin at a multiple of it
_DOWNLOAD_AGAIN = "Download the file again and compare its size with the one on the download page."
_CONVERT = "Such files can run code when opened, so only .safetensors is read. Get the LoRA as .safetensors."
# first bytes of files that were renamed or downloaded by mistake, their kind, and the remedy
_OTHER_FILES: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive or a PyTorch file (.pt, .ckpt, .bin)", f"Unpack an archive first. {_CONVERT}"),
    (b"\x80", "a Python pickle (.pt, .ckpt, .bin)", _CONVERT),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Run 'git lfs pull', or download the file."),
    (b"<", "a web page", "The download gave an error or log-in page. Log in, then download the file again."),
    (b"{", "JSON text", "The download gave a message instead of the file; open it in an editor to read it."),
    (b"GGUF", "a GGUF file", "GGUF holds models, not LoRAs. Get the LoRA as .safetensors."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"7z\xbc\xaf", "a 7-Zip archive", "Unpack it first."),
    (b"Rar!", "a RAR archive", "Unpack it first."),
    (b"\0" * 8, "filled with zeros, as an unfinished download is", _DOWNLOAD_AGAIN),
)


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor: its type as safetensors writes it (``F16``, ``BF16``, …), shape, and first and last byte + 1."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """The contents of a safetensors header.

    Attributes:
        tensors: name → entry, in the file's order.
        metadata: strings that the file's maker added.
        data_start: where the tensors' bytes begin, in bytes from the start of the file.
    """

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    data_start: int


def read_header(path: str | Path) -> Header:
    """Read the header without the tensors, so a large file takes no longer than a small one.

    Raises:
        LoraError: if the file is missing, damaged, cut short or of another kind; the message says which.
    """
    path = Path(path)
    with open_lora(path) as file:
        raw, data_start = read_raw_header(file, path)
        return parse_header(raw, data_start, os.fstat(file.fileno()).st_size, path)


def read_metadata(path: str | Path) -> Mapping[str, str]:
    """The strings that the file's maker added to the header.

    Raises:
        LoraError: as `read_header`.
    """
    return read_header(path).metadata


def header_digest(path: str | Path) -> str:
    """Identify a safetensors file without reading its tensors: the SHA-256 of its header, and its size in bytes.

    Raises:
        LoraError: as `read_header`.
    """
    path = Path(path)
    with open_lora(path) as file:
        raw, _ = read_raw_header(file, path)
        return f"{hashlib.sha256(raw).hexdigest()}-{os.fstat(file.fileno()).st_size}"


@contextmanager
def open_lora(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading.

    Raises:
        LoraError: if it is missing, a folder, or cannot be opened.
    """
    if path.is_dir():
        raise LoraError(f"{path} is a folder; expected a .safetensors file.")
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise LoraError(f"There is no file {path}. Put the LoRA into ComfyUI's models/loras folder.") from error
    except OSError as error:
        raise LoraError(f"{path} cannot be opened: {error}. Check its permissions.") from error
    with file:
        yield file


def read_raw_header(file: BinaryIO, path: Path) -> tuple[bytes, int]:
    """The header's bytes, and where the tensors' bytes begin. A false length cannot make it read beyond the file.

    Raises:
        LoraError: if the file is empty, cut short, or not a safetensors file.
    """
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise LoraError(f"{path.name} is empty (0 bytes). {_DOWNLOAD_AGAIN}")
    start = file.read(64)
    length = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or length > _LARGEST_HEADER:
        raise LoraError(_what_it_is(path, start, length, size))
    if 8 + length > size:
        raise LoraError(
            f"{path.name} is cut short: its header should have {length:,} bytes, but the file ends after {size:,}. "
            f"{_DOWNLOAD_AGAIN}"
        )
    file.seek(8)
    return file.read(length), 8 + length


def parse_header(raw: bytes, data_start: int, size: int, path: Path) -> Header:
    """Read the header's JSON and check it against the file.

    Args:
        raw, data_start: as `read_raw_header` returns them.
        size: of the whole file, in bytes.
        path: of the file, for messages.

    Raises:
        LoraError: if the header is damaged, or does not match the file's size.
    """
    damaged = f"{path.name} is damaged: "
    try:
        data = strict_json.parse(raw, largest=_LARGEST_HEADER, most=_MOST_IN_HEADER)
    except JsonError as error:
        raise LoraError(f"{damaged}its header cannot be read: {error}. {_DOWNLOAD_AGAIN}") from error
    if not isinstance(data, dict):
        raise LoraError(f"{damaged}its header is not a JSON object. {_DOWNLOAD_AGAIN}")
    metadata = data.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise LoraError(f"{damaged}its metadata must be strings. Save the LoRA again with the program that made it.")
    try:
        tensors = {name: _entry(value) for name, value in data.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise LoraError(
            f"{damaged}a tensor in its header cannot be read ({shown(error, 120)}). {_DOWNLOAD_AGAIN}"
        ) from error
    end = max((entry.end for entry in tensors.values()), default=0)
    if data_start + end > size:
        raise LoraError(
            f"{path.name} is cut short: its tensors end at byte {data_start + end:,}, the file at {size:,}. "
            f"{_DOWNLOAD_AGAIN}"
        )
    if data_start + end < size:
        raise LoraError(
            f"{damaged}its tensors end at byte {data_start + end:,}, but the file has {size:,}. {_DOWNLOAD_AGAIN}"
        )
    wrong = _contradiction(tensors)
    if wrong:
        raise LoraError(f"{damaged}{wrong}. {_DOWNLOAD_AGAIN}")
    return Header(tensors, metadata, data_start)


def _contradiction(tensors: Mapping[str, TensorEntry]) -> str:
    """What is wrong with the entries, as part of a sentence; empty if they are consistent.

    Tensors follow each other without overlaps or gaps, and each takes as many bytes as its type and shape need.
    """
    end, last = 0, ""
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        bits, size = _BITS.get(entry.dtype), entry.end - entry.start
        if bits is not None and prod(entry.shape) * bits != size * 8:
            shape = "×".join(map(str, entry.shape[:8])) or "one value"
            return f"the tensor {shown(name)} is declared as {entry.dtype} of {shape}, but has {size:,} bytes"
        if entry.start < end:
            return f"the tensors {shown(last)} and {shown(name)} overlap"
        if entry.start > end:
            return f"{entry.start - end:,} bytes before the tensor {shown(name)} belong to no tensor"
        end, last = entry.end, name
    return ""


def _entry(value: Any) -> TensorEntry:
    start, end = value["data_offsets"]
    shape = tuple(value["shape"])
    dtype = value["dtype"]
    if not isinstance(dtype, str) or not all(type(number) is int and number >= 0 for number in (start, end, *shape)):
        raise ValueError(value)
    if start > end or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(value)
    return TensorEntry(dtype, shape, start, end)


def _what_it_is(path: Path, start: bytes, length: int, size: int) -> str:
    other = _other_kind(start)
    if other:
        what, remedy = other
        return f"{path.name} is not a safetensors file: it is {what}. {remedy}"
    return (
        f"{path.name} ({size:,} bytes) is not a safetensors file: it begins with {start[:8]!r}, which would mean a header "
        f"of {length:,} bytes. {_DOWNLOAD_AGAIN}"
    )


def _other_kind(start: bytes) -> tuple[str, str] | None:
    """The kind of a known other file, and the remedy; None for anything else."""
    begin = start.lstrip(b"\xef\xbb\xbf \t\r\n") if start[:1] != b"\0" else start
    return next(((what, remedy) for magic, what, remedy in _OTHER_FILES if begin.startswith(magic)), None)


def encode_header(header: Mapping[str, Any], path: Path) -> bytes:
    """The header as bytes, with its length in front and padded to the alignment of tensors.

    Raises:
        LoraError: if it would be too large.
    """
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    if len(text) > _LARGEST_HEADER:
        raise LoraError(
            f"With its recipe the header of {path.name} would have {len(text):,} bytes; {_LARGEST_HEADER:,} are "
            "allowed. Shorten the recipe's texts."
        )
    return len(text).to_bytes(8, "little") + text
