from __future__ import annotations

import pytest
import torch
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.training.in_host.adapters import (
    Adapters,
    Delta,
    LoraLayer,
    continued_adapters,
    linear_modules,
    new_adapters,
    target_modules,
)
from incontext_lora.training.in_host.choices import Targets
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn_qkv = nn.Linear(6, 18)
        self.mlp = nn.Sequential(nn.Linear(18, 12), nn.GELU(), nn.Linear(12, 6))
        self.norm1 = nn.LayerNorm(6)
        self.modulation = nn.Linear(6, 12)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.attn_qkv(self.norm1(x)))


class Toy(nn.Module):
    """As small as a transformer can be for the trainer."""

    def __init__(self) -> None:
        super().__init__()
        self.x_embedder = nn.Linear(6, 6)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.final_layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.x_embedder(x)
        for block in self.blocks:
            x = block(x)
        return self.final_layer(x)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def toy() -> Toy:
    torch.manual_seed(0)
    return Toy().requires_grad_(False)


X = torch.randn(3, 6, generator=seeded(9))


def trained(toy: Toy, targets: Targets = Targets.ATTENTION_MLP, rank: int = 2, seed: int = 0) -> Adapters:
    """Adapters that change something."""
    adapters = new_adapters(target_modules(toy, targets), rank, 1.0, seeded(seed))
    for layer in adapters.layers.values():
        nn.init.normal_(layer.lora_up, generator=seeded(seed + 1))
    return adapters


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (Targets.ATTENTION, ["attn_qkv"]),
        (Targets.MLP, ["mlp.0", "mlp.2"]),
        (Targets.ATTENTION_MLP, ["attn_qkv", "mlp.0", "mlp.2"]),
    ],
)
def test_targets_are_attention_and_mlp_of_the_blocks(toy: Toy, targets: Targets, names: list[str]) -> None:
    found = target_modules(toy, targets)
    assert list(found) == [f"blocks.{block}.{name}" for block in range(2) for name in names]
    assert all(tuple(toy.get_submodule(name).weight.shape) == (o, i) for name, (i, o) in found.items())


def test_a_model_without_targets_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"Sequential has no attention layers.*FLUX"):
        target_modules(nn.Sequential(nn.Linear(2, 2)), Targets.ATTENTION)


def test_new_adapters_change_nothing(toy: Toy) -> None:
    adapters = new_adapters(target_modules(toy, Targets.ATTENTION_MLP), 4, 8.0, seeded())
    before = toy(X)
    with adapters.attached(toy):
        assert torch.equal(toy(X), before)


def test_rank_is_no_more_than_the_layer_has(toy: Toy) -> None:
    adapters = new_adapters({"blocks.0.attn_qkv": (6, 18)}, 64, 8.0, seeded())
    assert adapters.layers["blocks.0.attn_qkv"].rank == 6


def test_a_layer_adds_up_of_down_times_alpha_by_rank() -> None:
    layer = LoraLayer(6, 18, 2, 3.0, seeded())
    nn.init.normal_(layer.lora_up, generator=seeded(1))
    torch.testing.assert_close(layer(X), X @ (layer.lora_up @ layer.lora_down).T * 1.5)


def test_attached_and_taken_off_without_a_trace(toy: Toy) -> None:
    adapters, before = trained(toy), toy(X)
    weights = {name: value.clone() for name, value in toy.state_dict().items()}
    with adapters.attached(toy):
        assert not torch.allclose(toy(X), before)
    with pytest.raises(KeyError, match="cancelled"), adapters.attached(toy):
        raise KeyError("cancelled")
    assert torch.equal(toy(X), before)
    assert not any(module._forward_hooks for module in toy.modules())
    assert toy.state_dict().keys() == weights.keys()
    assert all(torch.equal(toy.state_dict()[name], value) for name, value in weights.items())


def test_attached_is_the_same_as_merged(toy: Toy) -> None:
    adapters = trained(toy)
    with adapters.attached(toy):
        attached = toy(X)
    for name, layer in adapters.layers.items():
        merged = layer.lora_up @ layer.lora_down * layer.alpha / layer.rank
        toy.get_submodule(name).weight.data += merged.detach()
    torch.testing.assert_close(toy(X), attached)


def test_only_the_adapters_learn(toy: Toy) -> None:
    adapters = trained(toy)
    with adapters.attached(toy):
        toy(X).sum().backward()
    assert all(parameter.grad is not None for parameter in adapters.parameters())
    assert all(parameter.grad is None for parameter in toy.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_of_any_precision_keeps_it(toy: Toy, dtype: torch.dtype) -> None:
    toy = toy.to(dtype)
    with trained(toy).attached(toy):
        assert toy(X.to(dtype)).dtype == dtype


def test_the_state_is_named_as_comfyui_names_it(toy: Toy) -> None:
    state = trained(toy, Targets.ATTENTION).state_dict()
    prefix = "diffusion_model.blocks.0.attn_qkv"
    assert [key for key in state if "blocks.0" in key] == [
        f"{prefix}.lora_up.weight",
        f"{prefix}.lora_down.weight",
        f"{prefix}.alpha",
    ]
    assert state[f"{prefix}.lora_up.weight"].shape == (18, 2)
    assert state[f"{prefix}.lora_down.weight"].shape == (2, 6)
    assert state[f"{prefix}.alpha"].item() == 1


def test_same_seed_same_start(toy: Toy) -> None:
    modules = target_modules(toy, Targets.ATTENTION)
    first, again, other = (new_adapters(modules, 2, 1.0, seeded(seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


# --- continuing -----------------------------------------------------------------------------------------------------


def delta(outputs: int, rank: int, scale: float, start: int, seed: int) -> Delta:
    generator = seeded(seed)
    return Delta(
        torch.randn(outputs, rank, generator=generator), torch.randn(rank, 6, generator=generator), scale, start
    )


def test_query_key_and_value_become_one_pair_exactly(toy: Toy) -> None:
    name = "blocks.0.attn_qkv"
    parts = [delta(6, 2, 0.5, 0, 1), delta(6, 3, 2.0, 6, 2), delta(6, 1, 1.0, 12, 3)]
    adapters = continued_adapters(linear_modules(toy), {name: parts}, seeded())
    layer = adapters.layers[name]
    assert layer.rank == 6
    dense = torch.cat([part.up @ part.down * part.scale for part in parts])
    torch.testing.assert_close(layer(X), X @ dense.T)


def test_overlapping_changes_of_one_weight_add_up(toy: Toy) -> None:
    name = "blocks.0.modulation"  # layers that a new LoRA would leave alone are continued too
    parts = [delta(12, 2, 0.5, 0, 1), delta(6, 2, 1.0, 6, 2)]
    layer = continued_adapters(linear_modules(toy), {name: parts}, seeded()).layers[name]
    dense = parts[0].up @ parts[0].down * 0.5
    dense[6:] += parts[1].up @ parts[1].down
    torch.testing.assert_close(layer(X), X @ dense.T)


def test_a_continued_lora_starts_as_the_one_before(toy: Toy) -> None:
    before = trained(toy)
    deltas = {
        name: [Delta(layer.lora_up, layer.lora_down, layer.alpha / layer.rank)] for name, layer in before.layers.items()
    }
    after = continued_adapters(linear_modules(toy), deltas, seeded(5))
    with before.attached(toy):
        expected = toy(X)
    with after.attached(toy):
        torch.testing.assert_close(toy(X), expected)


@pytest.mark.parametrize(
    ("deltas", "says"),
    [
        ({}, "changes none"),
        ({"blocks.7.attn_qkv": [delta(18, 2, 1, 0, 1)]}, r"blocks\.7\.attn_qkv, which is not a linear layer"),
        ({"blocks.0.attn_qkv": [delta(12, 2, 1, 12, 1)]}, r"\(12, 2\).*18×6.*another model"),
        ({"blocks.0.mlp.0": [delta(12, 2, 1, 0, 1)]}, r"\(2, 6\).*12×18"),
    ],
)
def test_a_lora_of_another_model_is_refused(toy: Toy, deltas: dict[str, list[Delta]], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        continued_adapters(linear_modules(toy), deltas, seeded())
