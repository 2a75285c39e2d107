"""The moving average that both trainers save in place of the raw weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from incontext_lora.training.average import MovingAverage
from torch import nn


def test_it_follows_and_the_weights_come_back() -> None:
    weight = nn.Parameter(torch.zeros(1))
    average = MovingAverage({"weight": weight}, 0.9)
    expected = 0.0
    for step in range(1, 200):
        weight.data.fill_(step)
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.applied():
        assert weight.item() == pytest.approx(expected, rel=1e-4)
    assert weight.item() == 199


def test_the_weights_come_back_after_an_error() -> None:
    weight = nn.Parameter(torch.zeros(1))
    average = MovingAverage({"weight": weight}, 0.9)
    weight.data.fill_(1)
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert weight.item() == 1


def test_it_survives_a_restart(tmp_path: Path) -> None:
    network = nn.Linear(2, 2, bias=False)
    average = MovingAverage(dict(network.named_parameters()), 0.99)
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1
    average.update()
    with average.applied():
        assert torch.allclose(network.weight, start + 1 - 2 / 11)
    assert torch.allclose(network.weight, start + 1)
    average.save(tmp_path / "average.safetensors")
    restored = MovingAverage(dict(network.named_parameters()), 0.99)
    restored.load(tmp_path / "average.safetensors")
    for each in (average, restored):
        each.update()
    with restored.applied():
        resumed = network.weight.detach().clone()
    with average.applied():
        assert torch.equal(network.weight, resumed)


def test_it_can_be_kept_apart_from_the_weights(tmp_path: Path) -> None:
    """On a small card the average is in main memory, in 32 bits whatever the weights have."""
    network = nn.Linear(2, 2, bias=False).half()
    average = MovingAverage(dict(network.named_parameters()), 0.99, "cpu")
    before = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1
    average.update()
    average.save(tmp_path / "average.safetensors")
    restored = MovingAverage(dict(network.float().named_parameters()), 0.99, "cpu")
    restored.load(tmp_path / "average.safetensors")
    with restored.applied():
        assert torch.allclose(network.weight, before.float() + 1 - 2 / 11, atol=1e-3)
