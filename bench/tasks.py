"""The demo's second and third relation, learned by the same code and settings as the first, and two LoRAs together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

from ..demo import judge
from ..demo.job import GeneratedSets, Job, Mode
from ..demo.judge import Judgement
from ..demo.models import LORA_FILE
from ..demo.server import ComfyServer
from ..demo.tasks import COLOUR, GROWTH, RISE, Task
from .figure import Figure

HELD_OUT = 48
_NAMED = (("second", GROWTH), ("third", RISE))


def task_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """Each relation's agreement and caption accuracy, with the LoRA and without; then the first LoRA beside each."""
    found: list[Figure] = []
    with ComfyServer(base) as server:
        for number, task in _NAMED:
            job = Job(server, base, say, task)
            asked = list(task.held_out_sets(HELD_OUT, 0))
            trained = job.train(40, name=f"bench-{task.lora}")
            alone = job.generate(asked, lora=trained.lora, strength=0.0, what=f"{task.name} base")[Mode.PLAIN]
            modes = (Mode.PLAIN, Mode.ISOLATED)
            learned = job.generate(asked, lora=trained.lora, strength=1.0, what=f"{task.name} LoRA", modes=modes)
            both = job.generate(
                asked, lora=trained.lora, strength=1.0, second_lora=LORA_FILE, what=f"{task.name} and colour"
            )[Mode.PLAIN]
            found += _alone(f"tasks.{number}_relation", task, alone, learned)
            found += _together(f"tasks.first_and_{number}", task, both)
    return found


def _alone(name: str, task: Task, base: GeneratedSets, learned: dict[Mode, GeneratedSets]) -> list[Figure]:
    detail = f"{task.says}; {HELD_OUT} held-out captions"
    plain, isolated = learned[Mode.PLAIN].judged, learned[Mode.ISOLATED].judged
    return [
        Figure.of(f"{name}_agreement", [judge.set_agreement(plain)], "share", ">= 0.9", detail),
        Figure.of(f"{name}_base", [judge.set_agreement(base.judged)], "share", "<= 0.4", detail),
        Figure.of(f"{name}_captions", [judge.caption_accuracy(plain)], "share", ">= 0.9", detail),
        Figure.of(
            f"{name}_reference", [judge.reference_agreement(isolated)], "share", "", f"{detail}, one panel given"
        ),
    ]


def _together(name: str, task: Task, both: GeneratedSets) -> list[Figure]:
    detail = f"the bundled LoRA and that of {task.name}, both at strength 1; {HELD_OUT} held-out captions"
    return [
        Figure.of(f"{name}_{kept.name}", [share_that_holds(kept, both.judged)], "share", "", detail)
        for kept in (COLOUR, task)
    ] + [Figure.of(f"{name}_captions", [judge.caption_accuracy(both.judged)], "share", "", detail)]


def share_that_holds(task: Task, judged: Sequence[Judgement]) -> float:
    """Share of the pictures that have a task's relation, whichever they were asked for."""
    return round(mean(task.holds(one.read) for one in judged), 4)
