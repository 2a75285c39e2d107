"""A toy model and a training of it that takes milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from incontext_lora.training.in_host.adapters import new_adapters
from incontext_lora.training.in_host.items import TrainItem
from incontext_lora.training.in_host.loop import Hooks, Predict, Progress, train
from incontext_lora.training.in_host.settings import TrainSettings
from torch import Tensor, nn

CHANNELS, HEIGHT, WIDTH = 4, 4, 8
CPU = torch.device("cpu")
PLAIN = TrainSettings(
    steps=3,
    batch_size=2,
    learning_rate=1e-2,
    warmup_steps=0,
    rank=2,
    alpha=2.0,
    caption_dropout=0.0,
    reference_share=0.0,
    save_every=0,
    seed=1,
)


class Toy(nn.Module):
    """A model that is one layer over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(CHANNELS, CHANNELS).requires_grad_(False)
        self.seen: list[tuple[Tensor, Tensor, list[Any]]] = []
        self.isolated: list[Tensor | None] = []
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def predict(
        self, noisy: Tensor, sigmas: Tensor, conditions: Sequence[Any], isolated: Tensor | None = None
    ) -> Tensor:
        self.seen.append((noisy.clone(), sigmas.clone(), list(conditions)))
        self.isolated.append(isolated)
        return self.layer(noisy.movedim(1, -1)).movedim(-1, 1)


def item(number: int = 0, shape: Sequence[int] = (CHANNELS, HEIGHT, WIDTH)) -> TrainItem:
    """A set of two panels side by side."""
    latent = 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(number))
    panels = torch.zeros(2, *shape[-2:], dtype=torch.bool)
    panels[0, :, : shape[-1] // 2] = True
    panels[1] = ~panels[0]
    return TrainItem(f"set {number}", latent, f"caption {number}", panels, torch.ones(*shape[-2:]))


ITEMS = [item(number) for number in range(6)]


@dataclass
class Watched:
    """What a training did."""

    losses: list[float] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    validated: list[tuple[int, float]] = field(default_factory=list)
    saved: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    sampled: list[int] = field(default_factory=list)
    seen: list[tuple[Tensor, Tensor, list[Any]]] = field(default_factory=list)
    isolated: list[Tensor | None] = field(default_factory=list)
    lora: dict[str, Tensor] = field(default_factory=dict)


def run(
    settings: TrainSettings = PLAIN,
    items: Sequence[TrainItem] = ITEMS,
    *,
    held_out: Sequence[TrainItem] = (),
    references: Sequence[int] = (),
    predict: Predict | None = None,
    watched: Watched | None = None,
    **hooks: Any,
) -> Watched:
    watched = watched or Watched()
    toy = Toy()
    adapters = new_adapters({"layer": (CHANNELS, CHANNELS)}, settings.rank, settings.alpha, seeded(settings.seed))

    def checkpoint(step: int) -> None:
        watched.saved[step] = adapters.state_dict("")

    every = Hooks(
        step=watched.progress.append,
        validation=lambda step, losses: watched.validated.append((step, sum(losses) / len(losses))),
        checkpoint=checkpoint,
        sample=watched.sampled.append,
    )
    with adapters.attached(toy):
        watched.losses = train(
            settings,
            items,
            held_out,
            adapters,
            predict or toy.predict,
            empty_condition="",
            references=references,
            shift=lambda position: position,
            device=CPU,
            hooks=replace(every, **hooks),
        )
    watched.seen, watched.isolated = toy.seen, toy.isolated
    watched.lora = adapters.state_dict("")
    return watched


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


class Cancelled(BaseException):
    pass
