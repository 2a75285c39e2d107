"""What a monitor shows of a run, read from its folder in portions, so that long runs cost no more."""

from __future__ import annotations

import functools
import json
import os
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ...incontext.errors import TrainingError
from ...incontext.files import strict_json
from ...incontext.lora.recipe import Recipe
from ...incontext.lora.recipe_file import read_recipe
from ...incontext.lora.save import copy_new, save_new
from ..give_way import give_way
from . import claims, labels, output, requests, run_folder, supervise
from .run_folder import Run, parse_event

RUNNING = "running"
END = "end"  # not a request to the trainer: its process is ended by force
COLUMNS = ("step", "loss", "smoothed", "learning_rate")
DAMAGED = "damaged"
PORTION = 1 << 18  # bytes of events.jsonl per answer
LONGEST_PORTION = 2 * run_folder.LONGEST_EVENT  # bytes, if a single event is longer than a portion
REMEMBERED = 64 << 20  # bytes of JSON: portions kept for the next page
GRACE = 3.0  # seconds within which a process that watched a run records its end, on file systems without locks
_OUTCOMES = {"trained": run_folder.FINISHED, "stopped": run_folder.CANCELLED, "failed": run_folder.FAILED}

Json = dict[str, Any]


# --- one run in a few lines -----------------------------------------------------------------------------------------


def summary(run: Run) -> Json:
    """The state of a run, at a cost that does not depend on its length.

    Returns:
        name (of the folder), title (from its node), label and note (from the user), trainer, state (``running``, one of
        `run_folder.ENDS`, or ``damaged`` if run.json cannot be used), machine (if another one trains it), phase, phase_done
        and phase_total (progress of a counted phase, else None), step, steps, loss, smoothed, learning_rate,
        seconds_per_step, seconds_left, memory (GB), started and updated (seconds since 1970), error, lora (its file name in
        output/loras), resumable.

    Raises:
        OSError: if the folder is gone.
    """
    facts = _known_facts(run)
    state = _state(run, facts)
    # the responsible process may have recorded the end, and gone, after the files were read
    while state not in (RUNNING, facts.last) and (later := _known_facts(run)) is not facts:
        facts, state = later, _state(run, later)
    return {
        **facts.shown,
        "state": state,
        "machine": supervise.on_other_machine(run.folder) if state == RUNNING else "",
        "resumable": state not in (RUNNING, run_folder.FINISHED, DAMAGED) and any((run.folder / "state").glob("step*")),
    }


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the files of a run say, regardless of processes.

    Attributes:
        shown: the parts of a summary that depend on files only.
        last: the last event among the start and the ends, or ``damaged``.
        said: how it ended according to its trainer; empty if the trainer has not said so.
    """

    shown: Json
    last: str
    said: str


_facts_by_folder: dict[Path, tuple[tuple[int, ...], _Facts]] = {}
_MOST_FACTS = 20_000
_FACT_FILES = ("run.json", "events.jsonl", labels.FILE)


def _known_facts(run: Run) -> _Facts:
    """What the files of a run say. They are read again only if they have changed."""
    folder = str(run.folder)
    stamp = tuple(part for name in _FACT_FILES for part in _stamp(os.path.join(folder, name)))
    known = _facts_by_folder.get(run.folder)
    if known is not None and known[0] == stamp:
        return known[1]
    facts = _facts(run)
    if len(_facts_by_folder) >= _MOST_FACTS:
        _facts_by_folder.clear()
    _facts_by_folder[run.folder] = (stamp, facts)
    return facts


def _stamp(path: Path | str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _facts(run: Run) -> _Facts:
    about, damage = {}, ""
    try:
        about = run.about
        settings = strict_json.field(about, "settings", dict, {})
        steps = strict_json.field(settings, "steps", int, 0)
        title, trainer = (strict_json.field(about, name, str, "") for name in ("name", "trainer"))
    except (TrainingError, strict_json.JsonError) as error:
        damage, steps, title, trainer = str(error), 0, "", ""
        if isinstance(error, strict_json.JsonError):
            damage = f"run.json cannot be used: {error}."
    events = [run_folder.finite(event) for event in run.last_events()]
    latest = _last_of(events, run_folder.STEP)
    ends = _last_of(events, run_folder.STARTED, *run_folder.ENDS)
    began = next((i for i in reversed(range(len(events))) if events[i]["event"] == run_folder.STARTED), 0)
    phase = _last_of(events, run_folder.PHASE)
    label = labels.Label.read(run.folder)
    shown = {
        "name": run.name,
        "title": title or run.name,
        "label": label.label,
        "note": label.note,
        "trainer": trainer,
        "phase": phase.get("phase", ""),
        "phase_done": phase.get("done"),
        "phase_total": phase.get("total"),
        "step": latest.get("step", 0),
        "steps": steps,
        **{
            name: latest.get(name)
            for name in ("loss", "smoothed", "learning_rate", "seconds_per_step", "seconds_left", "memory")
        },
        "started": (run.folder / "run.json").stat().st_mtime,
        "updated": _changed(run),
        "error": damage or ends.get("error", ""),
        "lora": ends.get("lora", ""),
    }
    last = DAMAGED if damage else ends.get("event", run_folder.STARTED)
    said = _OUTCOMES.get(_last_of(events[began:], "ended").get("outcome", ""), "")
    return _Facts(shown, last, said)


def _state(run: Run, facts: _Facts) -> str:
    """A run's state from files, processes and locks. It only depends on the time on file systems without locks."""
    if facts.last in (*run_folder.ENDS, DAMAGED):
        return facts.last
    if supervise.find(run.folder) is not None:
        return RUNNING
    attended = claims.is_attended(run.folder)
    if attended:
        return RUNNING
    if facts.said:  # the end is still to be recorded, by the next process or as soon as the disk has space
        return facts.said
    if attended is None and (supervise.find(run.folder, supervise.HOST_RECORD) is not None or _is_young(run)):
        return RUNNING
    return RUNNING if supervise.on_other_machine(run.folder) else run_folder.INTERRUPTED


def _is_young(run: Run) -> bool:
    """Whether something has just happened, so its end may be about to be recorded, or its process to be started."""
    return abs(time.time() - _changed(run)) < GRACE


def _changed(run: Run) -> float:
    path = run.folder / "events.jsonl"
    return (path if path.exists() else run.folder / "run.json").stat().st_mtime


def _last_of(events: list[Json], *kinds: str) -> Json:
    return next((event for event in reversed(events) if event["event"] in kinds), {})


# --- events -----------------------------------------------------------------------------------------------------------


def news(run: Run, offset: int = 0) -> Json:
    """The events after a byte offset in events.jsonl.

    Returns:
        from (where they begin: 0 if the file is shorter than ``offset``), offset (where to continue), more (whether there
        is already more), points (for each of `COLUMNS` a list with one value per step), events (all others, unchanged).
    """
    place, data = _portion(run, offset)
    return {**place, **_told(data)}


def news_text(run: Run, offset: int = 0) -> str:
    """`news` as JSON text. A portion that one page was sent is kept for the next page."""
    place, data = _portion(run, offset)
    return f"{json.dumps(place)[:-1]}, {_portions.told(data)[1:]}"


def _portion(run: Run, offset: int) -> tuple[Json, bytes]:
    """Complete lines from an offset on, and the fields of `news` about the offset."""
    try:
        with (run.folder / "events.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = offset if 0 <= offset <= size else 0
            file.seek(start)
            data = file.read(PORTION)
            if b"\n" not in data:
                data += file.read(max(0, LONGEST_PORTION - len(data)))
    except FileNotFoundError:
        return {"from": 0, "offset": 0, "more": False}, b""
    whole = data[: data.rfind(b"\n") + 1]  # leave a line that is still being written
    if not whole and len(data) > run_folder.LONGEST_EVENT:
        whole = data  # too long for one of our events; skip it
    return {"from": start, "offset": start + len(whole), "more": start + len(data) < size}, whole


def _told(lines: bytes) -> Json:
    """The points and events of `news` in these lines."""
    points: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    others: list[Json] = []
    for line in give_way(lines.split(b"\n")):
        event = parse_event(line + b"\n")
        if event is None:
            continue
        event = run_folder.finite(event)
        if event["event"] == run_folder.STEP:
            for name, values in points.items():
                values.append(event.get(name))
        else:
            others.append(event)
    return {"points": points, "events": others}


class _Portions:
    """A cache: lines of a file → the points and events in them, as JSON text. The least recently used goes first."""

    def __init__(self) -> None:
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def told(self, lines: bytes) -> str:
        key = blake2b(lines, digest_size=32).digest()
        with self._lock:
            if key in self._texts:
                self._texts.move_to_end(key)
                return self._texts[key]
        text = json.dumps(_told(lines))
        with self._lock:
            self._size += len(text) - len(self._texts.get(key, ""))
            self._texts[key] = text
            while self._size > REMEMBERED:
                self._size -= len(self._texts.popitem(last=False)[1])
        return text


_portions = _Portions()


def checkpoints(run: Run) -> list[Json]:
    """The LoRA files, highest step first: file, step (0 if it is not in the name), bytes."""
    found = []
    for path in run.checkpoints:
        step = re.search(r"step(\d+)", path.stem.removeprefix(run.name))
        found.append({"file": path.name, "step": int(step[1]) if step else 0, "bytes": path.stat().st_size})
    return sorted(found, key=lambda entry: entry["step"], reverse=True)


def layout(run: Run) -> Json | None:
    """The layout of a sample: width, height, and panels with name and box; None if the run does not say."""
    return _layout(run, _stamp(run.folder / "run.json"))


@functools.lru_cache(maxsize=64)
def _layout(run: Run, stamp: tuple[int, int]) -> Json | None:
    try:
        return Recipe.from_json(run.about["recipe"]).layout.to_json()
    except (KeyError, TypeError, ValueError):
        return None


def log(run: Run, lines: int = 200) -> Json:
    """The last lines of the run's own log, and of its trainer's output."""
    return {
        "log": output.last_lines(run.folder / "log.txt", lines),
        "output": list(output.tail(run.folder, lines)),
    }


# --- requests ---------------------------------------------------------------------------------------------------------


def ask(run: Run, what: str) -> None:
    """Ask the trainer to ``stop``, ``save`` or ``sample`` after its current step.

    Raises:
        TrainingError: if there is no such request, or the run is not running.
    """
    if what not in requests.KINDS:
        stop, save, sample = requests.KINDS
        raise TrainingError(f"A training cannot be asked to {what!r}; it can {stop}, {save} or {sample}.")
    if summary(run)["state"] != RUNNING:
        raise TrainingError(f"{run.name} is no longer running.")
    requests.add(run.folder, what)


def use_checkpoint(run: Run, file: str, loras: Path) -> Path:
    """Copy a checkpoint, with its recipe inside, to where ComfyUI finds LoRAs. It is copied only once.

    Returns:
        The copy.

    Raises:
        TrainingError: if there is no such checkpoint, or no recipe for it.
        LoraError: if it is damaged, or the folder cannot be written.
    """
    source = next((path for path in run.checkpoints if path.name == file), None)
    if source is None:
        raise TrainingError(f"{run.name} has no checkpoint {file!r}. It may have been removed; reload the list.")
    recipe = read_recipe(source)
    with claims.deciding(source.parent, patience=60.0):  # two requests at once still make one copy
        if recipe is not None:
            return copy_new(loras, source.stem, source)
        from safetensors.torch import load_file

        return save_new(loras, source.stem, load_file(str(source)), _recipe(run), once=True)


def _recipe(run: Run) -> Recipe:
    """
    Raises:
        TrainingError: if run.json has no recipe.
    """
    try:
        return Recipe.from_json(run.about["recipe"])
    except KeyError:
        raise TrainingError(f"{run.name} has no recipe in its run.json, and its checkpoint has none either.") from None
