"""What ComfyUI itself calls the parts of a model: its own classes at the sizes of `tiny`."""

from __future__ import annotations

from typing import Any

from incontext_lora.tests.comfy_versions import flux_sizes
from incontext_lora.tests.tiny_models import FAMILIES, Family

FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 64, "context_in_dim": 64, "hidden_size": 64,
    "mlp_ratio": 4.0, "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "axes_dim": [8, 12, 12], "theta": 10000,
    "patch_size": 2, "qkv_bias": True, "guidance_embed": True,
}  # fmt: skip
SD3 = {
    "in_channels": 16, "patch_size": 2, "depth": 2, "input_size": None, "adm_in_channels": 2048, "num_patches": 4096,
    "pos_embed_max_size": 64, "pos_embed_scaling_factor": None, "qk_norm": "rms", "x_block_self_attn_layers": [0],
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 128}},
}  # fmt: skip
TRAINED = {**FAMILIES, "flux": Family("Flux", FLUX, complete=flux_sizes), "sd3": Family("SD3", SD3)}
# ComfyUI's Anima is a model of NVIDIA's and an adapter behind its text encoder, which the LoRA leaves as it is
BUILT_ON = {"Anima": "CosmosT2IPredict2"}


def comfy_names(family: str) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """ComfyUI's own names for the parts of a model of this family at the tiny size, and their sizes."""
    import comfy.lora
    import comfy.supported_models

    trained = TRAINED[family]
    known = hasattr(comfy.supported_models, trained.model)
    model = trained.make(trained.model if known else BUILT_ON[trained.model])
    weights = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    return comfy.lora.model_lora_keys_unet(model), weights
