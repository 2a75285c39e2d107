"""Sets of the toy world as files, in the shape that Build Dataset reads: one folder per set."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from . import world
from .tasks import COLOUR, Task

FOLDER = "incontext-demo-sets"  # below ComfyUI's input folder
REFERENCE_FILE = "incontext-demo-reference.png"
SETS = 40
SEED = 1


def write_sets(folder: Path, count: int = SETS, seed: int = SEED, task: Task = COLOUR) -> None:
    """Draw ``count`` sets with a relation that their captions never mention: ``01/1.png … 01/caption.txt``."""
    if folder.exists():
        shutil.rmtree(folder)
    for number, drawn in enumerate(task.training_sets(count, seed), 1):
        target = folder / f"{number:03d}"
        target.mkdir(parents=True)
        for place, panel in enumerate(drawn.panels, 1):
            Image.fromarray(world.draw_panel(panel)).save(target / f"{place}.png")
        (target / "caption.txt").write_text(world.caption(drawn) + "\n", encoding="utf-8")


def write_inputs(folder: Path) -> None:
    """What the bundled demo workflows look for in ComfyUI's input folder."""
    if not (folder / FOLDER / f"{SETS:03d}" / "caption.txt").exists():
        write_sets(folder / FOLDER)
    if not (folder / REFERENCE_FILE).exists():
        Image.fromarray(world.draw_panel(world.Panel("star", "gold"))).save(folder / REFERENCE_FILE)
