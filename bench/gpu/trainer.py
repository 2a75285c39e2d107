"""sd-scripts on FLUX.1: through our runner against bare, what a stop and a kill leave on the card, and every preset on its card.

trainer rounds|presets
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from ...incontext.dataset.manifest import Dataset
from ...training.runs import output, run_folder, supervise
from ...training.runs.run_folder import Run
from ...training.sd_scripts import begin, environment, follow, launch, preflight, settle, states, torch_device
from ...training.sd_scripts.architectures import FLUX
from ...training.sd_scripts.environment import Trainer
from ...training.sd_scripts.machine import Machine
from ...training.sd_scripts.order import Order
from ...training.sd_scripts.presets import PRESETS
from ...training.sd_scripts.processes import Processes
from ...training.sd_scripts.settings import Optimiser, SdSettings, Sizes
from . import card, pictures, weights
from .context import Context

SCRIPT = Path(__file__).with_name("trainer_process.py")
LIMIT, TINY, PEAKS = "INCONTEXT_LORA_GPU_LIMIT", "INCONTEXT_LORA_GPU_TINY", "peaks.json"
FAMILY = replace(
    FLUX, sampling={**FLUX.sampling, "sample_steps": 2}
)  # a picture's peak does not depend on their number
SETS = 4  # the largest batch of the presets
SMALL = 10  # GB; up to here T5 is read in 8 bits
TOGETHER = 3  # trainings at the same time, at most
MEMORY = 40e9  # bytes of the computer's memory for each of them
PATIENCE = 120.0  # seconds for one preset
CONTEXT = 0.5  # GiB that a process takes of the card beside its tensors


class Trainers:
    """What every run needs: the trainer, the model files, a folder."""

    def __init__(self, context: Context, trainer: Trainer) -> None:
        self.context = context
        self.trainer = trainer
        self.on_cpu = not torch_device.has_gpu(trainer.python)
        self.patience = 10 * PATIENCE if context.tiny else PATIENCE
        self.optimisers = _has_module(trainer.python, "bitsandbytes")
        os.environ.pop(LIMIT, None)
        if context.tiny:
            os.environ[TINY] = "1"

    def machine(self, name: str) -> Machine:
        """Its own folder of runs: the pack lets one run at a time have the card."""
        folder = self.context.work / "sd-scripts"
        comfyui = Path(os.environ["COMFYUI_PATH"])
        return Machine(
            self.trainer,
            folder / name / "runs",
            folder / name / "loras",
            comfyui,
            folder / "tokenizers",
            runner=SCRIPT,
            on_cpu=self.on_cpu,
        )

    def dataset(self, name: str) -> Dataset:
        layout = pictures.canvases(self.context.tiny)["1.57"]
        return pictures.dataset(self.context.work / "sd-scripts" / name, name, layout, SETS)

    def order(self, name: str, settings: SdSettings, dataset: Dataset, *, small: bool = False) -> Order:
        if settings.optimiser is Optimiser.ADAMW_8BIT and not self.optimisers:
            settings = replace(settings, optimiser=Optimiser.ADAMW)
        chosen = ("flux_fp8" if settings.fp8 else "flux", "clip_l", "t5xxl_fp8" if small else "t5xxl", "ae")
        model, *others = (self.context.models / weights.FILES[file] for file in chosen)
        files = preflight.assign(FAMILY, model, others)
        return Order(dataset, FAMILY, files, settings, name, dataset.recipe)

    def start(self, order: Order, machine: Machine, limit: float | None) -> Training:
        os.environ.pop(LIMIT, None)
        if limit is not None:
            os.environ[LIMIT] = str(limit)
        run, process = begin.start(order, machine)
        return Training(run, process, machine, time.monotonic())


@dataclass(frozen=True)
class Training:
    """A run that was started."""

    run: Run
    process: subprocess.Popen[bytes]
    machine: Machine
    began: float

    def step_times(self) -> list[float]:
        return [event["seconds"] for event in self.run.events() if event["event"] == run_folder.STEP]

    def wait_for_steps(self, count: int, seconds: float) -> list[float]:
        """Seconds of each step but the first.

        Raises:
            RuntimeError: if it ended before, or took too long.
        """
        while len(times := self.step_times()) < count:
            if self.process.poll() is not None or time.monotonic() - self.began > seconds:
                raise RuntimeError("\n".join(["too few steps", *output.tail(self.run.folder, 12)])[-1500:])
            time.sleep(0.05)
        return intervals(times[:count])

    @property
    def phase(self) -> str:
        phases = [event["phase"] for event in self.run.events() if event["event"] == run_folder.PHASE]
        return phases[-1] if phases else "starting"

    @property
    def peaks(self) -> dict[str, float]:
        try:
            return json.loads((self.run.folder / PEAKS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}


def intervals(times: list[float]) -> list[float]:
    return [round(end - begin, 4) for begin, end in pairwise(times)]


# --- through the runner, and bare -------------------------------------------------------------------------------------


def rounds(trainers: Trainers) -> None:
    """A B A: our runner, the checkout's own trainer, our runner; the first is killed, the last is stopped."""
    context = trainers.context
    steps = 3 if context.tiny else 7
    settings = SdSettings(
        steps=1000, batch_size=1, ema=0.0, caption_dropout=0.0, reference_share=0.0, sizes=Sizes.FULL, save_every=0,
        sample_every=0, samples=0, gradient_checkpointing=True,
    )  # fmt: skip
    dataset, machine = trainers.dataset("rounds"), trainers.machine("rounds")
    order = trainers.order("rounds", settings, dataset, small=True)
    before = card_memory()
    with cleaned(machine):
        first = trainers.start(order, machine, context.card)
        ours = [first.wait_for_steps(steps, trainers.patience)]
        os.kill(first.process.pid, signal.SIGKILL)
        context.answer(figure="kill", empty=seconds_until_empty(before))
        first.process.wait(10)
        settle.settle(first.run, machine.loras, first.process.returncode)
        bare = bare_seconds(trainers, first.run, steps)
        last = trainers.start(order, machine, context.card)
        ours.append(last.wait_for_steps(steps, trainers.patience))
        asked = time.monotonic()
        follow.stop(last.run, last.process)
        stopped = round(time.monotonic() - asked, 2)
        outcome = settle.settle(last.run, machine.loras, last.process.returncode, stopped=True)
        context.answer(
            figure="stop",
            seconds=stopped,
            empty=seconds_until_empty(before),
            state=outcome.state,
            resumable=states.find_last(last.run) is not None,
        )
        context.answer(figure="throughput", ours=ours, bare=bare, steps=steps, optimiser=order.settings.optimiser.value)


def bare_seconds(trainers: Trainers, run: Run, steps: int) -> list[float]:
    """The same job by hand: seconds of each step but the first."""
    trainer, job = trainers.trainer, run.folder / "job-1"
    processes = Processes(cpu=trainers.on_cpu)
    told = launch.build(trainer, job, processes, os.environ, offline=True)
    command = [str(trainer.python), str(SCRIPT), "bare", str(trainer.checkout), str(job), str(steps)]
    answer = subprocess.run(
        command,
        cwd=trainer.checkout,
        env=dict(told.environment),
        capture_output=True,
        text=True,
        timeout=trainers.patience,
    )
    if "\nseconds " not in answer.stdout:
        raise RuntimeError(f"The bare trainer failed:\n{answer.stderr[-1500:]}")
    return [round(seconds, 4) for seconds in json.loads(answer.stdout.rpartition("\nseconds ")[2].splitlines()[0])]


def card_memory() -> float | None:
    """MB of the card in use by anyone; None if nothing tells it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    with contextlib.suppress(ValueError, IndexError):
        return float(answer.stdout.split()[0])
    return None


def seconds_until_empty(before: float | None, patience: float = 30.0) -> float | None:
    """Seconds until the card has no more in use than before, within 100 MB; None if that cannot be told."""
    began = time.monotonic()
    while before is not None and time.monotonic() - began < patience:
        used = card_memory()
        if used is not None and used <= before + 100:
            return round(time.monotonic() - began, 2)
        time.sleep(0.05)
    return None


# --- presets ----------------------------------------------------------------------------------------------------------


def gigabytes(preset: str) -> int:
    """The card that a preset is for."""
    return int(next(word for word in preset.replace("(", " ").split() if word.isdigit()))


def presets(trainers: Trainers) -> None:
    """Every preset on a card of its size: the whole way of a run, with the peak of each phase."""
    context = trainers.context
    total = card_total() or 80.0
    waiting = sorted(PRESETS, key=gigabytes, reverse=True)
    if context.tiny:
        waiting = ["24 GB", "8 GB"]
    for name in list(waiting):
        if context.card is not None and gigabytes(name) > context.card:
            waiting.remove(name)
            context.answer(figure="preset", preset=name, failed=f"not measured: the card has {context.card:g} GB")
    together = max(1, min(TOGETHER, int(psutil.virtual_memory().total // MEMORY)))
    running: dict[str, Training] = {}
    limits = {name: min(float(gigabytes(name)), total - 20 if total > 60 else total) for name in waiting}
    machines = {name: trainers.machine(f"preset-{gigabytes(name)}") for name in waiting}
    with contextlib.ExitStack() as undo:
        for machine in machines.values():
            undo.enter_context(cleaned(machine))
        while waiting or running:
            for name, training in list(running.items()):
                if training.process.poll() is not None or time.monotonic() - training.began > trainers.patience:
                    del running[name]
                    context.answer(**preset_answer(name, training, limits[name]))
            room = total - sum(limits[name] - card.TAKEN + CONTEXT for name in running)
            fits = [name for name in waiting if limits[name] - card.TAKEN + CONTEXT <= room or not running]
            if fits and len(running) < together:
                waiting.remove(fits[0])
                running[fits[0]] = start_preset(trainers, fits[0], machines[fits[0]], limits[fits[0]])
            time.sleep(0.1)


def start_preset(trainers: Trainers, name: str, machine: Machine, limit: float) -> Training:
    """Two steps with a sample and a checkpoint, at the full size, where its peak is."""
    preset = PRESETS[name]
    settings = replace(
        preset,
        steps=2,
        gradient_accumulation=min(2, preset.gradient_accumulation),
        sizes=Sizes.FULL if preset.sizes is Sizes.LADDER else preset.sizes,
        save_every=1,
        sample_every=2,
    )
    folder = f"preset-{gigabytes(name)}"
    order = trainers.order(folder, settings, trainers.dataset(folder), small=gigabytes(name) <= SMALL)
    return trainers.start(order, machine, limit)


def preset_answer(name: str, training: Training, limit: float) -> dict[str, Any]:
    late = training.process.poll() is None
    phase = training.phase
    supervise.kill(training.run.folder)
    code = training.process.wait(10)
    outcome = settle.settle(training.run, training.machine.loras, code, stopped=late)
    peaks = training.peaks
    answer: dict[str, Any] = {
        "figure": "preset", "preset": name, "limit": round(limit, 2), "peaks": peaks,
        "step_seconds": intervals(training.step_times()), "seconds": round(time.monotonic() - training.began, 1),
    }  # fmt: skip
    if late:
        answer["failed"] = f"out of time while {phase}"
    elif outcome.state != run_folder.FINISHED:
        answer["failed"] = f"{phase}: {outcome.message}"[:400]
        answer["log"] = "\n".join(output.tail(training.run.folder, 8))[-1200:]
    return answer


def card_total() -> float | None:
    """GiB of the card."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits", "--id=0"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    with contextlib.suppress(ValueError, IndexError):
        return float(answer.stdout.split()[0]) / 1024
    return None


# --- both -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def cleaned(machine: Machine) -> Iterator[None]:
    """However the context ends, nothing of its runs is left running."""
    try:
        yield
    finally:
        for folder in machine.runs.glob("*/"):
            supervise.kill(folder)


def _has_module(python: Path, name: str) -> bool:
    probe = f"import importlib.util; print(importlib.util.find_spec({name!r}) is not None)"
    answer = subprocess.run([str(python), "-c", probe], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == "True"


def main(what: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that runs are ended on the way out
    context = Context.read()
    if context.trainer is not None:
        python, checkout = context.trainer
        trainer = Trainer(Path(python), Path(checkout), adopted=True)
    else:
        try:
            trainer = environment.find()
        except environment.TrainerNotInstalled as error:
            context.answer(figure="missing", failed=str(error))
            return
    {"rounds": rounds, "presets": presets}[what](Trainers(context, trainer))


if __name__ == "__main__":
    main(sys.argv[1])
