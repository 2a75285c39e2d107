"""Pictures for panels."""

from __future__ import annotations

import torch
from incontext_lora.incontext.panels import arrange
from incontext_lora.incontext.panels.choices import Fit
from incontext_lora.incontext.panels.fit import PanelSettings
from torch import Tensor

TWO = arrange.columns(128, 64, 2)
EXACT = PanelSettings(fit=Fit.EXACT)


def picture(width: int, height: int, *, batch: int = 1, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))


def flat(width: int, height: int, *values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).expand(1, height, width, len(values)).clone()
