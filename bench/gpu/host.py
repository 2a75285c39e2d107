"""ComfyUI in this process, and FLUX.1 with random weights loaded by it."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from . import card, weights
from .context import Context


def start(context: Context) -> None:
    """Make ComfyUI importable, with its folders in the work folder, and let it see a card of that size."""
    import torch

    card.emulate(context.card)
    base = context.work / "comfyui"
    for name in ("input", "output/loras", "custom_nodes", "models", "user", "temp"):
        (base / name).mkdir(parents=True, exist_ok=True)
    sys.argv = sys.argv[:1]
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    args = importlib.import_module("comfy.cli_args").args
    args.cpu = not torch.cuda.is_available()
    args.base_directory = str(base)
    args.use_pytorch_cross_attention = True
    # in ComfyUI's own order: its "utils" first, since "nodes" puts a folder with another one on the path
    importlib.import_module("utils.extra_config")
    importlib.import_module("nodes")
    if context.tiny:
        _accept_tiny_sizes(context)


def _accept_tiny_sizes(context: Context) -> None:
    """ComfyUI reads some sizes from a file's shapes and has the others in its code."""
    detection = importlib.import_module("comfy.model_detection")
    detect = detection.detect_unet_config

    def detect_tiny(*args: Any, **kwargs: Any) -> Any:
        found = detect(*args, **kwargs)
        if found and found.get("image_model") == "flux":
            found |= {"num_heads": weights.TINY.heads, "axes_dim": list(weights.TINY.axes)}
        return found

    setattr(detection, "detect_unet_config", detect_tiny)  # noqa: B010 - a module of ComfyUI
    parts = importlib.import_module("comfy.ldm.modules.diffusionmodules.model")
    for kind in (parts.Encoder, parts.Decoder):
        kind.__init__ = _narrow(kind.__init__)
    sd3_clip = importlib.import_module("comfy.text_encoders.sd3_clip")
    source = os.path.join(os.path.dirname(str(sd3_clip.__file__)), "t5_config_xxl.json")
    with open(source, encoding="utf-8") as file:
        config = json.load(file) | {"num_heads": weights.TINY.t5_heads, "d_ff": weights.TINY.t5_inner}
    changed = context.work / "t5_config_tiny.json"
    changed.write_text(json.dumps(config), encoding="utf-8")
    make = sd3_clip.T5XXLModel.__init__

    def make_tiny(self: Any, *args: Any, **kwargs: Any) -> None:
        join = os.path.join
        os.path.join = lambda *parts: str(changed) if parts[-1] == "t5_config_xxl.json" else join(*parts)
        try:
            make(self, *args, **kwargs)
        finally:
            os.path.join = join

    sd3_clip.T5XXLModel.__init__ = make_tiny


def _narrow(make: Callable[..., None]) -> Callable[..., None]:
    def make_narrow(self: Any, *, ch: int, **rest: Any) -> None:
        make(self, ch=weights.TINY.ae_width, **rest)

    return make_narrow


def model(context: Context, name: str = "flux") -> Any:
    """The MODEL of a file, as Load Diffusion Model gives it."""
    import torch

    with torch.inference_mode():
        return importlib.import_module("comfy.sd").load_diffusion_model(str(context.models / weights.FILES[name]))


def clip(context: Context, t5: str = "t5xxl") -> Any:
    import torch

    sd = importlib.import_module("comfy.sd")
    paths = [str(context.models / weights.FILES[name]) for name in ("clip_l", t5)]
    with torch.inference_mode():
        return sd.load_clip(ckpt_paths=paths, clip_type=sd.CLIPType.FLUX)


def vae(context: Context) -> Any:
    import torch

    sd, utils = (importlib.import_module(f"comfy.{name}") for name in ("sd", "utils"))
    with torch.inference_mode():
        return sd.VAE(sd=utils.load_torch_file(str(context.models / weights.FILES["ae"])))


def call(node: Any, /, **inputs: Any) -> tuple[Any, ...]:
    """A node of the pack, executed as ComfyUI does it."""
    import torch

    with torch.inference_mode():
        return node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**inputs).result


def free() -> float:
    """Unload everything; returns the seconds it took."""
    began = time.monotonic()
    management = importlib.import_module("comfy.model_management")
    management.unload_all_models()
    gc.collect()
    management.soft_empty_cache()
    return time.monotonic() - began


def allocated() -> float:
    """GB of the card that tensors of this process have."""
    import torch

    return round(torch.cuda.memory_allocated() / 1e9, 3) if torch.cuda.is_available() else 0.0
