"""A training run on disk: everything that a monitor shows and that survives a restart.

<run>/run.json        what was started: settings, dataset, model, versions
<run>/events.jsonl    what happened, one JSON object per line
<run>/log.txt         the same as text
<run>/samples/        pictures by step
<run>/checkpoints/    LoRA files by step, each with its recipe inside
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import torch

from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files import strict_json
from ...incontext.files.atomic import write_atomic
from ...incontext.files.names import numbered
from ...incontext.files.strict_json import shown
from ...incontext.lora.recipe import Recipe
from ...incontext.lora.save import checked_name, save_new
from .about import read_about

RUN_VERSION = 1

STARTED, PHASE, STEP, VALIDATION, SAMPLE, CHECKPOINT = "started", "phase", "step", "validation", "sample", "checkpoint"
NOTE = "note"  # a text that the user should know, which does not end the run
FINISHED, CANCELLED, FAILED, INTERRUPTED = "finished", "cancelled", "failed", "interrupted"
ENDS = (FINISHED, CANCELLED, FAILED, INTERRUPTED)

MOST_OF_A_NAME = 9_999  # runs or sweeps with the same name
LONGEST_EVENT = 1 << 20  # bytes of a line; a longer line is not one of our events
TAIL = 64_000  # bytes: hundreds of events; the end of a run is always among them
AGAIN = 2.0  # seconds between tries to write an end that the disk refused

# fields of events that must be numbers or texts; otherwise the event is damaged
_NUMBERS = (
    "step",
    "steps",
    "loss",
    "smoothed",
    "learning_rate",
    "seconds_per_step",
    "seconds_left",
    "memory",
    "seconds",
    "done",
    "total",
)
_TEXTS = ("phase", "file", "error", "lora", "path", "outcome")


@dataclass(frozen=True)
class Run:
    """A run by its folder. Everything is read from disk, so the run may be active or long over."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def about(self) -> dict[str, Any]:
        """The contents of run.json.

        Raises:
            TrainingError: if the folder is not a run, or the file is damaged.
        """
        return read_about(self.folder)

    def events(self) -> Iterator[dict[str, Any]]:
        """All events, oldest first. A line that is still being written, or was cut off, is skipped."""
        try:
            file = (self.folder / "events.jsonl").open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in _lines(file):
                event = parse_event(line)
                if event is not None:
                    yield event

    def last_events(self) -> list[dict[str, Any]]:
        """The last events, oldest first, at a cost that does not depend on the length of the run."""
        try:
            with (self.folder / "events.jsonl").open("rb") as file:
                start = max(0, file.seek(0, os.SEEK_END) - TAIL)
                file.seek(start)
                data = file.read(TAIL)
        except OSError:
            return []
        lines = data.split(b"\n")[1 if start else 0 : -1]
        return [event for line in lines if (event := parse_event(line + b"\n")) is not None]

    def losses(self) -> list[float]:
        """One loss per step, NaN if it was not finite. If a resumed run repeated steps, the later ones count."""
        by_step = {event["step"]: event.get("loss") for event in self.events() if event["event"] == STEP}
        return [math.nan if (loss := by_step[step]) is None else loss for step in sorted(by_step)]

    @property
    def state(self) -> str:
        """The last event among ``started`` and `ENDS`. After ``started``, the run may be training or may have been killed."""
        return next((e["event"] for e in reversed(self.last_events()) if e["event"] in (STARTED, *ENDS)), STARTED)

    @property
    def checkpoints(self) -> list[Path]:
        """The complete LoRA files, by name. A file that is still being written has a dot before its name."""
        found = (self.folder / "checkpoints").glob("*.safetensors")  # unlike in a shell, * matches a leading dot
        return sorted(path for path in found if not path.name.startswith("."))

    @property
    def samples(self) -> list[Path]:
        return sorted((self.folder / "samples").glob("*.png"))


class RunWriter:
    """Writes a run. Every event is on disk before the next step begins.

    Raises:
        TrainingError: if the disk cannot be written; any method may raise it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._started = time.monotonic()
        with explain_write_errors(run.folder, TrainingError):
            _end_last_line(run.folder / "events.jsonl")
            # unbuffered, so that closing the file does not retry a failed write
            self._events = (run.folder / "events.jsonl").open("ab", buffering=0)
            self._log = (run.folder / "log.txt").open("ab", buffering=0)

    @classmethod
    def create(cls, root: Path, name: str, about: Mapping[str, Any]) -> RunWriter:
        """Create ``<root>/<name>``, or ``<name>-2`` and so on if it exists, with ``about`` in its run.json."""
        stem = safe_name(name)
        with explain_write_errors(root, TrainingError):
            root.mkdir(parents=True, exist_ok=True)
            for tried in islice(numbered(stem), MOST_OF_A_NAME):
                folder = root / tried
                try:
                    folder.mkdir()
                except FileExistsError:
                    continue
                break
            else:
                raise TrainingError(f"There are too many runs named {stem!r} in {root}. Choose another name.")
        try:
            with explain_write_errors(folder, TrainingError):
                for part in ("samples", "checkpoints"):
                    (folder / part).mkdir()
                write_atomic(folder / "run.json", json.dumps({"version": RUN_VERSION, **about}, indent=1) + "\n")
            return cls(Run(folder))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # an incomplete run would be listed for ever
            raise

    def event(self, kind: str, **values: Any) -> None:
        """Add an event with the current time, and the seconds since this writer was made."""
        record = {"time": round(time.time(), 3), "seconds": round(time.monotonic() - self._started, 3), "event": kind}
        self._append(self._events, json.dumps(finite({**record, **values})) + "\n")

    def log(self, text: str) -> None:
        """Add a line with the current time to log.txt."""
        self._append(self._log, f"{time.strftime('%H:%M:%S')}  {text}\n")

    def end(self, kind: str, **values: Any) -> None:
        """Record how the run ended. If the disk is full, it tries again in the background until there is space."""
        with suppress(TrainingError):
            self.log(f"{kind}: {values.get('error') or values.get('lora', '')}")
        try:
            self.event(kind, **values)
        except TrainingError:
            threading.Thread(
                target=_end_later, args=(self.run, kind, values), name="incontext-lora end", daemon=True
            ).start()

    def _append(self, file: IO[bytes], text: str) -> None:
        data = text.encode("utf-8", "replace")
        with explain_write_errors(self.run.folder, TrainingError):
            if file.write(data) != len(data):  # a full disk took only part of it
                with suppress(OSError):
                    file.write(b"\n")
                raise OSError(28, "No space left on device")

    def checkpoint(self, step: int, lora: Mapping[str, torch.Tensor], recipe: Recipe) -> Path:
        """Save a LoRA with its recipe, complete or not at all, and add the event. Returns the file."""
        path = save_new(self.run.folder / "checkpoints", f"{self.run.name}-step{step:06d}", lora, recipe)
        self.event(CHECKPOINT, step=step, file=path.name)
        self.log(f"saved {path.name}")
        return path

    def close(self) -> None:
        self._events.close()
        self._log.close()


def parse_event(line: str | bytes) -> dict[str, Any] | None:
    """One line of events.jsonl; None if it is not a complete event, as after a full disk or a killed process.

    Numbers may be NaN or infinite, as in a training that diverges.
    """
    if len(line) > LONGEST_EVENT:
        return None
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    if not text.endswith("\n"):
        return None
    try:
        event = json.loads(text)
        if isinstance(event, dict) and any(isinstance(value, dict | list) for value in event.values()):
            event = strict_json.parse(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    if event["event"] == STEP and not isinstance(event.get("step"), int):
        return None
    for name in _NUMBERS:
        value = event.get(name)
        if value is not None and (
            not isinstance(value, int | float) or (isinstance(value, int) and abs(value) >= 1 << 63)
        ):
            return None
    if any(not isinstance(event.get(name, ""), str) for name in _TEXTS):
        return None
    return event


def finite(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event with None in place of NaN and infinity, which JSON does not have."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in event.items()
    }


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines of a file. A line that is longer than any event comes in pieces, which are not events."""
    while line := file.readline(LONGEST_EVENT + 1):
        yield line


def _end_last_line(path: Path) -> None:
    """End a line that was cut off, so that the next event starts a new one."""
    try:
        with path.open("rb+") as file:
            if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                file.write(b"\n")
    except FileNotFoundError:
        return


def _end_later(run: Run, kind: str, values: Mapping[str, Any]) -> None:
    """Write a run's end as soon as the disk accepts it, unless the folder is gone or another end is recorded."""
    while run.folder.is_dir() and run.state not in ENDS:
        time.sleep(AGAIN)
        try:
            writer = RunWriter(run)
            try:
                writer.event(kind, **values)
                return
            finally:
                writer.close()
        except TrainingError:
            continue


def safe_name(name: str) -> str:
    """A name made safe as the name of a folder and of the LoRA saved from it.

    Raises:
        TrainingError: if no usable characters are left.
        LoraError: if the system reserves the name.
    """
    cleaned = re.sub(r"[^\w.\- ]+", "-", name.strip()[:1_000]).strip(". ")
    if not cleaned:
        raise TrainingError(f"The name {shown(name)} cannot be a file name; use letters, digits, '-' or '_'.")
    return checked_name(cleaned.encode()[:100].decode(errors="ignore").rstrip(". "))
