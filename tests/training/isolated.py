"""Run by the trainer's interpreter: isolated references in the checkout's own models, at the sizes of `tiny`.

    python isolated.py CHECKOUT FOLDER

writes FOLDER/<architecture>.safetensors with the weights, one batch and what the model predicted of it, and <architecture>.json
with what was found.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

HEIGHT, WIDTH, PANEL, TEXT = 8, 24, 8, 10


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the models, called as the trainer calls them ---------------------------------------------------------------------


def make(architecture: str, depth: int = 2) -> Any:
    from library import chroma_models, flux_models, sd3_models

    if architecture == "sd3":
        model = sd3_models.create_sd3_mmdit(tiny.sd3_params(depth))
    elif architecture == "chroma":
        model = chroma_models.Chroma(replace(chroma_models.chroma_params, depth=depth, depth_single_blocks=depth))
        model.mod_index[-2:] = torch.tensor([342, 343])  # of the last layer, as in a model of true size and in ComfyUI
    else:
        params = flux_models.configs["dev"].params
        model = flux_models.Flux(replace(params, depth=depth, depth_single_blocks=depth))
    generator = torch.Generator().manual_seed(0)
    for value in model.state_dict().values():
        if value.ndim < 2:
            value.copy_(1 + 0.1 * torch.randn(value.shape, generator=generator))
        else:
            value.copy_(torch.randn(value.shape, generator=generator) / value[0].numel() ** 0.5)
    return model.requires_grad_(False)


class Batch:
    """Four pictures of three panels: none given, one, another, two; each with a caption and a noise level of its own."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture
        sd3 = architecture == "sd3"
        self.x = random(1, 4, 16, HEIGHT, WIDTH)
        self.text = random(2, 4, TEXT, 4096 if sd3 else tiny.WIDTH)
        self.pooled = random(3, 4, 2048 if sd3 else tiny.WIDTH)
        self.levels = torch.tensor([0.3, 0.5, 0.7, 0.9])
        self.mask = torch.ones(4, TEXT, dtype=torch.int64)
        self.given = torch.zeros(4, 1, HEIGHT, WIDTH, dtype=torch.bool)
        self.given[1, ..., :PANEL] = True
        self.given[2, ..., 2 * PANEL :] = True
        self.given[3, ..., PANEL:] = True

    def changed(self, **values: Tensor) -> Batch:
        other = Batch(self.architecture)
        vars(other).update({**vars(self), **values})
        return other

    def row(self, row: int) -> Batch:
        return self.changed(
            **{name: value[row : row + 1] for name, value in vars(self).items() if isinstance(value, Tensor)}
        )

    def predict(self, model: Any, isolation: Any = None) -> Tensor:
        """The model's velocity, with references isolated where ``isolation`` is given."""
        from library import flux_utils

        with isolation.isolating(model, self.given) if isolation else nullcontext():
            if self.architecture == "sd3":
                return model(self.x, self.levels * 1000, context=self.text, y=self.pooled)
            guidance = torch.full((len(self.x),), 0.0 if self.architecture == "chroma" else 1.0)
            vectors = model.get_mod_vectors(timesteps=self.levels, guidance=guidance, batch_size=len(self.x))
            velocity = model(
                img=flux_utils.pack_latents(self.x),
                img_ids=flux_utils.prepare_img_ids(len(self.x), HEIGHT // 2, WIDTH // 2),
                txt=self.text,
                txt_ids=torch.zeros(len(self.x), TEXT, 3),
                y=self.pooled,
                timesteps=self.levels,
                guidance=guidance,
                txt_attention_mask=self.mask if self.architecture == "chroma" or bool((self.mask == 0).any()) else None,
                mod_vectors=vectors,
            )
            return flux_utils.unpack_latents(velocity, HEIGHT // 2, WIDTH // 2)


# --- what is looked at ------------------------------------------------------------------------------------------------


def recorded(isolation: Any, model: Any, batch: Batch) -> list[Tensor]:
    """Keys and values of the references, of all blocks."""
    found: list[Tensor] = []
    attending = isolation.attending

    @contextmanager
    def watched(module: Any, part: Any, pairs: Any) -> Iterator[None]:
        with attending(module, part, pairs):
            yield
        if part.clean:
            found.extend(tensor for pair in pairs for tensor in pair)

    isolation.attending = watched
    try:
        with torch.no_grad():
            batch.predict(model, isolation)
    finally:
        isolation.attending = attending
    return found


def what_references_see(isolation: Any, model: Any, batch: Batch) -> dict[str, list[float]]:
    """What is changed → by how much each of the references' keys and values changes."""
    before = recorded(isolation, model, batch)
    noise = random(4, *batch.x.shape)
    given = batch.given.expand_as(noise)
    others = {
        "text": batch.changed(text=random(5, *batch.text.shape)),
        "painted": batch.changed(x=torch.where(given, batch.x, noise)),
        "levels": batch.changed(levels=batch.levels.flip(0)),
        "references": batch.changed(x=torch.where(given, noise, batch.x)),
    }
    return {
        name: [float((a - b).abs().max()) for a, b in zip(before, recorded(isolation, model, other), strict=True)]
        for name, other in others.items()
    }


def gradients(isolation: Any, model: Any, batches: list[Batch]) -> dict[str, Tensor]:
    """Of all weights, with the forward passes of all batches before their backward passes."""
    model.train().requires_grad_(True)
    losses = [(batch.predict(model, isolation) * ~batch.given).square().mean() for batch in batches]
    sum(losses).backward()
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad(set_to_none=True)
    model.requires_grad_(False)
    return found


def swaps(model: Any, predict: Callable[[], Tensor]) -> list[tuple[str, int]]:
    """What the checkout's block swap does while a prediction is made and its gradient computed, except for the moving."""
    done: list[tuple[str, int]] = []
    offloaders = [value for name, value in vars(model).items() if name.startswith("offloader")]
    for number, each in enumerate(offloaders):
        each._submit_move_blocks = lambda _blocks, cpu, card, n=number: done.append((f"move {n} to {card}", cpu))
        each._wait_blocks_move = lambda block, n=number: done.append((f"wait {n}", block))
    model.requires_grad_(True)
    predict().sum().backward()
    model.zero_grad(set_to_none=True)
    model.requires_grad_(False)
    return done


def look(architecture: str, patches: Any, isolation: Any, folder: Path) -> None:
    batch = Batch(architecture)
    model = make(architecture)
    if architecture == "sd3":
        patches.correct_sd3(model)
    with torch.no_grad():
        plain, isolated = batch.predict(model), batch.predict(model, isolation)
        rows = [batch.row(row) for row in range(4)]
        alone = torch.cat([row.predict(model, isolation if row.given.any() else None) for row in rows])
    facts: dict[str, Any] = {"sees": what_references_see(isolation, model, batch)}
    facts["alone"] = float((isolated - alone).abs().max())

    read = torch.tensor([4, 6, 8, TEXT])
    padded = batch.changed(mask=(torch.arange(TEXT) < read[:, None]).long())
    hidden = torch.arange(TEXT) > read[:, None]  # one more is read by Chroma
    other = padded.changed(text=torch.where(hidden[..., None], random(6, *batch.text.shape), batch.text))
    if architecture != "sd3":  # has no masks
        with torch.no_grad():
            velocity = padded.predict(model, isolation)
            rows = [padded.row(row) for row in range(4)]
            alone = torch.cat([row.predict(model, isolation if row.given.any() else None) for row in rows])
            facts["hidden text"] = float((velocity - other.predict(model, isolation)).abs().max())
            facts["padded alone"] = float((velocity - alone).abs().max())
            facts["shown text"] = float((velocity - isolated).abs().max())

    batches = [padded, padded.changed(given=batch.given.flip(0), x=batch.x.flip(0))]
    whole = gradients(isolation, model, batches)
    model.enable_gradient_checkpointing()
    again = gradients(isolation, model, batches)
    facts["gradients"] = len(whole)
    facts["recomputed"] = max(float((whole[name] - again[name]).abs().max()) for name in whole)
    facts["largest gradient"] = max(float(value.abs().max()) for value in whole.values())

    deep = make(architecture, 6)
    deep.train()
    deep.enable_gradient_checkpointing()
    deep.enable_block_swap(2, torch.device("cpu"))
    facts["swaps"] = [swaps(deep, lambda: batch.predict(deep)), swaps(deep, lambda: batch.predict(deep, isolation))]

    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    save_file({**tensors, **weights, "plain": plain, "isolated": isolated}, str(folder / f"{architecture}.safetensors"))
    (folder / f"{architecture}.json").write_text(json.dumps(facts), encoding="utf-8")


def main(checkout: str, folder: str) -> None:
    sys.path.insert(0, checkout)
    tiny.put_sizes()
    patches, isolation = tiny.import_runner("patches"), tiny.import_runner("isolation")
    for architecture in ("flux", "chroma", "sd3"):
        look(architecture, patches, isolation, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
