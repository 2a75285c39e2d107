"""Which run trains on which graphics card: two on one card would both run out of memory.

Every process that trains notes its cards in its record, by the names that CUDA_VISIBLE_DEVICES gives them: ComfyUI's
``--cuda-device 1`` sets that variable, and the trainer inherits it. So the first card of one process may be the second of
another, and is known to be.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ...incontext.errors import TrainingError
from ...incontext.files import file_lock, strict_json
from . import run_folder, supervise
from .choices import WhenBusy
from .run_folder import Run

Cards = Sequence[str]
LOCK = ".cards"  # in the folder of runs; held from the look whether a card is free until its process is noted
# the first that is set counts; AMD's torch reads the first two
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def card_names(indices: Sequence[int], environment: Mapping[str, str] = os.environ) -> list[str]:
    """The cards that torch counts from 0, as every process of this machine names them."""
    chosen = next((environment[name] for name in _VISIBLE if environment.get(name)), "")
    visible = [name.strip() for name in chosen.split(",")] if chosen else []
    return [visible[index] if index < len(visible) else str(index) for index in indices]


def occupants(runs: Path, cards: Cards | None) -> list[Run]:
    """Runs that train on one of these cards now, in a process other than this one.

    Where the cards of one of the two are not known (None), they may be the same.
    """
    return [run for run, theirs in _training(runs) if _may_share(cards, theirs)]


def _may_share(ours: Cards | None, theirs: Cards | None) -> bool:
    if ours is None or theirs is None:
        return ours != [] != theirs  # who computes on processors has none
    return bool({*ours} & {*theirs})


def _training(runs: Path) -> Iterator[tuple[Run, Cards | None]]:
    """Runs whose process lives, with their cards; None where those are not known."""
    for name in (supervise.RECORD, supervise.HOST_RECORD):
        for record in sorted(runs.glob(f"*/{name}")):
            run = Run(record.parent)
            process = supervise.find(run.folder, name)
            if process is None or process.pid == os.getpid():
                continue
            if name == supervise.HOST_RECORD and run.state in run_folder.ENDS:
                continue  # the process is a ComfyUI, which goes on
            yield run, _noted(record)


def _noted(record: Path) -> Cards | None:
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
    """Return when a training may start on these cards; others that want one wait until it is started.

    Args:
        runs: folder of all runs.
        cards: as `card_names` gives them; none where processors compute, None where they are not known.
        when: what to do where another training has one of them.
        go_on: called while it waits; raises to stop.
        say: takes what is waited for, once.
        pause: seconds between looks.
        patience: seconds to wait for another that is being started.

    Returns:
        To be closed once the training's process is noted with its cards, or did not start.

    Raises:
        TrainingError: where a card is taken and it is not to wait, or the folder of runs cannot be written.
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
            if not _held(runs, held):
                if time.monotonic() >= deadline:
                    raise TrainingError("Another training is being started at this moment. Try again in a minute.")
                wait_for("another training", "which is being started", min(pause, 0.2))
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


def _held(runs: Path, until: ExitStack) -> bool:
    """Whether nobody else is starting a training now; then nobody can before ``until`` is closed."""
    with run_folder.written(runs):
        runs.mkdir(parents=True, exist_ok=True)
        file = until.enter_context((runs / LOCK).open("ab"))
    if file_lock.acquire(file) is False:  # None: a file system without locks
        return False
    until.callback(file_lock.release, file)
    return True
