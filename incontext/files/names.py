"""Names for files and folders that the pack makes, valid on every system."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

LONGEST = 200  # bytes; file systems allow 255, but endings and numbers are added

# characters that paths cannot hold, control characters, and marks that make a name look like another
_FORBIDDEN = re.compile('[<>:"/\\\\|?*\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]')
# Windows opens these as devices in every folder, with any ending or spaces after them; it reads ¹²³ as digits there
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])", re.IGNORECASE)


def is_device(part: str) -> bool:
    """Whether Windows takes a name for a device: ``CON``, ``con.txt``, ``aux .png``, ``COM¹``."""
    return _DEVICE.fullmatch(part.partition(".")[0].rstrip(" ")) is not None


def problem(part: str) -> str:
    """Why a name cannot be that of one file or folder, as the end of a sentence; empty if it can."""
    if part.strip() in ("", ".", ".."):
        return "it has an empty part, or one that leaves the folder"
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        return "it holds a character that is not valid text"
    if size > LONGEST:
        return f"a part of it has {size} bytes; {LONGEST} are allowed"
    if _FORBIDDEN.search(part):
        return f'{part!r} holds one of < > : " / \\ | ? * or a control character'
    if part.startswith(".") or part.endswith("."):
        return f"{part!r} begins or ends with a dot"
    if part != part.strip():
        return f"{part!r} begins or ends with a space"
    if is_device(part):
        return f"{part!r} is reserved by Windows"
    return ""


def as_stem(text: str, longest: int) -> str:
    """A text as the beginning of a file name, of letters, digits, ``_`` and ``-``; empty if it has none of them.

    Args:
        longest: bytes; a Chinese character takes three.
    """
    stem = re.sub(r"[^\w-]+", "-", text).strip("-_")
    return stem.encode()[:longest].decode(errors="ignore")


def numbered(stem: str) -> Iterator[str]:
    """``stem``, ``stem-2``, ``stem-3`` … without end: names to try until one is free."""
    yield stem
    for number in count(2):
        yield f"{stem}-{number}"


def as_path(text: str) -> Path:
    """A path as a person writes it, perhaps in quotes and with ``~`` for the home folder.

    A ``~`` that stands for no user's home is part of the name.
    """
    written = Path(text.strip().strip('"'))
    try:
        return written.expanduser()
    except RuntimeError:
        return written


def is_folder(path: Path) -> bool:
    """Whether a folder exists; False for a path that is not valid."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
