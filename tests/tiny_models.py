"""Small random models of true architectures, loaded as ComfyUI loads them; and captions without a text encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from incontext_lora.tests.comfy_versions import chroma_sizes, flux_sizes, hunyuan_sizes
from torch import Tensor


def random_weights(module: torch.nn.Module, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(value, generator) for name, value in module.state_dict().items()}


def sd3(seed: int = 0) -> Any:
    """An SD3-class MODEL of depth 1 and width 64."""
    import comfy.ops
    import comfy.sd
    from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT

    context = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 64}}
    module = MMDiT(
        input_size=None,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        depth=1,
        adm_in_channels=2048,
        context_embedder_config=context,
        num_patches=256,
        pos_embed_max_size=16,
        qk_norm="rms",
        dtype=torch.float32,
        device="cpu",
        operations=comfy.ops.disable_weight_init,
    )
    with torch.inference_mode():  # as loaders run in ComfyUI's executor
        return comfy.sd.load_diffusion_model_state_dict(random_weights(module, seed))


FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 24,
    "context_in_dim": 48,
    "hidden_size": 64,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}


def flux(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """A FLUX-class MODEL of width 64, with a double and a single block and embedded guidance."""
    import comfy.model_patcher
    import comfy.supported_models

    config = comfy.supported_models.Flux(flux_sizes({"image_model": "flux", **FLUX}))
    config.set_inference_dtype(dtype, None)
    with torch.inference_mode():
        model = config.get_model({})
        model.diffusion_model.load_state_dict(random_weights(model.diffusion_model, seed))
        return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


_SMALL = {
    "hidden_size": 64, "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "axes_dim": [8, 12, 12], "context_in_dim": 64,
    "mlp_ratio": 4.0, "theta": 10000, "patch_size": 2, "qkv_bias": True,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A family of models at a small size.

    Attributes:
        model: of `comfy.supported_models`; versions of ComfyUI differ in which they have.
        config: as ComfyUI's detection would make it.
        latent: channels, and frames where it is a video model's.
        complete: adds what this ComfyUI asks for besides.
        unused: layers that the prediction does not depend on: of the last block, or of a part for reference latents.
    """

    model: str
    config: Mapping[str, Any]
    latent: tuple[int, ...] = (16,)
    complete: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    unused: frozenset[str] = frozenset()

    def make(self, model: str = "") -> Any:
        """ComfyUI's own model of these sizes; ``model`` is another of its classes that takes them.

        Raises:
            AttributeError: where this ComfyUI does not know it.
        """
        import comfy.supported_models

        config = getattr(comfy.supported_models, model or self.model)(self.complete(self.config))
        config.set_inference_dtype(torch.float32, None)
        return config.get_model({}, device=torch.device("cpu"))

    def load(self) -> Any:
        """A MODEL wire of it with random weights."""
        import comfy.model_patcher

        with torch.inference_mode():
            model = self.make()
            model.diffusion_model.load_state_dict(random_weights(model.diffusion_model))
            return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


FAMILIES = {
    "chroma": Family(
        "Chroma",
        {
            "image_model": "chroma", **_SMALL, "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 64,
            "hidden_dim": 32, "n_layers": 5,
        },
        complete=chroma_sizes,
    ),
    "flux2": Family(
        "Flux2",
        {
            "image_model": "flux2", **_SMALL, "in_channels": 128, "out_channels": 128, "patch_size": 1, "vec_in_dim": None,
            "axes_dim": [8, 8, 8, 8], "theta": 2000, "mlp_ratio": 3.0, "qkv_bias": False, "guidance_embed": True,
            "global_modulation": True, "mlp_silu_act": True, "ops_bias": False, "default_ref_method": "index",
            "ref_index_scale": 10.0,
        },
        latent=(128,),
        complete=flux_sizes,
    ),
    "longcat": Family(
        "LongCatImage",
        {
            "image_model": "flux", **FLUX, "vec_in_dim": None, "context_in_dim": 64, "guidance_embed": False,
            "txt_ids_dims": [1, 2],
        },
        complete=flux_sizes,
    ),
    "lumina2": Family(
        "Lumina2",
        {
            "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 96, "n_layers": 2, "n_heads": 4,
            "n_kv_heads": 2, "axes_dims": [8, 8, 8], "axes_lens": [300, 512, 512], "qk_norm": True, "cap_feat_dim": 64,
        },
    ),
    "z-image": Family(
        "ZImage",
        {
            "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 256, "n_layers": 2, "n_heads": 4,
            "n_kv_heads": 4, "axes_dims": [16, 24, 24], "axes_lens": [300, 512, 512], "qk_norm": True, "cap_feat_dim": 64,
            "z_image_modulation": True, "pad_tokens_multiple": 32, "ffn_dim_multiplier": 8 / 3, "rope_theta": 256.0,
            "time_scale": 1000.0,
        },
    ),
    "z-image-pixel": Family(
        "ZImagePixelSpace",
        {
            "image_model": "zimage_pixel", "patch_size": 4, "in_channels": 3, "dim": 256, "n_layers": 2, "n_heads": 4,
            "n_kv_heads": 4, "axes_dims": [16, 24, 24], "axes_lens": [300, 512, 512], "qk_norm": True, "cap_feat_dim": 64,
            "z_image_modulation": True, "pad_tokens_multiple": 32, "ffn_dim_multiplier": 8 / 3, "rope_theta": 256.0,
            "time_scale": 1000.0, "decoder_hidden_size": 64, "decoder_num_res_blocks": 1, "decoder_max_freqs": 4,
        },
        latent=(3,),
    ),
    "qwen-image": Family(
        "QwenImage",
        {
            "image_model": "qwen_image", "num_layers": 2, "attention_head_dim": 32, "num_attention_heads": 2,
            "joint_attention_dim": 64, "axes_dims_rope": (8, 12, 12),
        },
        latent=(16, 1),
        unused=frozenset(
            f"transformer_blocks.1.{part}"
            for part in ("txt_mlp.net.0.proj", "txt_mlp.net.2", "attn.add_q_proj", "attn.to_add_out")
        ),
    ),
    "mage-flow": Family(
        "MageFlow",
        {
            "image_model": "mage_flow", "in_channels": 128, "out_channels": 128, "num_layers": 2, "attention_head_dim": 32,
            "num_attention_heads": 2, "joint_attention_dim": 64, "axes_dims_rope": (8, 12, 12),
        },
        latent=(128,),
        unused=frozenset(
            f"transformer_blocks.1.{part}"
            for part in ("txt_mlp.net.0.proj", "txt_mlp.net.2", "attn.add_q_proj", "attn.to_add_out")
        ),
    ),
    "hunyuan-image": Family(
        "HunyuanImage21",
        {
            "image_model": "hunyuan_video", **_SMALL, "in_channels": 64, "out_channels": 64, "patch_size": [1, 1],
            "axes_dim": [16, 16], "theta": 256, "vec_in_dim": None, "guidance_embed": False, "byt5": True, "meanflow": False,
            "use_cond_type_embedding": False, "vision_in_dim": None,
        },
        latent=(64,),
        complete=hunyuan_sizes,
    ),
    "omnigen2": Family(
        "Omnigen2",
        {
            "image_model": "omnigen2", "hidden_size": 96, "num_layers": 2, "num_refiner_layers": 2, "num_attention_heads": 4,
            "num_kv_heads": 2, "multiple_of": 32, "axes_dim_rope": [8, 8, 8], "axes_lens": [300, 512, 512],
            "text_feat_dim": 64, "timestep_scale": 1000.0,
        },
        unused=frozenset(
            f"ref_image_refiner.{block}.{part}"
            for block in (0, 1)
            for part in (
                "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "feed_forward.linear_1", "feed_forward.linear_2",
                "feed_forward.linear_3",
            )
        ),
    ),
    "wan": Family(
        "WAN21_T2V",
        {
            "image_model": "wan2.1", "model_type": "t2v", "dim": 64, "ffn_dim": 128, "num_heads": 2, "num_layers": 2,
            "out_dim": 16, "patch_size": (1, 2, 2), "freq_dim": 256, "window_size": (-1, -1), "qk_norm": True,
            "cross_attn_norm": True, "eps": 1e-6, "in_dim": 16, "text_dim": 64,
        },
        latent=(16, 1),
    ),
    "anima": Family(
        "Anima",
        {
            "image_model": "anima", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16,
            "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "model_channels": 64, "concat_padding_mask": True,
            "crossattn_emb_channels": 64, "pos_emb_cls": "rope3d", "use_adaln_lora": True, "adaln_lora_dim": 8,
            "num_blocks": 2, "num_heads": 2,
        },
        latent=(16, 1),
    ),
}  # fmt: skip


def with_lora(model: Any, seed: int = 2) -> Any:
    """A MODEL whose blocks have other weights than were loaded, as with a LoRA."""
    patches = {
        key: ("diff", (0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)),))
        for key, weight in model.model.state_dict().items()
        if weight.ndim == 2 and key.endswith("weight") and ("blocks" in key or "layers" in key)
    }
    patched = model.clone()
    assert patched.add_patches(patches, 1.0)
    return patched


def skip_if_unknown(kind: str) -> None:
    """Skip a test about a family that this ComfyUI does not know."""
    import comfy.supported_models
    import pytest

    family = FAMILIES.get(kind)
    if family and not hasattr(comfy.supported_models, family.model):
        pytest.skip(f"This ComfyUI does not know {family.model}.")


def vae(seed: int = 0) -> Any:
    """A VAE with 16 latent channels and 8 pixels per latent pixel."""
    import comfy.sd
    from comfy.taesd.taesd import TAESD

    with torch.inference_mode():
        return comfy.sd.VAE(sd=random_weights(TAESD(latent_channels=16), seed))


class Words:
    """Stands for a CLIP: every word is a random vector, so captions differ in length and content.

    Args:
        context, pooled: sizes of the vectors of a word and of a caption.
        masked: also tell which tokens are words, as the text encoders of some families do.
    """

    def __init__(self, context: int, pooled: int, *, masked: bool = False) -> None:
        self._context, self._pooled, self._masked = context, pooled, masked

    @classmethod
    def of(cls, kind: str) -> Words:
        return {"sd3": cls(4096, 2048), "flux": cls(48, 24)}.get(kind) or cls(64, 64, masked=kind == "omnigen2")

    def tokenize(self, text: str) -> list[str]:
        return text.split() or [""]

    def encode_from_tokens_scheduled(self, tokens: list[str], add_dict: dict[str, Any]) -> list:
        with torch.inference_mode():
            vectors = torch.cat([self._vector(word, self._context) for word in tokens], dim=1)
            pooled = self._vector(" ".join(tokens), self._pooled)[:, 0]
            masks = {"attention_mask": torch.ones(1, len(tokens), dtype=torch.long)} if self._masked else {}
            return [[vectors, {"pooled_output": pooled, **masks, **add_dict}]]

    @staticmethod
    def _vector(word: str, size: int) -> Tensor:
        seed = int.from_bytes(word.encode()[-6:], "big") + len(word)
        return torch.randn(1, 1, size, generator=torch.Generator().manual_seed(seed))


def _random(value: Tensor, generator: torch.Generator) -> Tensor:
    if value.ndim < 2:
        return 1 + 0.1 * torch.randn(value.shape, generator=generator)
    inputs = value[0].numel()
    return torch.randn(value.shape, generator=generator) / inputs**0.5
