"""A sweep of real trainings that take milliseconds: one linear layer learns a velocity by the in-host trainer's own loop.

As a program it works on a sweep until nothing is left, or kills itself after a step: ``toy_sweep FOLDER [TRIAL STEP]``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import rows
from incontext_lora.training.in_host import loop
from incontext_lora.training.in_host.adapters import new_adapters
from incontext_lora.training.in_host.settings import TrainSettings
from incontext_lora.training.runs import run_folder
from incontext_lora.training.runs.run_folder import Run, RunWriter
from incontext_lora.training.sweep import work
from incontext_lora.training.sweep.folder import Sweep
from incontext_lora.training.sweep.plan import Plan, SweepSettings, Trial
from torch import Tensor, nn

CHANNELS, HEIGHT, WIDTH = 4, 4, 8
RECIPE = Recipe("toy", rows(128, 192, 3))
BASE = TrainSettings(
    steps=60,
    batch_size=4,
    learning_rate=3e-2,
    warmup_steps=0,
    rank=2,
    alpha=2.0,
    caption_dropout=0.0,
    reference_share=0.0,
    validation_sets=4,
    validate_every=6,
    seed=1,
)


class Asked(Exception):
    """The sweep has seen enough of a training."""


class Toy(nn.Module):
    """A model that is one layer over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(CHANNELS, CHANNELS).requires_grad_(False)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def predict(self, noisy: Tensor, sigmas: Tensor, conditions: Sequence[Any], isolated: Any = None) -> Tensor:
        return self.layer(noisy.movedim(1, -1)).movedim(-1, 1)


def item(number: int) -> loop.TrainItem:
    """A set of two panels side by side, of which one quarter of the channels is large."""
    generator = torch.Generator().manual_seed(number)
    latent = 0.2 * torch.randn(CHANNELS, HEIGHT, WIDTH, generator=generator)
    latent[0] += 2.0
    panels = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    panels[0, :, : WIDTH // 2] = True
    panels[1] = ~panels[0]
    return loop.TrainItem(f"set {number}", latent, f"caption {number}", panels, torch.ones(HEIGHT, WIDTH))


@dataclass
class ToyTrainer:
    """Trains by the loop, into runs as the in-host trainer writes them; a run that was ended begins again."""

    runs: Path
    pause: float = 0.0
    before: Callable[[Trial], None] = lambda trial: None
    killed_at: tuple[int, int] = (0, 0)  # trial and step after which the process kills itself
    trained: list[tuple[int, bool]] = field(default_factory=list)

    def train(self, trial: Trial, earlier: Run | None, watch: work.Watch) -> Run:
        self.trained.append((trial.number, earlier is not None))
        self.before(trial)
        settings = TrainSettings.from_json(trial.settings)
        about = {"trainer": "in-host", "name": trial.key, "settings": settings.to_json(), "recipe": RECIPE.to_json()}
        writer = RunWriter.create(self.runs, trial.key, about)
        try:
            self._train(trial, settings, writer, watch)
            writer.end(run_folder.FINISHED, lora=f"{writer.run.name}.safetensors")
        except Asked:
            writer.end(run_folder.CANCELLED)
        except Exception as error:
            writer.end(run_folder.FAILED, error=str(error))
            raise
        finally:
            writer.close()
        return writer.run

    def _train(self, trial: Trial, settings: TrainSettings, writer: RunWriter, watch: work.Watch) -> None:
        toy = Toy()
        adapters = new_adapters(
            {"layer": (CHANNELS, CHANNELS)}, settings.rank, settings.alpha, torch.Generator().manual_seed(settings.seed)
        )
        wanted = False

        def tell(kind: str, **values: Any) -> None:
            nonlocal wanted
            writer.event(kind, **values)
            wanted = watch(writer.run, {"event": kind, **values}) or wanted

        def step(progress: loop.Progress) -> None:
            time.sleep(self.pause)
            tell(run_folder.STEP, step=progress.step, steps=settings.steps, loss=progress.loss)
            if (trial.number, progress.step) == self.killed_at:
                os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows has one that ends as hard
            if wanted:
                raise Asked

        tell(run_folder.STARTED, steps=settings.steps)
        items = [item(number) for number in range(12)]
        with adapters.attached(toy):
            loop.train(
                settings,
                items[:8],
                items[8:],
                adapters,
                toy.predict,
                empty_condition="",
                references=(),
                shift=lambda position: position,
                device=torch.device("cpu"),
                hooks=loop.Hooks(
                    step=step,
                    validation=lambda at, losses: tell(run_folder.VALIDATION, **measured(at, losses)),
                    checkpoint=lambda at: writer.checkpoint(at, adapters.state_dict(), RECIPE) and None,
                    sample=lambda at: None,
                ),
            )


def measured(step: int, losses: Sequence[float]) -> dict[str, Any]:
    return {"step": step, "loss": sum(losses) / len(losses), "each": list(losses)}


def toy_plan(axes: Mapping[str, tuple[Any, ...]], **changed: Any) -> Plan:
    """A plan over the toy's settings; ``strategy`` and the like go to the sweep, all others to the training."""
    own = {name: changed.pop(name) for name in ("strategy", "keep_one_in", "stop_hopeless") if name in changed}
    base = {**BASE.to_json(), **changed}
    return Plan.of("in-host", SweepSettings(axes, **own), base, {"dataset": "toy"}, sets=12)


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    killed_at = (int(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 3 else (0, 0)
    runs = folder.parent.parent / "runs"
    trainer = ToyTrainer(runs, killed_at=killed_at)
    work.work(Sweep.load(folder), trainer, runs, lambda line: print(line, flush=True), pause=0.05)


if __name__ == "__main__":
    main()
