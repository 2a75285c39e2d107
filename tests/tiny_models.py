"""Small random models of true architectures, loaded as ComfyUI loads them; and captions without a text encoder."""

from __future__ import annotations

from typing import Any

import torch
from incontext_lora.tests.comfy_versions import flux_sizes
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


def flux(seed: int = 0) -> Any:
    """A FLUX-class MODEL of width 64, with a double and a single block and embedded guidance."""
    import comfy.model_patcher
    import comfy.supported_models

    config = comfy.supported_models.Flux(flux_sizes({"image_model": "flux", **FLUX}))
    config.set_inference_dtype(torch.float32, None)
    with torch.inference_mode():
        model = config.get_model({})
        model.diffusion_model.load_state_dict(random_weights(model.diffusion_model, seed))
        return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def vae(seed: int = 0) -> Any:
    """A VAE with 16 latent channels and 8 pixels a latent pixel."""
    import comfy.sd
    from comfy.taesd.taesd import TAESD

    with torch.inference_mode():
        return comfy.sd.VAE(sd=random_weights(TAESD(latent_channels=16), seed))


class Words:
    """Stands for a CLIP: every word is a random vector, so captions differ in length and content."""

    def __init__(self, context: int, pooled: int) -> None:
        self._context, self._pooled = context, pooled

    @classmethod
    def of(cls, kind: str) -> Words:
        return {"sd3": cls(4096, 2048), "flux": cls(48, 24)}[kind]

    def tokenize(self, text: str) -> list[str]:
        return text.split() or [""]

    def encode_from_tokens_scheduled(self, tokens: list[str], add_dict: dict[str, Any]) -> list:
        with torch.inference_mode():
            vectors = torch.cat([self._vector(word, self._context) for word in tokens], dim=1)
            pooled = self._vector(" ".join(tokens), self._pooled)[:, 0]
            return [[vectors, {"pooled_output": pooled, **add_dict}]]

    @staticmethod
    def _vector(word: str, size: int) -> Tensor:
        seed = int.from_bytes(word.encode()[-6:], "big") + len(word)
        return torch.randn(1, 1, size, generator=torch.Generator().manual_seed(seed))


def _random(value: Tensor, generator: torch.Generator) -> Tensor:
    if value.ndim < 2:
        return 1 + 0.1 * torch.randn(value.shape, generator=generator)
    inputs = value[0].numel()
    return torch.randn(value.shape, generator=generator) / inputs**0.5
