"""Sets as ComfyUI saves them: pictures with the prompt inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

Prompt = dict[str, dict[str, Any]]

WIDTH, HEIGHT, PANELS = 128, 192, 3


def node(kind: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def made_prompt(summary: str = "A walk.", seed: int = 7, batch: int = 1, **changes: dict[str, Any]) -> Prompt:
    """Three panels from a caption: the canvas is saved as ``made/set``, the panels as ``made/panel``."""
    layout = {
        "kind": "rows", "width": WIDTH, "height": HEIGHT, "rows": PANELS, "columns": 2, "columns_per_row": "1, 2",
        "gutter": 0, "panel_step": "16", "boxes": "", "names": "", "prefix": "[TOY]",
    }  # fmt: skip
    prompt = {
        "1": node("UNETLoader", unet_name="base.safetensors", weight_dtype="default"),
        "2": node("CLIPLoader", clip_name="text.safetensors", type="sd3"),
        "3": node("VAELoader", vae_name="vae.safetensors"),
        "4": node("InContextLayout", **layout),
        "5": node("LoraLoaderModelOnly", model=["1", 0], lora_name="toy.safetensors", strength_model=0.8),
        "6": node(
            "InContextJointCaption", recipe=["4", 0], summary=summary, panel_1="one (1)", panel_2="two", panel_3="three",
            names="", escape_parentheses=True, more_panels="", wildcard_seed=0,
        ),
        "7": node("CLIPTextEncode", clip=["2", 0], text=["6", 0]),
        "8": node("CLIPTextEncode", clip=["2", 0], text="blurred"),
        "9": node("EmptySD3LatentImage", width=["4", 2], height=["4", 3], batch_size=batch),
        "10": node(
            "KSampler", model=["5", 0], positive=["7", 0], negative=["8", 0], latent_image=["9", 0], seed=seed, steps=2,
            cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
        ),
        "11": node("VAEDecode", samples=["10", 0], vae=["3", 0]),
        "12": node("SaveImage", images=["11", 0], filename_prefix="made/set"),
        "13": node("InContextSplitPanels", image=["11", 0], layout=["4", 1], original_size=False),
        "14": node("SaveImage", images=["13", 0], filename_prefix="made/panel"),
    }  # fmt: skip
    return {**prompt, **{name.removeprefix("node_"): value for name, value in changes.items()}}


def canvas(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Coloured noise; each seed another."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def panels_of(picture: Image.Image) -> list[Image.Image]:
    height = picture.height // PANELS
    return [picture.crop((0, top, picture.width, top + height)) for top in range(0, picture.height, height)]


def save(path: Path, picture: Image.Image, prompt: Any = None, workflow: Any = None) -> Path:
    """As core's Save Image does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    if prompt is not None:
        info.add_text("prompt", prompt if isinstance(prompt, str) else json.dumps(prompt))
    if workflow is not None:
        info.add_text("workflow", json.dumps(workflow))
    picture.save(path, pnginfo=info, compress_level=1)
    return path


def save_set(
    folder: Path, number: int, prompt: Prompt | None = None, *, whole: bool = True, parts: bool = True
) -> None:
    """A set's canvas and panels, as the prompt saves them in a folder ``made``."""
    prompt = made_prompt(f"Set {number}.", seed=number) if prompt is None else prompt
    picture = canvas(number)
    if whole:
        save(folder / "made" / f"set_{number:05}_.png", picture, prompt)
    for place, panel in enumerate(panels_of(picture) if parts else ()):
        save(folder / "made" / f"panel_{PANELS * (number - 1) + place + 1:05}_.png", panel, prompt)
