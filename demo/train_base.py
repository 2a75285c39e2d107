"""Train the demo's base model: a small SD3-class transformer (ComfyUI's own class) on panel sets of the toy world.

    COMFYUI_PATH=… python -m demo.train_base --out build/demo     (after demo.train_autoencoder with the same --out)

Ten stages follow each other, each with the weights that the one before averaged; they differ in how noise levels are
drawn, in how many sets are related, in whether captions ever say so, and in what the loss weighs. The stored weights saw
the first two on latents of the autoencoder's first phase, the others on its final ones. The last two learn from a wider
world, in which sizes and places vary, and three relations occur; they compute in bfloat16.

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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from . import models, world
from .comfy_host import import_comfy
from .corpus import Captions, PanelPool, load_encoder

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
        wide: whether sizes and places vary as `world.corpus_set` has them; else they are nearly the same.
        growing, rising: shares of the sets whose shapes grow from panel to panel, and of those that rise; if ``wide``.
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
    wide: bool = False
    growing: float = 0.0
    rising: float = 0.0

    def draw_set(self, rng: random.Random) -> tuple[world.Set, tuple[str, ...]]:
        """A set of this stage's corpus, and which of `world.RELATIONS` it has."""
        if not self.wide:
            related = rng.random() < self.related
            return world.random_set(rng, related=related), ("colour",) * related
        shares = (self.related, self.growing, self.rising)
        relations = tuple(name for name, share in zip(world.RELATIONS, shares, strict=True) if rng.random() < share)
        return world.corpus_set(rng, relations), relations

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        u = (
            torch.randn(count, generator=generator).sigmoid()
            if self.logit_normal
            else torch.rand(count, generator=generator)
        )
        return self.shift * u / (1 + (self.shift - 1) * u)


WIDE = Stage(
    4000,
    schedule_steps=6000,
    learning_rate=8e-4,
    logit_normal=False,
    shift=3.0,
    related=0.5,
    said=0.8,
    colour_weight=3.0,
    wide=True,
    growing=0.4,
    rising=0.4,
)
STAGES = (
    Stage(4500, schedule_steps=6000, learning_rate=8e-4, logit_normal=True, shift=3.0, related=0.4),
    Stage(1000, schedule_steps=3000, learning_rate=6e-4, logit_normal=False, shift=6.0, related=0.4),
    Stage(4500, schedule_steps=4500, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.4),
    Stage(3500, schedule_steps=4500, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.6),
    Stage(5000, schedule_steps=5000, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.5, said=0.6),
    Stage(4000, 4000, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.6, said=0.8, colour_weight=4.0),
    Stage(7000, 7000, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.6, said=0.8, colour_weight=4.0),
    Stage(5000, 5000, learning_rate=8e-4, logit_normal=False, shift=3.0, related=0.7, said=0.8, colour_weight=4.0),
    replace(WIDE, steps=500, schedule_steps=8000),
    WIDE,
)


def build_transformer() -> torch.nn.Module:
    """ComfyUI's SD3 transformer, initialised as DiT is, with the columns left out that only ever meet zeros."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules import mmdit

    config = {
        **models.TRANSFORMER_CONFIG,
        "context_embedder_config": {
            "target": "torch.nn.Linear",
            "params": {"in_features": models.TEXT_WIDTH, "out_features": models.WIDTH},
        },
    }
    mmdit.optimized_attention = attend
    model = mmdit.OpenAISignatureMMDITWrapper(**config, operations=comfy.ops.disable_weight_init, dtype=torch.float32)
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


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, **_: Any) -> torch.Tensor:
    """Attention over [batch, tokens, heads * dim], as plain products → [batch, tokens, heads * dim].

    In bfloat16 on a CPU this trains three times as fast as PyTorch's fused kernel.
    """
    q, k, v = (one.reshape(*one.shape[:2], heads, -1).transpose(1, 2) for one in (q, k, v))
    weights = torch.softmax((q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5, -1)
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)


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
        sets = [stage.draw_set(rng) for _ in range(BATCH)]
        clean = torch.stack([pool.compose(drawn, relations, rng) for drawn, relations in sets])
        texts = [captions.text(drawn, relations, said=stage.said) for drawn, relations in sets]
        context = captions.embed(texts)
        sigma = stage.draw(BATCH, generator)
        noise = torch.randn(clean.shape, generator=generator)
        mixed = torch.lerp(clean, noise, sigma.view(-1, 1, 1, 1))
        with torch.autocast("cpu", torch.bfloat16, enabled=stage.wide):
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

    pools: dict[bool, PanelPool] = {}
    captions = Captions(args.seed)
    for number, stage in list(enumerate(STAGES, 1))[args.from_stage - 1 :]:
        if stage.wide not in pools:
            encoder = load_encoder(args.out / "autoencoder.safetensors")
            pools[stage.wide] = PanelPool(args.pool, args.seed, stage.wide, encoder, say)
            latents = pools[stage.wide].latents.float()
            say(f"latents: mean {latents.mean():.3f}, deviation {latents.std():.3f}")
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

        train(model, stage, pools[stage.wide], captions, args.seed + number - 1, report, checkpoint)
        record = json.loads(record_file.read_text())


if __name__ == "__main__":
    main()
