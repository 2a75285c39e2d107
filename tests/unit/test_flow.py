from __future__ import annotations

import pytest
import torch
from incontext_lora.training.in_host.choices import Timesteps
from incontext_lora.training.in_host.flow import draw_sigmas, mix, per_sample, velocity, velocity_loss
from incontext_lora.training.references import draw_references


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shift3(position: float) -> float:
    return 3 * position / (1 + 2 * position)


@pytest.mark.parametrize(
    ("kind", "quartiles"),
    [
        (Timesteps.UNIFORM, [shift3(0.25), shift3(0.5), shift3(0.75)]),
        (Timesteps.SIGMOID, [0.3375, 0.5, 0.6625]),  # 1 / (1 + exp(±0.6745))
        (Timesteps.SHIFTED, [shift3(0.3375), shift3(0.5), shift3(0.6625)]),
    ],
)
def test_noise_levels_have_their_distribution(kind: Timesteps, quartiles: list[float]) -> None:
    sigmas = draw_sigmas(20_000, kind, shift3, seeded())
    assert sigmas.dtype == torch.float32
    assert 0 < sigmas.min() <= sigmas.max() < 1
    assert torch.quantile(sigmas, torch.tensor([0.25, 0.5, 0.75])).tolist() == pytest.approx(quartiles, abs=0.01)


@pytest.mark.parametrize("kind", Timesteps)
def test_noise_levels_follow_the_generator(kind: Timesteps) -> None:
    drawn = draw_sigmas(5, kind, shift3, seeded(1))
    assert torch.equal(drawn, draw_sigmas(5, kind, shift3, seeded(1)))
    assert not torch.equal(drawn, draw_sigmas(5, kind, shift3, seeded(2)))


def test_references_are_drawn_in_their_share() -> None:
    generator = seeded()
    drawn = [draw_references(4, (), 0.25, generator) for _ in range(4_000)]
    with_some = [panels for panels in drawn if panels]
    assert len(with_some) / len(drawn) == pytest.approx(0.25, abs=0.03)
    assert {len(panels) for panels in with_some} == {1, 2, 3}  # one panel at least is left to learn
    assert set().union(*with_some) == {0, 1, 2, 3}
    assert all(list(panels) == sorted(set(panels)) for panels in with_some)


def test_fixed_references_are_always_the_same() -> None:
    generator = seeded()
    assert {draw_references(3, (2,), 0.5, generator) for _ in range(100)} == {(), (2,)}
    assert draw_references(3, (0, 1), 1.0, generator) == (0, 1)
    assert draw_references(3, (0,), 0.0, generator) == ()
    assert draw_references(1, (), 1.0, generator) == ()


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (2, 4, 1, 3, 5)], ids=["picture", "video"])
def test_mixing_keeps_references_without_a_trace_of_noise(shape: tuple[int, ...]) -> None:
    clean, noise = torch.randn(shape, generator=seeded(1)), torch.randn(shape, generator=seeded(2))
    sigmas = torch.tensor([0.25, 0.75])
    reference = torch.zeros(2, *[1] * (len(shape) - 3), 3, 5, dtype=torch.bool)
    reference[0, ..., :2] = True
    noisy = mix(clean, noise, sigmas, reference)
    assert torch.equal(noisy[0, ..., :2], clean[0, ..., :2])
    torch.testing.assert_close(noisy[0, ..., 2:], 0.75 * clean[0, ..., 2:] + 0.25 * noise[0, ..., 2:])
    torch.testing.assert_close(noisy[1], 0.25 * clean[1] + 0.75 * noise[1])
    assert torch.equal(mix(clean, noise, sigmas)[1], noisy[1])


def test_a_denoised_prediction_stands_for_a_velocity() -> None:
    clean, noise = torch.randn(2, 4, 3, 3, generator=seeded(1)), torch.randn(2, 4, 3, 3, generator=seeded(2))
    sigmas = torch.tensor([0.1, 0.9])
    torch.testing.assert_close(velocity(mix(clean, noise, sigmas), clean, sigmas), noise - clean)


def test_the_loss_is_the_mean_over_what_counts() -> None:
    clean, noise = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)
    predicted = torch.full((1, 2, 2, 2), 4.0)
    weight = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).reshape(1, 1, 2, 2)
    assert velocity_loss(predicted, clean, noise, weight).item() == 9
    predicted[:, :, 1] = 1e6
    assert velocity_loss(predicted, clean, noise, weight).item() == 9
    predicted[:, :, 0, 0] = 1  # right
    assert velocity_loss(predicted, clean, noise, weight).item() == 4.5
    assert velocity_loss(predicted, clean, noise, torch.zeros_like(weight)).item() == 0


def test_the_loss_counts_in_float32() -> None:
    predicted = torch.full((1, 1, 2, 2), 1000.0, dtype=torch.float16)
    assert velocity_loss(predicted, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)) == 1e6


def test_one_value_a_sample() -> None:
    assert per_sample(torch.tensor([1, 2]), torch.zeros(2, 4, 3, 3)).shape == (2, 1, 1, 1)
