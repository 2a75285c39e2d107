"""Where a picture came from, according to the prompt inside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

from ..captions import joint
from ..captions.joint import JointCaption
from ..errors import CaptionError, LayoutError
from ..lora.recipe import Recipe
from ..panels.box import Box
from ..panels.layout import PanelLayout
from . import painting
from .painting import Lora
from .prompt import Link, Node, Prompt
from .recipes import LoraRecipe, Panels, Recipes
from .texts import Caption, caption_of

_SIZES = frozenset({"InContextTask", "InContextLayout", "InContextLoadLora"})  # nodes that give width and height
_SPLIT, _STITCH, _PASTE = "InContextSplitPanels", "InContextStitchPanels", "InContextPastePanels"
# the outputs of these nodes do not show the layouts upstream of them
_CLOSED = frozenset(
    {
        *(_PASTE, _SPLIT, "InContextEnlargePanels", "InContextBuildDataset", "InContextScoreSet"),
        *("InContextTrainLora", "InContextTrainLoraInHost", "InContextSweep", "InContextCompareCheckpoints"),
    }
)
_LONGEST = 1000  # characters of a prefix; file systems do not allow longer names


class Kind(Enum):
    """What a picture shows."""

    CANVAS = "canvas"
    PANELS = "panels"  # a single panel; the files of a set follow each other
    PICTURE = "picture"  # made with the pack, but its panels are unknown


@dataclass(frozen=True, slots=True)
class Order:
    """The order in which single panels are saved.

    Attributes:
        panels: indices of the panels that are saved.
        by_set: True for all panels of one set, then those of the next set; False for one panel of all sets, then the next.
    """

    panels: tuple[int, ...]
    by_set: bool


@dataclass(frozen=True, slots=True)
class Wiring:
    """The nodes and outputs of a prompt that a repaint needs, as ids and links; None if the prompt does not have it.

    Attributes:
        picture: the canvas.
        layout: the layout.
        stitch: the node that put the given panels on the canvas.
        sampler: the node that painted.
        guider: the guider's node, if the sampler takes one.
        model: the model that the sampler or guider takes.
        vae: the VAE that decodes.
        recipe: the recipe of the model's LoRA.
    """

    picture: Link
    layout: Link | None = None
    stitch: str | None = None
    sampler: str | None = None
    guider: str | None = None
    model: Link | None = None
    vae: Link | None = None
    recipe: Link | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a picture came from. What the prompt does not say is empty or None.

    Attributes:
        kind: what the picture shows.
        wiring: what a repaint needs.
        layout: of its canvas, in the prompt's size.
        given: per panel, whether it was a reference.
        order: the order of the files of single panels.
        batch: number of sets that were painted at once.
        recipe: how the caption was written; without a recipe in the prompt, one with the layout's markers.
        caption: the text encoder's text, with escaped parentheses.
        parts: the caption's summary and panels; None if it has no such parts.
        seed: of the sampler.
        loras: on the model, the one nearest to the sampler first.
        model: file name of the base model.
        references: pairs of panel index and file in the input folder, as Load Image names it.
        scorers: ids of the Score Set nodes that scored this canvas.
    """

    kind: Kind
    wiring: Wiring
    layout: PanelLayout | None = None
    given: tuple[bool, ...] | None = None
    order: Order | None = None
    batch: int = 1
    recipe: Recipe | None = None
    caption: str = ""
    parts: JointCaption | None = None
    seed: int | None = None
    loras: tuple[Lora, ...] = ()
    model: str = ""
    references: tuple[tuple[int, str], ...] = ()
    scorers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Saver:
    """A node that saves pictures.

    Attributes:
        id: of the node.
        images: the output that it saves.
        prefix: folder and beginning of the file names; may contain ``%width%`` and the like. Empty for previews.
    """

    id: str
    images: Link
    prefix: str = ""


def savers(prompt: Prompt) -> list[Saver]:
    """The nodes of a prompt that save pictures, including previews."""
    found = []
    for node in prompt.nodes.values():
        images = next((node.links[name] for name in ("images", "image") if name in node.links), None)
        if images is None or next(prompt.consumers((node.id, 0)), None):
            continue
        prefix = node.literal("filename_prefix")
        if isinstance(prefix, str) or node.kind == "PreviewImage":
            found.append(Saver(node.id, images, prefix if isinstance(prefix, str) else ""))
    return found


def saver_of(prompt: Prompt, subfolder: str, name: str, node_id: str | None = None) -> list[Saver]:
    """The nodes that may have saved a file, the likeliest first.

    Args:
        subfolder: of the file within ComfyUI's folder, with ``/``.
        name: of the file.
        node_id: the node that saved it, if it is known.
    """
    found = savers(prompt)
    if node_id is not None and (known := [saver for saver in found if saver.id == node_id]):
        return known
    path = (PurePosixPath(subfolder) / name).as_posix()
    named = [saver for saver in found if 0 < len(saver.prefix) <= _LONGEST and _pattern(saver.prefix).match(path)]
    previews = [saver for saver in found if not saver.prefix]
    if "_temp_" in name:
        return previews or found
    return sorted(named, key=lambda saver: -len(saver.prefix)) or found


def _pattern(prefix: str) -> re.Pattern[str]:
    """A pattern of the file names that a prefix produces: ``set`` → ``set_00001_.png``.

    The text between two placeholders only matches at its first occurrence. Otherwise matching a prefix with many
    placeholders would take exponential time.
    """
    parts = re.split(r"%[^%/]*%", PurePosixPath(prefix.replace("\\", "/").lstrip("./")).as_posix())
    first, *middle = map(re.escape, parts)
    last = f"[^/]*{middle.pop()}" if middle else ""
    between = "".join(f"(?=(?P<p{n}>[^/]*?{part}))(?P=p{n})" for n, part in enumerate(middle))
    return re.compile(rf"{first}{between}{last}_\d+_?\.", re.IGNORECASE)


def origin_of(
    prompt: Prompt, images: Link, lora_recipe: LoraRecipe, size: tuple[int, int] | None = None
) -> Origin | None:
    """Where the pictures on a wire came from; None if they are neither a set nor made from one.

    Args:
        images: the output that was saved.
        lora_recipe: finds the recipe of a LoRA by its name.
        size: width and height of the picture. If the prompt has several layouts, it decides which one fits.
    """
    recipes = Recipes(prompt, lora_recipe)
    found = next((each for each in _candidates(prompt, recipes, images) if _fits(prompt, images, each, size)), None)
    if found is None:
        return None
    sampler = painting.sampler_of(prompt, images)
    caption = caption_of(prompt, recipes, painting.conditioning_of(prompt, sampler))
    recipe = _with_markers(_recipe(prompt, recipes, caption, images), found.layout)
    return replace(
        found,
        batch=painting.batch_of(prompt, images),
        recipe=recipe,
        caption=caption.text,
        parts=_parts(recipe, caption.text),
        seed=painting.seed_of(prompt, sampler),
        loras=tuple(painting.loras_of(prompt, sampler)),
        model=painting.model_of(prompt, sampler),
        references=tuple(_references(prompt, found.wiring.stitch)),
        scorers=tuple(
            node.id
            for node, name in prompt.consumers(found.wiring.picture)
            if node.kind == "InContextScoreSet" and name == "image"
        ),
        wiring=_wiring(prompt, found.wiring, sampler, images),
    )


def boxes_on(layout: PanelLayout, width: int, height: int) -> tuple[Box, ...] | None:
    """The panels on a picture of this size; None if they do not fall on whole pixels."""
    try:
        return layout.on_canvas(width, height)
    except LayoutError:
        return None


# --- panels ---------------------------------------------------------------------------------------------------------


def _candidates(prompt: Prompt, recipes: Recipes, images: Link) -> Iterator[Origin]:
    """The possible origins of a picture, the likeliest first."""
    node = prompt.at(images)
    if node is not None and node.kind == _SPLIT:
        yield from _split(recipes, node, images[1])
        return
    for taker, name in prompt.consumers(images):  # a node that takes the picture together with its layout
        if name == "image" and "layout" in taker.links and taker.kind.startswith("InContext"):
            yield from _canvas(prompt, recipes, images, taker.links["layout"])
    weak: list[Origin] = []
    for node, slot in prompt.upstream(images, closed=_CLOSED):
        match node.kind:
            case "InContextPastePanels":
                yield Origin(Kind.PICTURE, Wiring(images))  # a single picture, into which a panel was pasted
                return
            case "InContextSplitPanels":
                yield from _split(recipes, node, slot, images)
            case "InContextEnlargePanels" if slot == 0:
                yield from _enlarged(prompt, recipes, node, images)
            case "InContextStitchPanels" | "InContextRepaintPanels":
                yield from _canvas(prompt, recipes, images, (node.id, 2))
            case kind if kind in _SIZES:
                found = list(_canvas(prompt, recipes, images, (node.id, slot)))
                if slot >= 2:  # its width, its height or its layout
                    yield from found
                else:
                    weak += found
    yield from weak


def _canvas(prompt: Prompt, recipes: Recipes, images: Link, layout: Link) -> Iterator[Origin]:
    panels = recipes.panels(layout)
    if panels is None:
        return
    stitch = _stitch(prompt, images, layout)
    if panels.given is None and stitch is not None:  # this is the layout from before stitching
        stitched = recipes.panels((stitch, 2))
        panels = stitched if stitched is not None and stitched.layout == panels.layout else panels
    wiring = Wiring(images, layout if _is_layout(prompt, layout) else None, stitch=stitch)
    yield Origin(Kind.CANVAS, wiring, panels.layout, panels.given)


def _split(recipes: Recipes, node: Node, slot: int, images: Link | None = None) -> Iterator[Origin]:
    panels = recipes.panels(node.links.get("layout"))
    canvas = node.links.get("image")
    if panels is None or canvas is None:
        return
    order = Order(tuple(range(len(panels.layout))), by_set=slot == 2)
    if slot == 1:
        order = Order(_painted(panels), by_set=False)
    # anything made from the panels afterwards is another set
    wiring = Wiring(canvas if images is None else images, node.links.get("layout"))
    yield Origin(Kind.PANELS, wiring, panels.layout, panels.given, order)


def _painted(panels: Panels) -> tuple[int, ...]:
    if panels.given is None:
        return tuple(range(len(panels.layout)))
    return tuple(index for index, is_given in enumerate(panels.given) if not is_given)


def _enlarged(prompt: Prompt, recipes: Recipes, node: Node, images: Link) -> Iterator[Origin]:
    panels = recipes.panels((node.id, 1))
    if panels is None:
        return
    stitched = next((taker for taker, name in prompt.consumers(images) if name == "images"), None)
    is_stitched = stitched is not None and stitched.kind == _STITCH
    wiring = Wiring((stitched.id, 0) if stitched is not None and is_stitched else images)
    order = Order(tuple(range(len(panels.layout))), by_set=False)
    yield Origin(Kind.PANELS, wiring, panels.layout, None, order)


def _fits(prompt: Prompt, images: Link, found: Origin, size: tuple[int, int] | None) -> bool:
    """Whether a picture of this size can have this origin."""
    layout, node = found.layout, prompt.at(images)
    if size is None or layout is None or (node is not None and node.kind == _SPLIT):
        return True
    if found.kind is Kind.CANVAS:
        return boxes_on(layout, *size) is not None
    if found.order is None:
        return False
    # the canvas may have been enlarged, or have kept the size of its references
    sizes = [(layout.boxes[index].width, layout.boxes[index].height) for index in found.order.panels]
    return not sizes or any(size[0] * height == size[1] * width for width, height in sizes)


def _is_layout(prompt: Prompt, link: Link) -> bool:
    """Whether the output is a layout, and not the width of one."""
    node = prompt.at(link)
    return node is not None and (node.kind not in _SIZES or link[1] == (2 if node.kind == "InContextLoadLora" else 1))


def _stitch(prompt: Prompt, images: Link, layout: Link) -> str | None:
    """The node that put the given panels on this canvas."""
    node = prompt.at(layout)
    if node is not None and node.kind in (_STITCH, "InContextRepaintPanels"):
        return node.id
    found = (node.id for node, _ in prompt.upstream(images) if node.kind in (_STITCH, "InContextRepaintPanels"))
    return next(found, None)


def _references(prompt: Prompt, stitch: str | None) -> Iterator[tuple[int, str]]:
    node = prompt.nodes.get(stitch) if stitch is not None else None
    for name, link in node.links.items() if node is not None else ():
        number = name.removeprefix("panel_")
        if not (name.startswith("panel_") and number.isdecimal() and len(number) < 4):
            continue
        for loader, _ in prompt.upstream(link):
            file = loader.literal("image")
            if loader.kind.startswith("LoadImage") and isinstance(file, str):
                yield int(number) - 1, file
                break


# --- caption and recipe ---------------------------------------------------------------------------------------------


def _recipe(prompt: Prompt, recipes: Recipes, caption: Caption, images: Link) -> Recipe | None:
    """The recipe of the caption, else of the nearest node that has one as input or output."""
    if caption.recipe is not None:
        return caption.recipe
    for node, _ in prompt.upstream(images):
        link = node.links.get("recipe") if node.kind.startswith("InContext") else None
        found = recipes.recipe(link) if link is not None else None
        if found is None and node.kind in _SIZES:
            found = recipes.recipe((node.id, 1 if node.kind == "InContextLoadLora" else 0))
        if found is not None:
            return found
    return None


def _with_markers(recipe: Recipe | None, layout: PanelLayout | None) -> Recipe | None:
    """The recipe for this layout. It keeps its own markers if the number of panels is the same."""
    if layout is None:
        return recipe
    if recipe is None:
        return Recipe(name="custom", layout=layout)
    return recipe if len(recipe.markers) == len(layout) else recipe.with_layout(layout)


def _parts(recipe: Recipe | None, caption: str) -> JointCaption | None:
    try:
        return joint.parse(recipe, caption) if recipe is not None and caption else None
    except CaptionError:
        return None


def _wiring(prompt: Prompt, wiring: Wiring, sampler: Node | None, images: Link) -> Wiring:
    node = painting.guider_of(prompt, sampler)
    decoder = next((node for node, _ in prompt.upstream(images) if {"vae", "samples"} <= set(node.links)), None)
    recipe: Link | None = next(
        (node.links["recipe"] for node, _ in prompt.upstream(images) if "recipe" in node.links), None
    )
    if recipe is None:
        recipe = next(
            ((node.id, 1) for node in painting.models_of(prompt, sampler) if node.kind == "InContextLoadLora"), None
        )
    return replace(
        wiring,
        sampler=sampler.id if sampler is not None else None,
        guider=node.id if node is not None and node is not sampler else None,
        model=node.links.get("model") if node is not None else None,
        vae=decoder.links["vae"] if decoder is not None else None,
        recipe=recipe,
    )


def wiring_json(wiring: Wiring) -> dict[str, Any]:
    """Ids and links as JSON for the interface."""
    names = ("picture", "layout", "stitch", "sampler", "guider", "model", "vae", "recipe")
    return {name: list(value) if isinstance(value := getattr(wiring, name), tuple) else value for name in names}
