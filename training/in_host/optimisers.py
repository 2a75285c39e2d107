"""Optimisers by name. Optimisers from other packages need these packages to be installed; nothing is installed here."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ...incontext.errors import TrainingError
from .choices import Optimiser
from .settings import TrainSettings

PACKAGES = {Optimiser.ADAMW_8BIT: "bitsandbytes", Optimiser.PRODIGY: "prodigyopt"}


def choose_optimiser(wanted: Optimiser) -> tuple[Optimiser, str]:
    """The optimiser to train with, and a sentence if it is not the wanted one.

    AdamW learns the same as its 8-bit form and only needs more memory, so it replaces it if bitsandbytes is missing.

    Raises:
        TrainingError: if Prodigy is not installed. Its learning rate of 1 would be far too high for AdamW.
    """
    package = PACKAGES.get(wanted)
    if package is None or importlib.util.find_spec(package):
        return wanted, ""
    if wanted is Optimiser.ADAMW_8BIT:
        return Optimiser.ADAMW, f"{package} is not installed; AdamW is used instead of {wanted.value}."
    raise TrainingError(
        f"The optimiser is {wanted.value}, but its package is not installed. Install {package} in ComfyUI's Python "
        "environment, or choose AdamW and a learning rate such as 1e-4."
    )


def make_optimiser(settings: TrainSettings, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of the settings, for these parameters. Its package must be installed, see `choose_optimiser`."""
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimiser is Optimiser.ADAMW_8BIT:
        return importlib.import_module("bitsandbytes.optim").AdamW8bit(parameters, **options)
    if settings.optimiser is Optimiser.PRODIGY:
        # its authors recommend bias correction and the safeguard for diffusion models
        return importlib.import_module("prodigyopt").Prodigy(
            parameters, **options, use_bias_correction=True, safeguard_warmup=True
        )
    return torch.optim.AdamW(parameters, **options)
