"""Crops, pastes and splits the same random pictures with each pack and prints the largest errors. A process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..incontext.panels.arrange import columns
from ..incontext.panels.paste import paste_windows
from ..incontext.panels.stitch import split
from ..incontext.panels.windows import context_crop

CASES = 40
SIDE = 128  # of the crop that would be painted
Paint = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Pack:
    """How a pack crops, lets paint and pastes back; and how it splits a canvas of so many columns, if it does."""

    paste: Callable[[Tensor, Tensor, Paint], Tensor]
    split: Callable[[Tensor, int], list[Tensor]] | None = None


def ours() -> Pack:
    def paste(picture: Tensor, mask: Tensor, paint: Paint) -> Tensor:
        cropped = context_crop(picture, mask, panel=(SIDE, SIDE), context=0.2)
        return paste_windows(picture, paint(cropped.crops), cropped.windows, feather=8)

    def split_columns(canvas: Tensor, count: int) -> list[Tensor]:
        return split(canvas, columns(canvas.shape[2], canvas.shape[1], count))

    return Pack(paste, split_columns)


def with_defaults(node: type, **given: Any) -> Any:
    """A node's result with its own default for every widget that is not given."""
    values = {}
    for kind in ("required", "optional"):
        for name, (choices, *rest) in node.INPUT_TYPES().get(kind, {}).items():  # type: ignore[attr-defined]
            if name not in given and (rest or isinstance(choices, list)):
                settings = rest[0] if rest else {}
                if "default" in settings or isinstance(choices, list):
                    values[name] = settings.get("default", choices[0] if isinstance(choices, list) else None)
    return getattr(node(), node.FUNCTION)(**values, **given)  # type: ignore[attr-defined]


def crop_and_stitch(nodes: dict[str, type]) -> Pack:
    def paste(picture: Tensor, mask: Tensor, paint: Paint) -> Tensor:
        stitcher, crop, _ = with_defaults(
            nodes["InpaintCropImproved"],
            image=picture,
            mask=mask,
            output_target_width=SIDE,
            output_target_height=SIDE,
            device_mode="cpu (compatible)",
        )
        return with_defaults(nodes["InpaintStitchImproved"], stitcher=stitcher, inpainted_image=paint(crop))[0]

    return Pack(paste)


def kjnodes(nodes: dict[str, type]) -> Pack:
    def paste(picture: Tensor, mask: Tensor, paint: Paint) -> Tensor:
        crop, crop_mask, box = with_defaults(
            nodes["ImageCropByMaskAndResize"], image=picture, mask=mask, base_resolution=SIDE, min_crop_resolution=32
        )
        uncrop = nodes["ImageUncropByMask"]
        return with_defaults(uncrop, destination=picture, source=paint(crop), mask=crop_mask, bbox=box)[0]

    def split_columns(canvas: Tensor, count: int) -> list[Tensor]:
        (cells,) = with_defaults(nodes["ImageGridtoBatch"], image=canvas, columns=count, rows=1)
        return list(cells.split(1))

    return Pack(paste, split_columns)


PEERS: dict[str, tuple[str, Callable[[dict[str, type]], Pack]]] = {
    "crop_and_stitch": ("ComfyUI-Inpaint-CropAndStitch", crop_and_stitch),
    "kjnodes": ("ComfyUI-KJNodes", kjnodes),
}


def cases() -> Iterator[tuple[Tensor, Tensor]]:
    """Random pictures, [1, height, width, 3], with one masked rectangle each, [1, height, width]."""
    rng = random.Random(0)
    for number in range(CASES):
        torch.manual_seed(number)
        width, height = rng.randint(96, 400), rng.randint(96, 400)
        mask = torch.zeros(1, height, width)
        left, top = rng.randrange(width - 16), rng.randrange(height - 16)
        mask[
            :, top : top + rng.randint(8, min(64, height - top)), left : left + rng.randint(8, min(64, width - left))
        ] = 1
        yield torch.rand(1, height, width, 3), mask


def errors_of(pack: Pack, may_fail: tuple[type[Exception], ...] = ()) -> dict[str, tuple[float, str]]:
    """The largest errors, with how they were measured; cases in which a pack fails so are counted there."""
    roundtrip, outside, failed = 0.0, 0.0, 0
    for picture, mask in cases():
        try:
            unpainted = pack.paste(picture.clone(), mask.clone(), lambda crop: crop)
            painted = pack.paste(picture.clone(), mask.clone(), torch.rand_like)
        except may_fail:
            failed += 1
            continue
        roundtrip = max(roundtrip, float((unpainted - picture).abs().max()))
        outside = max(outside, float((painted - picture)[mask == 0].abs().max()))
    detail = f"{CASES} random pictures and masks, crops of {SIDE}×{SIDE}, defaults"
    detail += f"; {failed} raised an error" if failed else ""
    found = {"roundtrip": (roundtrip, detail + ", nothing painted"), "outside_mask": (outside, detail)}
    if pack.split is not None:
        found["split"] = split_error(pack.split)
    return found


def split_error(split_columns: Callable[[Tensor, int], list[Tensor]]) -> tuple[float, str]:
    """A canvas into columns and together again; a pixel that is lost counts as 1."""
    worst = 0.0
    for width in range(256, 1025, 64):
        canvas = torch.rand(1, 64, width, 3)
        for count in (2, 3, 4):
            again = torch.cat(split_columns(canvas, count), dim=2)
            whole = torch.ones_like(canvas)
            whole[:, : again.shape[1], : again.shape[2]] = (again - canvas[:, : again.shape[1], : again.shape[2]]).abs()
            worst = max(worst, float(whole.max()))
    return worst, "canvases 256 to 1024 wide into 2, 3 and 4 columns; a lost pixel counts as 1"


def installed(folder: str, comfyui: Path) -> dict[str, type] | None:
    """The nodes of a pack in ComfyUI's custom_nodes, by id; None if it is not there."""
    nodes: Any = importlib.import_module("nodes")  # ComfyUI's, not the pack's
    places = [path for path in (comfyui / "custom_nodes").glob("*") if path.name.lower() == folder.lower()]
    if not places or not asyncio.run(nodes.load_custom_node(str(places[0]))):
        return None
    return nodes.NODE_CLASS_MAPPINGS


def main() -> None:
    comfyui = Path(os.environ["COMFYUI_PATH"])
    sys.path.insert(0, str(comfyui))
    sys.argv = [sys.argv[0], "--cpu"]
    with contextlib.redirect_stdout(sys.stderr):
        import comfy.options

        comfy.options.enable_args_parsing()
        importlib.import_module(
            "utils.install_util"
        )  # before a module of ComfyUI hides that package behind its own name
        import server

        server.PromptServer(asyncio.new_event_loop())
        errors, missing = {"ours": errors_of(ours())}, []
        for name, (folder, pack) in PEERS.items():
            found = installed(folder, comfyui)
            if found is None:
                missing.append(folder)
            else:
                errors[name] = errors_of(pack(found), may_fail=(RuntimeError, ValueError))
    print(json.dumps({"errors": errors, "missing": missing}))


if __name__ == "__main__":
    main()
