"""Describe one set: ask, read the answer, and ask again if it cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...lora.recipe import Recipe
from . import pictures
from .answer import Answer, AnswerError, read
from .instruction import messages, once_more
from .options import CaptionRequest, Pictures, Settings

Ask = Callable[[Sequence[Mapping[str, Any]]], str]
"""Messages → the text of the answer."""


def describe(
    recipe: Recipe, panels: Sequence[np.ndarray], request: CaptionRequest, settings: Settings, ask: Ask
) -> Answer:
    """Describe a set, all panels in one question.

    Args:
        recipe: how the task's captions are written.
        panels: uint8 [height, width, 3] each; one per panel, or one of the whole set.
        request: what to write beyond the recipe.
        settings: which pictures are sent, and how large.
        ask: such as `client.complete`.

    Raises:
        PanelError: if there are neither as many pictures as panels nor a single one.
        AnswerError: if the second answer cannot be used either.
    """
    shown = settings.pictures
    whole = shown is Pictures.ALL
    sent = [pictures.whole_of(panels, recipe.layout)] if whole else pictures.panels_of(panels, recipe.layout)
    urls = [pictures.data_url(picture, settings.side) for picture in sent]
    question = messages(recipe, request, urls, shown)
    text = ask(question)
    try:
        return read(recipe, text)
    except AnswerError as error:
        problem = str(error)
    said = [] if not text.strip() else [{"role": "assistant", "content": text}]
    second = read(recipe, ask([*question, *said, {"role": "user", "content": once_more(_first_sentence(problem))}]))
    return replace(second, repairs=(f"Asked twice. {_first_sentence(problem)}", *second.repairs))


def _first_sentence(problem: str) -> str:
    return problem.partition(". ")[0].rstrip(".") + "."
