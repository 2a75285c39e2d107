"""The question for a vision-language model. It asks for the form that `answer` reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...lora.recipe import Recipe
from .options import CaptionRequest, Pictures

SUMMARY = "SUMMARY:"

_WORDS = 260  # of a whole caption; T5 reads 512 tokens, and a word has one to two
_MOST_WORDS = 60  # of one part


def instruction(recipe: Recipe, request: CaptionRequest, shown: Pictures = Pictures.EACH) -> str:
    """The text that goes to the model together with the pictures.

    Args:
        recipe: markers, opening and the form of names.
        request: what to write beyond the recipe.
        shown: whether the model sees one picture per panel, or one of all panels.
    """
    count = len(recipe.markers)
    words = min(_MOST_WORDS, _WORDS // (count + 1))
    begin = f" Begin it with these words: {recipe.opening}" if recipe.opening else ""
    paragraphs = [
        _seen(count, shown),
        f"Summary: what the panels share, such as the story or subject, the persons and things that recur, the place, "
        f"the light and the style.{begin}\n"
        "Each panel: what this panel shows, such as who or what is where, what happens, and how near it is seen. "
        "Call what recurs by the same words in every panel.\n"
        f"Describe only what can be seen, in plain sentences, with at most {words} words for the summary and for each "
        "panel.",
        _about_names(recipe, request),
        f"Mind also: {request.hint}" if request.hint else "",
        f"Answer with these {count + 1} lines and nothing else. Keep {SUMMARY} and the markers as they stand here, and "
        "write your text in place of the dots:",
        "\n".join([f"{SUMMARY} …", *(f"{marker} …" for marker in recipe.markers)]),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def once_more(problem: str) -> str:
    """The next message after an answer that cannot be used."""
    return f"That answer cannot be used. {problem} Answer once more, with exactly the lines that were asked for."


def messages(recipe: Recipe, request: CaptionRequest, urls: Sequence[str], shown: Pictures) -> list[dict[str, Any]]:
    """The question as messages of the chat protocol.

    Args:
        urls: the pictures as ``data:`` addresses: one per panel, in order, or one of all panels.
        shown: which of the two.
    """
    content: list[dict[str, Any]] = [{"type": "text", "text": instruction(recipe, request, shown)}]
    labels = [f"Picture {number} is panel {marker}:" for number, marker in enumerate(recipe.markers, 1)]
    for label, url in zip(labels if shown is Pictures.EACH else [""], urls, strict=True):
        content += [{"type": "text", "text": label}] if label else []
        content.append({"type": "image_url", "image_url": {"url": url}})
    return [{"role": "user", "content": content}]


def _seen(count: int, shown: Pictures) -> str:
    end = "Describe them in English: a summary of the whole set, then a text for each panel."
    if count == 1:
        return "Describe the picture in English: a summary, then a text for its only panel."
    if shown is Pictures.ALL:
        return f"The picture has {count} panels that belong together; read them row by row, from the left. {end}"
    return f"The {count} pictures are panels that belong together, one per picture, in this order. {end}"


def _about_names(recipe: Recipe, request: CaptionRequest) -> str:
    if request.names:
        listed = ", ".join(_written(recipe, name) for name in request.names)
        return (
            f"These names belong to persons or things in the panels: {listed}. Write them exactly so where they appear."
        )
    if request.invent_names:
        return (
            "Give each person who is in several panels a first name of your choice, and call them by it in the summary "
            f"and in every panel, written like this: {_written(recipe, 'Leo')}."
        )
    return "Do not make up names."


def _written(recipe: Recipe, name: str) -> str:
    before, _, after = recipe.name_format.partition("{}")
    return before + name.removeprefix(before).removesuffix(after) + after
