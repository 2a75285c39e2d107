"""Caption files of any encoding → text."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from ..plain_text import is_text
from .report import Finding, Level

LARGEST = 1 << 20  # bytes; a caption has a few hundred

_BOMS = (  # the longer marks first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_ACCENTS_IN_A_ROW = re.compile(r"[^\x00-\x7f]{3}")  # as in Cyrillic, Chinese or Japanese of another encoding
_SAVE_AS_UTF8 = "Save it as UTF-8 text."


@dataclass(frozen=True, slots=True)
class Text:
    """A caption file: one line, or None where it cannot be read; and what to say about the file."""

    line: str | None
    findings: tuple[Finding, ...] = ()


def one_line(text: str) -> str:
    """White space as single spaces, without characters that are not text."""
    return " ".join(text.replace("\ufeff", "").replace("\u200b", "").split())


def read(path: Path, name: str = "") -> Text:
    """Read a caption file.

    Args:
        path: the file.
        name: what findings call it.
    """
    try:
        if path.stat().st_size > LARGEST:
            return _unreadable(name, "The caption file is larger than a megabyte.", "Is it the right file?")
        data = path.read_bytes()
    except OSError as error:
        return _unreadable(name, f"The caption file cannot be read: {error.strerror or error}.", "Allow reading it.")
    text, encoding, sure = decode(data)
    if text is None:
        return _unreadable(name, f"The caption file cannot be read for certain as text ({encoding}).", _SAVE_AS_UTF8)
    if not is_text(text):
        return _unreadable(
            name, f"The caption file is not text ({encoding}): it holds control characters.", _SAVE_AS_UTF8
        )
    findings: list[Finding] = []
    if not sure:
        problem = f"The caption file is not UTF-8; it was read as {encoding}."
        findings.append(Finding(Level.WARNING, problem, "Check letters with accents. " + _SAVE_AS_UTF8, file=name))
    elif encoding != "UTF-8":
        findings.append(Finding(Level.NOTE, f"The caption file is {encoding}; the dataset holds UTF-8.", file=name))
    if len([line for line in text.splitlines() if one_line(line)]) > 1:
        problem = "The caption has several lines; they were joined, since trainers read only the first."
        findings.append(Finding(Level.NOTE, problem, file=name))
    return Text(one_line(text), tuple(findings))


def decode(data: bytes) -> tuple[str | None, str, bool]:
    """Text, the encoding's name for people, and whether that is certain; None where the bytes fit none for certain."""
    for mark, codec, encoding in _BOMS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], codec), encoding, True
    if b"\0" in data:
        return _utf_16(data), "UTF-16 without a byte order mark", True
    text = _decoded(data, "utf-8")
    if text is not None:
        return text, "UTF-8", True
    text = _decoded(data, "cp1252")
    return (
        (text, "Windows-1252", False)
        if text is not None and _is_western(text)
        else (None, "an unknown encoding", False)
    )


def _utf_16(data: bytes) -> str | None:
    """UTF-16 without its mark: zero bytes on one side of nearly every pair. Text of another kind with a zero byte in it
    would be read as other letters, so it is not read.
    """
    if len(data) % 2:
        return None
    high, low = data[0::2].count(0), data[1::2].count(0)
    if max(high, low) * 10 < (len(data) // 2) * 8 or min(high, low):
        return None
    return _decoded(data, "utf-16-be" if high > low else "utf-16-le")


def _is_western(text: str) -> bool:
    """Whether a text is Windows-1252 rather than another encoding read as it: accents are few and stand alone."""
    foreign = [character for character in text if ord(character) > 127]
    if 3 * len(foreign) > len(text):
        return False
    return not _ACCENTS_IN_A_ROW.search(text) and is_text(text)


def _decoded(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


def _unreadable(name: str, problem: str, remedy: str) -> Text:
    return Text(None, (Finding(Level.ERROR, problem, remedy, file=name),))
