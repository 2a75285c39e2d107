"""The demo's table, and how it depends on the number of sets and of steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ..demo import judge, world
from ..demo.job import Job, Mode
from ..demo.server import ComfyServer
from .figure import Figure

SET_COUNTS = (5, 10, 20, 40, 100)
STEP_COUNTS = (100, 200, 400, 600)
HELD_OUT = 48

_BOUNDS = {
    ("base", "set_agreement"): "<= 0.4",
    ("base", "caption_accuracy"): ">= 0.9",
    ("lora", "set_agreement"): ">= 0.9",
    ("lora", "reference_agreement"): ">= 0.9",
    ("lora", "caption_accuracy"): ">= 0.9",
}


def demo_table(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """What `python run.py demo` reports, and agreement by training steps from the same run's checkpoints."""
    asked = list(world.held_out_sets(HELD_OUT, seed=0))
    found: list[Figure] = []
    with ComfyServer(base) as server:
        job = Job(server, base, say)
        trained = job.train(40, name="bench-shape-story", save_every=min(STEP_COUNTS))
        for side, strength in (("base", 0.0), ("lora", 1.0)):
            generated = job.generate(asked, lora=trained.lora, strength=strength, what=side, modes=list(Mode))
            for name, value in {
                "set_agreement": judge.set_agreement(generated[Mode.PLAIN].judged),
                "caption_accuracy": judge.caption_accuracy(generated[Mode.PLAIN].judged),
                "reference_agreement": judge.reference_agreement(generated[Mode.ISOLATED].judged),
                "reference_agreement_noised": judge.reference_agreement(generated[Mode.NOISED].judged),
            }.items():
                bound = _BOUNDS.get((side, name), "")
                found.append(Figure.of(f"demo.{side}_{name}", [value], "share", bound, f"{HELD_OUT} held-out captions"))
        found.append(Figure.of("demo.train_seconds", [trained.seconds], "s", "", f"{trained.steps} steps, 40 sets"))
        for steps in STEP_COUNTS:
            (checkpoint,) = trained.run.glob(f"checkpoints/*step{steps:06d}.safetensors")
            name = f"bench-shape-story-steps-{steps}.safetensors"
            shutil.copyfile(checkpoint, base / "output" / "loras" / name)
            value = _agreement(job, asked, name, f"after {steps} steps")
            found.append(Figure.of(f"demo.steps_{steps}", [value], "share", "", "agreement with the LoRA, 40 sets"))
    return found


def set_count_curve(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """Agreement with the LoRA after the same number of steps on 5 … 100 sets: the method's own claim, at toy scale."""
    asked = list(world.held_out_sets(HELD_OUT, seed=0))
    found = []
    with ComfyServer(base) as server:
        job = Job(server, base, say)
        for count in SET_COUNTS:
            trained = job.train(count, name=f"bench-sets-{count}")
            value = _agreement(job, asked, trained.lora, f"{count} sets")
            found.append(Figure.of(f"demo.sets_{count}", [value], "share", "", f"{trained.steps} steps"))
    return found


def _agreement(job: Job, asked: Sequence[world.Set], lora: str, what: str) -> float:
    generated = job.generate(asked, lora=lora, strength=1.0, what=what)
    return judge.set_agreement(generated[Mode.PLAIN].judged)
