"""Yes-or-no questions about a set for a vision-language model, much as a person would judge it.

One question per panel asks whether it shows its text. Three questions about the whole set ask for one identity, one style
and one story. The model answers all of them at once, so a set costs one request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import VisionError
from ..lora.recipe import Recipe

Ask = Callable[[Sequence[Mapping[str, Any]]], str]
"""Messages → the text of the answer; see `describe.client.complete`."""

SET_QUESTIONS = {
    "identity": "Is whoever or whatever recurs in several panels recognisably the same in all of them?",
    "style": "Do all panels have one style, palette and light?",
    "story": "Do the panels make sense together, as the summary says?",
}
_LINE = re.compile(r"^\W*(\d{1,3})\W+(yes|no)\b", re.IGNORECASE | re.MULTILINE)
_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)


class UnclearAnswer(VisionError):
    """The model did not answer a question with yes or no."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The model's answers about a set.

    Attributes:
        panels: whether each panel shows its text; None for a panel without text.
        whole: key of `SET_QUESTIONS` → answer.
    """

    panels: tuple[bool | None, ...]
    whole: Mapping[str, bool]

    @property
    def share(self) -> float:
        """Share of yes answers, in 0…1."""
        given = [answer for answer in (*self.panels, *self.whole.values()) if answer is not None]
        return sum(given) / len(given)


def questions(recipe: Recipe, texts: Sequence[str]) -> list[str]:
    """The questions about a set, in the order of their numbers."""
    about_panels = [
        f"Does panel {marker} show this: {text}"
        for marker, text in zip(recipe.markers, texts, strict=True)
        if text.strip()
    ]
    return [*about_panels, *SET_QUESTIONS.values()]


def ask_about(recipe: Recipe, summary: str, texts: Sequence[str], urls: Sequence[str], ask: Ask) -> Answers:
    """Ask about one set, and ask again if the answer is unclear.

    Args:
        texts: one per panel; empty for a panel without text.
        urls: the panels' pictures as ``data:`` addresses.

    Raises:
        UnclearAnswer: if the second answer is unclear too.
        VisionError: if the server does not answer.
    """
    asked = questions(recipe, texts)
    said = _messages(recipe, summary, asked, urls)
    text = ask(said)
    try:
        given = read(text, len(asked))
    except UnclearAnswer as error:
        again = {"role": "user", "content": f"{error} Answer again, one line per question, such as '1: yes'."}
        given = read(ask([*said, {"role": "assistant", "content": text or "…"}, again]), len(asked))
    answers = iter(given)
    panels = tuple(next(answers) if part.strip() else None for part in texts)
    return Answers(panels, dict(zip(SET_QUESTIONS, answers, strict=True)))


def read(text: str, count: int) -> list[bool]:
    """The answers to ``count`` questions in a model's text, in order.

    Raises:
        UnclearAnswer: if a question has no answer, or two different ones.
    """
    found: dict[int, set[bool]] = {}
    for number, word in _LINE.findall(_THOUGHTS.sub("", text)):
        found.setdefault(int(number), set()).add(word.lower() == "yes")
    unclear = [number for number in range(1, count + 1) if len(found.get(number, ())) != 1]
    if unclear:
        raise UnclearAnswer(f"There is no clear yes or no for question {', '.join(map(str, unclear))}.")
    return [found[number].pop() for number in range(1, count + 1)]


def _messages(recipe: Recipe, summary: str, asked: Sequence[str], urls: Sequence[str]) -> list[dict[str, Any]]:
    opening = f"These {len(urls)} pictures are the panels of one set, in this order. Summary of the set: {summary}"
    numbered = "\n".join(f"{number}. {question}" for number, question in enumerate(asked, 1))
    closing = (
        f"Look closely and answer these {len(asked)} questions. When in doubt, say no.\n{numbered}\n"
        "Answer with one line per question and nothing else: its number, a colon, and yes or no."
    )
    content: list[dict[str, Any]] = [{"type": "text", "text": opening}]
    for marker, url in zip(recipe.markers, urls, strict=True):
        content += [{"type": "text", "text": f"Panel {marker}:"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": [*content, {"type": "text", "text": closing}]}]
