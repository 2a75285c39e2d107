"""Find any of many phrases in a text: markers, prefixes, names.

A regular expression would try every phrase at every position. Here the time grows with the text, not with the number of
phrases or near matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text to look for.

    Attributes:
        text: letter for letter.
        not_after_word, not_before_word: whether a letter, digit or _ on that side rules out a match.
    """

    text: str
    not_after_word: bool = False
    not_before_word: bool = False

    @staticmethod
    def whole(text: str) -> Phrase:
        """A phrase that is not part of a longer word."""
        return Phrase(text, is_word(text[:1]), is_word(text[-1:]))


@dataclass(frozen=True, slots=True)
class PhraseMatch:
    """Where a phrase was found, as indices of the text."""

    start: int
    end: int
    phrase: Phrase

    @property
    def text(self) -> str:
        return self.phrase.text


class Phrases:
    """Finds phrases from left to right; of several that begin at the same index, the longest."""

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        by_first: dict[str, dict[int, dict[str, Phrase]]] = {}
        for phrase in phrases:
            if phrase.text:
                lengths = by_first.setdefault(phrase.text[0], {})
                lengths.setdefault(len(phrase.text), {})[phrase.text] = phrase
        self._by_first = {
            first: (
                all(phrase.not_after_word for same in lengths.values() for phrase in same.values()),
                sorted(lengths.items(), reverse=True),
            )
            for first, lengths in by_first.items()
        }
        firsts = "".join(map(re.escape, sorted(by_first)))
        self._begins = re.compile(f"[{firsts}]" if firsts else r"(?!)")

    def find(self, text: str) -> Iterator[PhraseMatch]:
        """All matches, from left to right, without overlaps."""
        place = 0
        while begun := self._begins.search(text, place):
            found = self.at(text, begun.start())
            if found:
                yield found
            place = found.end if found else begun.end()

    def first(self, text: str) -> PhraseMatch | None:
        """The leftmost match."""
        return next(self.find(text), None)

    def at(self, text: str, place: int) -> PhraseMatch | None:
        """The longest phrase that begins at index ``place``."""
        no_word_before, by_length = self._by_first.get(text[place : place + 1], (True, []))
        after_word = place > 0 and is_word(text[place - 1])
        if after_word and no_word_before:
            return None
        for length, phrases in by_length:
            phrase = phrases.get(text[place : place + length])
            if phrase is None or (phrase.not_after_word and after_word):
                continue
            if not (phrase.not_before_word and is_word(text[place + length : place + length + 1])):
                return PhraseMatch(place, place + length, phrase)
        return None


def is_word(character: str) -> bool:
    """Whether a character is a letter, a digit or _, as ``\\w`` in a regular expression."""
    return character.isalnum() or character == "_"
