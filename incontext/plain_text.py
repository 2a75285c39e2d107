"""What counts as text: captions, names and recipes come from anywhere, and go into files and tokenizers."""

from __future__ import annotations

import re

# control characters that are not white space, and halves of a character that no file can store
_NOT_TEXT = re.compile("[\x00-\x08\x0e-\x1b\x7f\x80-\x84\x86-\x9f\ud800-\udfff]")


def is_text(text: str) -> bool:
    """Whether a text holds only what can be read and stored: no NUL or other control character, no lone surrogate."""
    return _NOT_TEXT.search(text) is None


def one_line(text: str) -> str:
    """All white space as single spaces, without byte order marks."""
    return " ".join(text.replace("\ufeff", "").split())
