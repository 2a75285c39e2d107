"""Tensors that nobody expects, through every node that takes pictures or masks: handled, or refused in our own words."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest
import torch
from incontext_lora.incontext import layout as layouts
from incontext_lora.incontext.errors import InContextError
from torch import Tensor

if TYPE_CHECKING:
    from conftest import HostPack

CASES = int(os.environ.get("INCONTEXT_LORA_TENSOR_CASES", "500"))
LAYOUT = layouts.columns(128, 64, 2)
STITCHED = LAYOUT.placed([layouts.Placement(32, 32, layouts.Box(0, 0, 32, 32), layouts.Box(0, 0, 64, 64)), None])
DTYPES = [torch.float32] * 6 + [torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int64, torch.bool]
DTYPES += [torch.complex64, torch.float8_e4m3fn]


def picture(rng: random.Random) -> Any:
    """Half of them right, the others nearly: the canvas's size and three channels."""
    if rng.random() < 0.5:
        return torch.rand((1, 64, 128, 3), generator=torch.Generator().manual_seed(rng.randrange(1000)))
    batch = rng.choice([1, 1, 1, 2, 3, 0])
    height, width = rng.choice([(64, 128), (64, 128), (64, 64), (32, 32), (1, 1), (0, 64), (7, 130)])
    channels = rng.choice([3, 3, 3, 3, 4, 1, 2, 5, 0])
    shape = rng.choice(
        [(batch, height, width, channels)] * 6 + [(height, width, channels), (height, width), (), (3,), (1, 1, 2, 3, 4)]
    )
    return filled(rng, shape)


def mask(rng: random.Random) -> Any:
    if rng.random() < 0.5:
        return (torch.rand((1, 64, 128), generator=torch.Generator().manual_seed(rng.randrange(1000))) > 0.7).float()
    batch = rng.choice([1, 1, 1, 2, 3, 0])
    height, width = rng.choice([(64, 128), (64, 128), (64, 64), (32, 32), (1, 1), (0, 64)])
    return filled(
        rng, rng.choice([(batch, height, width)] * 6 + [(height, width), (batch, 1, height, width), (), (5,)])
    )


def filled(rng: random.Random, shape: tuple[int, ...]) -> Tensor:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(rng.randrange(1000)))
    kind = rng.choice(["plain"] * 6 + ["zero", "one", "nan", "inf", "large", "negative", "strided"])
    if kind in ("zero", "one"):
        values = torch.full(shape, float(kind == "one"))
    elif kind in ("nan", "inf") and values.numel():
        values.reshape(-1)[rng.randrange(values.numel())] = float(kind)
    elif kind == "large":
        values = values * 1e6
    elif kind == "negative":
        values = values - 0.5
    elif kind == "strided" and values.ndim > 1:
        values = values.transpose(0, 1).contiguous().transpose(0, 1)
    return values.to(rng.choice(DTYPES))


def inputs_of(node: str, rng: random.Random) -> dict[str, Any]:
    layout = rng.choice([LAYOUT, STITCHED])
    colour = rng.choice(["off", "brightness and tint", "brightness, tint and contrast"])
    feather = rng.choice([0, 0, 1, 8, 128])
    panel = rng.choice(["1", "2", "LEFT", "3", ""])
    match node:
        case "InContextStitchPanels":
            given = {name: [picture(rng)] for name in ("panel_1", "panel_2", "images") if rng.random() < 0.5}
            masks = {name: [mask(rng)] for name in ("mask_1", "mask_2") if rng.random() < 0.3}
            fit = rng.choice(["cover", "contain", "contain, extend edges", "stretch", "exact"])
            return {"layout": [layout], "fit": [fit], **given, **masks}
        case "InContextSplitPanels":
            return {"image": picture(rng), "layout": layout, "original_size": rng.random() < 0.5}
        case "InContextContextCrop":
            size = rng.choice([0, 64, 8, 1])
            regions = rng.choice(["one window around all", "one window each"])
            given = {"layout": layout} if rng.random() < 0.5 else {}
            grow = rng.choice([0, 3])
            return {
                "image": picture(rng),
                "mask": mask(rng),
                "panel": panel,
                "width": size,
                "height": size,
                **given,
            } | {
                "regions": regions,
                "grow": grow,
            }
        case "InContextPastePanels":
            given = {"layout": layout} if rng.random() < 0.7 else {}
            given |= {"mask": mask(rng)} if rng.random() < 0.8 else {}
            if rng.random() < 0.5:
                given |= {"mask": torch.ones(1, 32, 32), "layout": STITCHED, "panel": "1"}
            image = torch.rand(1, 32, 32, 3) if rng.random() < 0.5 else picture(rng)
            return (
                {"panel": panel}
                | {"image": image, "painted": picture(rng), "feather": feather, **given}
                | {"colour_match": colour}
            )
        case "InContextKeepGiven":
            return {"canvas": picture(rng), "painted": picture(rng), "mask": mask(rng), "feather": feather} | {
                "colour_match": colour
            }
        case "InContextRepaintPanels":
            return {"image": picture(rng), "layout": layout, "panels": panel, "fill": "gray"}
        case "InContextFindPanels":
            return {"image": picture(rng), "expected": layout, "tolerance": rng.choice([0.01, 0.2, 0.5])}
        case "InContextEnlargePanels":
            return {"image": picture(rng), "layout": layout}
        case "InContextMatchColours":
            return {"image": picture(rng), "reference": picture(rng)}
        case "InContextScoreSet":
            return {"image": picture(rng), "layout": layout}
    raise KeyError(node)


NODES = [
    *(
        "InContextStitchPanels",
        "InContextSplitPanels",
        "InContextContextCrop",
        "InContextPastePanels",
        "InContextKeepGiven",
    ),
    *(
        "InContextRepaintPanels",
        "InContextFindPanels",
        "InContextEnlargePanels",
        "InContextMatchColours",
        "InContextScoreSet",
    ),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("node", NODES)
def test_tensors_that_nobody_expects(host: HostPack, node: str) -> None:
    foreign, taken = [], 0
    for number in range(max(1, CASES // len(NODES))):
        rng = random.Random(f"{node} {number}")
        inputs = inputs_of(node, rng)
        try:
            host.call(node, **inputs)
            taken += 1
        except InContextError as error:
            foreign += [] if str(error).strip() else [(number, "an empty message")]
        except Exception as error:
            foreign.append((number, f"{type(error).__name__}: {str(error)[:150]}"))
    assert not foreign, f"{len(foreign)}: {foreign[:8]}"
    assert taken
