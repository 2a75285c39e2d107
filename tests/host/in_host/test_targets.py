"""Which layers of each family are trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from incontext_lora.tests import tiny_models
from incontext_lora.tests.comfy_versions import chroma_sizes, flux_sizes
from incontext_lora.training.in_host.adapters import target_modules
from incontext_lora.training.in_host.choices import Targets
from torch import nn


@pytest.mark.parametrize("kind", ["flux", "sd3", "lumina", "qwen-image", "chroma"])
def test_attention_and_mlp_are_trained_and_nothing_else(host: Any, kind: str) -> None:
    model = on_meta(kind)
    names = list(target_modules(model, Targets.ATTENTION_MLP))
    never = ("mod", "norm", "embed", "final_layer", "guidance", "time_in", "vector_in", "img_in", "txt_in")
    assert not [name for name in names if any(part in name for part in never)]
    expected = {
        "flux": {
            "double_blocks.0.img_attn.qkv", "double_blocks.0.img_attn.proj", "double_blocks.0.img_mlp.0",
            "double_blocks.0.img_mlp.2", "double_blocks.0.txt_attn.qkv", "double_blocks.0.txt_attn.proj",
            "double_blocks.0.txt_mlp.0", "double_blocks.0.txt_mlp.2", "single_blocks.0.linear1", "single_blocks.0.linear2",
        },
        "sd3": {
            "joint_blocks.0.context_block.attn.qkv", "joint_blocks.0.x_block.attn.qkv", "joint_blocks.0.x_block.attn.proj",
            "joint_blocks.0.x_block.mlp.fc1", "joint_blocks.0.x_block.mlp.fc2",
        },
        "lumina": {
            f"{block}.0.{part}"
            for block in ("noise_refiner", "context_refiner", "layers")
            for part in ("attention.qkv", "attention.out", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
        },
        "qwen-image": {
            f"transformer_blocks.0.{part}"
            for part in (
                "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.add_q_proj", "attn.add_k_proj",
                "attn.add_v_proj", "attn.to_add_out", "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj",
                "txt_mlp.net.2",
            )
        },
    }  # fmt: skip
    expected["chroma"] = expected["flux"]
    assert set(names) == expected[kind]
    attention, mlp = (set(target_modules(model, targets)) for targets in (Targets.ATTENTION, Targets.MLP))
    assert attention | mlp == set(names)
    assert attention & mlp <= {"single_blocks.0.linear1", "single_blocks.0.linear2"}  # both in one


def test_krea_2_is_trained_in_its_blocks_and_its_text_fusion_and_has_patches_of_two(host: Any) -> None:
    pytest.importorskip("comfy.ldm.krea2.model", reason="This ComfyUI does not know Krea 2.")
    from incontext_lora.nodes.references.patches import patch_side

    model = on_meta("krea2")
    attention, mlp = ("wq", "wk", "wv", "wo", "gate"), ("gate", "up", "down")
    parts = {*(f"attn.{name}" for name in attention), *(f"mlp.{name}" for name in mlp)}
    blocks = (
        "blocks.0",
        *(f"txtfusion.{kind}_blocks.{number}" for kind in ("layerwise", "refiner") for number in (0, 1)),
    )
    expected = {f"{block}.{part}" for block in blocks for part in parts}
    assert set(target_modules(model, Targets.ATTENTION_MLP)) == expected
    assert patch_side(model) == 2


def on_meta(kind: str) -> nn.Module:
    """A transformer of ComfyUI with one block of each sort, without weights."""
    import comfy.ldm.chroma.model
    import comfy.ldm.flux.model
    import comfy.ldm.lumina.model
    import comfy.ldm.qwen_image.model
    import comfy.ops

    common: dict[str, Any] = {"device": "meta", "dtype": torch.float32, "operations": comfy.ops.disable_weight_init}
    if kind == "flux":
        return comfy.ldm.flux.model.Flux(**flux_sizes(tiny_models.FLUX), **common)
    if kind == "krea2":
        from comfy.ldm.krea2.model import SingleStreamDiT

        return SingleStreamDiT(layers=1, **common)
    if kind == "sd3":
        return tiny_models.sd3().model.diffusion_model
    if kind == "lumina":
        return comfy.ldm.lumina.model.NextDiT(
            dim=64, n_layers=1, n_refiner_layers=1, n_heads=2, cap_feat_dim=48, axes_dims=[8, 12, 12], **common
        )
    if kind == "qwen-image":
        return comfy.ldm.qwen_image.model.QwenImageTransformer2DModel(
            num_layers=1,
            attention_head_dim=32,
            num_attention_heads=2,
            joint_attention_dim=48,
            axes_dims_rope=(8, 12, 12),
            **common,
        )
    own = {"in_dim": 64, "out_dim": 64, "hidden_dim": 64, "n_layers": 2}
    shared = {key: value for key, value in tiny_models.FLUX.items() if key not in ("vec_in_dim", "guidance_embed")}
    return comfy.ldm.chroma.model.Chroma(**chroma_sizes({**shared, **own}), **common)
