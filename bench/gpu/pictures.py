"""The canvases that are measured, and datasets of that size."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ...demo import world
from ...incontext.dataset.build import build
from ...incontext.dataset.manifest import Dataset
from ...incontext.dataset.options import BuildOptions
from ...incontext.lora.recipe import Recipe
from ...incontext.panels import arrange
from ...incontext.panels.layout import PanelLayout

LAYOUTS = {
    "1.0": arrange.rows(768, 1344, 3),
    "1.57": arrange.rows(1024, 1536, 3),  # the published film storyboards
    "2.32": arrange.grid(1344, 1728, 2, 2),  # the largest of the published tasks
}
TINY_LAYOUTS = {
    "1.0": arrange.rows(64, 192, 3),
    "1.57": arrange.rows(128, 192, 3),
    "2.32": arrange.grid(192, 192, 2, 2),
}


def canvases(tiny: bool) -> dict[str, PanelLayout]:
    """Megapixels → layout."""
    return TINY_LAYOUTS if tiny else LAYOUTS


def dataset(folder: Path, name: str, layout: PanelLayout, count: int = 2) -> Dataset:
    """``count`` sets of the toy world's pictures, enlarged to the layout's panels."""
    sets = folder / f"{name}-sets"
    for number, drawn in enumerate(world.relation_sets(count, 1), 1):
        target = sets / f"{number:03d}"
        target.mkdir(parents=True, exist_ok=True)
        for place, box in enumerate(layout.boxes):
            picture = Image.fromarray(world.draw_panel(drawn.panels[place % len(drawn.panels)]))
            picture.resize((box.width, box.height)).save(target / f"{place + 1}.png")
        (target / "caption.txt").write_text(world.caption(drawn) + "\n", encoding="utf-8")
    return build(sets, folder / "datasets", Recipe(name, layout), BuildOptions(name=name))
