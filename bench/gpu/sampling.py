"""Sampling with 0, 1 and 2 of 3 panels given, kept clean or isolated, through Condition Panels: seconds per step."""

from __future__ import annotations

import importlib
import time
from contextlib import nullcontext
from itertools import pairwise
from typing import Any
from unittest import mock

from . import card, host, pictures
from .context import SAMPLED, Context

STEPS = 5  # the first warms up


def main() -> None:
    context = Context.read()
    host.start(context)
    import torch

    layout = pictures.canvases(context.tiny)["1.57"]
    model, clip, vae = host.model(context), host.clip(context), host.vae(context)
    with torch.inference_mode():
        tokens = clip.tokenize("Three panels of one story.")
        positive = clip.encode_from_tokens_scheduled(tokens, add_dict={"guidance": 3.5})
    for given, kept in SAMPLED:
        peaks = card.Peaks()
        seconds, _ = sample(model, vae, positive, layout, given, kept)
        peaks.note()
        context.answer(figure="sampling", given=given, kept=kept, seconds=seconds, peak=peaks.largest[1])
    context.answer(figure="isolated", **isolated(model, vae, positive, layout))
    host.free()
    context.answer(figure="freed", precision="sampling", left=host.allocated())


def isolated(model: Any, vae: Any, positive: list, layout: Any) -> dict[str, Any]:
    """2 of 3 given and isolated: computed once against at every step, and kept in main memory against on the card.

    Differences are the largest of all latents', relative to their largest value.
    """
    from ...nodes.references import isolated_sampling

    def always(self: Any, key: Any, record: Any, device: Any, once: Any = isolated_sampling.Session.recorded) -> Any:
        self.close()
        return once(self, key, record, device)

    def run(place: Any = None, name: str = "", value: Any = None) -> tuple[list[float], Any]:
        with mock.patch.object(place, name, value) if place else nullcontext():
            return sample(model, vae, positive, layout, 2, "isolate")

    _, once = run()
    each_step, each = run(isolated_sampling.Session, "recorded", always)
    in_memory, far = run(isolated_sampling, "_is_full", lambda *_: True)
    largest = once.abs().max().item()
    return {
        "each_step_seconds": each_step,
        "each_step_difference": (each - once).abs().max().item() / largest,
        "in_memory_seconds": in_memory,
        "in_memory_difference": (far - once).abs().max().item() / largest,
    }


def sample(model: Any, vae: Any, positive: list, layout: Any, given: int, kept: str) -> tuple[list[float], Any]:
    """Seconds of each step but the first, and the latents."""
    import torch

    from ...incontext.panels.stitch import stitch
    from ...nodes.references.condition import InContextConditionPanels

    generator = torch.Generator().manual_seed(given)
    images = [
        torch.rand(1, box.height, box.width, 3, generator=generator) if place < given else None
        for place, box in enumerate(layout.boxes)
    ]
    canvas = stitch(layout, images)
    prepared, latent, *_ = host.call(
        InContextConditionPanels,
        model=model,
        vae=vae,
        canvas=canvas.canvas,
        mask=canvas.mask,
        given_panels=kept,
        layout=layout,
    )
    core = importlib.import_module("comfy.sample")
    ends: list[float] = []

    def callback(*_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ends.append(time.monotonic())

    with torch.inference_mode():
        noise = core.prepare_noise(latent["samples"], 0)
        result = core.sample(
            prepared, noise, STEPS, 1.0, "euler", "simple", positive, positive, latent["samples"],
            noise_mask=latent.get("noise_mask"), callback=callback, disable_pbar=True, seed=0,
        )  # fmt: skip
    return [round(end - begin, 4) for begin, end in pairwise(ends)], result.float()


if __name__ == "__main__":
    main()
