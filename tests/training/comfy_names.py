"""What ComfyUI itself calls the parts of a model: its own classes at the sizes of `tiny`."""

from __future__ import annotations

from typing import Any

from incontext_lora.tests.comfy_versions import chroma_sizes, flux_sizes, hunyuan_sizes


def comfy_names(family: str) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """ComfyUI's own names for the parts of a model of this family at the tiny size, and their sizes."""
    import comfy.lora
    import comfy.model_base
    import comfy.supported_models
    import torch

    flux = {
        "in_channels": 16, "out_channels": 16, "vec_in_dim": 64, "context_in_dim": 64, "hidden_size": 64, "mlp_ratio": 4.0,
        "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "axes_dim": [8, 12, 12], "theta": 10000, "patch_size": 2,
        "qkv_bias": True, "guidance_embed": True,
    }  # fmt: skip
    chroma = {
        **{name: value for name, value in flux.items() if name not in ("vec_in_dim", "guidance_embed")},
        "in_dim": 64, "out_dim": 64, "hidden_dim": 32, "n_layers": 5,
    }  # fmt: skip
    sd3 = {
        "in_channels": 16, "patch_size": 2, "depth": 2, "input_size": None, "adm_in_channels": 2048, "num_patches": 4096,
        "pos_embed_max_size": 64, "pos_embed_scaling_factor": None, "qk_norm": "rms", "x_block_self_attn_layers": [0],
        "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 128}},
    }  # fmt: skip
    lumina = {
        "patch_size": 2, "in_channels": 16, "dim": 96, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "axes_dims": [8, 8, 8],
        "axes_lens": [300, 512, 512], "qk_norm": True, "cap_feat_dim": 64,
    }  # fmt: skip
    hunyuan_image = {
        "in_channels": 64, "out_channels": 64, "patch_size": [1, 1], "vec_in_dim": None, "context_in_dim": 64,
        "hidden_size": 64, "mlp_ratio": 4.0, "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "axes_dim": [16, 16],
        "theta": 256, "qkv_bias": True, "guidance_embed": False, "byt5": True, "meanflow": False,
        "use_cond_type_embedding": False, "vision_in_dim": None,
    }  # fmt: skip
    # ComfyUI's Anima is this model of NVIDIA's and an adapter behind its text encoder, which the LoRA leaves as it is
    anima = {
        "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16, "patch_spatial": 2,
        "patch_temporal": 1, "model_channels": 64, "concat_padding_mask": True, "crossattn_emb_channels": 64,
        "pos_emb_cls": "rope3d", "use_adaln_lora": True, "adaln_lora_dim": 8, "num_blocks": 2, "num_heads": 2,
    }  # fmt: skip
    kinds = {
        "flux": (comfy.supported_models.Flux, flux_sizes({"image_model": "flux", **flux})),
        "chroma": (comfy.supported_models.Chroma, chroma_sizes({"image_model": "chroma", **chroma})),
        "sd3": (comfy.supported_models.SD3, sd3),
        "lumina2": (comfy.supported_models.Lumina2, {"image_model": "lumina2", **lumina}),
        "hunyuan-image": (
            comfy.supported_models.HunyuanImage21,
            hunyuan_sizes({"image_model": "hunyuan_video", **hunyuan_image}),
        ),
        "anima": (
            getattr(comfy.supported_models, "Anima", comfy.supported_models.CosmosT2IPredict2),
            {"image_model": "anima", **anima},
        ),
    }
    kind, config = kinds[family]
    made = kind(config)
    made.set_inference_dtype(torch.float32, None)
    model = made.get_model({}, device=torch.device("cpu"))
    weights = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    return comfy.lora.model_lora_keys_unet(model), weights
