"""Faults, with real processes: kill -9 at random moments, full and missing disks, two at once; and what is left after each.

The trainer is the stand-in (a real process with the runner's own files) or sd-scripts itself at tiny sizes; who starts it is
a process that does what ComfyUI does, or ComfyUI. ComfyUI's own trainer trains the demo model.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..training.runs import monitor, output, run_folder, supervise
from ..training.runs.run_folder import Run
from ..training.sd_scripts import states
from .fault_keepers import SAVE_EVERY, STEPS, TOLD, BareKeeper, Keeper, comfy_keeper, real_keeper, stand_in_keepers
from .fault_truth import PATIENCE, half_files, kill, orphans, shown, steps_of, true_state, until

TRAINER, HOST, BOTH = "the trainer", "ComfyUI", "both"


@dataclass
class Tally:
    """What was found.

    Attributes:
        survived: kills after which everything was as it should be.
        lost: steps that were done and not saved, as a share of the steps between two saves; the largest.
        slowest: seconds until the truth was said; the largest.
        wrong: a sentence for each thing that was not as it should be.
    """

    kills: int = 0
    survived: int = 0
    faults: int = 0
    orphans: int = 0
    half_files: int = 0
    lost: float = 0.0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Check:
    """One fault, and what is wrong after it."""

    def __init__(self, tally: Tally, name: str) -> None:
        self._tally, self._name = tally, name
        self.holds = True

    def __call__(self, condition: object, text: str) -> None:
        if not condition:
            self.holds = False
            self._tally.wrong.append(f"{self._name}: {text}")

    def files_and_processes(self, keeper: Keeper) -> None:
        half = half_files(keeper)
        left = until(lambda: not orphans(keeper.runs), PATIENCE)
        self._tally.half_files += len(half)
        self._tally.orphans += 0 if left is not None else len(orphans(keeper.runs))
        self(not half, f"not whole: {half}")
        self(left is not None, f"orphans {orphans(keeper.runs)}")


def killed(keeper: Keeper, who: str, moment: float, tally: Tally, name: str, *, resumes: bool = True) -> None:
    """Start a training, kill someone, look, and bring it to its end.

    Args:
        moment: seconds after the request at which it is done; for the trainer, after it is there.
        resumes: whether runs of this trainer can be resumed.
    """
    check = Check(tally, f"{name}, {who} after {moment:.3f} s")
    before = {path.name for path in keeper.runs.glob("*")}

    def new() -> list[Run]:
        return [Run(path) for path in keeper.runs.glob("*") if path.name not in before and (path / "run.json").exists()]

    keeper.start()
    if who != HOST and resumes:
        until(lambda: any(supervise.find(run.folder) for run in new()), 60)
    if not resumes:
        until(lambda: any(steps_of(run) for run in new()), 120)
    time.sleep(moment)
    tally.kills += 1
    if who in (TRAINER, BOTH):
        for run in new():
            kill(supervise.find(run.folder))
    if who in (HOST, BOTH):
        kill(keeper.process)
    for run in new():
        took = until(lambda run=run: shown(run) in true_state(run), PATIENCE)
        check(took is not None, f"{run.name} is shown as {shown(run)}, but it is {true_state(run)}")
        tally.slowest = max(tally.slowest, took if took is not None else PATIENCE)
    check.files_and_processes(keeper)
    for run in new():
        done = steps_of(run)
        saved = states.find_last(run)
        kept = [saved[1]] if saved else []
        kept += [int(path.stem[-6:]) for path in run.checkpoints]
        if done and shown(run) == run_folder.INTERRUPTED:
            lost = (done[-1] - max(kept, default=0)) / keeper.save_every
            tally.lost = max(tally.lost, lost)
            check(lost <= 1, f"{done[-1]} steps were done, {kept} are saved")
    if who in (HOST, BOTH):
        keeper.begin()
    elif isinstance(keeper, BareKeeper):
        keeper.started()
    for run in new():
        if not resumes:
            if run.checkpoints:
                check(monitor.use_checkpoint(run, run.checkpoints[-1].name, keeper.loras).exists(), "not usable")
            continue
        until(lambda run=run: run.state in run_folder.ENDS, 60)
        if run.state == run_folder.INTERRUPTED and states.find_last(run):
            said = keeper.resume(run)
            check(not said, f"it cannot be resumed: {said}")
        elif run.state == run_folder.INTERRUPTED:
            continue  # nothing was saved yet
        took = until(lambda run=run: shown(run) == run_folder.FINISHED and run.state == run_folder.FINISHED, 180)
        check(took is not None, f"{run.name} does not come to its end: {shown(run)}, {output.tail(run.folder)[-5:]}")
        total = run.about["settings"]["steps"]
        check(sorted(set(steps_of(run))) == list(range(1, total + 1)), f"steps {steps_of(run)}")
        check((keeper.loras / f"{run.name}.safetensors").exists(), f"no LoRA of {run.name}")
    check.files_and_processes(keeper)
    tally.survived += check.holds


def rounds(
    keeper: Keeper, kinds: list[str], longest: float, tally: Tally, name: str, seed: int, *, resumes: bool = True
) -> None:
    chance = random.Random(f"{name} {seed}")
    for number, who in enumerate(kinds, 1):
        killed(keeper, who, chance.uniform(0, longest), tally, f"{name} {number}", resumes=resumes)


@contextlib.contextmanager
def living(keeper: Keeper) -> Iterator[None]:
    """Within the context it lives, and then nothing of its trainings does."""
    keeper.begin()
    try:
        yield
    finally:
        keeper.end()
        for folder in keeper.runs.glob("*"):
            supervise.kill(folder)


def full_disks(keeper: BareKeeper, tally: Tally, firsts: list[int]) -> None:
    """The disk is full from the n-th write of the trainer on, and takes more after some: no step is lost, nothing ends."""
    for first in firsts:
        check = Check(tally, f"the disk is full at write {first}")
        tally.faults += 1
        keeper.told = {**TOLD, "refuse": [first, first + 7]}
        keeper.start()
        said = keeper.started()
        check("run" in said, str(said))
        run = Run(Path(said["run"]))
        took = until(lambda run=run: run.state in run_folder.ENDS, 60)
        check(took is not None, "no end")
        check(run.state == run_folder.FINISHED, f"{run.state}: {output.tail(run.folder)[-5:]}")
        check(steps_of(run) == list(range(1, STEPS + 1)), f"steps {steps_of(run)}")
        check.files_and_processes(keeper)
    keeper.told = dict(TOLD)


def other_faults(keeper: BareKeeper, other: BareKeeper, tally: Tally) -> None:
    """A folder that is removed, two ComfyUIs, two resumes at once, a hung trainer, a lack of memory."""

    def begun(told: Mapping[str, Any]) -> Run:
        keeper.told = {**TOLD, **told}
        keeper.start()
        return Run(Path(keeper.started()["run"]))

    def check_of(name: str) -> Check:
        tally.faults += 1
        return Check(tally, name)

    check = check_of("the run's folder is removed")
    run = begun({})
    until(lambda: steps_of(run), 30)
    shutil.rmtree(run.folder, ignore_errors=True)
    until(lambda: not run.folder.exists() or shutil.rmtree(run.folder, ignore_errors=True), 5)
    check.files_and_processes(keeper)
    check(until(lambda: not supervise.members(run.folder), PATIENCE) is not None, "its trainer goes on")

    check = check_of("two ComfyUIs, two resumes")
    run = begun({"pause": 0.1})
    until(lambda: len(steps_of(run)) > SAVE_EVERY + 1, 30)
    kill(supervise.find(run.folder))
    until(lambda: run.state == run_folder.INTERRUPTED, PATIENCE)
    for each in (keeper, other):
        each.ask_to_resume(run)
    said = [each.started().get("error", "") for each in (keeper, other)]
    check(said.count("") == 1, f"one of two resumes should start a trainer: {said}")
    check(until(lambda: run.state == run_folder.FINISHED, 60) is not None, f"no end: {run.state}")
    check.files_and_processes(keeper)

    check = check_of("a trainer that hangs")
    run = begun({"pause": 0.05, "ignore": True, "fork": True})
    until(lambda: len(steps_of(run)) > 2, 30)
    said = keeper.stop(run, 0.5)
    check(said.get("state") == run_folder.CANCELLED, str(said))
    check(not supervise.members(run.folder), "something of it lives")
    check.files_and_processes(keeper)

    check = check_of("the card runs out of memory")
    run = begun(
        {"fail": "training", "words": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."}
    )
    check(until(lambda: run.state == run_folder.FAILED, PATIENCE) is not None, run.state)
    check("ran out of memory" in monitor.summary(run)["error"], monitor.summary(run)["error"])
    check.files_and_processes(keeper)


def stand_in_faults(folder: Path, tally: Tally, kinds: list[str], firsts: list[int], seed: int = 11) -> None:
    """Everything with the stand-in trainer.

    Args:
        kinds: who is killed.
        firsts: the writes from which on the disk is full.
    """
    keeper, other = stand_in_keepers(folder)
    with living(keeper):
        full_disks(keeper, tally, firsts)
        with living(other):
            other_faults(keeper, other, tally)
        keeper.told = dict(TOLD)
        rounds(keeper, kinds, 0.8, tally, "stand-in trainer", seed)


def campaign(folder: Path, base: Path) -> Tally:
    """At least 100 kills, most with the stand-in trainer; a few with sd-scripts and ComfyUI themselves.

    Args:
        folder: to work in, empty.
        base: ComfyUI's base folder with the demo models.
    """
    tally = Tally()
    chance = random.Random(5)

    def mixed(trainer: int, host: int, both: int) -> list[str]:
        kinds = [TRAINER] * trainer + [HOST] * host + [BOTH] * both
        chance.shuffle(kinds)
        return kinds

    stand_in_faults(folder / "stand-in", tally, mixed(36, 20, 16), firsts=list(range(2, 3 * STEPS, 3)))
    real = real_keeper(folder / "real", Path(os.environ["COMFYUI_PATH"]))
    if real is not None:
        with living(real):
            rounds(real, mixed(4, 2, 2), 20.0, tally, "sd-scripts", 3)
    comfyui = comfy_keeper(folder / "comfyui", base, in_host=False)
    with living(comfyui):
        rounds(comfyui, mixed(8, 4, 4), 1.0, tally, "ComfyUI and the stand-in trainer", 4)
    in_host = comfy_keeper(folder / "in-host", base, in_host=True)
    with living(in_host):
        rounds(in_host, [HOST] * 8, 4.0, tally, "ComfyUI's own trainer", 5, resumes=False)
    return tally


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="incontext-faults-") as folder:
        print(json.dumps(asdict(campaign(Path(folder), Path(os.environ["INCONTEXT_LORA_BASE"])))))


if __name__ == "__main__":
    main()
