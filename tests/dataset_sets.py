"""Folders of small image sets, in each of the shapes that Build Dataset reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import rows
from PIL import Image

RECIPE = Recipe("toy", rows(128, 192, 3), prefix="[TOY]")
PANEL = (128, 64)


def picture(seed: int, size: tuple[int, int] = PANEL) -> Image.Image:
    """Coloured noise in large blocks; each seed another."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR)


def joint(number: int) -> str:
    return f"[TOY] Set {number}. [SCENE-1] one [SCENE-2] two [SCENE-3] three"


def folder_set(root: Path, number: int, *, name: str = "", size: tuple[int, int] = PANEL, images: int = 3) -> Path:
    folder = root / (name or f"set-{number}")
    folder.mkdir(parents=True)
    for panel in range(images):
        picture(100 * number + panel, size).save(folder / f"{panel + 1}.png", compress_level=1)
    (folder / "caption.txt").write_text(joint(number), encoding="utf-8")
    return folder


def folder_sets(root: Path, count: int, *, size: tuple[int, int] = PANEL) -> Path:
    for number in range(1, count + 1):
        folder_set(root, number, size=size)
    return root


def numbered_set(root: Path, number: int, *, name: str = "") -> None:
    root.mkdir(parents=True, exist_ok=True)
    name = name or f"set{number}x"
    for panel in range(3):
        picture(100 * number + panel).save(root / f"{name}_{panel + 1}.png")
    (root / f"{name}.txt").write_text(joint(number), encoding="utf-8")


def composite(root: Path, number: int, size: tuple[int, int] = (108, 145)) -> None:
    root.mkdir(parents=True, exist_ok=True)
    picture(100 * number, size).save(root / f"shot_{number}.jpg", quality=95)
    (root / f"shot_{number}.txt").write_text(joint(number), encoding="utf-8")
