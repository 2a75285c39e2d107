"""The gradients of the trained layers are the slope of the loss, whatever attention ComfyUI has chosen."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests import tiny_models
from incontext_lora.tests.in_host_training import CAPTIONS, Tiny, host_model, lora_gradients, noisy, train, training
from incontext_lora.training.in_host.choices import Precision
from torch import Tensor, nn


@pytest.fixture
def without_gradients(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ComfyUI as with --use-sage-attention: its attention, in every model, is a kernel that has a forward pass only."""
    import comfy.ldm.modules.attention as attention

    fast = attention.optimized_attention

    @attention.wrap_attn
    def forward_only(q: Tensor, k: Tensor, v: Tensor, *args: Any, **named: Any) -> Tensor:
        return fast(q.detach(), k.detach(), v.detach(), *args, **named)

    for module in list(sys.modules.values()):
        if module.__name__.startswith("comfy.ldm") and vars(module).get("optimized_attention") is fast:
            monkeypatch.setattr(module, "optimized_attention", forward_only)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_the_slope_of_the_loss(tiny: Tiny, checkpointing: bool) -> None:
    assert without_slope(tiny, noisy(2)[0], checkpointing) == set()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", tiny_models.FAMILIES)
def test_other_families_have_their_gradients_too(host: Any, kind: str, checkpointing: bool) -> None:
    tiny_models.skip_if_unknown(kind)
    family = tiny_models.FAMILIES[kind]
    tiny = Tiny(kind, family.load(), tiny_models.Words.of(kind))
    x = torch.randn(2, *family.latent, 8, 24, generator=torch.Generator().manual_seed(3))
    assert without_slope(tiny, x, checkpointing) == family.unused


@pytest.mark.parametrize("kind", tiny_models.FAMILIES)
def test_a_family_is_trained_by_the_node(host: Any, dataset: Dataset, kind: str) -> None:
    tiny_models.skip_if_unknown(kind)
    family = tiny_models.FAMILIES[kind]
    generator = torch.Generator().manual_seed(3)

    class Vae:
        def encode(self, pixels: Tensor) -> Tensor:
            height, width = (side // 8 for side in pixels.shape[1:3])
            return torch.randn(1, *family.latent, height, width, generator=generator)

    tiny = Tiny(kind, family.load(), tiny_models.Words.of(kind))
    lora, *_ = train(host, tiny, Vae(), dataset, name=f"family-{kind}", caption_dropout=0.0)
    ups = {name.removeprefix("diffusion_model.").removesuffix(".lora_up.weight"): value for name, value in lora.items()}
    untrained = {name for name, value in ups.items() if not name.endswith((".alpha", ".weight")) and not value.any()}
    assert untrained == family.unused


def test_comfyui_computes_as_before_once_a_training_is_over(host: Any) -> None:
    import comfy.model_management
    from incontext_lora.nodes.training.gradients import KERNELS, differentiable

    places = [comfy.model_management, *([sys.modules[KERNELS]] if KERNELS in sys.modules else [])]
    before = [dict(vars(place)) for place in places]
    with differentiable():
        assert comfy.model_management.in_training is True
    assert [dict(vars(place)) for place in places] == before


@pytest.mark.usefixtures("without_gradients")
@pytest.mark.parametrize("kind", ["flux", "sd3", *tiny_models.FAMILIES])
def test_attention_kernels_without_gradients_are_replaced(host: Any, kind: str) -> None:
    import comfy.supported_models

    if kind in tiny_models.FAMILIES and not hasattr(comfy.supported_models, tiny_models.FAMILIES[kind].model):
        pytest.skip(f"This ComfyUI does not know {kind}.")
    family = tiny_models.FAMILIES.get(kind)
    tiny = Tiny(kind, family.load() if family else getattr(tiny_models, kind)(), tiny_models.Words.of(kind))
    x = torch.randn(1, *(family.latent if family else (16,)), 8, 24, generator=torch.Generator().manual_seed(3))
    gradients = lora_gradients(tiny, x)
    without = {name for name, value in gradients.items() if value is None or not value.any()}
    assert without == (family.unused if family else frozenset())


@pytest.mark.usefixtures("without_gradients")
def test_a_model_that_cannot_be_given_another_attention_is_refused(
    host: Any, vae: Any, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from incontext_lora.nodes.training import host_model as module

    monkeypatch.setattr(module, "OPTIONS", {})  # as a model that does not hand them on to its attention
    tiny = Tiny("chroma", tiny_models.FAMILIES["chroma"].load(), tiny_models.Words.of("chroma"))
    with pytest.raises(TrainingError, match=r"get no gradient.*double_blocks\.0.*--use-pytorch-cross-attention"):
        train(host, tiny, vae, dataset, name="no-gradient", references="none")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_model_that_computes_without_gradients_is_refused_in_words(
    host: Any, flux: Tiny, vae: Any, dataset: Dataset, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As HiDream-O1, whose layers add into memory that they have reserved."""
    block = flux.transformer.single_blocks[0]
    forward = block.forward

    def adding(*inputs: Any, **named: Any) -> Tensor:
        result = forward(*inputs, **named)
        return torch.add(result, 1, out=torch.empty_like(result))

    monkeypatch.setattr(block, "forward", adding)
    with pytest.raises(TrainingError, match=r"Flux computes in a way that has no gradients here.*out=\.\.\."):
        train(host, flux, vae, dataset, name="out", gradient_checkpointing=checkpointing)
    assert block.forward is adding  # as before the training


def without_slope(tiny: Tiny, x: Tensor, checkpointing: bool) -> set[str]:
    """The trained layers that the loss does not depend on. The gradients of all others must be the slope of the loss."""
    from incontext_lora.nodes.training.in_host_plan import make_adapters
    from incontext_lora.training.in_host.settings import TrainSettings

    model = host_model(tiny.model)
    sigmas = torch.linspace(0.2, 0.9, len(x))
    none: set[str] = set()
    generator = torch.Generator().manual_seed(5)
    with training():
        adapters = make_adapters(model, TrainSettings(rank=2, alpha=2), None)
        for layer in adapters.layers.values():
            nn.init.normal_(layer.lora_up, std=0.02, generator=generator)
        conditions = [model.encode_caption(tiny.clip, caption, 1.0, x[0]) for caption in CAPTIONS[:2]]
        with (
            model.prepared(gradient_checkpointing=checkpointing, precision=Precision.FP32),
            adapters.attached(model.transformer),
        ):

            def loss() -> Tensor:
                return model.predict(x, sigmas, conditions).square().mean()

            loss().backward()
            # for each layer, since a wrong gradient of one would drown in the others
            for name, layer in adapters.layers.items():
                parameter = layer.lora_up
                if parameter.grad is None or not parameter.grad.any():
                    none.add(name)
                    continue
                direction = parameter.grad / parameter.grad.norm()
                with torch.no_grad():
                    parameter += 2e-3 * direction
                    above = loss().double()
                    parameter -= 4e-3 * direction
                    below = loss().double()
                    parameter += 2e-3 * direction
                slope = ((above - below) / 4e-3).item()
                assert slope == pytest.approx(parameter.grad.norm().item(), rel=0.05, abs=5e-3), name
    return none
