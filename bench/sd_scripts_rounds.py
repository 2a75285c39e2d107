"""Runs the installed trainer at tiny sizes and prints what `bench.sd_scripts` makes figures of. A process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..demo import world
from ..incontext.dataset.build import build
from ..incontext.dataset.manifest import Dataset
from ..incontext.dataset.options import BuildOptions
from ..incontext.lora.header import read_header
from ..incontext.lora.keys import match
from ..incontext.lora.recipe import Recipe
from ..incontext.panels.arrange import columns
from ..training.runs import output, run_folder
from ..training.runs.event_tail import EventTail
from ..training.runs.run_folder import Run
from ..training.sd_scripts import begin, environment, follow, launch, preflight, settle
from ..training.sd_scripts.architectures import ARCHITECTURES, architecture
from ..training.sd_scripts.machine import Machine
from ..training.sd_scripts.order import Order
from ..training.sd_scripts.processes import Processes
from ..training.sd_scripts.settings import SdSettings, Sizes

ROUNDS, STEPS = 3, 60
TINY = Path(__file__).resolve().parents[1] / "tests" / "training" / "tiny.py"
SETTINGS = SdSettings(
    steps=STEPS, batch_size=4, rank=16, sizes=Sizes.FULL, save_every=0, sample_every=0, gradient_checkpointing=False
).on_cpu()  # fmt: skip


class Rounds:
    """Datasets, models and a machine in a temporary folder."""

    def __init__(self, folder: Path, trainer: environment.Trainer) -> None:
        self.folder = folder
        sets = folder / "sets"
        for number, drawn in enumerate(world.relation_sets(20, 1), 1):
            target = sets / f"{number:03d}"
            target.mkdir(parents=True)
            for place, panel in enumerate(drawn.panels, 1):
                Image.fromarray(world.draw_panel(panel)).resize((128, 128)).save(target / f"{place}.png")
            (target / "caption.txt").write_text(world.caption(drawn) + "\n", encoding="utf-8")
        self.dataset = self._dataset("toy", 128)
        comfyui = Path(os.environ["COMFYUI_PATH"])
        self.machine = Machine(
            trainer, folder / "runs", folder / "loras", comfyui, folder / "tokenizers", runner=TINY, on_cpu=True
        )

    def _dataset(self, name: str, side: int) -> Dataset:
        """20 composites of three square panels."""
        layout = columns(3 * side, side, 3)
        return build(self.folder / "sets", self.folder / "datasets", Recipe(name, layout), BuildOptions(name=name))

    def larger(self, order: Order) -> Order:
        """The same on composites of 1536×512, with one step: for what happens before it."""
        return replace(order, dataset=self._dataset("larger", 512), settings=replace(order.settings, steps=1))

    def order(self, name: str, **changed: Any) -> Order:
        folder = self.folder / name
        trainer = self.machine.trainer
        if not folder.exists():
            write = [str(trainer.python), str(TINY), "write", str(trainer.checkout), name, str(folder)]
            subprocess.run(write, check=True, stdout=sys.stderr)
        others = [path for path in sorted(folder.glob("*.safetensors")) if path.name != "model.safetensors"]
        family = architecture(name)
        files = preflight.assign(family, folder / "model.safetensors", others)
        return Order(self.dataset, family, files, replace(SETTINGS, **changed), name, self.dataset.recipe)

    def run(self, order: Order) -> tuple[Run, float]:
        """A finished run, and the seconds from its start to its first step."""
        began = time.monotonic()
        first: list[float] = []

        def on_event(event: dict[str, Any]) -> None:
            if event["event"] == run_folder.STEP and not first:
                first.append(time.monotonic() - began)

        run, process = begin.start(order, self.machine)
        code = follow.watch(run, process, EventTail(run), on_event, pause=0.05)
        result = settle.settle(run, self.machine.loras, code)
        if result.state != run_folder.FINISHED:
            raise SystemExit(result.message)
        return run, first[0]

    def bare_seconds(self, run: Run) -> float:
        """The same job by hand."""
        trainer = self.machine.trainer
        command = [str(trainer.python), str(TINY), "bare", str(trainer.checkout), str(run.folder / "job-1")]
        told = launch.build(trainer, run.folder / "job-1", Processes(cpu=True), os.environ, offline=True)
        answer = subprocess.run(
            command, cwd=trainer.checkout, env=dict(told.environment), capture_output=True, text=True, check=True
        )
        return float(answer.stdout.split("seconds")[-1])


def training_seconds(run: Run) -> float:
    events = list(run.events())
    began = next(e["seconds"] for e in events if e["event"] == run_folder.PHASE and e["phase"] == "training")
    return [e["seconds"] for e in events if e["event"] == run_folder.STEP][-1] - began


def stop_and_resume(rounds: Rounds) -> tuple[float, int]:
    """Seconds from the request to stop to the end, and how many step numbers are wrong after resuming."""
    run, process = begin.start(rounds.order("flux", steps=12), rounds.machine)
    while not any(event["event"] == run_folder.STEP for event in run.events()):
        if process.poll() is not None:
            raise SystemExit("\n".join(output.tail(run.folder)))
        time.sleep(0.02)
    asked = time.monotonic()
    follow.stop(run, process)
    seconds = time.monotonic() - asked
    settle.settle(run, rounds.machine.loras, process.returncode, stopped=True)
    process = begin.resume(run, rounds.machine)
    follow.watch(run, process, EventTail(run), lambda event: None)
    steps = [event["step"] for event in run.events() if event["event"] == run_folder.STEP]
    return seconds, sum(had != wanted for had, wanted in zip(steps, range(1, 13), strict=False)) + abs(len(steps) - 12)


def keys_matched(rounds: Rounds) -> list[float]:
    """Share of the modules of each family's LoRA that ComfyUI takes."""
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    sys.argv = sys.argv[:1]
    from comfy.cli_args import args

    args.cpu = True
    from ..tests.training.comfy_names import comfy_names

    shares = []
    for name in ARCHITECTURES:
        run, _ = rounds.run(rounds.order(name, steps=2))
        shapes = {key: entry.shape for key, entry in read_header(run.checkpoints[-1]).tensors.items()}
        report = match(shapes, *comfy_names(name))
        shares.append(len(report.matched) / report.modules)
    return shares


def main() -> None:
    try:
        trainer = environment.find()
    except environment.TrainerNotInstalled as error:
        print(json.dumps({"missing": str(error)}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        rounds = Rounds(Path(temporary), trainer)
        wanted = rounds.order("flux", reference_share=0.0, caption_dropout=0.0, ema=0.0)  # what the trainer itself does
        ratios = []
        for _ in range(ROUNDS):
            run, _ = rounds.run(wanted)
            ratios.append(rounds.bare_seconds(run) / training_seconds(run))
        larger = rounds.larger(wanted)
        first, *others = (rounds.run(larger)[1] for _ in range(ROUNDS))
        stop, wrong = stop_and_resume(rounds)
        keys = keys_matched(rounds)
    second = [seconds / first for seconds in others]
    found = {"throughput": ratios, "second_start": second, "starts": [first, *others]}
    print(json.dumps({**found, "stop": [stop], "resume": [wrong], "keys": keys}))


if __name__ == "__main__":
    main()
