"""Tensors and weights as autograd needs them: on the device, and outside of inference mode."""

from __future__ import annotations

from typing import Any

import comfy.conds
import comfy.ldm.modules.attention
import comfy.lora
import comfy.lora_convert
import comfy.model_management
import comfy.model_sampling
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import comfy.weight_adapter
import torch
from torch import Tensor, nn


def usable(value: Any, device: torch.device) -> Any:
    """On the device, and free of inference mode."""
    if isinstance(value, Tensor):
        return value.clone().to(device) if value.is_inference() else value.to(device)
    if isinstance(value, list):
        return [usable(part, device) for part in value]
    return value


def leave_inference_mode(module: nn.Module) -> None:
    """Replace the tensors that autograd cannot keep for its backward pass by ordinary ones over the same memory."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and not _counts_versions(parameter):
                part._parameters[name] = nn.Parameter(_ordinary(parameter), requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None and not _counts_versions(buffer):
                part._buffers[name] = _ordinary(buffer)


def _counts_versions(tensor: Tensor) -> bool:
    """Whether autograd can keep it. `Tensor.is_inference` does not tell: moving a module assigns ``param.data``, after which
    a parameter made in inference mode no longer reports it."""
    try:
        _ = tensor._version
    except RuntimeError:
        return False
    return True


def _ordinary(tensor: Tensor) -> Tensor:
    """The tensor outside of inference mode. The memory is shared, so nothing is copied and pinned memory stays pinned."""
    if type(tensor) not in (Tensor, nn.Parameter):  # a quantised tensor, which wraps others
        return tensor.detach().clone()
    shared = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return shared.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def computes_bf16(device: torch.device) -> bool:
    """Whether bf16 is native there. Processors without it take several times as long as in float32."""
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return comfy.model_management.should_use_bf16(device)
