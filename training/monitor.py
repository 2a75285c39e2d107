"""A run as a monitor shows it: read from its folder, in portions, however long the run is and whoever trains it."""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..incontext.errors import TrainingError
from ..incontext.lora_file import read_recipe, save_new
from ..incontext.recipe import Recipe
from . import run_folder
from .run_folder import Run, parse_event
from .sd_scripts import supervise

RUNNING = "running"
END = "end"  # not asked of whoever trains, but done to him
COLUMNS = ("step", "loss", "smoothed", "learning_rate")
TAIL = 64_000  # bytes: hundreds of events, and an end is always among the last ones
PORTION = 2_000_000  # bytes of events.jsonl that are read at once
GRACE = 3.0  # seconds in which the end of a process is written down by whoever watched it

Json = dict[str, Any]


# --- one run in a few lines -----------------------------------------------------------------------------------------


def summary(run: Run) -> Json:
    """Where a run stands, in a cost that does not depend on its length.

    Returns:
        name (of the folder), title (as it was named), trainer, state (``running`` or one of `run_folder.ENDS`), machine
        (where another one trains it), phase, step, steps, loss, learning_rate, seconds_per_step, seconds_left, memory (GB),
        started and updated (seconds since 1970), error, lora (its file's name in output/loras), resumable.

    Raises:
        TrainingError: where the folder is no run.
    """
    about = run.about
    events = _last_events(run.folder / "events.jsonl")
    latest = _last_of(events, run_folder.STEP)
    ends = _last_of(events, run_folder.STARTED, *run_folder.ENDS)
    settings = about.get("settings")
    steps = settings.get("steps", 0) if isinstance(settings, Mapping) else 0
    state = _state(run, ends.get("event", run_folder.STARTED))
    return {
        "name": run.name,
        "title": str(about.get("name", run.name)),
        "trainer": str(about.get("trainer", "")),
        "state": state,
        "machine": supervise.on_other_machine(run.folder),
        "phase": str(_last_of(events, run_folder.PHASE).get("phase", "")),
        "step": latest.get("step", 0),
        "steps": steps,
        **{
            name: latest.get(name)
            for name in ("loss", "smoothed", "learning_rate", "seconds_per_step", "seconds_left", "memory")
        },
        "started": (run.folder / "run.json").stat().st_mtime,
        "updated": _changed(run),
        "error": str(ends.get("error", "")),
        "lora": str(ends.get("lora", "")),
        "resumable": state not in (RUNNING, run_folder.FINISHED) and any((run.folder / "state").glob("step*")),
    }


def _state(run: Run, last: str) -> str:
    if last in run_folder.ENDS:
        return last
    if any(supervise.find(run.folder, record) for record in (supervise.RECORD, supervise.HOST_RECORD)):
        return RUNNING
    if supervise.on_other_machine(run.folder) or _is_young(run):
        return RUNNING
    return run_folder.INTERRUPTED


def _is_young(run: Run) -> bool:
    """Something happened just now: its end is about to be written, or its process to be started."""
    return abs(time.time() - _changed(run)) < GRACE


def _changed(run: Run) -> float:
    path = run.folder / "events.jsonl"
    return (path if path.exists() else run.folder / "run.json").stat().st_mtime


def _last_events(path: Path) -> list[Json]:
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL)
            file.seek(start)
            data = file.read()
    except OSError:
        return []
    lines = data.split(b"\n")[1 if start else 0 :]
    return [event for line in lines if (event := _event(line + b"\n")) is not None]


def _last_of(events: list[Json], *kinds: str) -> Json:
    return next((event for event in reversed(events) if event["event"] in kinds), {})


def _event(line: bytes) -> Json | None:
    """A whole line of events.jsonl with numbers that JSON has; None where it is damaged."""
    event = parse_event(line.decode("utf-8", errors="replace"))
    if event is None:
        return None
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in event.items()
    }


# --- what happened since ---------------------------------------------------------------------------------------------


def news(run: Run, offset: int = 0) -> Json:
    """What happened since a place in events.jsonl.

    Returns:
        from (where this begins: 0 where the file is shorter than ``offset``), offset (where to go on), more (whether there
        is more already), points (``COLUMNS``, each a list with a value a step), events (all others, as they are).
    """
    path = run.folder / "events.jsonl"
    points: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    others: list[Json] = []
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = offset if 0 <= offset <= size else 0
            file.seek(start)
            data = file.read(PORTION)
    except FileNotFoundError:
        return {"from": 0, "offset": 0, "more": False, "points": points, "events": others}
    whole = data[: data.rfind(b"\n") + 1]  # a line that is still being written is for the next time
    for line in whole.splitlines(keepends=True):
        event = _event(line)
        if event is None:
            continue
        if event["event"] == run_folder.STEP:
            for name, values in points.items():
                values.append(event.get(name))
        else:
            others.append(event)
    end = start + len(whole)
    return {"from": start, "offset": end, "more": start + len(data) < size, "points": points, "events": others}


def checkpoints(run: Run) -> list[Json]:
    """The LoRA files, newest first: file, step (0 where its name does not say), bytes."""
    found = []
    for path in run.checkpoints:
        step = re.search(r"step(\d+)", path.stem.removeprefix(run.name))
        found.append({"file": path.name, "step": int(step[1]) if step else 0, "bytes": path.stat().st_size})
    return sorted(found, key=lambda entry: entry["step"], reverse=True)


def layout(run: Run) -> Json | None:
    """Where the panels are in a sample: width, height, panels with name and box; None where the run does not say."""
    try:
        return dict(run.about["recipe"]["layout"])
    except (KeyError, TypeError, ValueError):
        return None


def log(run: Run, lines: int = 200) -> Json:
    """The last lines of the run's own log, and of its trainer's output."""
    return {
        "log": supervise.last_lines(run.folder / "log.txt", lines),
        "output": list(supervise.tail(run.folder, lines)),
    }


# --- what can be asked of it -----------------------------------------------------------------------------------------


def ask(run: Run, what: str) -> None:
    """Ask whoever trains it to ``stop``, ``save`` or ``sample`` after its present step.

    Raises:
        TrainingError: for anything else, or where it does not run.
    """
    if what not in supervise.WISHES:
        stop, save, sample = supervise.WISHES
        raise TrainingError(f"A training cannot be asked to {what!r}; it can {stop}, {save} or {sample}.")
    if summary(run)["state"] != RUNNING:
        raise TrainingError(f"{run.name} does not run any more.")
    supervise.request(run.folder, what)


def use_checkpoint(run: Run, file: str, loras: Path) -> Path:
    """Put a checkpoint, with its recipe inside, where ComfyUI finds LoRAs; the same one is put there once.

    Raises:
        TrainingError: where there is no such checkpoint.
        LoraError: where it is damaged, or the folder cannot be written.
    """
    source = next((path for path in run.checkpoints if path.name == file), None)
    if source is None:
        raise TrainingError(f"{run.name} has no checkpoint {file!r}. Reload the list: it may have been removed.")
    target = loras / source.name
    if target.exists() and _same_bytes(target, source):
        return target
    if read_recipe(source) is not None and not target.exists():
        loras.mkdir(parents=True, exist_ok=True)
        unfinished = loras / f".{source.name}.{os.getpid()}.tmp"
        shutil.copyfile(source, unfinished)
        os.replace(unfinished, target)
        return target
    from safetensors.torch import load_file

    recipe = read_recipe(source) or Recipe.from_json(run.about["recipe"])
    return save_new(loras, source.stem, load_file(str(source)), recipe)


def _same_bytes(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(1 << 20):
            if chunk != second.read(1 << 20):
                return False
    return True
