"""Train the demo's base model: a small SD3-class transformer (ComfyUI's own class) on panel sets of the toy world.

    COMFYUI_PATH=… python -m demo.train_base --out build/demo     (after demo.train_autoencoder with the same --out)

Eight stages follow each other, each with the weights that the one before averaged; they differ in how noise levels are
drawn, in how many sets are related, in whether captions ever say so, and in what the loss weighs. The stored weights saw
the first two on latents of the autoencoder's first phase, the others on its final ones.

The corpus is what the method presumes of a pretrained model's corpus: captioned multi-panel pictures, some of whose
panels belong together and most of whose do not. `demo/README.md` describes it.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from . import models, world
from .comfy_host import import_comfy

NAMES_ALL_COLOURS, NAMES_SOME_COLOURS = 0.35, 0.15  # of the captions; the others name none
CAPTION_DROPOUT = 0.10
BATCH = 32
WARM_UP = 200
AVERAGE = 0.998
POOL = 3000


@dataclass(frozen=True)
class Stage:
    """A stretch of training.

    Attributes:
        steps: optimiser steps.
        schedule_steps: length of the cosine of the learning rate; longer than ``steps`` where it ends early.
        learning_rate: after the warm-up.
        logit_normal: noise levels are drawn logit-normal, else uniform.
        shift: then shifted by this much; SD3 samples with 3.
        related: share of the corpus' sets whose panels have one colour; in the others each has its own.
        said: share of the related sets whose caption says so, in one of the phrases of `TOGETHER`.
        colour_weight: of the loss on the latent channels that hold the pixels' mean colour; 1 for the others.
    """

    steps: int
    schedule_steps: int
    learning_rate: float
    logit_normal: bool
    shift: float
    related: float
    said: float = 0.0
    colour_weight: float = 1.0

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        u = (
            torch.randn(count, generator=generator).sigmoid()
            if self.logit_normal
            else torch.rand(count, generator=generator)
        )
        return self.shift * u / (1 + (self.shift - 1) * u)


STAGES = (
    Stage(4500, schedule_steps=6000, learning_rate=8e-4, logit_normal=True, shift=3.0, related=0.4),
    Stage(1000, schedule_steps=3000, learning_rate=6e-4, logit_normal=False, shift=6.0, related=0.4),
    Stage(4500, schedule_steps=4500, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.4),
    Stage(3500, schedule_steps=4500, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.6),
    Stage(5000, schedule_steps=5000, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.5, said=0.6),
    Stage(4000, 4000, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.6, said=0.8, colour_weight=4.0),
    Stage(7000, 7000, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.6, said=0.8, colour_weight=4.0),
    Stage(5000, 5000, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.7, said=0.8, colour_weight=4.0),
)

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
TOGETHER: tuple[str, ...] = (
    "all in one colour",
    "one colour throughout",
    "a matching set",
    "every panel in the same ink",
    "drawn with a single pen",
)
PREFIXES = ("[SHEET]", "[SHAPES]", "[PICTURE-BOOK]", "[DRAWING]", "[SERIES-A]", "", "", "", "")


class PanelPool:
    """Encoded panels from which sets are composed without end.

    A panel's latents hardly depend on its neighbours (0.001 of a deviation from the third column on), so whole sets are
    encoded and their panels recombined, each at the place where it was encoded.
    """

    def __init__(self, count: int, seed: int, encoder: torch.nn.Module, say: Callable[[str], None]) -> None:
        rng = random.Random(f"pool-{seed}")
        sets = [world.random_set(rng, related=False) for _ in range(count)]
        encoded = []
        with torch.no_grad():
            for start in range(0, count, 50):
                pictures = np.stack([world.draw_set(drawn) for drawn in sets[start : start + 50]])
                pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
                encoded.append(encoder(pixels.contiguous(memory_format=torch.channels_last)).contiguous().half())
                if start % 500 == 0:
                    say(f"encoding {start}/{count}")
        self.latents = torch.cat(encoded)  # [count, 16, 8, 24]
        self._where: dict[tuple[int, str, str], list[int]] = {}
        for index, drawn in enumerate(sets):
            for place, panel in enumerate(drawn.panels):
                self._where.setdefault((place, panel.shape, panel.colour), []).append(index)

    def compose(self, drawn: world.Set, rng: random.Random) -> torch.Tensor:
        """float32 [16, 8, 24]: a picture with these shapes and colours, places and sizes as they come."""
        side = self.latents.shape[-1] // world.PANELS
        parts = []
        for place, panel in enumerate(drawn.panels):
            index = rng.choice(self._where[place, panel.shape, panel.colour])
            parts.append(self.latents[index, :, :, place * side : (place + 1) * side])
        return torch.cat(parts, dim=-1).float()


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

    def text(self, drawn: world.Set, *, said: float = 0.0) -> str:
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
        if drawn.agrees and self._rng.random() < said:
            openings.insert(self._rng.randint(0, len(openings)), self._rng.choice(TOGETHER))
        opening = " ".join(part for part in openings if part)
        return world.caption(drawn, named=named, opening=opening, prefix=self._rng.choice(PREFIXES))

    def embed(self, texts: list[str]) -> torch.Tensor:
        """float32 [n, 77, 768]."""
        return self._tokens[torch.tensor([self.ids(text) for text in texts])] + self._positions


def build_transformer() -> torch.nn.Module:
    """ComfyUI's SD3 transformer, initialised as DiT is, with the columns left out that only ever meet zeros."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper

    config = {
        **models.TRANSFORMER_CONFIG,
        "context_embedder_config": {
            "target": "torch.nn.Linear",
            "params": {"in_features": models.TEXT_WIDTH, "out_features": models.WIDTH},
        },
    }
    model = OpenAISignatureMMDITWrapper(**config, operations=comfy.ops.disable_weight_init, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if "norm" in name or ".ln_" in name:
            torch.nn.init.ones_(parameter)
        elif parameter.ndim < 2 or "adaLN_modulation" in name or "final_layer" in name or "y_embedder" in name:
            torch.nn.init.zeros_(parameter)
        elif "t_embedder" in name:
            torch.nn.init.normal_(parameter, std=0.02)
        else:
            torch.nn.init.xavier_uniform_(parameter.view(parameter.shape[0], -1))
    model.pos_embed = models.position_embedding()
    return model


@dataclass
class Average:
    """Exponential moving average of the weights, warmed up so that early weights are forgotten."""

    model: torch.nn.Module
    decay: float
    shadow: dict[str, torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.shadow = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = [(self.shadow[name], p) for name, p in self.model.named_parameters()]
        for shadow, parameter in pairs:
            shadow.lerp_(parameter.detach(), 1 - decay)


def full_state(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as trained → as ComfyUI's class has them."""
    state = {name: tensor for name, tensor in weights.items() if name != "pos_embed"}
    context = state["context_embedder.weight"]
    state["context_embedder.weight"] = torch.nn.functional.pad(context, (0, models.CONTEXT_WIDTH - context.shape[1]))
    return state


def train(
    model: torch.nn.Module,
    stage: Stage,
    pool: PanelPool,
    captions: Captions,
    seed: int,
    report: Callable,
    checkpoint: Callable,
) -> None:
    """Train the model in place by one stage; it ends with the averaged weights."""
    average = Average(model, AVERAGE)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=stage.learning_rate,
        betas=(0.9, 0.98),
    )

    def rate(step: int) -> float:
        progress = max(0.0, (step - WARM_UP) / max(1, stage.schedule_steps - WARM_UP))
        return min(1, (step + 1) / WARM_UP) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    generator = torch.Generator().manual_seed(seed)
    rng = random.Random(f"corpus-{seed}")
    weights = torch.ones(1, models.LATENT_CHANNELS, 1, 1)
    weights[:, : models.COLOUR_CHANNELS] = stage.colour_weight
    smoothed = None
    for step in range(stage.steps):
        sets = [world.random_set(rng, related=rng.random() < stage.related) for _ in range(BATCH)]
        clean = torch.stack([pool.compose(drawn, rng) for drawn in sets])
        context = captions.embed([captions.text(drawn, said=stage.said) for drawn in sets])
        sigma = stage.draw(BATCH, generator)
        noise = torch.randn(clean.shape, generator=generator)
        mixed = torch.lerp(clean, noise, sigma.view(-1, 1, 1, 1))
        velocity = model(mixed, sigma * 1000, context=context, y=torch.zeros(BATCH, models.POOLED_WIDTH))
        loss = (weights * (velocity.float() - (noise - clean)).square()).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update(step)
        smoothed = loss.item() if smoothed is None else 0.98 * smoothed + 0.02 * loss.item()
        if step % 50 == 0 or step == stage.steps - 1:
            report(step, smoothed)
        if (step + 1) % 500 == 0 or step == stage.steps - 1:
            checkpoint(step + 1, full_state(average.shadow))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(average.shadow[name])


def restore(model: torch.nn.Module, path: Path) -> None:
    """Put stored weights into a model that `build_transformer` made."""
    state = models.unpack(load_file(path))
    state["context_embedder.weight"] = state["context_embedder.weight"][:, : models.TEXT_WIDTH]
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--from-stage", type=int, default=1, help="go on from the stored weights at this stage")
    parser.add_argument("--pool", type=int, default=POOL)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    import_comfy()
    started = time.monotonic()
    weights, record_file = args.out / "transformer.safetensors", args.out / "transformer.json"
    torch.manual_seed(args.seed)
    model = build_transformer().train()
    record: dict[str, Any] = {"seed": args.seed, "batch": BATCH, "pool": args.pool, "stages": []}
    if args.from_stage > 1:
        restore(model, weights)
        record = json.loads(record_file.read_text())

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {text}", flush=True)

    pool = PanelPool(args.pool, args.seed, load_encoder(args.out / "autoencoder.safetensors"), say)
    say(f"latents: mean {pool.latents.float().mean():.3f}, deviation {pool.latents.float().std():.3f}")
    captions = Captions(args.seed)
    for number, stage in list(enumerate(STAGES, 1))[args.from_stage - 1 :]:
        curve: list[dict[str, float]] = []
        began = time.monotonic()

        def report(step: int, loss: float, curve: list = curve, number: int = number, stage: Stage = stage) -> None:
            curve.append({"step": step, "loss": round(loss, 5)})
            say(f"stage {number}, step {step}/{stage.steps} loss {loss:.4f}")

        def checkpoint(
            step: int,
            state: dict[str, torch.Tensor],
            curve: list = curve,
            stage: Stage = stage,
            began: float = began,
            record: dict[str, Any] = record,
        ) -> None:
            save_file(models.pack(state), weights)
            seconds = round(time.monotonic() - began)
            entry = {**asdict(stage), "steps": step, "seconds": seconds, "curve": curve}
            record_file.write_text(json.dumps({**record, "stages": [*record["stages"], entry]}, indent=1) + "\n")

        train(model, stage, pool, captions, args.seed + number - 1, report, checkpoint)
        record = json.loads(record_file.read_text())


if __name__ == "__main__":
    main()
