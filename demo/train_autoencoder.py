"""Train the demo's autoencoder: TAESD's architecture (ComfyUI's own class), 16 latent channels, on the toy world.

    COMFYUI_PATH=… python -m demo.train_autoencoder --out build/demo

Latents are kept near zero mean and unit variance per channel, as SD3's latent format expects of what the transformer
sees, and the decoder learns from slightly noised latents, so that small sampling errors do not show.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from . import models, world
from .comfy_host import import_comfy

BATCH = 8
SETS = 2000


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Attributes:
        steps, learning_rate: of AdamW, with a cosine.
        noise: the largest deviation of the noise that the decoder must bear.
        anchor: weight of the demand that the first three channels are the mean colour of their 8×8 pixels.
        wide: the pictures vary in size and place as `world.corpus_set` has them, and only the decoder learns, in bfloat16:
            latents stay as they are.
    """

    steps: int
    learning_rate: float
    noise: float
    anchor: float
    wide: bool = False


# The first phase alone leaves colours unevenly apart (gold and cyan 0.8, blue and cyan 8.8 in 16 channels), and a
# transformer then decides between near ones late and locally. The second spreads them as they are in RGB. Both saw shapes
# of nearly one size, and one in six of half that size came back unrecognisable; the last two teach the decoder those.
PHASES = (
    Phase(1600, 1.5e-3, 0.25, 0.0),
    Phase(600, 1e-3, 0.6, 0.05),
    Phase(350, 8e-4, 0.4, 0.0, wide=True),
    Phase(550, 8e-4, 0.4, 0.0, wide=True),
)
COLOUR_SCALE, COLOUR_MIDDLE = 4.0, 0.7
SD3_SCALE, SD3_SHIFT = 1.5305, 0.0609  # comfy.latent_formats.SD3


def corpus(count: int, seed: int, wide: bool) -> torch.Tensor:
    """float32 [count, 3, PANEL, PANEL * PANELS] in [0, 1]; memory: uint8 until used."""
    rng = random.Random(f"autoencoder-{seed}")
    drawn = (world.corpus_set(rng, ()) if wide else world.random_set(rng, related=False) for _ in range(count))
    return torch.from_numpy(np.stack([world.draw_set(one) for one in drawn])).permute(0, 3, 1, 2)


def build() -> torch.nn.Module:
    import_comfy()
    from comfy.taesd.taesd import TAESD

    model = TAESD(latent_channels=16)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.Conv2d.reset_parameters(module)  # ComfyUI's layers skip initialisation
    return model.to(memory_format=torch.channels_last)


def train(model: Any, phase: Phase, pictures: torch.Tensor, seed: int, report: Callable) -> None:
    """Train in place; pictures are uint8 [n, 3, PANEL, PANEL * PANELS]."""
    model.taesd_encoder.requires_grad_(not phase.wide)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=phase.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)

    def rate(step: int) -> float:
        return min(1, (step + 1) / 20) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, step / phase.steps))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    generator = torch.Generator().manual_seed(seed)
    widest = pictures.shape[-1] - world.PANEL
    for step in range(phase.steps):
        picked = torch.randint(len(pictures), (BATCH,), generator=generator).tolist()
        lefts = torch.randint(widest + 1, (BATCH,), generator=generator).tolist()
        # windows that cross the seams too, so that seams are nothing special to the decoder
        window = torch.stack(
            [pictures[i, :, :, left : left + world.PANEL] for i, left in zip(picked, lefts, strict=True)]
        )
        target = (window.float() / 255).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=phase.wide):
            latent = model.taesd_encoder(target).float()
            noise = torch.randn(latent.shape, generator=generator)
            noise *= phase.noise * torch.rand(BATCH, 1, 1, 1, generator=generator)
            decoded = model.taesd_decoder(latent + noise).float()
        colour = COLOUR_SCALE * (torch.nn.functional.avg_pool2d(target, 8) - COLOUR_MIDDLE)
        anchor = (latent[:, : models.COLOUR_CHANNELS] - colour).square().mean()
        free = latent[:, models.COLOUR_CHANNELS :] if phase.anchor else latent
        mean, var = free.mean((0, 2, 3)), free.var((0, 2, 3))
        error = decoded - target
        loss = error.abs().mean() + 2 * error.square().mean() + phase.anchor * anchor
        if not phase.wide:
            loss = loss + 0.01 * (mean.square() + (var - 1).square()).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if step % 20 == 0 or step == phase.steps - 1:
            report(step, loss.item(), error.abs().mean().item(), var.mean().item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--from-phase", type=int, default=1, help="go on from the stored weights at this phase")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    torch.manual_seed(args.seed)
    model = build()
    phases, seconds = [], 0
    if args.from_phase > 1:
        stored = load_file(args.out / "autoencoder.safetensors")
        model.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
        record = json.loads((args.out / "autoencoder.json").read_text())
        phases, seconds = record["phases"][: args.from_phase - 1], record["seconds"]
    for number, phase in list(enumerate(PHASES))[args.from_phase - 1 :]:
        curve: list[dict[str, float]] = []

        def report(step: int, loss: float, l1: float, variance: float, curve: list = curve) -> None:
            values = {"loss": round(loss, 5), "l1": round(l1, 5), "latent_variance": round(variance, 3)}
            curve.append({"step": step, **values})
            print(f"step {step} loss {loss:.4f} l1 {l1:.4f} variance {variance:.2f}", flush=True)

        train(model, phase, corpus(SETS, args.seed, phase.wide), args.seed + number, report)
        phases.append({**asdict(phase), "curve": curve})
    weights = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    weights |= {"vae_scale": torch.tensor(SD3_SCALE).half(), "vae_shift": torch.tensor(SD3_SHIFT).half()}
    save_file(weights, args.out / "autoencoder.safetensors")
    seconds += round(time.monotonic() - started)
    record = {"seed": args.seed, "batch": BATCH, "seconds": seconds, "phases": phases}
    (args.out / "autoencoder.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
