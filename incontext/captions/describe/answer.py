"""Turn a vision-language model's answer into the parts of a joint caption.

Models rarely answer in exactly the requested form. Whatever can be understood without guessing is repaired, and every repair
that could lose text is reported. Anything else is refused, with the reason.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import CaptionError, VisionError
from ...files.strict_json import JsonError, check
from ...lora.recipe import Recipe
from ...plain_text import is_text
from .. import joint
from ..joint import JointCaption
from ..phrases import Phrase, Phrases
from .instruction import SUMMARY

LONGEST = 350  # words; about as many as fit into T5's 512 tokens

_SHOWN = 200  # characters of an answer in a message
_MOST_NAMES = 50  # taken from one answer
_MOST_LOOSE = 32  # panels; with more, which no model describes at once, the markers must be exact
_MOST_BLOCKS = 4  # code blocks to try, from the last one
_TAG = re.compile(r"<(/?)(think|thinking|thought|reasoning)>", re.IGNORECASE)
_CONTROL = re.compile(r"<\|[^|<>\n]{1,40}\|>")  # tokens of chat templates that some servers let through
_FENCE = re.compile(r"`{3,}|~{3,}")
_LINE_START = r"^[ \t]*(?:[-*•>#]+[ \t]+|\d+[.)][ \t]+)*[*_`\"“]*"  # bullets, headings and emphasis
_LABEL_END = r"[*_`]*[ \t]*[:：][*_`]*[ \t]*"
_SUMMARY = re.compile(rf"{_LINE_START}(?:overall |joint |the )?summary{_LABEL_END}", re.IGNORECASE | re.MULTILINE)
_PANEL = r"(?:panel|image|picture|scene|frame)[ \t_-]*#?"


class AnswerError(VisionError):
    """The answer cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was understood.

    Attributes:
        parts: summary and one text per panel; only the summary may be empty.
        repairs: sentences about what was repaired or left out.
    """

    parts: JointCaption
    repairs: tuple[str, ...] = ()


def read(recipe: Recipe, text: str) -> Answer:
    """Read an answer.

    Args:
        recipe: has the expected markers.
        text: as the model wrote it; thinking, code fences, emphasis, JSON and remarks around it are all understood.

    Raises:
        AnswerError: if a panel's text is missing, empty or repeated, or there is no description at all.
    """
    spoken = _spoken(text)
    if len(spoken.strip()) > joint.LONGEST:
        raise AnswerError(
            f"The answer has {len(spoken):,} characters; a caption has at most {joint.LONGEST:,}. Allow fewer tokens, ask "
            "with another seed, or use another model."
        )
    if not is_text(spoken):
        raise AnswerError(
            "The answer holds control characters or halves of characters, which a caption cannot hold. Ask with another "
            "seed, or use another model."
        )
    if not spoken.strip():
        problem = "The model thought, but did not answer" if text.strip() else "The model's answer is empty"
        raise AnswerError(f"{problem}. Allow longer answers, ask with another seed, or use another model.")
    for fenced in [block for block in _fenced(spoken) if block.strip()][: -_MOST_BLOCKS - 1 : -1]:
        try:
            return _read(recipe, fenced)
        except AnswerError:
            continue
    return _read(recipe, _without_fences(spoken))


def build(recipe: Recipe, parts: JointCaption, names: Sequence[str] = ()) -> str:
    """The joint caption of an answer. A name that occurs in the recipe's form once is written in that form everywhere.

    Raises:
        CaptionError: as `joint.build`.
    """
    found = _names_in(recipe, (parts.summary, *parts.panels))
    return joint.build(recipe, parts.summary, parts.panels, names=[*names, *found])


def remarks(recipe: Recipe, answer: Answer, line: str) -> tuple[str, ...]:
    """Sentences about the caption ``line``: repairs, and departures from the recipe."""
    found = [*answer.repairs]
    summary, opening = answer.parts.summary, recipe.opening
    if opening and summary and not summary.casefold().startswith(opening.casefold()):
        found.append(f"The summary does not begin like the task's captions: “{opening}”.")
    words = len(line.split())
    if words > LONGEST:
        found.append(f"The caption has {words} words; text encoders drop text after about {LONGEST}. Shorten it.")
    return (*found, *joint.problems(recipe, line))


# --- the parts ------------------------------------------------------------------------------------------------------


def _read(recipe: Recipe, text: str) -> Answer:
    repairs: list[str] = []
    parts = _from_json(recipe, text)
    if parts is None:
        parts = _from_text(recipe, text, repairs)
    parts = JointCaption(_cleaned(parts.summary), tuple(_cleaned(panel) for panel in parts.panels))
    empty = [marker for marker, panel in zip(recipe.markers, parts.panels, strict=True) if not panel.strip("….")]
    if empty:
        raise AnswerError(f"The answer has no text for {', '.join(empty)}{_excerpt(text)}")
    summary = "" if not parts.summary.strip("….") else parts.summary
    return Answer(JointCaption(summary, parts.panels), tuple(repairs))


def _from_text(recipe: Recipe, text: str, repairs: list[str]) -> JointCaption:
    marked = _with_exact_markers(recipe, text)
    if marked != text and _order(recipe, text) != list(recipe.markers):
        repairs.append("The markers of the answer were repaired.")
    order = _order(recipe, marked)
    if not order:
        raise AnswerError(f"The model did not describe the panels{_excerpt(text)}")
    head, tail = marked.partition(order[0])[0], marked.rpartition(order[-1])[2]
    body = marked[len(head) : len(marked) - len(tail)]
    line = _summary(head, repairs) + " " + body + " " + _first_paragraph(tail, repairs)
    try:
        parts = joint.parse(recipe, line)
    except CaptionError as error:
        raise AnswerError(f"{str(error).replace('The caption', 'The answer')} {_shown(text)}".strip()) from None
    surplus = _surplus(recipe, parts.panels)
    if surplus:
        raise AnswerError(f"The answer has {surplus}; there are {len(recipe.markers)} panels{_excerpt(text)}")
    return parts


def _order(recipe: Recipe, text: str) -> list[str]:
    """The recipe's markers in the order in which a text has them."""
    return [found.text for found in Phrases(Phrase(marker) for marker in recipe.markers).find(text)]


def _with_exact_markers(recipe: Recipe, text: str) -> str:
    """Replace near matches with the exact markers: another case, emphasis, or a colon.

    Only if that finds nothing, a marker without brackets or ``Panel 2:`` counts too.
    """
    if len(recipe.markers) > _MOST_LOOSE:
        return text
    for number, marker in enumerate(recipe.markers, 1):
        # emphasis only matches from its first character, so that a long run of it is read once
        exact = rf"(?:{_LINE_START}|(?<![*_`])[*_`]+|){_loose(marker)}[*_`\"”]*(?:{_LABEL_END}|[ \t]+[-–—][ \t]+)?"
        changed = _replaced(exact, marker, text)
        if marker not in changed:
            bare = rf"{_LINE_START}(?:{_loose(marker.strip('[](){}'))}|{_PANEL}{number}){_LABEL_END}"
            changed = _replaced(bare, marker, text)
        text = changed
    return text


def _replaced(pattern: str, marker: str, text: str) -> str:
    # two are enough: a repeated marker is an error anyway
    return re.sub(pattern, lambda _: f"{marker} ", text, count=2, flags=re.IGNORECASE | re.MULTILINE)


def _loose(mark: str) -> str:
    """A pattern that allows any separators between a marker's words: ``[SCENE 1]`` for ``[SCENE-1]``."""
    words = [re.escape(word) for word in re.split(r"[\s_-]+", mark)]
    if not any(words):  # a marker of dashes only
        return re.escape(mark)
    return r"(?<!\w)" * mark[:1].isalnum() + r"[ \t_-]*".join(words) + r"(?!\w)" * mark[-1:].isalnum()


def _summary(head: str, repairs: list[str]) -> str:
    labelled = list(_SUMMARY.finditer(head)) or list(re.finditer(SUMMARY, head))
    if labelled:
        before, summary = head[: labelled[-1].start()], head[labelled[-1].end() :]
        if before.strip():
            repairs.append(f"Text before the summary was left out: {_quoted(before)}.")
        return summary
    lines = [line for line in head.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].rstrip(" *_`").endswith((":", "：")):
        repairs.append(f"Text before the summary was left out: {_quoted(lines[0])}.")
        return "\n".join(lines[1:])
    return head


def _first_paragraph(tail: str, repairs: list[str]) -> str:
    """The last panel's text, without the remarks that many models add after a blank line."""
    first, *more = re.split(r"\n[ \t]*\n", tail.strip(), maxsplit=1)
    if more and more[0].strip():
        repairs.append(f"Text after the last panel was left out: {_quoted(more[0])}.")
    return first


def _surplus(recipe: Recipe, panels: Iterable[str]) -> str:
    """A marker that belongs to no panel, such as ``[SCENE-4]``; empty if there is none."""
    count = len(recipe.markers)
    numbered = {re.sub(r"\d+", r"\\d{1,9}", re.escape(marker)) for marker in recipe.markers if re.search(r"\d", marker)}
    patterns = [*sorted(numbered), rf"(?:^|(?<=\s))(?:panel|image|picture) ?(?:{count + 1}|{count + 2})(?=\s*:)"]
    for panel in panels:
        for pattern in patterns:
            found = re.search(pattern, panel, re.IGNORECASE)
            if found:
                return found[0]
    return ""


# --- JSON -----------------------------------------------------------------------------------------------------------


def _from_json(recipe: Recipe, text: str) -> JointCaption | None:
    """The parts of an answer that is a JSON object; None for any other answer.

    The form is ``{"summary": "…", "panels": ["…", "…"]}``, or the panels' markers or names are keys, at the top or in
    ``panels``.
    """
    start = text.find("{")
    if start < 0:
        return None
    try:
        data, _ = json.JSONDecoder(strict=False).raw_decode(text[start:])
        check(data)
    except JsonError as error:
        raise AnswerError(f"The JSON in the answer cannot be used: {error}. Ask with another seed.") from None
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    by_name = {_plain(key): value for key, value in data.items()}
    panels = by_name.get("panels", by_name.get("captions"))
    texts = _listed(panels) if isinstance(panels, list) else _by_marker(recipe, panels if panels else data)
    if texts is None:
        return None
    if len(texts) != len(recipe.markers):
        raise AnswerError(f"The answer describes {len(texts)} panels; there are {len(recipe.markers)}{_excerpt(text)}")
    summary = next((by_name[key] for key in ("summary", "overall", "overallsummary") if key in by_name), "")
    return JointCaption(_text(summary), tuple(texts))


def _listed(panels: list[Any]) -> list[str]:
    return [_text(panel) for panel in panels]


def _by_marker(recipe: Recipe, data: Any) -> list[str] | None:
    if not isinstance(data, Mapping):
        return None
    by_name = {_plain(key): value for key, value in data.items()}
    found = []
    for number, marker in enumerate(recipe.markers, 1):
        keys = [_plain(marker), *(f"{word}{number}" for word in ("panel", "image", "picture", "scene")), str(number)]
        key = next((key for key in keys if key in by_name), None)
        if key is not None:
            found.append(_text(by_name[key]))
    return found or None


def _text(value: Any) -> str:
    """A JSON string, or the one that an object holds under a usual name; empty for anything else."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("text", "description", "caption", "content") if key in value), "")
    return value if isinstance(value, str) else ""


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


# --- text -----------------------------------------------------------------------------------------------------------


def _spoken(text: str) -> str:
    """The answer without the model's thinking."""
    text = _without_thoughts(text.replace("\r\n", "\n").replace("\ufeff", ""))
    ended = begun = None
    for tag in _TAG.finditer(text):
        if tag[1]:  # some templates put the opening tag into the prompt, so only the closing tag is in the answer
            ended, begun = tag, None
        elif begun is None:
            begun = tag
    text = text[ended.end() if ended else 0 : begun.start() if begun else len(text)]
    return _CONTROL.sub(" ", text)


def _without_thoughts(text: str) -> str:
    """A text without tagged thoughts. The first closing tag of the same name ends a thought."""
    tags = list(_TAG.finditer(text))
    next_end: dict[str, int] = {}  # name → index of the next closing tag
    ends = [0] * len(tags)
    for index in reversed(range(len(tags))):
        name = tags[index][2].lower()
        if tags[index][1]:
            next_end[name] = index
        ends[index] = next_end.get(name, 0)
    kept, place, index = [], 0, 0
    while index < len(tags):
        if not tags[index][1] and ends[index]:
            kept.append(text[place : tags[index].start()])
            index = ends[index]
            place = tags[index].end()
        index += 1
    return "".join([*kept, text[place:]])


def _fenced(text: str) -> list[str]:
    """The contents of code blocks, from an opening line to the next line with the same fence."""
    lines = text.split("\n")
    fences: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        bare = line.strip(" \t")
        if bare and _FENCE.fullmatch(bare):
            fences.setdefault(bare, []).append(number)
    blocks, number = [], 0
    while number < len(lines):
        begun = _FENCE.match(lines[number].strip(" \t"))
        number += 1
        if begun is None or "`" in lines[number - 1].strip(" \t")[begun.end() :]:
            continue
        same = fences.get(begun[0], [])
        place = bisect_right(same, number - 1)
        if place < len(same):
            blocks.append("\n".join(lines[number : same[place]]))
            number = same[place] + 1
    return blocks


def _without_fences(text: str) -> str:
    """A text with an empty line in place of each fence."""
    return "\n".join("" if _is_fence(line) else line for line in text.split("\n"))


def _is_fence(line: str) -> bool:
    fence = _FENCE.match(line.strip(" \t"))
    return fence is not None and re.fullmatch(r"\w*", line.strip(" \t")[fence.end() :].strip(" \t")) is not None


def _cleaned(part: str) -> str:
    """One line, without emphasis or quotation marks around the whole of it."""
    line = " ".join(part.split())
    for pair in ("**", "__", "``", "`", '""', "“”", "''"):
        before, after = (pair, pair) if pair in ("**", "__", "``", "`") else tuple(pair)
        inner = line[len(before) : len(line) - len(after)]
        if len(line) > len(before + after) and line.startswith(before) and line.endswith(after) and before not in inner:
            line = inner.strip()
    return line.removesuffix("**").removesuffix(" -").removesuffix(" –").strip()


def _names_in(recipe: Recipe, texts: Iterable[str]) -> Iterator[str]:
    """Names written in the recipe's form. A name does not begin with a small letter, so ``<br>`` is not one."""
    before, _, after = (re.escape(part) for part in recipe.name_format.partition("{}"))
    if not before or not after:
        return
    seen: set[str] = set()
    for text in texts:
        for name in re.findall(rf"{before}((?![a-z])\w[\w .'-]{{0,40}}?){after}", text):
            if name not in seen and len(seen) < _MOST_NAMES:
                seen.add(name)
                yield name


def _excerpt(text: str) -> str:
    shown = _shown(text)
    return f". {shown}" if shown else "."


def _shown(text: str) -> str:
    return f"It says: {_quoted(text)}"


def _quoted(text: str) -> str:
    line = " ".join(text[: 10 * _SHOWN].split())
    return f"“{line if len(line) <= _SHOWN else line[: _SHOWN - 1].rstrip() + '…'}”"
