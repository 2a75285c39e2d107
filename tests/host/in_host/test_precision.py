"""What a training computes in: fp32, bf16, fp16, and weights of 8 or 4 bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests import tiny_models
from incontext_lora.tests.comfy_versions import flux_sizes
from incontext_lora.tests.in_host_training import Tiny, train
from incontext_lora.training.in_host.adapters import target_modules
from incontext_lora.training.in_host.choices import Precision, Targets
from torch import Tensor, nn


class EightBit(nn.Module):
    """As 8-bit scaled layers: no `nn.Linear`, and computed by casting, which has gradients."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class FourBit(EightBit):
    """As nunchaku's layers: a kernel without gradients."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


@pytest.mark.parametrize("quantised", [FourBit, EightBit])
def test_quantised_layers_are_trained_where_they_have_gradients(
    host: Any, vae: Any, dataset: Dataset, quantised: type[EightBit]
) -> None:
    tiny = Tiny("chroma", tiny_models.FAMILIES["chroma"].load(), tiny_models.Words.of("chroma"))
    for block in (*tiny.transformer.double_blocks, *tiny.transformer.single_blocks):
        for name, module in list(block.named_modules()):
            if isinstance(module, nn.Linear):
                parent, _, last = name.rpartition(".")
                setattr(block.get_submodule(parent), last, quantised(module))
    if quantised is FourBit:
        with pytest.raises(TrainingError, match=r"is a FourBit, which computes without gradients.*bf16, fp16 or fp8"):
            train(host, tiny, vae, dataset, name="four-bit")
    else:
        lora, *_ = train(host, tiny, vae, dataset, name="eight-bit")
        assert len(lora) == 3 * len(target_modules(tiny.transformer, Targets.ATTENTION_MLP))
        assert all(value.any() for key, value in lora.items() if key.endswith("lora_up.weight"))


def scaled_fp8_flux(fast: bool) -> Tiny:
    """FLUX's class with weights in scaled fp8, as ComfyUI loads such files; ``fast``: it multiplies in 8 bits."""
    import comfy.model_patcher
    import comfy.ops
    import comfy.supported_models

    config = comfy.supported_models.Flux(flux_sizes({"image_model": "flux", **tiny_models.FLUX}))
    config.set_inference_dtype(torch.float8_e4m3fn, torch.float32)
    config.custom_operations = comfy.ops.fp8_ops if fast else comfy.ops.manual_cast
    with torch.inference_mode():
        model = config.get_model({})
        model.diffusion_model.load_state_dict(
            {
                name: value.to(torch.float8_e4m3fn) if value.ndim == 2 else value
                for name, value in tiny_models.random_weights(model.diffusion_model.to(torch.float32)).items()
            },
            assign=True,
        )
        return Tiny(
            "flux",
            comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu")),
            tiny_models.Words.of("flux"),
        )


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("fast", [False, True])
def test_weights_in_8_bits_are_cast_to_what_is_computed_in(
    host: Any, vae: Any, dataset: Dataset, fast: bool, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--fast fp8_matrix_mult`` multiplies 8-bit numbers, which has no gradient; autocast would cast to float32 first."""
    tiny = scaled_fp8_flux(fast)
    cast: set[torch.dtype] = set()
    linear = nn.functional.linear

    def watched(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        cast.add(weight.dtype)
        return linear(x, weight, *rest)

    monkeypatch.setattr(nn.functional, "linear", watched)
    lora, *_ = train(host, tiny, vae, dataset, name="8-bits", precision=precision.value)
    assert cast == {{Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}[precision]}
    assert all(value.any() for key, value in lora.items() if key.endswith("lora_up.weight"))
    assert tiny.model.model.manual_cast_dtype is torch.float32  # as it was


def test_fp16_is_trained_with_scaled_losses(host: Any, flux: Tiny, vae: Any, dataset: Dataset) -> None:
    seen: set[torch.dtype] = set()
    layer = flux.transformer.get_submodule("double_blocks.0.img_mlp.0")
    hook = layer.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    lora, _, losses, *_ = train(host, flux, vae, dataset, name="fp16", precision=Precision.FP16.value)
    hook.remove()
    _, _, expected, *_ = train(host, flux, vae, dataset, name="fp16-exact", precision=Precision.FP32.value)
    assert seen == {torch.float16}
    assert losses["loss"] == pytest.approx(expected["loss"], rel=0.02)
    assert all(value.any() for key, value in lora.items() if key.endswith("lora_up.weight"))


def test_bf16_computes_in_bf16_and_keeps_the_lora_in_float32(host: Any, sd3: Tiny, vae: Any, dataset: Dataset) -> None:
    seen: set[torch.dtype] = set()
    layer = sd3.transformer.get_submodule("joint_blocks.0.x_block.mlp.fc1")
    hook = layer.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    lora, *_ = train(host, sd3, vae, dataset, name="bf16", precision=Precision.BF16.value)
    hook.remove()
    assert seen == {torch.bfloat16}
    assert {value.dtype for value in lora.values()} == {torch.float32}
