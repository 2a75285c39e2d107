"""Joint captions: one line that describes a whole set, with a marker before each panel's text.

[MOVIE-SHOTS] In a vibrant festival, <Leo> … [SCENE-1] <Leo> enters … [SCENE-2] … [SCENE-3] …
└── prefix    └── summary                └── marker and text of the first panel
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import CaptionError
from ..files.strict_json import shown
from ..lora.recipe import Recipe
from ..plain_text import is_text
from ..plain_text import one_line as _one_line
from .phrases import Phrase, Phrases

# Text encoders cut or chunk captions at these counts: CLIP-L and CLIP-G read 77 tokens at a time, FLUX's T5 reads 512.
TOKEN_LIMITS = {"clip_l": 77, "clip_g": 77, "t5xxl": 512}

LONGEST = 20_000  # characters of a caption; T5's 512 tokens are about 2,500
MOST_NAMES = 100
LONGEST_NAME = 100  # characters
_SHOWN = 16  # markers in a message
_TRIGGER = re.compile(r"\[[A-Z0-9][A-Z0-9 _-]+\]")


@dataclass(frozen=True, slots=True)
class JointCaption:
    """The parts of a caption, each on one line and without surrounding spaces.

    Attributes:
        summary: may be empty.
        panels: one text per panel; a text may be empty.
    """

    summary: str
    panels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenCount:
    """A caption's tokens for one text encoder.

    Attributes:
        encoder: e.g. ``clip_l``.
        count: with the encoder's start and end tokens.
        limit: tokens that the encoder reads at once; None if it has no limit.
        cut: index of the first character beyond the limit; None if the whole caption fits.
    """

    encoder: str
    count: int
    limit: int | None
    cut: int | None


def build(
    recipe: Recipe,
    summary: str,
    panels: Sequence[str],
    *,
    names: Sequence[str] = (),
    escape_parentheses: bool = False,
) -> str:
    """Write a joint caption as one line: prefix, summary, then marker and text of each panel.

    Args:
        recipe: prefix, opening, markers and the form of names.
        summary: what the set is about; if it is empty, the recipe's opening is used.
        panels: one text per panel; missing ones are empty. A text may already begin with its panel's marker.
        names: of people and things; every occurrence is written in the recipe's form, such as ``<Leo>``.
        escape_parentheses: write ``\\(`` for ``(``, so that ComfyUI does not read it as emphasis.

    Raises:
        CaptionError: if there are more texts than panels, or a text contains a panel's marker.
    """
    if len(panels) > len(recipe.markers):
        raise CaptionError(
            f"{len(panels)} panel texts for {len(recipe.markers)} panels ({_some(recipe.markers, ' ')}). "
            "Remove texts, or choose a layout with more panels."
        )
    check(" ".join([summary, *panels]))
    texts = [_one_line(text) for text in [*panels, *[""] * (len(recipe.markers) - len(panels))]]
    anywhere = _any_of(recipe.markers)
    texts = [_without_marker(text, marker, anywhere) for text, marker in zip(texts, recipe.markers, strict=True)]
    opening = _without_prefix(recipe, _one_line(summary)) or recipe.opening
    stray = anywhere.first(opening)
    if stray:
        raise CaptionError(
            f"The summary holds the panel marker {stray.text}. Move what follows it to that panel's text; markers are added "
            "automatically."
        )
    named = _Names(names, recipe.name_format)
    opening, *texts = (named.mark(part) for part in (opening, *texts))
    pieces = [recipe.prefix, opening]
    for marker, text in zip(recipe.markers, texts, strict=True):
        pieces += [marker, text]
    line = " ".join(piece for piece in pieces if piece)
    return escape(line) if escape_parentheses else line


def parse(recipe: Recipe, caption: str) -> JointCaption:
    """The parts of a caption, the inverse of `build`. The prefix is dropped; each panel's text follows its marker.

    Raises:
        CaptionError: if a marker is missing, repeated or out of order.
    """
    check(caption)
    line = _with_plain_marks(recipe, _one_line(caption))
    found = list(_any_of(recipe.markers).find(line))
    order = [mark.text for mark in found]
    times = Counter(order)
    missing = [marker for marker in recipe.markers if not times[marker]]
    if missing:
        raise CaptionError(
            f"The caption lacks {_some(missing)}; {recipe.name} needs {_some(recipe.markers, ' ')} in this order."
        )
    repeated = [marker for marker in recipe.markers if times[marker] > 1]
    if repeated:
        raise CaptionError(
            f"The caption has {_some(repeated)} more than once; each marker may occur only once. Remove the others."
        )
    if order != list(recipe.markers):
        raise CaptionError(
            f"The markers in the caption are in the order {_some(order, ' ')}; expected {_some(recipe.markers, ' ')}."
        )
    ends = [*(mark.start for mark in found[1:]), len(line)]
    texts = tuple(line[mark.end : end].strip() for mark, end in zip(found, ends, strict=True))
    return JointCaption(_without_prefix(recipe, line[: found[0].start].strip()), texts)


def problems(recipe: Recipe, caption: str) -> tuple[str, ...]:
    """Sentences about what is wrong with a caption; empty if it is as the recipe wants it."""
    found: list[str] = []
    try:
        check(caption)
    except CaptionError as error:
        return (str(error),)
    if "\n" in caption.strip() or "\r" in caption.strip():
        found.append("The caption has line breaks; trainers read the first line only. Write it as one line.")
    line = _one_line(caption)
    if recipe.prefix and not _any_of((recipe.prefix,)).at(_with_plain_marks(recipe, line), 0):
        found.append(f"The caption does not begin with the prefix {recipe.prefix}, which triggers the LoRA.")
    try:
        parts = parse(recipe, line)
    except CaptionError as error:
        found.append(str(error))
    else:
        if not parts.summary:
            found.append("The caption has no summary before the first panel; it ties the panels together.")
        empty = [marker for marker, text in zip(recipe.markers, parts.panels, strict=True) if not text]
        if empty:
            found.append(f"No text follows {_some(empty)}; the model will choose what such a panel shows.")
    found += parenthesis_problems(line)
    return tuple(found)


def check(caption: str) -> None:
    """Refuse what cannot be a caption, before searching it.

    Raises:
        CaptionError: if it is too long, or holds characters that are not text.
    """
    if len(caption) > LONGEST:
        raise CaptionError(
            f"The caption has {len(caption):,} characters; at most {LONGEST:,} are read, and text encoders read about 2,500. "
            "Shorten it."
        )
    if not is_text(caption):
        raise CaptionError(
            f"The caption ({shown(caption)}) holds a control character or half of a character, which text encoders cannot "
            "read. Write it again as plain text."
        )


def marks(recipe: Recipe, caption: str) -> tuple[tuple[int, int], ...]:
    """Start and end of the prefix and each marker in a caption, in order, whether they are escaped or not.

    Raises:
        CaptionError: as `check`.
    """
    check(caption)
    wanted = {form for mark in (recipe.prefix, *recipe.markers) if mark for form in (mark, escape(mark))}
    return tuple((mark.start, mark.end) for mark in _any_of(wanted).find(caption))


def parenthesis_problems(text: str) -> list[str]:
    """A sentence if ComfyUI would read parentheses in the text as emphasis; escaped ones are harmless."""
    bare = re.sub(r"\\[()]", "", text)
    depth = 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
    if depth:
        return ["The parentheses are not balanced; ComfyUI reads them as emphasis. Escape them: \\( \\)."]
    if "(" in bare:
        return ["ComfyUI reads (parentheses) as emphasis. Escape them, \\( \\), if they are meant as text."]
    return []


def escape(text: str) -> str:
    """Write ``\\(`` and ``\\)`` for parentheses that are not escaped yet."""
    return re.sub(r"(?<!\\)([()])", r"\\\1", text)


def mark_names(text: str, names: Sequence[str], name_format: str) -> str:
    """Write each whole-word occurrence of a name in the recipe's form. The longest matching name wins.

    Raises:
        CaptionError: if there are too many names, or one is too long.
    """
    return _Names(names, name_format).mark(text)


class _Names:
    def __init__(self, names: Sequence[str], name_format: str) -> None:
        if len(names) > MOST_NAMES:
            raise CaptionError(f"There are {len(names):,} names; at most {MOST_NAMES} are looked for. Remove some.")
        self._before, _, self._after = name_format.partition("{}")
        bare = {_one_line(name).removeprefix(self._before).removesuffix(self._after) for name in names} - {""}
        long = next((name for name in sorted(bare) if len(name) > LONGEST_NAME), None)
        if long is not None:
            raise CaptionError(
                f"The name {shown(long)} has {len(long):,} characters; at most {LONGEST_NAME} are possible. Shorten it."
            )
        self._written = {self._before + name + self._after for name in bare}
        self._phrases = Phrases(
            [
                *(Phrase(name, not_after_word=True, not_before_word=True) for name in bare - self._written),
                *(Phrase(name) for name in self._written),
            ]
        )

    def mark(self, text: str) -> str:
        pieces, end = [], 0
        for found in self._phrases.find(text):
            name = found.text
            pieces += [text[end : found.start], name if name in self._written else self._before + name + self._after]
            end = found.end
        return "".join([*pieces, text[end:]])


def count_tokens(
    caption: str, counters: Mapping[str, Callable[[str], int]], limits: Mapping[str, int] | None = None
) -> tuple[TokenCount, ...]:
    """Count a caption's tokens with the real tokenizers.

    Args:
        caption: one line.
        counters: encoder name → function that counts the tokens of a text, start and end tokens included.
        limits: encoder name → limit; `TOKEN_LIMITS` when None.
    """
    limits = TOKEN_LIMITS if limits is None else limits
    counts = []
    for encoder, count in counters.items():
        total, limit = count(caption), limits.get(encoder)
        cut = _cut(caption, count, limit) if limit is not None and total > limit else None
        counts.append(TokenCount(encoder, total, limit, cut))
    return tuple(counts)


def token_report(caption: str, counts: Sequence[TokenCount]) -> str:
    """The counts for users, one line per encoder, with the first words beyond the limit."""
    lines = []
    for entry in counts:
        line = f"{entry.encoder}: {entry.count} tokens"
        if entry.limit is not None:
            line += f" of {entry.limit}"
        if entry.cut is not None:
            line += f"; the limit falls before “{_shortened(caption[entry.cut :])}”"
        lines.append(line)
    return "\n".join(lines)


def _cut(caption: str, count: Callable[[str], int], limit: int) -> int:
    """Index of the first word that does not fit, found by bisection, since the count grows with the text."""
    starts = [match.start() for match in re.finditer(r"\S+", caption)]
    ends = [match.end() for match in re.finditer(r"\S+", caption)]
    low, high = 0, len(starts) - 1  # invariant: words before `low` fit, word `high` does not
    while low < high:
        middle = (low + high) // 2
        if count(caption[: ends[middle]]) <= limit:
            low = middle + 1
        else:
            high = middle
    return starts[low]


def _without_marker(text: str, marker: str, anywhere: Phrases) -> str:
    first = anywhere.at(text, 0)
    if first and first.text == marker:
        text = text[first.end :].lstrip()
    stray = anywhere.first(text)
    if stray:
        raise CaptionError(
            f"The text of panel {marker} holds the marker {stray.text}. Give each panel its own text; markers are added "
            "automatically."
        )
    return text


def foreign_prefix(recipe: Recipe, line: str) -> str:
    """The trigger of another LoRA at the start of a caption or summary; empty if there is none, or the recipe has no prefix.

    A trigger is capitals in square brackets, such as ``[MOVIE-SHOTS]``, that are not a marker of the recipe.
    """
    found = _TRIGGER.match(line)
    if not recipe.prefix or found is None or _any_of((recipe.prefix, *recipe.markers)).at(line, 0):
        return ""
    return found[0]


def _without_prefix(recipe: Recipe, summary: str) -> str:
    if not recipe.prefix:
        return summary
    prefix = _any_of((recipe.prefix,))
    while True:
        found = prefix.at(summary, 0)
        end = found.end if found else len(foreign_prefix(recipe, summary))
        if not end:
            return summary
        summary = summary[end:].lstrip()


def _with_plain_marks(recipe: Recipe, line: str) -> str:
    """The line with the parentheses of its prefix and markers unescaped."""
    for mark in (recipe.prefix, *recipe.markers):
        line = line.replace(escape(mark), mark)
    return line


def _any_of(markers: Iterable[str]) -> Phrases:
    """A search for any of the markers; where one begins another, the longer is found."""
    return Phrases(Phrase.whole(marker) for marker in markers)


def _some(markers: Sequence[str], between: str = ", ") -> str:
    """The markers, or the first of many."""
    more = len(markers) - _SHOWN
    return between.join(markers[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shortened(text: str, length: int = 40) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
