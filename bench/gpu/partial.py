"""Gradients of a LoRA on a model that is only partly on the card, against those on the whole model, layer by layer."""

from __future__ import annotations

import importlib
from typing import Any

from . import card, host, pictures
from .context import Context

SHARE = 0.5  # of the model's size: the card that ComfyUI is shown the second time has this much more than a step needs
RANK = 4


def main() -> None:
    context = Context.read()
    host.start(context)
    import torch

    from ...nodes.training.host_model import HostModel

    model = host.model(context)
    prepared = prepare(context, model)
    host.free()
    with torch.inference_mode(False), torch.enable_grad():
        whole = gradients(HostModel(model), prepared)
    size = model.model_size()
    loaded = model.loaded_size()
    host.free()
    if torch.cuda.is_available():
        card.emulate(card.TAKEN + (prepared["memory"] + SHARE * size) / card.GIB)
    else:
        limit_on_cpu(int(SHARE * size))
    with torch.inference_mode(False), torch.enable_grad():
        partly = gradients(HostModel(model), prepared)
    part = model.loaded_size()
    cosines = {name: cosine(whole[name].double(), partly[name].double()) for name in whole}
    lowest = min(cosines, key=lambda name: cosines[name])
    context.answer(
        figure="partial",
        whole_gb=round(loaded / 1e9, 2),
        partly_gb=round(part / 1e9, 2),
        model_gb=round(size / 1e9, 2),
        layers=len(cosines),
        zero=sum(not bool(one.any()) for one in partly.values()),
        cosine=cosines[lowest],
        lowest=lowest,
    )
    host.free()
    context.answer(figure="freed", precision="partly loaded", left=host.allocated())


def cosine(one: Any, other: Any) -> float:
    """torch's own takes small gradients for zero."""
    return float(one @ other / (one.norm() * other.norm()))


def limit_on_cpu(size: int) -> None:
    """There ComfyUI loads whole models only; shown a smaller memory, it asks for a part."""
    management = importlib.import_module("comfy.model_management")
    load = management.LoadedModel.model_load

    def load_part(self: Any, lowvram_model_memory: int = 0, *rest: Any, **named: Any) -> Any:
        return load(self, size, *rest, **named)

    management.LoadedModel.model_load = load_part


def prepare(context: Context, model: Any) -> dict[str, Any]:
    """A noisy latent, a caption and a random LoRA whose two halves both have a gradient."""
    import torch

    from ...nodes.training.host_model import HostModel
    from ...training.in_host.adapters import new_adapters, target_modules
    from ...training.in_host.choices import Targets
    from ...training.in_host.items import read_picture
    from ...training.in_host.settings import TrainSettings

    layout = pictures.canvases(context.tiny)["1.0"]
    dataset = pictures.dataset(context.work / "partial", "partial", layout)
    trained = HostModel(model)
    generator = torch.Generator().manual_seed(0)
    latent = trained.encode_picture(host.vae(context), read_picture(dataset.image(dataset.items[0])))
    condition = trained.encode_caption(host.clip(context), dataset.items[0].caption, 1.0, latent)
    modules = target_modules(trained.transformer, Targets.ATTENTION_MLP)
    adapters = new_adapters(modules, RANK, float(RANK), generator)
    for layer in adapters.layers.values():
        layer.lora_up.data.normal_(std=0.02, generator=generator)
    noise = torch.randn(latent.shape, generator=generator)
    numbers = sum(parameter.numel() for parameter in adapters.parameters())
    memory = trained.step_memory([latent], [condition], numbers, TrainSettings(rank=RANK))
    return {"clean": latent, "noise": noise, "condition": condition, "adapters": adapters, "memory": memory}


def gradients(model: Any, prepared: dict[str, Any]) -> dict[str, Any]:
    """Layer → the gradients of its pair as one vector."""
    import torch

    from ...training.in_host import flow
    from ...training.in_host.choices import Precision

    adapters = prepared["adapters"]
    for parameter in adapters.parameters():
        parameter.grad = None
    clean, noise = (prepared[name][None].to(model.device) for name in ("clean", "noise"))
    sigma = torch.tensor([0.6], device=model.device)
    ready = model.prepared(gradient_checkpointing=True, precision=Precision.AUTO, memory=prepared["memory"])
    with ready, adapters.to(model.device).attached(model.transformer):
        predicted = model.predict(flow.mix(clean, noise, sigma), sigma, [prepared["condition"]])
        flow.velocity_loss(predicted, clean, noise, torch.ones_like(clean[:, :1])).backward()
    return {
        name: torch.cat([parameter.grad.flatten() for parameter in layer.parameters()]).cpu()
        for name, layer in adapters.layers.items()
    }


if __name__ == "__main__":
    main()
