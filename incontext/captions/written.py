"""The caption that Joint Caption writes, from the node's fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..lora.recipe import Recipe
from . import joint, wildcards


@dataclass(frozen=True, slots=True)
class WrittenCaption:
    """A caption.

    Attributes:
        caption: one line.
        problems: sentences for its author; empty if there is nothing to say.
    """

    caption: str
    problems: tuple[str, ...]


def write_caption(
    recipe: Recipe, summary: str, texts: Sequence[str], names: str, escape_parentheses: bool, seed: int | None
) -> WrittenCaption:
    """The caption from the node's fields.

    Args:
        texts: one per panel. Extra texts are left out, and a problem says so.
        names: separated by commas.
        seed: chooses the wildcards' options; None leaves wildcards as they are.

    Raises:
        CaptionError: as `joint.build` and `wildcards.expand`.
    """
    count = len(recipe.markers)
    parts = [summary, *texts[:count]]
    summary, *panels = parts if seed is None else wildcards.expand(parts, seed)
    caption = joint.build(recipe, summary, panels, names=names.split(","), escape_parentheses=escape_parentheses)
    problems = joint.problems(recipe, caption)
    waiting = sum(bool(text.strip()) for text in texts[count:])
    if waiting:
        problems += (f"{_texts(waiting)} not sent: the layout has {count} panels. A larger layout uses them again.",)
    return WrittenCaption(caption, problems)


def _texts(count: int) -> str:
    return "1 text is" if count == 1 else f"{count} texts are"
