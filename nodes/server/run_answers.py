"""What run_routes.py answers about trainings. Loaded with the first question."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...incontext.errors import TrainingError
from ...training.give_way import give_way
from ...training.runs import monitor, removal, supervise
from ...training.runs.cards import occupants
from ...training.runs.labels import Label
from ...training.runs.run_folder import Run
from ...training.sd_scripts import follow, settle
from .. import host
from . import desktop
from .routes import Json, JsonText
from .subfolder import subfolder


def find_run(name: str) -> Run:
    """
    Raises:
        TrainingError: if there is no such run right below the folder of runs.
    """
    folder = subfolder(host.output_folder(host.RUNS), name)
    if folder is None or not (folder / "run.json").is_file():
        raise TrainingError(f"There is no training {name!r} in output/incontext_runs; it may have been removed.")
    return Run(folder)


def all_runs() -> JsonText:
    """``{"runs": [summary, newest first], "on_card": [names]}``"""
    found, is_running = [], False
    for folder in give_way(host.runs()):
        with contextlib.suppress(OSError):  # it was removed at this very moment
            run = monitor.summary(Run(folder))
            is_running |= run["state"] == monitor.RUNNING
            found.append((run["started"], json.dumps(run)))
    found.sort(key=lambda entry: entry[0], reverse=True)
    on_card = occupants(host.output_folder(host.RUNS), host.cards()) if is_running else []
    runs = ", ".join(text for _, text in found)
    return JsonText.of(f'{{"runs": [{runs}], "on_card": {json.dumps([run.name for run in on_card])}}}')


def one_run(name: str, offset: int) -> JsonText:
    """``{"run": summary, "checkpoints": …, "layout": …, "news": what happened since}``"""
    run = find_run(name)
    about = json.dumps(
        {"run": monitor.summary(run), "checkpoints": monitor.checkpoints(run), "layout": monitor.layout(run)}
    )
    return JsonText.of(f'{about[:-1]}, "news": {monitor.news_text(run, offset)}}}')


def log(name: str) -> Json:
    return monitor.log(find_run(name))


def sample(name: str, file: str) -> Path:
    """
    Raises:
        TrainingError: if the run has no such picture.
    """
    run = find_run(name)
    found = next((path for path in run.samples if path.name == file), None)
    if found is None:
        raise TrainingError(f"{run.name} has no sample {file!r}.")
    return found


def ask(name: str, what: str) -> Json:
    """``{"asked": what, "time": when}``: a later event answers it."""
    run, now = find_run(name), round(time.time(), 3)
    if what == monitor.END:
        _end(run)
    else:
        monitor.ask(run, what)
    return {"asked": what, "time": now}


def _end(run: Run) -> None:
    """End the trainer's process at once; what was saved before is kept.

    Raises:
        TrainingError: if ComfyUI itself trains the run, or the run has no process here.
    """

    if supervise.find(run.folder) is None:
        raise TrainingError(f"{run.name} has no process of its own here. Cancel the prompt to end it.")
    follow.stop(run, None, patience=0)
    settle.settle_soon(run, host.loras_output_folder(), stopped=True)


def resume(name: str) -> Json:
    """
    Raises:
        TrainingError: if it cannot continue, or only with the model of a workflow.
    """
    from ...training.in_host.choices import TRAINER
    from ..training import sd_scripts_run

    run = find_run(name)
    if run.about.get("trainer") == TRAINER:
        raise TrainingError(
            f"{run.name} was trained in ComfyUI, on the model of a workflow. Open that workflow, choose {run.name} under resume "
            "in its training node, and run it."
        )
    sd_scripts_run.resume(run)
    return {"resumed": run.name}


def use(name: str, checkpoint: str) -> Json:
    path = monitor.use_checkpoint(find_run(name), checkpoint, host.loras_output_folder())
    return {"lora": path.name}


def label(name: str, values: Mapping[str, Any]) -> Json:
    """Give a run a name or a note; returns both."""
    run = find_run(name)
    new = Label.read(run.folder).changed(values)
    new.write(run.folder)
    return asdict(new)


def folder(name: str, is_from_here: bool) -> Json:
    """Show a run's folder on the desktop of whoever sits at this machine; for others, only say where it is."""
    found = find_run(name).folder
    return {"folder": str(found), "opened": is_from_here and desktop.open_folder(found)}


def delete(name: str) -> Json:
    run = find_run(name)
    removal.remove(run)
    return {"deleted": run.name}
