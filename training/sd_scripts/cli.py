"""Training without the browser: `python run.py train`. Runs are the same, and in the same folders, as from the node."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ...incontext.dataset.manifest import Dataset
from ...incontext.errors import InContextError, TrainingError
from ...incontext.files.names import as_path
from ...incontext.lora.recipe_file import read_recipe
from ..runs import cards, claims, run_folder
from ..runs.event_tail import EventTail
from ..runs.progress import describe_step
from ..runs.run_folder import Run
from . import begin, environment, follow, preflight, settle, torch_device
from .architectures import architecture
from .arguments import MODEL_FOLDERS, find_model, parser, require_order
from .machine import Machine
from .order import Order
from .presets import preset
from .processes import FILE, Processes
from .settings import Device, SdSettings


def processes(options: argparse.Namespace, kept: Processes) -> Processes:
    """How many processes train together: this machine's setting, with the command's values in place of its own.

    Raises:
        TrainingError: if the values do not fit together.
    """
    given = {
        "count": options.processes,
        "machines": options.machines,
        "rank": options.machine_rank,
        "address": options.main_address,
        "port": options.main_port,
    }
    given = {name: value for name, value in given.items() if value is not None}
    made = kept.changed(given)
    return replace(made, config="") if given else made  # Accelerate's file would take precedence over them


def settings(options: argparse.Namespace) -> SdSettings:
    """The preset, with the options that override it."""
    given = {name[4:]: value for name, value in vars(options).items() if name.startswith("set_") and value is not None}
    return SdSettings.from_json({**preset(options.preset, options.architecture or "").to_json(), **given})


def order(options: argparse.Namespace) -> Order:
    require_order(options)
    dataset = Dataset.load(as_path(str(options.dataset)).resolve())
    roots = [options.comfyui / "models", *options.models]
    family = architecture(options.architecture)
    files = preflight.assign(
        family, find_model(options.model, roots), [find_model(name, roots) for name in options.files]
    )
    recipe, weights = dataset.recipe, None
    if options.weights:
        weights = as_path(str(options.weights)).resolve()
        continued = read_recipe(weights)
        recipe = replace(recipe, lineage=continued.lineage) if continued else recipe
    return Order(dataset, family, files, settings(options), options.name or dataset.name, recipe, weights)


def this_machine(options: argparse.Namespace, trainer: environment.Trainer) -> Machine:
    on_cpu = not torch_device.has_gpu(trainer.python)
    return Machine(
        trainer=trainer,
        runs=options.output / "incontext_runs",
        loras=options.output / "loras",
        comfyui=options.comfyui,
        tokenizers=environment.trainer_folder() / "tokenizers",
        processes=processes(options, Processes.load(environment.trainer_folder() / FILE)),
        on_cpu=on_cpu,
        device=Device.CPU if on_cpu else torch_device.find(trainer.python),
        models=tuple(
            root / folder
            for root in (options.comfyui / "models", *options.models)
            for folder in (*MODEL_FOLDERS, "loras")
        ),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def lines(event: dict[str, Any]) -> Iterator[str]:
    """Lines for users about an event."""
    kind = event["event"]
    if kind == run_folder.PHASE:
        yield event["phase"]
    elif kind == "cache" and event["pictures_reused"]:
        yield (
            f"{event['pictures_reused']} of {event['pictures']} pictures and {event['captions_reused']} captions are "
            "already encoded"
        )
    elif kind == run_folder.NOTE:
        yield f"note: {event['text']}"
    elif kind == "spared":
        yield "the text encoders are not loaded, since all captions are already encoded"
    elif kind == run_folder.STEP and (event["step"] % 10 == 0 or event["step"] == event["steps"]):
        yield describe_step(event)
    elif kind == run_folder.VALIDATION:
        yield f"step {event['step']}: validation loss {_number(event.get('loss')):.4f}"
    elif kind in (run_folder.CHECKPOINT, run_folder.SAMPLE):
        yield f"step {event['step']}: {event['file']}"


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        machine = this_machine(options, environment.find())
        when = cards.WhenBusy(options.when_busy)
        with cards.claim(machine.runs, machine.cards, when, say=lambda text: print(text, flush=True)):
            if options.resume:
                run, process = begin.join(Run(as_path(str(options.resume)).resolve()), machine)
            else:
                run, process = begin.start(order(options), machine)
    except (InContextError, environment.TrainerNotInstalled) as error:
        print(f"run.py train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Nothing was started.", flush=True)
        return 130
    print(f"run: {run.folder}", flush=True)

    def show(event: dict[str, Any]) -> None:
        for line in lines(event):
            print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)

    stopped = False
    with claims.attending(run.folder):
        try:
            code = follow.watch(run, process, EventTail(run), show)
        except KeyboardInterrupt:
            print("Stopping; the state is being saved. Press Ctrl-C again to end at once.", flush=True)
            stopped = True
            try:
                follow.stop(run, process)
            except KeyboardInterrupt:
                follow.stop(run, process, patience=0)
            code = process.returncode
        try:
            result = settle.settle(run, machine.loras, code, stopped=stopped)
        except TrainingError as error:
            print(f"run.py train: {error}", file=sys.stderr)
            return 1
    print(f"{result.state}: {result.lora or result.message}", flush=True)
    return 0 if result.state == run_folder.FINISHED else 130 if stopped else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
