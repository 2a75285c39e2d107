"""A training run on disk: everything that a monitor shows, and all that survives a restart.

<run>/run.json        settings, dataset, model, versions: what was started
<run>/events.jsonl    one JSON object a line: what happened
<run>/log.txt         the same for people
<run>/samples/        pictures by step
<run>/checkpoints/    LoRA files by step, each with its recipe inside
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..incontext.errors import TrainingError
from ..incontext.lora_file import checked_name, save_new
from ..incontext.recipe import Recipe
from ..incontext.strict_json import shown

RUN_VERSION = 1

STARTED, PHASE, STEP, VALIDATION, SAMPLE, CHECKPOINT = "started", "phase", "step", "validation", "sample", "checkpoint"
NOTE = "note"  # with a text: what the user should know, but nothing that ends the run
FINISHED, CANCELLED, FAILED, INTERRUPTED = "finished", "cancelled", "failed", "interrupted"
PATIENT_TRIES = 50 if os.name == "nt" else 0
ENDS = (FINISHED, CANCELLED, FAILED, INTERRUPTED)


@dataclass(frozen=True)
class Run:
    """A run by its folder; what is asked is read from disk, so it may be running, over, or from last week."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def about(self) -> dict[str, Any]:
        """run.json.

        Raises:
            TrainingError: where the folder is no run.
        """
        try:
            return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"{self.folder} is no training run: {error}. Choose a folder with a run.json."
            ) from error

    def events(self) -> Iterator[dict[str, Any]]:
        """What happened, oldest first; a line that is still being written, or was cut off, is left out."""
        path = self.folder / "events.jsonl"
        if not path.exists():
            return
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                event = parse_event(line)
                if event is not None:
                    yield event

    def losses(self) -> list[float]:
        """One a step; where a resumed run did steps again, the later ones count."""
        by_step = {event["step"]: event["loss"] for event in self.events() if event["event"] == STEP}
        return [by_step[step] for step in sorted(by_step)]

    @property
    def state(self) -> str:
        """The last of started and the ways to end; ``started`` may mean running or killed."""
        return next((e["event"] for e in reversed(list(self.events())) if e["event"] in (STARTED, *ENDS)), STARTED)

    @property
    def checkpoints(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("*.safetensors"))

    @property
    def samples(self) -> list[Path]:
        return sorted((self.folder / "samples").glob("*.png"))


class RunWriter:
    """Writes a new run; every event is on disk before the next step begins."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._started = time.monotonic()
        _end_last_line(run.folder / "events.jsonl")
        self._events = (run.folder / "events.jsonl").open("a", encoding="utf-8")
        self._log = (run.folder / "log.txt").open("a", encoding="utf-8")

    @classmethod
    def create(cls, root: Path, name: str, about: Mapping[str, Any]) -> RunWriter:
        """Make ``<root>/<name>``, or ``<name>-2`` … where that exists already."""
        root.mkdir(parents=True, exist_ok=True)
        stem = safe_name(name)
        for number in range(1, 10_000):
            folder = root / (stem if number == 1 else f"{stem}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            break
        else:
            raise TrainingError(f"There are too many runs named {stem!r} in {root}. Choose another name.")
        for part in ("samples", "checkpoints"):
            (folder / part).mkdir()
        write_atomically(folder / "run.json", json.dumps({"version": RUN_VERSION, **about}, indent=1) + "\n")
        return cls(Run(folder))

    def event(self, kind: str, **values: Any) -> None:
        record = {"time": round(time.time(), 3), "seconds": round(time.monotonic() - self._started, 3), "event": kind}
        self._events.write(json.dumps({**record, **values}) + "\n")
        self._events.flush()

    def log(self, text: str) -> None:
        self._log.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
        self._log.flush()

    def checkpoint(self, step: int, lora: Mapping[str, torch.Tensor], recipe: Recipe) -> Path:
        """Save a LoRA with its recipe; the file appears whole or not at all."""
        path = save_new(self.run.folder / "checkpoints", f"{self.run.name}-step{step:06d}", lora, recipe)
        self.event(CHECKPOINT, step=step, file=path.name)
        self.log(f"saved {path.name}")
        return path

    def close(self) -> None:
        self._events.close()
        self._log.close()


def parse_event(line: str) -> dict[str, Any] | None:
    """One line of events.jsonl; None where it is not whole, as after a full disk or a killed process."""
    if not line.endswith("\n"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _end_last_line(path: Path) -> None:
    """A line that was cut off must not swallow the next one."""
    if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def safe_name(name: str) -> str:
    """A name as one file name that leads nowhere else, also for the LoRA that comes of it.

    Raises:
        TrainingError: where nothing is left of it.
        LoraError: where the system keeps the name for itself.
    """
    cleaned = re.sub(r"[^\w.\- ]+", "-", name.strip()[:1_000]).strip(". ")
    if not cleaned:
        raise TrainingError(f"The name {shown(name)} cannot be a file name; use letters, digits, '-' or '_'.")
    return checked_name(cleaned.encode()[:100].decode(errors="ignore").rstrip(". "))


def write_atomically(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.write_text(text, encoding="utf-8")
    for _ in range(PATIENT_TRIES):
        try:
            os.replace(unfinished, path)
            return
        except PermissionError:  # Windows replaces no file that is open; whoever reads it is done soon
            time.sleep(0.02)
    os.replace(unfinished, path)
