"""The answers of run_routes.py. Loaded with the first question."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import torch
from PIL import Image

from ...incontext.dataset import Dataset
from ...incontext.dataset.manifest import MANIFEST
from ...incontext.dataset.report import Finding
from ...incontext.errors import DatasetError, TrainingError
from ...incontext.files.images import open_image
from ...training.give_way import give_way
from ...training.runs import monitor
from ...training.runs.run_folder import Run
from ...training.sd_scripts import environment, installing, processes, session
from ...training.sd_scripts.cards import occupants
from ...training.sd_scripts.processes import Processes
from .. import host
from .routes import Json, JsonText

THUMBNAIL = 448  # pixels of the longer side


# --- trainings ------------------------------------------------------------------------------------------------------


def find_run(name: str) -> Run:
    """
    Raises:
        TrainingError: where there is no such run right below the folder of runs.
    """
    folder = _below(host.output_folder("incontext_runs"), name)
    if folder is None or not (folder / "run.json").is_file():
        raise TrainingError(f"There is no training {name!r} in output/incontext_runs; it may have been removed.")
    return Run(folder)


def all_runs() -> JsonText:
    """``{"runs": [summary, newest first], "on_card": [names]}``"""
    found, is_running = [], False
    for folder in give_way(host.runs()):
        with contextlib.suppress(OSError):  # it was removed in this very moment
            run = monitor.summary(Run(folder))
            is_running |= run["state"] == monitor.RUNNING
            found.append((run["started"], json.dumps(run)))
    found.sort(key=lambda entry: entry[0], reverse=True)
    on_card = occupants(host.output_folder("incontext_runs"), host.cards()) if is_running else []
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
        TrainingError: where the run has no such picture.
    """
    run = find_run(name)
    found = next((path for path in run.samples if path.name == file), None)
    if found is None:
        raise TrainingError(f"{run.name} has no sample {file!r}.")
    return found


def ask(name: str, what: str) -> Json:
    run = find_run(name)
    if what == monitor.END:
        return _end(run)
    monitor.ask(run, what)
    return {"asked": what}


def _end(run: Run) -> Json:
    """End the trainer's process at once; what was saved before is kept.

    Raises:
        TrainingError: for a run that ComfyUI itself trains, or that has no process here.
    """
    from ...training.sd_scripts import supervise

    if supervise.find(run.folder) is None:
        raise TrainingError(f"{run.name} has no process of its own here. Cancel the prompt to end it.")
    session.stop(run, None, patience=0)
    session.settle_soon(run, host.loras_output_folder(), stopped=True)
    return {"asked": monitor.END}


def resume(name: str) -> Json:
    from ..training import sd_scripts_run

    run = find_run(name)
    sd_scripts_run.resume(run)
    return {"resumed": run.name}


def use(name: str, checkpoint: str) -> Json:
    path = monitor.use_checkpoint(find_run(name), checkpoint, host.loras_output_folder())
    return {"lora": path.name}


# --- the trainer ----------------------------------------------------------------------------------------------------


def trainer() -> Json:
    ours = {
        "torch": torch.__version__,
        "torchvision": _torchvision(),
        "cuda": torch.version.cuda or "",
        "gpu": torch.cuda.is_available(),
    }
    folder = environment.trainer_folder()
    kept, problem = Processes(), ""
    try:
        kept = Processes.load(folder / processes.FILE)
    except TrainingError as error:
        problem = str(error)
    return {
        **installing.state(ours, shutil.which("nvidia-smi") is not None, folder),
        "cards": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "processes": {name: getattr(kept, name) for name in processes.SETTABLE},
        "processes_problem": problem,
    }


def _torchvision() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("torchvision")
    except PackageNotFoundError:
        return ""


def set_up_trainer(action: str) -> Json:
    installing.begin(installing.command(action), host.comfyui_folder(), environment.trainer_folder())
    return trainer()


def set_processes(values: Json) -> Json:
    """How many train together from the next training on.

    Raises:
        TrainingError: where the values are none, or cannot go together.
    """
    path = environment.trainer_folder() / processes.FILE
    try:
        kept = Processes.load(path)
    except TrainingError:  # shown with the values that are set now in its place
        kept = Processes()
    kept.changed(values).save(path)
    return trainer()


# --- datasets -------------------------------------------------------------------------------------------------------


def dataset(name: str) -> Json:
    """The sets of a dataset, and what the build said of each; findings without a set are about the whole.

    ``{"dataset": None}`` where there is none yet, which is no error: the node asks before it has run.
    """
    folder = _below(host.output_folder("incontext_datasets"), name)
    if folder is None or not (folder / MANIFEST).is_file():
        return {"dataset": None}
    found = Dataset.read_manifest(folder)
    findings: dict[str, list[Finding]] = {}
    for finding in found.report.findings:
        findings.setdefault(finding.set, []).append(finding)
    built = {item.set for item in found.items}
    shown = {
        "name": found.name,
        "headline": found.report.headline,
        "width": found.layout.width,
        "height": found.layout.height,
        "sets": [
            {
                "name": item.set,
                "id": item.id,
                "caption": item.caption,
                "findings": [finding.to_json() for finding in findings.get(item.set, ())],
            }
            for item in found.items
        ],
        "left_out": [
            {"name": set_name, "findings": [finding.to_json() for finding in said]}
            for set_name, said in findings.items()
            if set_name and set_name not in built
        ],
        "findings": [finding.to_json() for finding in findings.get("", ())],
    }
    return {"dataset": shown}


def find_dataset(name: str) -> Dataset:
    """
    Raises:
        DatasetError: where there is none right below the folder of datasets.
    """
    folder = _below(host.output_folder("incontext_datasets"), name)
    if folder is None or not folder.is_dir():
        raise DatasetError(f"There is no dataset {name!r} in output/incontext_datasets. Build it with Build Dataset.")
    return Dataset.read_manifest(folder)


def thumbnail(name: str, item_id: str) -> bytes:
    """A small JPEG of a set's canvas.

    Raises:
        DatasetError: where the dataset has no such item, or its file is gone.
    """
    found = find_dataset(name)
    item = next((item for item in found.items if item.id == item_id), None)
    if item is None:
        raise DatasetError(f"The dataset {name!r} has no item {item_id!r}.")
    found.check_inside(found.image(item))
    buffer = io.BytesIO()
    try:
        with open_image(found.image(item)) as image:
            small = image.convert("RGB")
    except OSError as error:
        raise DatasetError(f"{found.image(item)} cannot be read: {error}. Build the dataset again.") from error
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=2)
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _below(root: Path, name: str) -> Path | None:
    """The folder of this name right below another; None for a name that leads anywhere else."""
    if not name.isprintable():  # no path has a null byte
        return None
    try:
        root = root.resolve()
        folder = (root / name).resolve()
        folder.is_dir()
    except (OSError, ValueError):  # too long, or not text
        return None
    return folder if folder.is_relative_to(root) and folder.parent == root else None
