"""Models of ComfyUI's own classes with random weights, small where the class allows it, and what reaches them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from incontext_lora.incontext.panels import arrange
from incontext_lora.incontext.panels.layout import PanelLayout
from incontext_lora.incontext.panels.stitch import stitch
from incontext_lora.tests.comfy_versions import chroma_sizes, flux_sizes
from safetensors.torch import load_file
from torch import Tensor

if TYPE_CHECKING:
    from conftest import HostPack

LAYOUT = arrange.columns(192, 64, 3)  # 8 × 24 latent pixels
TEXT = 5  # tokens
WEIGHTS = Path(__file__).resolve().parent.parent / "demo" / "weights"

TINY = {
    "image_model": "flux",
    "patch_size": 2,
    "out_channels": 16,
    "vec_in_dim": 8,
    "context_in_dim": 12,
    "hidden_size": 32,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [4, 6, 6],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
}
TRUE_WIDTH = {
    **TINY,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "axes_dim": [16, 56, 56],
}


@dataclass
class Seen:
    """One call of the transformer."""

    x: Tensor
    arguments: dict[str, Any]


def patcher(model: Any) -> Any:
    import comfy.model_patcher

    cpu = torch.device("cpu")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            numbers = 0.05 * torch.randn(min(parameter.numel(), 99_991), generator=generator)  # enough, and fast
            repeats = -(-parameter.numel() // len(numbers))
            parameter.copy_(numbers.repeat(repeats)[: parameter.numel()].reshape(parameter.shape))
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def flux(in_channels: int = 16, *, size: dict[str, Any] = TINY, dtype: torch.dtype = torch.float32) -> Any:
    import comfy.supported_models

    config = comfy.supported_models.Flux(flux_sizes({**size, "in_channels": in_channels}))
    config.set_inference_dtype(dtype, None)
    return patcher(config.get_model({}))


def chroma() -> Any:
    import comfy.supported_models

    flux_only = ("out_channels", "vec_in_dim", "guidance_embed")
    config = comfy.supported_models.Chroma(
        chroma_sizes(
            {
                **{name: value for name, value in TINY.items() if name not in flux_only},
                "image_model": "chroma",
                "in_channels": 64,
                "out_channels": 64,
                "in_dim": 64,
                "out_dim": 32,
                "hidden_dim": 48,
                "n_layers": 2,
            }
        )
    )
    config.set_inference_dtype(torch.float32, None)
    return patcher(config.get_model({}))


def sd3() -> Any:
    import comfy.supported_models

    config = comfy.supported_models.SD3(
        {
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "depth": 2,
            "adm_in_channels": 8,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 12, "out_features": 128},
            },
            "num_patches": 32 * 32,
            "pos_embed_max_size": 32,
            "x_block_self_attn_layers": [0],
        }
    )
    config.set_inference_dtype(torch.float32, None)
    model = patcher(config.get_model({}))
    model.model.diffusion_model.pos_embed.normal_(std=0.05, generator=torch.Generator().manual_seed(9))  # it is empty
    return model


def qwen() -> Any:
    import comfy.supported_models

    config = comfy.supported_models.QwenImage(
        {
            "image_model": "qwen_image",
            "num_layers": 1,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "axes_dims_rope": (4, 6, 6),
        }
    )
    config.set_inference_dtype(torch.float32, None)
    return patcher(config.get_model({}))


def wan_vae() -> Any:
    """The autoencoder of Qwen-Image, narrow."""
    import comfy.ldm.wan.vae
    import comfy.sd

    narrow = comfy.ldm.wan.vae.WanVAE(
        dim=8,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
    )
    generator = torch.Generator().manual_seed(3)
    state = {name: 0.1 * torch.randn(value.shape, generator=generator) for name, value in narrow.state_dict().items()}
    return comfy.sd.VAE(sd=state)


def demo_vae() -> Any:
    """The demo's autoencoder, of 16 channels."""
    import comfy.sd

    return comfy.sd.VAE(sd=load_file(WEIGHTS / "autoencoder.safetensors"))


def conditioning(width: int = 12, pooled: int = 8, seed: int = 1, **values: Any) -> list:
    generator = torch.Generator().manual_seed(seed)
    pooled_output = torch.randn(1, pooled, generator=generator)
    return [[torch.randn(1, TEXT, width, generator=generator), {"pooled_output": pooled_output, **values}]]


def stitched(*given: int, layout: PanelLayout = LAYOUT) -> dict[str, Any]:
    """Canvas, mask and layout with random pictures in those panels."""
    generator = torch.Generator().manual_seed(11)
    images: list[Tensor | None] = [
        torch.rand(1, box.height, box.width, 3, generator=generator) if place in given else None
        for place, box in enumerate(layout.boxes)
    ]
    result = stitch(layout, images)
    return {"canvas": result.canvas, "mask": result.mask, "layout": result.layout}


@contextmanager
def watched(model: Any) -> Iterator[list[Seen]]:
    seen: list[Seen] = []

    def look(_: Any, positional: tuple, named: dict[str, Any]) -> None:
        seen.append(Seen(positional[0].detach().clone(), named))

    handle = model.model.diffusion_model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def sample(
    host: HostPack, outputs: tuple[Any, ...], positive: list, negative: list | None = None
) -> tuple[Tensor, list[Seen]]:
    """Two steps of ComfyUI's KSampler; returns the latent and every call of the transformer."""
    model, latent = outputs[:2]
    with watched(model) as seen:
        (result,) = host.call(
            "KSampler",
            model=model,
            seed=5,
            steps=2,
            cfg=1.0 if negative is None else 3.0,
            sampler_name="euler",
            scheduler="simple",
            positive=positive,
            negative=positive if negative is None else negative,
            latent_image=latent,
            denoise=1.0,
        )
    return result["samples"], seen


def columns_of(place: int) -> slice:
    return slice(8 * place, 8 * place + 8)


def encoded(model: Any, vae: Any, picture: Tensor) -> Tensor:
    with torch.inference_mode():
        return model.model.process_latent_in(vae.encode(picture))
