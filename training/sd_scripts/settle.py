"""Settle a run whose process is gone: find out its outcome, record it, and publish its LoRA."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...incontext.errors import LoraError, TrainingError
from ...incontext.files.strict_json import JsonError, field
from ...incontext.lora.header import METADATA_KEY, Header, read_header
from ...incontext.lora.keys import is_lora
from ...incontext.lora.recipe import Recipe
from ...incontext.lora.save import save_new
from ..runs import claims, output, requests, run_folder, supervise
from ..runs.run_folder import Run, RunWriter
from . import job, outcome, states
from .architectures import Architecture, architecture

ENDED = "ended"
_DECIDED = (run_folder.STARTED, *run_folder.ENDS)
_KILLED = (-9, 137)  # exit codes


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        state: one of `run_folder.ENDS`, or ``started`` if it is still running.
        lora: the published LoRA; None if there is none.
        message: a sentence for the user; may be empty.
    """

    state: str
    lora: Path | None = None
    message: str = ""


def settle(run: Run, loras: Path, code: int | None = None, *, stopped: bool = False) -> Outcome:
    """Find out the outcome of a run whose process is gone, publish its LoRA, and record the outcome.

    Calling it again returns the recorded outcome.

    Args:
        loras: folder of finished LoRAs.
        code: the exit code; None if it is unknown.
        stopped: whether the user stopped it.

    Raises:
        TrainingError: if another process takes too long with the run, or the disk cannot be written.
    """
    if not run.folder.is_dir():
        return Outcome(
            run_folder.FAILED,
            None,
            f"The run's folder {run.folder} is missing, and with it everything that was trained.",
        )
    # the node, its watcher and a second ComfyUI may all do this at the same time
    with claims.deciding(run.folder, patience=600.0):
        if supervise.find(run.folder) is not None:
            return Outcome(
                run_folder.STARTED,
                None,
                f"{run.name} is still running: it was resumed, or its process cannot be ended.",
            )
        supervise.kill(run.folder)  # children that it left behind
        return settle_locked(run, loras, code, stopped)


def settle_soon(run: Run, loras: Path, code: int | None = None, *, stopped: bool = False) -> Outcome:
    """`settle`; if the disk cannot be written, it also tries again in the background until there is space.

    Raises:
        TrainingError: as `settle`.
    """
    try:
        return settle(run, loras, code, stopped=stopped)
    except TrainingError:
        threading.Thread(
            target=settle_at_last, args=(run, loras, code, stopped), name=f"incontext-lora {run.name}", daemon=True
        ).start()
        raise


def settle_at_last(run: Run, loras: Path, code: int | None, stopped: bool) -> None:
    """Settle a run, and try again for as long as its disk cannot be written."""
    while True:
        try:
            settle(run, loras, code, stopped=stopped)
            return
        except TrainingError:
            time.sleep(run_folder.AGAIN)


def settle_locked(run: Run, loras: Path, code: int | None, stopped: bool) -> Outcome:
    """`settle` for a caller that holds the run's lock (`claims.deciding`)."""
    last = next((event for event in reversed(run.last_events()) if event["event"] in _DECIDED), {})
    if last.get("event") in run_folder.ENDS:
        lora = Path(last["path"]) if last.get("path") else None
        return Outcome(last["event"], lora, last.get("error", ""))
    stopped = stopped or requests.is_ended(run.folder)
    said, phase, step, helped = {}, "", 0, False
    for event in run.events():
        kind = event["event"]
        if kind == run_folder.STARTED:
            said, phase, step, helped = {}, "", 0, bool(event.get("machine_rank"))
        elif kind == ENDED:
            said = event
        elif kind == run_folder.PHASE:
            phase = event.get("phase", "")
        elif kind == run_folder.STEP:
            step = event["step"]
    lines = output.tail(run.folder)
    states.remove_unfinished(run)
    writer = RunWriter(run)
    try:
        if helped and code in (None, 0):
            words = "This machine helped; the LoRA, or the state to resume from, is on the first machine."
            return _note(writer, Outcome(run_folder.FINISHED, None, words))
        # on a full disk, the trainer's last event may be missing although the LoRA was saved before it
        trained = said.get("outcome") == "trained" or (not said and not stopped and _has_final(run))
        if trained and code in (None, 0, *_KILLED):
            try:
                path = publish(run, loras)
            except (LoraError, TrainingError) as error:
                if isinstance(error.__cause__, OSError) and _has_final(run):
                    raise TrainingError(str(error)) from error  # the LoRA is sound; publish it once there is space
                message = f"The trainer ended without an error, but its LoRA cannot be used. {error}"
                return _note(writer, Outcome(run_folder.FAILED, None, message))
            result = _note(writer, Outcome(run_folder.FINISHED, path))
            shutil.rmtree(run.folder / states.STATE, ignore_errors=True)
            return result
        if stopped or said.get("outcome") == "stopped":
            saved = states.find_last(run)
            words = f"Stopped at step {step}." if step else "Stopped before the first step."
            words += f" Resume it from step {saved[1]}." if saved else ""
            return _note(writer, Outcome(run_folder.CANCELLED, None, words))
        if said.get("outcome") == "failed" or code not in (None, 0, *_KILLED):
            message = outcome.failure(said.get("phase") or phase, said.get("error", ""), code, lines)
            return _note(writer, Outcome(run_folder.FAILED, None, message))
        if code == 0:
            message = outcome.failure(
                phase, outcome.cause(lines) or "It ended without a LoRA and without an error.", code, lines
            )
            return _note(writer, Outcome(run_folder.FAILED, None, message))
        saved = states.find_last(run)
        message = outcome.interrupted(phase, step, saved[1] if saved else 0, code)
        return _note(writer, Outcome(run_folder.INTERRUPTED, None, message))
    finally:
        writer.close()


def _final(run: Run) -> Path:
    """The file of a finished training's LoRA.

    Raises:
        TrainingError: if run.json does not have the number of steps.
    """
    try:
        steps = field(field(run.about, "settings", dict), "steps", int)
    except JsonError as error:
        raise TrainingError(f"The run.json of {run.name} cannot be used: {error}.") from None
    return run.folder / "checkpoints" / f"{job.checkpoint_name(run.name, steps)}.safetensors"


def _has_final(run: Run) -> bool:
    try:
        return is_lora(read_header(_final(run)).tensors)
    except (LoraError, TrainingError):
        return False


def _note(writer: RunWriter, result: Outcome) -> Outcome:
    values: dict[str, Any] = {"error": result.message} if result.message else {}
    if result.lora is not None:
        values |= {"lora": result.lora.name, "path": str(result.lora)}
    writer.event(result.state, **values)
    writer.log(f"{result.state}: {result.lora or result.message}")
    return result


def publish(run: Run, loras: Path) -> Path:
    """Check the finished LoRA, and save it where ComfyUI finds it, in one step.

    Raises:
        LoraError, TrainingError: if it is missing, damaged, or not for this architecture.
    """
    from safetensors.torch import load_file

    file = _final(run)
    header = read_header(file)
    about = run.about
    try:
        family, recipe = architecture(field(about, "architecture", str)), field(about, "recipe", dict)
    except JsonError as error:
        raise TrainingError(f"The run.json of {run.name} cannot be used: {error}.") from None
    check_keys(header, family, file.name)
    remarks = {name: value for name, value in header.metadata.items() if name != METADATA_KEY}
    return save_new(loras, run.name, load_file(str(file)), Recipe.from_json(recipe), remarks, once=True)


def check_keys(header: Header, family: Architecture, name: str) -> None:
    """
    Raises:
        TrainingError: if the file is not a LoRA with this architecture's tensor names.
    """
    strange = [key for key in header.tensors if not key.startswith(family.prefixes)]
    if strange or not is_lora(header.tensors):
        shown: Sequence[str] = strange[:1] or list(header.tensors)[:1]
        raise TrainingError(f"{name} is not a LoRA for {family.title}: it holds {', '.join(shown) or 'nothing'}.")


def sweep(runs: Path, loras: Path) -> list[tuple[Run, Outcome]]:
    """When ComfyUI starts, settle every run whose process is gone, and end the orphans of such processes."""
    supervise.sweep(runs)
    settled = []
    for folder in sorted(path.parent for path in runs.glob(f"*/{supervise.RECORD}")):
        run = Run(folder)
        if (
            run.state == run_folder.STARTED
            and supervise.find(folder) is None
            and not supervise.on_other_machine(folder)
        ):
            with contextlib.suppress(TrainingError):  # its disk is full or gone; settle the others
                settled.append((run, settle_soon(run, loras)))
    return settled
