"""Recipes, and a caption as Joint Caption would write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...incontext.captions import joint as captions
from ...incontext.captions.written import write_caption
from ...incontext.files import strict_json
from ...incontext.lora import tasks
from ...incontext.lora.recipe import Recipe
from ...incontext.lora.recipe_file import find_recipe
from ..captions.tokens import bundled_counters, encoders_of
from ..host import lora_names, lora_path
from .routes import Json


def published_recipes() -> Json:
    return {name: recipe.to_json() for name, recipe in tasks.RECIPES.items()}


def lora_recipe(name: str) -> Json:
    """A LoRA's recipe; that of a published LoRA is known by its name before the file is there."""
    if name in lora_names():  # nothing else is opened, whatever the name says
        recipe, source = find_recipe(lora_path(name))
    else:
        recipe, source = tasks.recipe_for_file(name), "there is no such file yet"
    return {"recipe": recipe and recipe.to_json(), "source": source}


def written_caption(fields: Mapping[str, Any]) -> Json:
    """What Joint Caption would send, where its markers are, what to correct, and its tokens per encoder.

    Raises:
        InContextError: if the caption cannot be written.
    """
    recipe = Recipe.from_json(fields["recipe"])
    panels = [str(text) for text in strict_json.field(fields, "panels", list)]
    seed = fields.get("seed")
    written = write_caption(
        recipe,
        str(fields["summary"]),
        panels,
        str(fields["names"]),
        bool(fields["escape_parentheses"]),
        None if seed is None else int(seed),
    )
    encoders = encoders_of(recipe.base)
    counters = {name: count for name, count in bundled_counters().items() if encoders is None or name in encoders}
    counts = captions.count_tokens(written.caption, counters)
    return {
        "caption": written.caption,
        "marks": [list(span) for span in captions.marks(recipe, written.caption)],
        "problems": list(written.problems),
        "tokens": [
            {"encoder": entry.encoder, "count": entry.count, "limit": entry.limit, "cut": entry.cut} for entry in counts
        ],
    }


def parsed_caption(fields: Mapping[str, Any]) -> Json:
    """The fields of a whole caption.

    Raises:
        InContextError: if its markers are not those of the recipe.
    """
    parts = captions.parse(Recipe.from_json(fields["recipe"]), str(fields["caption"]))
    return {"summary": parts.summary, "panels": list(parts.panels)}
