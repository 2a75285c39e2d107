from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.training.in_host.choices import Optimiser
from incontext_lora.training.in_host.optimisers import PACKAGES, choose_optimiser, make_optimiser
from incontext_lora.training.in_host.settings import TrainSettings
from torch import nn


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in PACKAGES.values() else find(name))


@pytest.mark.usefixtures("nothing_installed")
def test_adamw_stands_in_for_its_8_bit_form() -> None:
    chosen, note = choose_optimiser(Optimiser.ADAMW_8BIT)
    assert chosen is Optimiser.ADAMW
    assert note == "bitsandbytes is not installed; AdamW is used instead of AdamW 8-bit."


@pytest.mark.usefixtures("nothing_installed")
def test_a_missing_prodigy_is_refused_since_its_learning_rate_would_ruin_adamw() -> None:
    with pytest.raises(TrainingError, match=r"Prodigy, but its package is not installed.*prodigyopt.*1e-4"):
        choose_optimiser(Optimiser.PRODIGY)


@pytest.mark.parametrize(
    ("kind", "module", "name"),
    [(Optimiser.ADAMW_8BIT, "bitsandbytes.optim", "AdamW8bit"), (Optimiser.PRODIGY, "prodigyopt", "Prodigy")],
)
def test_an_installed_package_is_used(kind: Optimiser, module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed(torch.optim.AdamW):
        def __init__(
            self, parameters: Any, use_bias_correction: bool = False, safeguard_warmup: bool = False, **options: Any
        ):
            super().__init__(parameters, **options)

    for part in (module.partition(".")[0], module):
        package = ModuleType(part)
        package.__spec__ = ModuleSpec(part, None)
        setattr(package, name, Installed)
        monkeypatch.setitem(sys.modules, part, package)
    assert choose_optimiser(kind) == (kind, "")
    made = make_optimiser(TrainSettings(optimiser=kind, learning_rate=0.5), [nn.Parameter(torch.zeros(2))])
    assert type(made) is Installed
    assert made.param_groups[0]["lr"] == 0.5


def test_plain_adamw_needs_nothing() -> None:
    assert choose_optimiser(Optimiser.ADAMW) == (Optimiser.ADAMW, "")
    assert type(make_optimiser(TrainSettings(), [nn.Parameter(torch.zeros(2))])) is torch.optim.AdamW
