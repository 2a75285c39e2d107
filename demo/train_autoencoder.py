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
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from . import world
from .comfy_host import import_comfy

STEPS = 1600
BATCH = 8
LEARNING_RATE = 1.5e-3
LATENT_NOISE = 0.25
SETS = 2500
SD3_SCALE, SD3_SHIFT = 1.5305, 0.0609  # comfy.latent_formats.SD3


def corpus(count: int, seed: int) -> torch.Tensor:
    """float32 [count, 3, PANEL, PANEL * PANELS] in [0, 1]; memory: uint8 until used."""
    rng = random.Random(f"autoencoder-{seed}")
    sets = [world.draw_set(world.random_set(rng, related=False)) for _ in range(count)]
    return torch.from_numpy(np.stack(sets)).permute(0, 3, 1, 2)


def train(steps: int, seed: int, report) -> torch.nn.Module:
    import_comfy()
    from comfy.taesd.taesd import TAESD

    torch.manual_seed(seed)
    model = TAESD(latent_channels=16)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.Conv2d.reset_parameters(module)  # ComfyUI's layers skip initialisation
    model = model.to(memory_format=torch.channels_last)
    pictures = corpus(SETS, seed)
    weights = [*model.taesd_encoder.parameters(), *model.taesd_decoder.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda k: min(1, (k + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, k / steps))))
    )
    generator = torch.Generator().manual_seed(seed)
    widest = pictures.shape[-1] - world.PANEL
    for step in range(steps):
        picked = torch.randint(len(pictures), (BATCH,), generator=generator)
        lefts = torch.randint(widest + 1, (BATCH,), generator=generator)
        # windows that cross the seams too, so that seams are nothing special to the decoder
        window = torch.stack(
            [pictures[i, :, :, left : left + world.PANEL] for i, left in zip(picked, lefts, strict=True)]
        )
        target = (window.float() / 255).contiguous(memory_format=torch.channels_last)
        latent = model.taesd_encoder(target)
        noise = torch.randn(latent.shape, generator=generator) * LATENT_NOISE * torch.rand(BATCH, 1, 1, 1)
        decoded = model.taesd_decoder(latent + noise)
        mean, var = latent.mean((0, 2, 3)), latent.var((0, 2, 3))
        error = decoded - target
        loss = error.abs().mean() + 2 * error.square().mean() + 0.01 * (mean.square() + (var - 1).square()).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            report(step, loss.item(), error.abs().mean().item(), var.mean().item())
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    curve: list[dict[str, float]] = []

    def report(step: int, loss: float, l1: float, variance: float) -> None:
        curve.append({"step": step, "loss": round(loss, 5), "l1": round(l1, 5), "latent_variance": round(variance, 3)})
        print(f"step {step}/{args.steps} loss {loss:.4f} l1 {l1:.4f} variance {variance:.2f}", flush=True)

    model = train(args.steps, args.seed, report)
    weights = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    weights |= {"vae_scale": torch.tensor(SD3_SCALE).half(), "vae_shift": torch.tensor(SD3_SHIFT).half()}
    save_file(weights, args.out / "autoencoder.safetensors")
    seconds = round(time.monotonic() - started)
    record = {"seed": args.seed, "steps": args.steps, "batch": BATCH, "seconds": seconds, "curve": curve}
    (args.out / "autoencoder.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
