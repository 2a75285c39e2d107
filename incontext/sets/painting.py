"""What painted a picture: sampler, seed, model and LoRAs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .prompt import Link, Node, Prompt

_SEEDS = ("seed", "noise_seed")
_CONDITIONS = ("positive", "conditioning", "cond1")
_MODELS = ("unet_name", "ckpt_name", "model_name", "gguf_name")
MOST_LORAS = 20


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA on the model: its file name and strength."""

    name: str
    strength: float


def sampler_of(prompt: Prompt, images: Link) -> Node | None:
    """The sampler nearest to the picture; None if there is none."""
    closed = frozenset({"InContextRepaintPanels"})  # before a repaint, another sampler painted the set
    for node, _ in prompt.upstream(images, closed):
        has_noise = any(name in node.inputs for name in (*_SEEDS, "noise"))
        if has_noise and any(name in node.links for name in (*_CONDITIONS, "guider")):
            return node
    return None


def guider_of(prompt: Prompt, sampler: Node | None) -> Node | None:
    """The node that takes model and conditioning: the sampler's guider, or the sampler itself."""
    return (prompt.at(sampler.links.get("guider")) or sampler) if sampler is not None else None


def conditioning_of(prompt: Prompt, sampler: Node | None) -> Link | None:
    node = guider_of(prompt, sampler)
    return next((node.links[name] for name in _CONDITIONS if name in node.links), None) if node is not None else None


def seed_of(prompt: Prompt, sampler: Node | None) -> int | None:
    if sampler is None:
        return None
    for node in (sampler, prompt.at(sampler.links.get("noise"))):
        for name in _SEEDS if node is not None else ():
            value = prompt.value(node, name) if node is not None else None
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None


def models_of(prompt: Prompt, sampler: Node | None) -> Iterator[Node]:
    """The nodes that the model passes on its way to the sampler, the last one first."""
    node, seen = guider_of(prompt, sampler), set[str]()
    while node is not None and node.id not in seen:
        seen.add(node.id)
        node = prompt.at(node.links.get("model"))
        if node is not None:
            yield node


def loras_of(prompt: Prompt, sampler: Node | None) -> Iterator[Lora]:
    found = 0
    for node in models_of(prompt, sampler):
        name = prompt.value(node, "lora_name") if "lora_name" in node.inputs else None
        strength = next((node.inputs[each] for each in ("strength", "strength_model") if each in node.inputs), 1.0)
        if isinstance(name, str) and found < MOST_LORAS:
            found += 1
            yield Lora(name, _number(strength))


def _number(value: Any) -> float:
    """A strength; 1 if it is unknown or too large for a number."""
    try:
        return float(value) if isinstance(value, int | float) else 1.0
    except OverflowError:
        return 1.0


def model_of(prompt: Prompt, sampler: Node | None) -> str:
    for node in models_of(prompt, sampler):
        for name in _MODELS:
            if isinstance(value := node.literal(name), str):
                return value
    return ""


def batch_of(prompt: Prompt, images: Link) -> int:
    """How many sets are painted at once."""
    for node, _ in prompt.upstream(images):
        size = prompt.value(node, "batch_size") if "batch_size" in node.inputs else None
        if isinstance(size, int) and 1 <= size <= 4096:
            return size
    return 1
