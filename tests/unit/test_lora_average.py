"""Averages of LoRAs: of the changes that they make, not of their halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from incontext_lora.incontext.errors import LoraError
from incontext_lora.incontext.lora.average import average, recent_weights
from torch import Tensor

NAMES = ("diffusion_model.blocks.0.attn.qkv", "diffusion_model.blocks.1.mlp.fc1")
OUT, IN = 12, 10


def lora(seed: int, rank: int = 3, alpha: float | None = 6.0, names: Sequence[str] = NAMES) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors[f"{name}.lora_up.weight"] = torch.randn(OUT, rank, generator=generator)
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, IN, generator=generator)
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors


def change(lora: Mapping[str, Tensor], name: str = NAMES[0]) -> Tensor:
    """What a LoRA adds to a weight."""
    up, down = lora[f"{name}.lora_up.weight"], lora[f"{name}.lora_down.weight"]
    alpha = lora.get(f"{name}.alpha")
    return up.flatten(1) @ down.flatten(1) * (1.0 if alpha is None else float(alpha) / down.shape[0])


def test_with_enough_rank_the_change_is_exactly_the_average() -> None:
    loras = [lora(1), lora(2, rank=2, alpha=1.0), lora(3, alpha=None)]
    made = average(loras, [1.0, 2.0, 1.0], rank=8)
    for name in NAMES:
        expected = 0.25 * change(loras[0], name) + 0.5 * change(loras[1], name) + 0.25 * change(loras[2], name)
        torch.testing.assert_close(change(made.lora, name), expected, rtol=1e-4, atol=1e-5)
    assert made.kept == pytest.approx(1.0, abs=1e-6)


def test_the_mean_of_the_halves_would_be_another_lora() -> None:
    """Two LoRAs that differ by the sign of both halves make the same change; the mean of their halves makes none."""
    one = lora(1)
    other = {key: -value if key.endswith(".weight") else value for key, value in one.items()}
    torch.testing.assert_close(change(average([one, other]).lora), change(one), rtol=1e-4, atol=1e-5)


def test_of_its_rank_it_is_the_closest_to_the_average() -> None:
    loras = [lora(1), lora(2)]
    made = average(loras)
    assert made.lora[f"{NAMES[0]}.lora_down.weight"].shape == (3, IN)
    expected = (change(loras[0]) + change(loras[1])) / 2
    values = torch.linalg.svdvals(expected)
    gap = (change(made.lora) - expected).square().sum()
    torch.testing.assert_close(gap, values[3:].square().sum(), rtol=1e-3, atol=1e-4)
    squares = [torch.linalg.svdvals((change(loras[0], n) + change(loras[1], n)) / 2).square() for n in NAMES]
    whole, lost = sum(float(s.sum()) for s in squares), sum(float(s[3:].sum()) for s in squares)
    assert made.kept == pytest.approx(1 - lost / whole, rel=1e-4)


def test_of_one_lora_it_is_that_lora() -> None:
    torch.testing.assert_close(change(average([lora(1)]).lora), change(lora(1)), rtol=1e-4, atol=1e-5)


def test_names_shapes_and_precision_are_kept() -> None:
    one = {
        "lora_unet_conv.lora_up.weight": torch.ones(4, 2, 1, 1, dtype=torch.bfloat16),
        "lora_unet_conv.lora_down.weight": torch.ones(2, 3, 3, 3, dtype=torch.bfloat16),
        "lora_unet_conv.alpha": torch.tensor(2.0),
    }
    made = average([one, one]).lora
    assert {key: (tuple(value.shape), value.dtype) for key, value in made.items()} == {
        key: (tuple(value.shape), value.dtype) for key, value in one.items()
    }
    torch.testing.assert_close(
        made["lora_unet_conv.lora_up.weight"].float().flatten(1)
        @ made["lora_unet_conv.lora_down.weight"].float().flatten(1),
        torch.full((4, 27), 2.0),
        rtol=2e-2,
        atol=2e-2,
    )


def test_a_layer_that_one_lora_lacks_counts_as_unchanged() -> None:
    made = average([lora(1), lora(2, names=NAMES[:1])], rank=6).lora
    torch.testing.assert_close(change(made, NAMES[1]), change(lora(1), NAMES[1]) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("loras", "weights", "said"),
    [
        ([], None, "no LoRAs to average"),
        ([lora(1)], [0.0], r"weights are \[0\.0\] for 1 LoRAs"),
        ([lora(1), lora(2)], [1.0], "for 2 LoRAs"),
        ([lora(1), lora(2)], [1.0, -1.0], "0 or more"),
        ([lora(1), lora(2, names=["transformer.blocks.0.attn"])], None, "no layer in common"),
        ([{"a.hada_w1_a": torch.ones(2, 2)}], None, "a holds .hada_w1_a; only plain LoRA"),
        ([{**lora(1), f"{NAMES[0]}.dora_scale": torch.ones(12)}], None, "holds .dora_scale"),
        ([{}], None, "holds no tensors"),
        (
            [lora(1), {**lora(2), f"{NAMES[0]}.lora_down.weight": torch.ones(3, 7)}],
            None,
            "is 12×7 in one LoRA and 12×10",
        ),
        ([{**lora(1), f"{NAMES[0]}.lora_down.weight": torch.ones(4, 10)}], None, "do not belong together"),
    ],
)
def test_what_cannot_be_averaged_is_named(
    loras: list[dict[str, Tensor]], weights: list[float] | None, said: str
) -> None:
    with pytest.raises(LoraError, match=said):
        average(loras, weights)


def test_recent_weights_are_those_of_a_moving_average_over_the_steps() -> None:
    weights = recent_weights([100, 200, 300], 0.99)
    assert sum(weights) == pytest.approx(1.0)
    assert weights[2] / weights[1] == pytest.approx(0.99**-100)
    uneven = recent_weights([100, 200, 201], 0.99)
    assert uneven[2] < uneven[1]  # it stands for one step only
    assert recent_weights([100, 200], 0.0) == [0.0, 1.0]
    assert recent_weights([7], 0.99) == [1.0]


def test_a_lora_with_values_that_are_not_finite_is_refused() -> None:
    sound, broken = lora(seed=1), lora(seed=2)
    name = next(name for name in broken if name.endswith("lora_up.weight"))
    broken[name] = torch.full_like(broken[name], torch.nan)
    with pytest.raises(LoraError, match="not finite"):
        average([sound, broken])
