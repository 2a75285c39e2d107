"""LoRA training as one would write it by hand for this model alone: no checks, no hooks, nothing to watch or to resume."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss


class LoraLinear(nn.Module):
    """A linear layer with a low-rank pair beside it, at a scale of 1."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def with_lora(transformer: nn.Module, names: Sequence[str], rank: int) -> nn.Module:
    """A frozen copy of the transformer, with a trainable pair beside each of the named layers."""
    net = copy.deepcopy(transformer).requires_grad_(False)
    for name in names:
        parent, _, child = name.rpartition(".")
        linear = net.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        setattr(net.get_submodule(parent), child, LoraLinear(linear, rank))
    return net


def seconds_per_step(
    net: nn.Module, latents: Tensor, context: Tensor, pooled: Tensor, *, steps: int, learning_rate: float
) -> float:
    """Train on one batch [batch, channels, height, width], SD3's way: noise levels logit-normal, the loss on the velocity."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate)
    began = time.monotonic()
    for _ in range(steps):
        sigmas = torch.sigmoid(torch.randn(len(latents)))
        noise = torch.randn_like(latents)
        noisy = torch.lerp(latents, noise, sigmas[:, None, None, None])
        loss = mse_loss(net(noisy, sigmas * 1000, context=context, y=pooled), noise - latents)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        loss.item()
    return (time.monotonic() - began) / steps
