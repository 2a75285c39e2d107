"""Wildcards in captions: ``{red|blue}`` becomes one of its options, chosen by a seed.

The same wildcard becomes the same option everywhere in a set, so ``a {red|blue} coat`` has one colour in all panels. An
option may be empty, as in ``{|old }lighthouse``, and may contain wildcards. Braces without a bar are plain text. ``\\{``,
``\\|`` and ``\\}`` are plain text too, and lose their backslash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from ..errors import CaptionError

DEEPEST = 20  # wildcards inside each other
_MARK = re.compile(r"\\[{}|]|[{}|]")


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A wildcard's position in a text: indices of its opening brace, its bars and its closing brace."""

    bars: tuple[int, ...]

    @property
    def options(self) -> list[tuple[int, int]]:
        return [(start + 1, end) for start, end in zip(self.bars, self.bars[1:], strict=False)]


def has_wildcards(texts: Sequence[str]) -> bool:
    """Whether any of the texts changes with the seed."""
    return any(_wildcards(text) for text in texts)


def expand(texts: Sequence[str], seed: int) -> list[str]:
    """Replace every wildcard in the texts of one set with one of its options.

    Args:
        texts: the set's summary and panels.
        seed: chooses the options. A wildcard's option depends only on the seed and the wildcard's own text.

    Raises:
        CaptionError: if wildcards are nested more than `DEEPEST` levels deep.
    """
    return [_expanded(text, _checked(_wildcards(text)), seed, 0, len(text)) for text in texts]


def _wildcards(text: str) -> dict[int, Wildcard]:
    """Index of the opening brace → wildcard."""
    found: dict[int, Wildcard] = {}
    open_braces: list[list[int]] = []
    for mark in _MARK.finditer(text):
        if mark.group() == "{":
            open_braces.append([mark.start()])
        elif open_braces and mark.group() == "|":
            open_braces[-1].append(mark.start())
        elif open_braces and mark.group() == "}":
            bars = (*open_braces.pop(), mark.start())
            if len(bars) > 2:
                found[bars[0]] = Wildcard(bars)
    return found


def _checked(wildcards: dict[int, Wildcard]) -> dict[int, Wildcard]:
    around: list[int] = []  # closing braces of the current wildcard and of those around it
    for start in sorted(wildcards):
        around = [*(end for end in around if end > start), wildcards[start].bars[-1]]
        if len(around) > DEEPEST:
            raise CaptionError(
                f"The caption has wildcards more than {DEEPEST} levels deep. Write them with fewer levels."
            )
    return wildcards


def _expanded(text: str, wildcards: dict[int, Wildcard], seed: int, start: int, end: int) -> str:
    pieces, place = [], start
    for mark in _MARK.finditer(text, start, end):
        if mark.start() < place:  # inside a wildcard that has already been replaced
            continue
        wildcard = wildcards.get(mark.start())
        if wildcard:
            pieces.append(text[place : mark.start()])
            option = _drawn(text[wildcard.bars[0] : wildcard.bars[-1]], len(wildcard.options), seed)
            pieces.append(_expanded(text, wildcards, seed, *wildcard.options[option]))
            place = wildcard.bars[-1] + 1
        elif len(mark.group()) == 2:  # escaped
            pieces += [text[place : mark.start()], mark.group()[1]]
            place = mark.end()
    return "".join([*pieces, text[place:end]])


def _drawn(wildcard: str, options: int, seed: int) -> int:
    digest = blake2b(f"{seed} {wildcard}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % options
