"""Find the caption that the text encoder read."""

from __future__ import annotations

from dataclasses import dataclass

from ..captions.fields import panel_texts
from ..captions.wildcards import has_wildcards
from ..captions.written import write_caption
from ..errors import InContextError
from ..lora.recipe import Recipe
from .prompt import Link, Node, Prompt
from .recipes import Recipes

DEEPEST = 200  # links that are followed
# names of the text input of text encoders in ComfyUI and other packs; of several, the first holds the longest text
_TEXTS = ("text", "t5xxl", "prompt", "caption", "positive_prompt", "text_g", "clip_l")
# inputs that do not lead to a text
_OTHERS = frozenset(
    {"clip", "vae", "model", "control_net", "style_model", "clip_vision", "clip_vision_output", "negative"}
)


@dataclass(frozen=True, slots=True)
class Caption:
    """
    Attributes:
        text: empty if the prompt does not contain it, for instance because a model wrote it.
        recipe: how it was written; None if no recipe was used.
    """

    text: str = ""
    recipe: Recipe | None = None


def caption_of(prompt: Prompt, recipes: Recipes, conditioning: Link | None) -> Caption:
    """The caption that a conditioning was made from; of several, that of the first input."""
    waiting: list[Link] = [conditioning] if conditioning else []
    seen: set[Link] = set()
    while waiting and len(seen) < DEEPEST:
        link = waiting.pop()
        node = prompt.at(link)
        if node is None or link in seen:
            continue
        seen.add(link)
        if "positive" in node.links:  # a node that takes positive and negative conditioning
            waiting.append(node.links["positive"])
            continue
        name = next((each for each in _TEXTS if each in node.inputs), None)
        if name is not None:
            return _text(prompt, recipes, node, name)
        waiting += reversed([origin for each, origin in node.links.items() if each not in _OTHERS])
    return Caption()


def _text(prompt: Prompt, recipes: Recipes, node: Node, name: str) -> Caption:
    writer = prompt.at(node.links.get(name))
    if writer is not None and writer.kind == "InContextJointCaption":
        return _joint(prompt, recipes, writer)
    text = prompt.value(node, name)
    recipe = recipes.recipe(writer.links.get("recipe")) if writer is not None else None
    return Caption(text if isinstance(text, str) else "", recipe)


def _joint(prompt: Prompt, recipes: Recipes, node: Node) -> Caption:
    recipe = recipes.recipe(node.links.get("recipe"))
    if recipe is None:
        return Caption()
    values = {name: prompt.value(node, name) for name in node.inputs if name not in ("recipe", "clip")}
    seed = values.pop("wildcard_seed", 0)
    if any(not isinstance(value, str | bool) for value in values.values()):  # another node writes part of it
        return Caption("", recipe)
    if not isinstance(seed, int) and has_wildcards([str(value) for value in values.values()]):
        return Caption("", recipe)
    try:
        texts = panel_texts(values, values.get("more_panels", ""))
        written = write_caption(
            recipe,
            values.get("summary", ""),
            texts,
            values.get("names", ""),
            bool(values.get("escape_parentheses", True)),
            seed if isinstance(seed, int) else None,
        )
    except (InContextError, ArithmeticError, AttributeError, TypeError, ValueError):
        return Caption("", recipe)
    return Caption(written.caption, recipe)
