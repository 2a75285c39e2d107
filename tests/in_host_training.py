"""What the tests of the trainer in ComfyUI share: small real models, and one training of a few steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.tests import tiny_models
from incontext_lora.training.in_host.choices import Precision
from torch import Tensor, nn

TRAIN = "InContextTrainLoraInHost"
CAPTIONS = ("one", "a longer caption of six words", "two", "")
FEW = {
    "steps": 3,
    "batch_size": 2,
    "rank": 2,
    "alpha": 4.0,
    "learning_rate": 1e-2,
    "warmup_steps": 0,
    "precision": "fp32",
}


@dataclass
class Tiny:
    kind: str
    model: Any
    clip: tiny_models.Words

    @property
    def transformer(self) -> nn.Module:
        return self.model.model.diffusion_model

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.model.state_dict().items()}


def host_model(model: Any) -> Any:
    from incontext_lora.nodes.training.host_model import HostModel

    return HostModel(model)


@contextmanager
def training() -> Iterator[None]:
    with torch.inference_mode(False), torch.enable_grad():
        yield


def noisy(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 16, 24, 16, generator=generator), torch.linspace(0.2, 0.9, count)


def train(host: Any, tiny: Tiny, vae: Any, dataset: Dataset, **values: Any) -> tuple[Any, ...]:
    return host.call(TRAIN, model=tiny.model, clip=tiny.clip, vae=vae, dataset=dataset, **{**FEW, **values})[:6]


def lora_gradients(tiny: Tiny, x: Tensor, isolated: Tensor | None = None, memory: int = 0) -> dict[str, Tensor | None]:
    """The gradient of each trained layer at one step."""
    from incontext_lora.nodes.training.in_host_plan import make_adapters
    from incontext_lora.training.in_host.settings import TrainSettings

    model = host_model(tiny.model)
    with training():
        adapters = make_adapters(model, TrainSettings(rank=2, alpha=2), None)
        conditions = [model.encode_caption(tiny.clip, CAPTIONS[1], 1.0, x[0])]
        with (
            model.prepared(gradient_checkpointing=True, precision=Precision.FP32, memory=memory),
            adapters.attached(model.transformer),
        ):
            model.predict(x, torch.tensor([0.5]), conditions, isolated).square().mean().backward()
    return {name: layer.lora_up.grad for name, layer in adapters.layers.items()}
