"""Tensors that nobody expects, through every node that takes pictures, masks or latents: handled, or refused in our own words.

Which nodes these are, and what they take, is read from their schemas, so that no new node is left out. Each case follows from
its node and number. Imported as part of the pack as ComfyUI loaded it (see trust.py).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..incontext.errors import InContextError
from ..incontext.lora.recipe import Recipe, References
from ..incontext.panels import arrange, box

TENSORS = ("IMAGE", "MASK", "LATENT")
NEED_A_GRAPH = ("InContextCompareCheckpoints", "InContextComparisonCell")
LAYOUT = arrange.columns(128, 64, 2)
STITCHED = LAYOUT.placed([box.Placement(32, 32, box.Box(0, 0, 32, 32), box.Box(0, 0, 64, 64)), None])
RECIPES = (Recipe("pair", LAYOUT), Recipe("clean pair", LAYOUT, references=References(clean=True, share=0.5)))
DTYPES = [torch.float32] * 6 + [torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int64, torch.bool]
DTYPES += [torch.complex64, torch.float8_e4m3fn]
CAPTION = "a pair [LEFT] a fox [RIGHT] a hare"
# values of inputs by name; others have their default, a choice, or what `InputValues` holds
VALUES: Mapping[str, Sequence[Any]] = {
    "panel": ("1", "2", "LEFT", "3", ""),
    "panels": ("1", "2", "1, 2", "3", ""),
    "feather": (0, 0, 1, 8, 128),
    "grow": (0, 3),
    "tolerance": (0.01, 0.2, 0.5),
    "strength": (0.0, 1.0, 1.3),
    "caption": ("", CAPTION),
    "exceptions": ("", "2: contain, top"),
    "timeout": (5,),
}
SIDES = (0, 0, 8, 64)
WIDGETS = ("COMBO", "INT", "FLOAT", "BOOLEAN", "STRING")

Call = Callable[..., Any]


@dataclass(frozen=True)
class InputValues:
    """What else nodes take.

    Attributes:
        by_type: makes a value for an input of this type from a case's random numbers.
        by_name: value of a widget of this name.
    """

    by_type: Mapping[str, Callable[[random.Random], Any]]
    by_name: Mapping[str, Any]


@dataclass
class Outcome:
    """What a campaign showed.

    Attributes:
        cases, taken: number of cases, and of those that were not refused, by node.
        foreign: node, case number and error of each that ended in an error of another kind.
        slowest: seconds of processor time, node and case number of the slowest.
    """

    cases: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    foreign: list[tuple[str, int, str]] = field(default_factory=list)
    slowest: tuple[float, str, int] = (0.0, "", -1)


def tensor_nodes(nodes: Sequence[Any]) -> dict[str, Any]:
    """Schemas by node id, of the nodes that take pictures, masks or latents.

    Compare Checkpoints and its cells are left out: they hand pictures to other nodes, and need a graph to run.
    """
    schemas = [node.GET_SCHEMA() for node in nodes]
    return {
        schema.node_id: schema
        for schema in schemas
        if schema.node_id not in NEED_A_GRAPH and any(entry.get_io_type() in TENSORS for entry in schema.inputs)
    }


def campaign(schemas: Mapping[str, Any], call: Call, given: InputValues, cases: int) -> Outcome:
    """Try each node with as many cases as the others.

    Args:
        call: ``call(node id, inputs)`` executes a node.
    """
    outcome = Outcome()
    for node, schema in schemas.items():
        for number in range(-(-cases // len(schemas))):
            inputs = inputs_of(schema, random.Random(f"{node} {number}"), given)
            outcome.cases[node] += 1
            began = time.process_time()
            try:
                call(node, inputs)
                outcome.taken[node] += 1
            except InContextError as error:
                if not str(error).strip():
                    outcome.foreign.append((node, number, "an empty message"))
            except Exception as error:  # what the campaign looks for
                outcome.foreign.append((node, number, f"{type(error).__name__}: {str(error)[:200]}"))
            outcome.slowest = max(outcome.slowest, (time.process_time() - began, node, number))
    return outcome


def inputs_of(schema: Any, rng: random.Random, given: InputValues) -> dict[str, Any]:
    """Inputs of a node by name; a node that takes lists gets a list for each.

    Raises:
        KeyError: for an input whose type the campaign does not know yet.
    """
    side = rng.choice(SIDES)
    fits = rng.random() < 0.3  # all tensors as they should be, with odd widgets only
    inputs: dict[str, Any] = {}
    for entry in schema.inputs:
        kind, name = entry.get_io_type(), entry.id
        if entry.optional and kind not in WIDGETS and rng.random() > (0.6 if _belongs(name) else 0.01):
            continue
        if kind in TENSORS:
            count = rng.choice([1, 1, 1, 2, 3, 0]) if schema.is_input_list and not fits else 1
            made = [tensor(kind, rng, fits) for _ in range(count)]
        else:
            made = [_value(entry, kind, name, rng, given, side)]
        inputs[name] = made if schema.is_input_list else made[0]
    if schema.node_id == "InContextPastePanels" and rng.random() < 0.3:  # else it is hardly ever got as far as pasting
        inputs |= {"mask": torch.ones(1, 32, 32), "layout": STITCHED, "panel": "1", "image": torch.rand(1, 32, 32, 3)}
        inputs.pop("window", None)
    return inputs


def _belongs(name: str) -> bool:
    """Whether an input is for a panel of the layouts here, or for no panel in particular."""
    number = name.rpartition("_")[2]
    return not number.isdecimal() or int(number) <= len(LAYOUT)


def _value(entry: Any, kind: str, name: str, rng: random.Random, given: InputValues, side: int) -> Any:
    if kind not in WIDGETS:
        return given.by_type[kind](rng)
    if name in given.by_name:
        return given.by_name[name]
    if name in VALUES:
        return rng.choice(VALUES[name])
    if name in ("width", "height"):
        return side
    if kind == "COMBO":
        return rng.choice([getattr(option, "value", option) for option in entry.options])
    return rng.random() < 0.5 if kind == "BOOLEAN" else entry.default


def tensor(kind: str, rng: random.Random, fits: bool) -> Any:
    if kind == "IMAGE":
        return picture(rng, fits)
    if kind == "MASK":
        return mask(rng, fits)
    samples = filled(
        rng, rng.choice([(1, 16, 8, 16), (1, 16, 8, 16), (0, 16, 8, 16), (16, 8, 16), (1, 4, 1, 8, 16), ()])
    )
    return rng.choice(
        [{"samples": samples}, {"samples": samples}, {"samples": samples, "noise_mask": mask(rng, fits)}, {}]
    )


def picture(rng: random.Random, fits: bool = False) -> Tensor:
    """Half of them right, the others nearly: the canvas's size and three channels."""
    if fits or rng.random() < 0.5:
        return torch.rand((1, 64, 128, 3), generator=torch.Generator().manual_seed(rng.randrange(1000)))
    batch = rng.choice([1, 1, 1, 2, 3, 0])
    height, width = rng.choice([(64, 128), (64, 128), (64, 64), (32, 32), (1, 1), (0, 64), (7, 130)])
    channels = rng.choice([3, 3, 3, 3, 4, 1, 2, 5, 0])
    shape = rng.choice(
        [(batch, height, width, channels)] * 6 + [(height, width, channels), (height, width), (), (3,), (1, 1, 2, 3, 4)]
    )
    return filled(rng, shape)


def mask(rng: random.Random, fits: bool = False) -> Tensor:
    if fits or rng.random() < 0.5:
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


def given_by(schemas: Mapping[str, Any], call: Call, server: str) -> InputValues:
    """What the pack's nodes take besides tensors, of small random models.

    Args:
        server: address of a vision-language model that answers anything.
    """
    from incontext_lora.tests import tiny_models

    model, vae = tiny_models.sd3(), tiny_models.vae()
    words = tiny_models.Words.of("sd3").encode_from_tokens_scheduled(["two", "words"], {})
    crop = schemas["InContextContextCrop"]
    widgets = {entry.id: entry.default for entry in crop.inputs if entry.get_io_type() in WIDGETS}
    whole = {"image": picture(random.Random(1), fits=True), "mask": torch.ones(1, 64, 128)}
    window = call(crop.node_id, {**widgets, **whole})[2]
    return InputValues(
        {
            "MODEL": lambda rng: model,
            "VAE": lambda rng: vae,
            "CONDITIONING": lambda rng: words,
            "INCONTEXT_LAYOUT": lambda rng: rng.choice([LAYOUT, STITCHED]),
            "INCONTEXT_RECIPE": lambda rng: rng.choice(RECIPES),
            "INCONTEXT_WINDOW": lambda rng: window,
            "CLIP": lambda rng: None,
            "CLIP_VISION": lambda rng: None,
        },
        {"base_url": server, "model": "seeing-model"},
    )
