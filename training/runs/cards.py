"""Which run trains on which graphics card. Two on one card would both run out of memory.

Every process that trains records its cards by their names in CUDA_VISIBLE_DEVICES, so they can be compared even if the first
card of one process is the second of another. ComfyUI's ``--cuda-device 1`` sets that variable, and the trainer inherits it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files import file_lock, strict_json
from . import run_folder, supervise
from .choices import WhenBusy
from .run_folder import Run

Cards = Sequence[str]
LOCK = ".cards"  # in the folder of runs; held from checking that a card is free until its process is recorded
# the first one that is set counts; AMD's torch reads the first two
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def card_names(indices: Sequence[int], environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names that are the same in every process of this machine, for cards that torch counts from 0."""
    chosen = next((environment[name] for name in _VISIBLE if environment.get(name)), "")
    visible = [name.strip() for name in chosen.split(",")] if chosen else []
    return [visible[index] if index < len(visible) else str(index) for index in indices]


def occupants(runs: Path, cards: Cards | None) -> list[Run]:
    """Runs that are training on one of these cards, in a process other than this one.

    Cards that are not known (None) count as the same.
    """
    return [run for run, theirs in _training(runs) if _may_share(cards, theirs)]


def _may_share(ours: Cards | None, theirs: Cards | None) -> bool:
    if ours is None or theirs is None:
        return ours != [] and theirs != []  # a training on the processor uses no cards
    return bool({*ours} & {*theirs})


def _training(runs: Path) -> Iterator[tuple[Run, Cards | None]]:
    """Runs whose process is alive, with their cards; None if these are not known."""
    for name in (supervise.RECORD, supervise.HOST_RECORD):
        for record in sorted(runs.glob(f"*/{name}")):
            run = Run(record.parent)
            process = supervise.find(run.folder, name)
            if process is None or process.pid == os.getpid():
                continue
            if name == supervise.HOST_RECORD and run.state in run_folder.ENDS:
                continue  # the process is ComfyUI, which outlives the run
            yield run, _recorded(record)


def _recorded(record: Path) -> Cards | None:
    try:
        cards = strict_json.field(strict_json.read_object(record), "cards", list, None)
    except (OSError, strict_json.JsonError):
        return None
    return cards if cards is None else [str(card) for card in cards]


def claim(
    runs: Path,
    cards: Cards | None,
    when: WhenBusy,
    go_on: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda text: None,
    pause: float = 1.0,
    patience: float = math.inf,
) -> ExitStack:
    """Wait until a training may start on these cards, and keep others from starting until the result is closed.

    Args:
        runs: folder of all runs.
        cards: from `card_names`; empty for a training on the processor, None if they are not known.
        when: what to do if another training uses one of them.
        go_on: called while it waits; raises to stop.
        say: receives a line about what it is waiting for, once.
        pause: seconds between checks.
        patience: seconds to wait for another training that is starting.

    Returns:
        To be closed once the training's process is recorded with its cards, or has failed to start.

    Raises:
        TrainingError: if a card is in use and ``when`` is not to wait, or the folder of runs cannot be written.
    """
    said = ""

    def wait_for(name: str, why: str, seconds: float) -> None:
        nonlocal said
        if name != said:
            said = name
            say(f"waiting for {name}, {why}")
        go_on()
        time.sleep(seconds)

    if when is WhenBusy.ANYWAY or cards == []:
        return ExitStack()
    deadline = time.monotonic() + patience
    while True:
        with ExitStack() as held:
            if not _acquire(runs, held):
                if time.monotonic() >= deadline:
                    raise TrainingError("Another training is just starting. Try again in a minute.")
                wait_for("another training", "which is just starting", min(pause, 0.2))
                continue
            others = occupants(runs, cards)
            if not others:
                return held.pop_all()
        if when is WhenBusy.SAY:
            raise TrainingError(
                f"{others[0].name} is still training on the graphics card; both would run out of memory. Choose "
                f"{WhenBusy.WAIT.value!r} to start after it, or stop it first."
            )
        wait_for(others[0].name, "which trains on the same graphics card", pause)


def _acquire(runs: Path, until: ExitStack) -> bool:
    """Take the lock on starting trainings until ``until`` is closed; False if another process holds it."""
    with explain_write_errors(runs, TrainingError):
        runs.mkdir(parents=True, exist_ok=True)
        file = until.enter_context((runs / LOCK).open("ab"))
    if file_lock.acquire(file) is False:  # None: a file system without locks
        return False
    until.callback(file_lock.release, file)
    return True
