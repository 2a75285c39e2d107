"""The one place that decides what a file or folder made by the pack may be called, on every system."""

from __future__ import annotations

import re

LONGEST = 200  # bytes; file systems allow 255, and endings and numbers are added

# what no path may hold, control characters, and marks that make a name look like another one
_FORBIDDEN = re.compile('[<>:"/\\\\|?*\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]')
# Windows opens these as devices in every folder, whatever ending or spaces follow; it takes ¹²³ for digits there
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])", re.IGNORECASE)


def is_device(part: str) -> bool:
    """Whether Windows takes a name for a device: ``CON``, ``con.txt``, ``aux .png``, ``COM¹``."""
    return _DEVICE.fullmatch(part.partition(".")[0].rstrip(" ")) is not None


def problem(part: str) -> str:
    """Why a name cannot be that of one file or folder, as the end of a sentence; empty where it can."""
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
