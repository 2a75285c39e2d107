"""Links of a prompt → the recipes and layouts of its nodes, as far as the prompt alone shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ..errors import InContextError
from ..lora import tasks
from ..lora.recipe import Recipe, custom
from ..panels.arrange import panel_layout
from ..panels.layout import PanelLayout
from .prompt import Link, Node, Prompt

LoraRecipe = Callable[[str], Recipe | None]
"""Name of a LoRA → its recipe; None if the file is missing or has no recipe."""

DEEPEST = 50  # nodes in a row that pass on a layout or a recipe
_WIDGETS = ("kind", "width", "height", "rows", "columns", "columns_per_row", "gutter", "panel_step", "boxes")


@dataclass(frozen=True, slots=True)
class Panels:
    """A layout, and which of its panels were given.

    Attributes:
        layout: where the panels are.
        given: per panel; None if the prompt does not say.
    """

    layout: PanelLayout
    given: tuple[bool, ...] | None = None


class Recipes:
    """The recipes and layouts on a prompt's wires. They are unknown if another pack's node, or a picture, decides them.

    Args:
        prompt: the graph.
        lora_recipe: finds the recipe of a LoRA by its name.
    """

    def __init__(self, prompt: Prompt, lora_recipe: LoraRecipe) -> None:
        self._prompt = prompt
        self._lora_recipe = lora_recipe

    def recipe(self, link: Link | None, depth: int = 0) -> Recipe | None:
        """The recipe on a wire; None if it is unknown."""
        node = self._prompt.at(link)
        if node is None or depth > DEEPEST:
            return None
        match node.kind:
            case "InContextTask":
                return tasks.RECIPES.get(str(self._value(node, "task")))
            case "InContextLayout":
                return self._custom(node, depth)
            case "InContextLoadLora":
                name = self._value(node, "lora_name")
                found = self._lora_recipe(name) if isinstance(name, str) else None
                return found or self.recipe(node.links.get("recipe_if_missing"), depth + 1)
        for name in ("recipe", "dataset"):  # of a trainer or a dataset
            if name in node.links:
                return self.recipe(node.links[name], depth + 1)
        return None

    def panels(self, link: Link | None, depth: int = 0) -> Panels | None:
        """The layout of the node that a wire comes from, whichever of its outputs that is; None if it is unknown."""
        node = self._prompt.at(link)
        if node is None or depth > DEEPEST:
            return None
        before = None
        # one input only: with two per node, the paths through a chain would double at each node
        name = next((each for each in ("expected", "layout") if each in node.links), None)
        if name is not None and node.kind.startswith("InContext"):
            before = self.panels(node.links[name], depth + 1)
        match node.kind:
            case "InContextTask" | "InContextLayout" | "InContextLoadLora":
                recipe = self.recipe(link)
                return Panels(recipe.layout) if recipe else None
            case "InContextStitchPanels":
                return before and Panels(before.layout, self._stitched(node, len(before.layout)))
            case "InContextRepaintPanels":
                return before and Panels(before.layout, self._kept(node, before.layout))
            case "InContextEnlargePanels":
                return before and self._enlarged(node, before.layout)
        return before

    def _custom(self, node: Node, depth: int) -> Recipe | None:
        values = {name: self._value(node, name) for name in _WIDGETS}
        names, prefix = (self._value(node, name) or "" for name in ("names", "prefix"))
        task = self.recipe(node.links.get("recipe"), depth + 1)
        if None in values.values() or (task is None and "recipe" in node.links):
            return None
        try:
            return _layout_recipe(tuple(values.items()), names, prefix, task)
        except (InContextError, ArithmeticError, AttributeError, TypeError, ValueError):
            return None  # the node itself would have refused it

    def _value(self, node: Node, name: str) -> Any:
        return self._prompt.value(node, name)

    def _stitched(self, node: Node, count: int) -> tuple[bool, ...] | None:
        if "images" in node.links:
            return None  # their number is known only at run time
        return tuple(f"panel_{n}" in node.links and f"mask_{n}" not in node.links for n in range(1, count + 1))

    def _kept(self, node: Node, layout: PanelLayout) -> tuple[bool, ...] | None:
        panels = self._value(node, "panels")
        try:
            painted = layout.select(panels) if isinstance(panels, str) else None
        except InContextError:
            return None
        return None if painted is None else tuple(index not in painted for index in range(len(layout)))

    def _enlarged(self, node: Node, layout: PanelLayout) -> Panels | None:
        factor = self._value(node, "factor")
        if not isinstance(factor, int | float):  # Fraction would compute a text such as 1e999999999 for hours
            return None
        try:
            scale = Fraction(factor).limit_denominator(64)
            boxes = tuple(box.scaled(scale.numerator, scale.denominator) for box in layout.boxes)
            width, height = layout.width * scale, layout.height * scale
            return Panels(PanelLayout(int(width), int(height), boxes, layout.names))
        except (InContextError, ArithmeticError, TypeError, ValueError):
            return None


@lru_cache(maxsize=128)  # hundreds of pictures come from one layout
def _layout_recipe(widgets: tuple[tuple[str, Any], ...], names: str, prefix: str, task: Recipe | None) -> Recipe:
    return custom(panel_layout(**dict(widgets), names=names), prefix, task)
