"""What the tests of runs on disk share: a small LoRA, waiting for a state, a disk that refuses."""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from incontext_lora.incontext.errors import TrainingError, explain_write_errors
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import rows
from incontext_lora.training.runs import run_folder
from incontext_lora.training.runs.event_tail import EventTail
from incontext_lora.training.runs.run_folder import Run, RunWriter
from incontext_lora.training.sd_scripts import follow

RECIPE = Recipe("toy", rows(128, 192, 3), prefix="[TOY]")
LORA = {"a.lora_down.weight": torch.ones(1, 2), "a.lora_up.weight": torch.ones(2, 1)}
HOLD = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
Start = Callable[..., tuple[Run, "subprocess.Popen[bytes]"]]


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def watch_to_end(run: Run, process: Any, act: Callable[[dict[str, Any]], object] = lambda event: None) -> int | None:
    return follow.watch(run, process, EventTail(run), act, pause=0.02)


def of_kind(run: Run, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["event"] == kind]


def steps(run: Run) -> list[int]:
    return [event["step"] for event in of_kind(run, run_folder.STEP)]


class FullDisk:
    """Writes through a run's writer fail while it is on, as on a disk without space."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = False
        append = RunWriter._append

        def refuse(writer: RunWriter, file: Any, text: str) -> None:
            if self.on:
                with explain_write_errors(writer.run.folder, TrainingError):
                    raise OSError(errno.ENOSPC, "No space left on device")
            append(writer, file, text)

        monkeypatch.setattr(RunWriter, "_append", refuse)


def refuse(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")
