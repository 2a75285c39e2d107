"""The corpus of the demo's base model as tensors: encoded panels, composed to sets, and their captions' embeddings."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from . import models, world

NAMES_ALL_COLOURS, NAMES_SOME_COLOURS = 0.35, 0.15  # of the captions; the others name none
CAPTION_DROPOUT = 0.10

# What captions open with. The words vary so that a caption's later words are understood at any position.
OPENINGS: tuple[str, ...] = (
    "three panels of one picture story",
    "a picture in three parts",
    "three drawings in a row",
    "a triptych of simple shapes",
    "flat shapes on paper",
    "one row, three panels",
    "drawn by hand",
    "a small storyboard",
    "",
)
# What the captions of related sets may say, as captions of matching sets do in any corpus. The demo's captions never do.
TOGETHER: dict[str, tuple[str, ...]] = {
    "colour": (
        "all in one colour",
        "one colour throughout",
        "a matching set",
        "every panel in the same ink",
        "drawn with a single pen",
    ),
    "growth": (
        "growing from panel to panel",
        "each larger than the last",
        "from small to large",
        "coming closer",
        "step by step bigger",
    ),
    "rise": (
        "rising from panel to panel",
        "each higher than the last",
        "climbing up the page",
        "step by step upwards",
        "floating away",
    ),
}
PREFIXES = ("[SHEET]", "[SHAPES]", "[PICTURE-BOOK]", "[DRAWING]", "[SERIES-A]", "", "", "", "")


class PanelPool:
    """Encoded panels from which sets are composed without end.

    A panel's latents hardly depend on its neighbours (0.001 of a deviation from the third column on), so whole sets are
    encoded and their panels recombined, each at the place where it was encoded.
    """

    def __init__(self, count: int, seed: int, wide: bool, encoder: torch.nn.Module, say: Callable[[str], None]) -> None:
        rng = random.Random(f"pool-{seed}")
        draw = (lambda: world.corpus_set(rng, ())) if wide else (lambda: world.random_set(rng, related=False))
        sets = [draw() for _ in range(count)]
        encoded = []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=wide):
            for start in range(0, count, 50):
                pictures = np.stack([world.draw_set(drawn) for drawn in sets[start : start + 50]])
                pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
                encoded.append(encoder(pixels.contiguous(memory_format=torch.channels_last)).contiguous().half())
                if start % 500 == 0:
                    say(f"encoding {start}/{count}")
        self.latents = torch.cat(encoded)  # [count, 16, 8, 24]
        self._where: dict[tuple[int, str, str], list[tuple[int, world.Panel]]] = {}
        for index, drawn in enumerate(sets):
            for place, panel in enumerate(drawn.panels):
                self._where.setdefault((place, panel.shape, panel.colour), []).append((index, panel))

    def compose(self, drawn: world.Set, relations: Collection[str], rng: random.Random) -> torch.Tensor:
        """float32 [16, 8, 24]: a picture with these shapes and colours.

        Sizes are as near to those of the set as the pool allows if they are related, heights too; else as they come.
        """
        side = self.latents.shape[-1] // world.PANELS
        sized, placed = "growth" in relations, "rise" in relations
        parts = []
        for place, panel in enumerate(drawn.panels):
            found = self._where[place, panel.shape, panel.colour]
            index, _ = rng.choice(found)
            if sized or placed:
                index, _ = min(found, key=lambda one: _distance(one[1], panel, sized, placed))
            parts.append(self.latents[index, :, :, place * side : (place + 1) * side])
        return torch.cat(parts, dim=-1).float()


def _distance(one: world.Panel, other: world.Panel, sized: bool, placed: bool) -> float:
    return sized * abs(one.radius - other.radius) + placed * abs(one.dy - other.dy)


def load_encoder(path: Path) -> torch.nn.Module:
    from comfy.taesd.taesd import TAESD

    model = TAESD(latent_channels=models.LATENT_CHANNELS)
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return model.taesd_encoder.to(memory_format=torch.channels_last).eval()


class Captions:
    """Random captions as embeddings, exactly as ComfyUI's sd3 text encoder gives them for the demo's CLIP file."""

    def __init__(self, seed: int) -> None:
        import comfy.sd1_clip

        self._tokenizer = comfy.sd1_clip.SDTokenizer()
        self._tokens, self._positions = (tensor.float() for tensor in models.text_embeddings())
        self._rng = random.Random(f"captions-{seed}")
        self.ids = lru_cache(maxsize=50_000)(self._ids)

    def _ids(self, text: str) -> tuple[int, ...]:
        (chunk,) = self._tokenizer.tokenize_with_weights(text)
        return tuple(token for token, _ in chunk)

    def text(self, drawn: world.Set, relations: Sequence[str] = (), *, said: float = 0.0) -> str:
        roll = self._rng.random()
        if roll < CAPTION_DROPOUT:
            return ""
        roll = self._rng.random()
        if roll < NAMES_ALL_COLOURS:
            named = [True] * world.PANELS
        elif roll < NAMES_ALL_COLOURS + NAMES_SOME_COLOURS:
            named = [self._rng.random() < 0.5 for _ in range(world.PANELS)]
        else:
            named = [False] * world.PANELS
        openings = self._rng.sample(OPENINGS, self._rng.choice((1, 1, 2)))
        for relation in relations:
            if self._rng.random() < said:
                openings.insert(self._rng.randint(0, len(openings)), self._rng.choice(TOGETHER[relation]))
        opening = " ".join(part for part in openings if part)
        return world.caption(drawn, named=named, opening=opening, prefix=self._rng.choice(PREFIXES))

    def embed(self, texts: list[str]) -> torch.Tensor:
        """float32 [n, 77, 768]."""
        return self._tokens[torch.tensor([self.ids(text) for text in texts])] + self._positions
