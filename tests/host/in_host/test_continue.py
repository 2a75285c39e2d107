"""A saved LoRA does what the trained one did, and training continues from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.incontext.lora.recipe_file import write_recipe
from incontext_lora.tests.dataset_sets import RECIPE
from incontext_lora.tests.in_host_training import CAPTIONS, Tiny, host_model, noisy, train
from incontext_lora.training.in_host.adapters import Adapters, continued_adapters, linear_modules
from incontext_lora.training.in_host.choices import Precision
from safetensors.torch import load_file, save_file
from torch import Tensor


def attached_output(tiny: Tiny, adapters: Adapters) -> Tensor:
    model = host_model(tiny.model)
    x, sigmas = noisy(2)
    with (
        torch.no_grad(),
        model.prepared(gradient_checkpointing=False, precision=Precision.FP32),
        adapters.attached(model.transformer),
    ):
        conditions = [model.encode_caption(tiny.clip, caption, 1.0, x[0]) for caption in CAPTIONS[:2]]
        return model.predict(x, sigmas, conditions)


def loaded_output(tiny: Tiny, patcher: Any) -> Tensor:
    """The output with a LoRA that ComfyUI has put into the weights."""
    import comfy.model_management

    model = host_model(tiny.model)
    x, sigmas = noisy(2)
    conditions = [model.encode_caption(tiny.clip, caption, 1.0, x[0]) for caption in CAPTIONS[:2]]
    comfy.model_management.load_models_gpu([patcher])
    try:
        return model.predict(x, sigmas, conditions)
    finally:
        comfy.model_management.load_models_gpu([tiny.model])


def adapters_of(tiny: Tiny, path: Path) -> Adapters:
    deltas = host_model(tiny.model).deltas(load_file(path))
    return continued_adapters(linear_modules(tiny.transformer), deltas, torch.Generator())


def test_the_saved_lora_does_what_the_trained_one_did(host: Any, tiny: Tiny, vae: Any, dataset: Dataset) -> None:
    name = f"reload-{tiny.kind}"
    *_, lora_name = train(host, tiny, vae, dataset, name=name)
    patched, *_ = host.call("InContextLoadLora", model=tiny.model, lora_name=lora_name)
    adapters = adapters_of(tiny, Path(host.base) / "output" / "loras" / lora_name)
    with torch.inference_mode():
        loaded, plain = loaded_output(tiny, patched), loaded_output(tiny, tiny.model.clone())
    torch.testing.assert_close(attached_output(tiny, adapters), loaded, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(loaded, plain, atol=1e-2)


def test_training_continues_from_a_lora_as_it_was(host: Any, tiny: Tiny, vae: Any, dataset: Dataset) -> None:
    loras = Path(host.base) / "output" / "loras"
    *_, first = train(host, tiny, vae, dataset, name=f"first-{tiny.kind}")
    lora, recipe, *_, second = train(
        host, tiny, vae, dataset, name=f"second-{tiny.kind}", continue_from=first, learning_rate=1e-7, steps=1
    )
    assert recipe.lineage == (first,)
    before, after = (attached_output(tiny, adapters_of(tiny, loras / name)) for name in (first, second))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    assert {tensor.shape for tensor in lora.values()} == {tensor.shape for tensor in load_file(loras / first).values()}
    third = train(host, tiny, vae, dataset, name=f"third-{tiny.kind}", continue_from=second, steps=1)[1]
    assert third.lineage == (first, second)


@pytest.mark.parametrize("references", ["none", "isolated"])
@pytest.mark.parametrize("layer", ["double_blocks.0.img_attn.qkv", "single_blocks.0.linear1"])
def test_a_lora_of_some_blocks_is_continued_with_gradient_checkpointing(
    host: Any, flux: Tiny, vae: Any, dataset: Dataset, layer: str, references: str
) -> None:
    """Such as the popular ones of four layers: blocks before them have nothing to learn."""
    outputs, inputs = flux.transformer.get_submodule(layer).weight.shape
    name = f"diffusion_model.{layer}"
    generator = torch.Generator().manual_seed(1)
    few = {
        f"{name}.lora_down.weight": torch.randn(2, inputs, generator=generator) * 0.1,
        f"{name}.lora_up.weight": torch.randn(outputs, 2, generator=generator) * 0.1,
    }
    loras = Path(host.base) / "output" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    save_file(few, loras / "few.safetensors")
    lora, *_ = train(
        host, flux, vae, dataset, name="few-more", continue_from="few.safetensors", gradient_checkpointing=True,
        references=references, reference_share=1.0,
    )  # fmt: skip
    assert not torch.equal(lora[f"{name}.lora_up.weight"], few[f"{name}.lora_up.weight"])
    plain, *_ = train(
        host, flux, vae, dataset, name="few-plain", continue_from="few.safetensors", gradient_checkpointing=False,
        references=references, reference_share=1.0,
    )  # fmt: skip
    torch.testing.assert_close(lora, plain)


def test_every_layer_of_a_published_lora_is_continued(host: Any, flux: Tiny, vae: Any, dataset: Dataset) -> None:
    # those of the method's authors hold modulations too, and query, key and value apart, named as in diffusers
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "transformer.transformer_blocks.0.attn.to_q": (64, 64),
        "transformer.transformer_blocks.0.attn.to_v": (64, 64),
        "transformer.transformer_blocks.0.norm1.linear": (64, 384),
        "transformer.single_transformer_blocks.0.proj_out": (320, 64),
    }
    tensors = {}
    for key, (inputs, outputs) in shapes.items():
        tensors[f"{key}.lora_A.weight"] = torch.randn(2, inputs, generator=generator)
        tensors[f"{key}.lora_B.weight"] = 0.1 * torch.randn(outputs, 2, generator=generator)
    path = Path(host.base) / "output" / "loras" / "published.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path)
    write_recipe(path, RECIPE)
    patched, *_ = host.call("InContextLoadLora", model=flux.model, lora_name="published.safetensors")
    with torch.inference_mode():
        loaded = loaded_output(flux, patched)
    torch.testing.assert_close(attached_output(flux, adapters_of(flux, path)), loaded, rtol=1e-3, atol=1e-3)
    lora, *_ = train(host, flux, vae, dataset, name="from-published", continue_from="published.safetensors", steps=1)
    assert {key.removesuffix(".alpha") for key in lora if key.endswith(".alpha")} == {
        "diffusion_model.double_blocks.0.img_attn.qkv",
        "diffusion_model.double_blocks.0.img_mod.lin",
        "diffusion_model.single_blocks.0.linear2",
    }


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"diffusion_model.nothing.lora_up.weight": torch.ones(2, 2)}, "None of the LoRA's 1 tensors matches SD3"),
        (
            {
                "diffusion_model.joint_blocks.0.x_block.mlp.fc1.lora_up.weight": torch.ones(256, 2),
                "diffusion_model.joint_blocks.0.x_block.mlp.fc1.lora_down.weight": torch.ones(2, 64),
                "diffusion_model.joint_blocks.0.x_block.mlp.fc1.dora_scale": torch.ones(256, 1),
            },
            "only plain LoRA pairs",
        ),
        (
            {
                "diffusion_model.joint_blocks.0.x_block.mlp.fc1.lokr_w1": torch.ones(16, 8),
                "diffusion_model.joint_blocks.0.x_block.mlp.fc1.lokr_w2": torch.ones(16, 8),
            },
            "LoKrAdapter; only plain LoRA",
        ),
    ],
)
def test_what_cannot_be_continued_is_refused(sd3: Tiny, tensors: dict[str, Tensor], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        host_model(sd3.model).deltas(tensors)
