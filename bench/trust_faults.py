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
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from ..demo import sets as demo_sets
from ..demo.server import ComfyServer
from ..demo.workflow import set_value
from ..incontext.dataset import BuildOptions, build
from ..incontext.lora.header import read_header
from ..incontext.lora.recipe import Recipe
from ..incontext.panels.arrange import rows
from ..training.runs import monitor, output, run_folder, supervise
from ..training.runs.run_folder import Run
from ..training.sd_scripts import environment, settle, states
from ..training.sd_scripts.machine import Machine, place_tokenizers
from ..training.sd_scripts.settings import SdSettings, Sizes
from .child import ROOT, in_pack

TRAINER, HOST, BOTH = "the trainer", "ComfyUI", "both"
PATIENCE = 10.0  # seconds until the truth is said
STEPS, SAVE_EVERY = 24, 4
TOLD = {"pause": 0.02, "slow": 0.01, "checkpoints": True}


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


class Keeper(Protocol):
    """Who starts trainings and looks after them."""

    runs: Path
    loras: Path
    save_every: int

    @property
    def process(self) -> subprocess.Popen[Any]: ...

    def begin(self) -> None:
        """Live, again after it was killed."""
        ...

    def start(self) -> None:
        """Ask for a training, without waiting for it."""
        ...

    def resume(self, run: Run) -> str:
        """Go on with one; returns why that cannot be."""
        ...

    def end(self) -> None: ...


class BareKeeper:
    """`fault_host`, in a process of its own."""

    def __init__(self, place: Mapping[str, str], order: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        self.runs, self.loras = Path(place["runs"]), Path(place["loras"])
        self.save_every = order["settings"]["save_every"]
        self._command = in_pack("bench.fault_host", json.dumps(place), json.dumps(order))
        self.told = dict(told)
        self._process: subprocess.Popen[Any] | None = None

    @property
    def process(self) -> subprocess.Popen[Any]:
        assert self._process is not None
        return self._process

    def begin(self) -> None:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._read().get("ready")

    def start(self) -> None:
        self._say({"do": "start", "told": self.told})

    def started(self) -> dict[str, Any]:
        """The answer to `start` or `ask_to_resume`."""
        return self._read()

    def ask_to_resume(self, run: Run) -> None:
        self._say({"do": "resume", "run": str(run.folder), "told": TOLD})

    def resume(self, run: Run) -> str:
        self.ask_to_resume(run)
        return self.started().get("error", "")

    def stop(self, run: Run, patience: float) -> dict[str, Any]:
        self._say({"do": "stop", "run": str(run.folder), "patience": patience})
        return self._read()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _say(self, what: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {}


class ComfyKeeper:
    """ComfyUI itself; ``prompt`` makes what is queued to start a training."""

    def __init__(
        self, base: Path, node: str, prompt: Callable[[ComfyServer], dict[str, Any]], save_every: int, paths: Path
    ) -> None:
        self.runs, self.loras = base / "output" / "incontext_runs", base / "output" / "loras"
        self.save_every = save_every
        self._base, self._prompt = base, prompt
        self._arguments = ["--extra-model-paths-config", str(paths)]
        self._server: ComfyServer | None = None
        self._made: dict[str, Any] = {}
        self._node, self._started = node, 0

    @property
    def process(self) -> subprocess.Popen[Any]:
        assert self._server is not None
        assert self._server._process is not None
        return self._server._process

    def begin(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = ComfyServer(self._base, extra_arguments=self._arguments)
        self._server.__enter__()
        self._made = self._made or self._prompt(self._server)

    def start(self) -> None:
        assert self._server is not None
        self._started += 1  # a prompt that was executed before is answered from memory
        set_value(self._made, self._node, "seed", self._started)
        self._server.post_json("/prompt", {"prompt": self._made, "client_id": "faults"})

    def resume(self, run: Run) -> str:
        import urllib.error

        assert self._server is not None
        try:
            self._server.post_json(f"/incontext_lora/runs/{run.name}/resume", {})
        except urllib.error.HTTPError as error:
            return error.read().decode()
        return ""

    def end(self) -> None:
        if self._server is not None:
            self._server.stop()


# --- what is checked ------------------------------------------------------------------------------------------------


def until(condition: Callable[[], object], seconds: float) -> float | None:
    """Seconds until it holds; None where it does not in time."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.05)
    return time.monotonic() - began


def shown(run: Run) -> str:
    """What the monitor says of a run."""
    try:
        return monitor.summary(run)["state"]
    except OSError:
        return "gone"


def true_state(run: Run) -> set[str]:
    """What may be said of a run whose trainer or ComfyUI was killed, from its processes and files alone."""
    if supervise.members(run.folder):
        return {monitor.RUNNING}
    if settle._has_final(run):
        return {run_folder.FINISHED}
    return {run_folder.INTERRUPTED}


def half_files(keeper: Keeper) -> list[str]:
    """LoRA files that a list shows, and that are not whole."""
    from safetensors.torch import load_file

    listed = [path for folder in keeper.runs.glob("*") for path in Run(folder).checkpoints]
    found = []
    for path in [*listed, *keeper.loras.glob("*.safetensors")]:
        try:
            read_header(path)
            load_file(str(path))
        except Exception as error:
            found.append(f"{path.name}: {error}")
    return found


def orphans(runs: Path) -> list[int]:
    """Processes of runs of this folder that nothing knows of: no run of theirs is shown as running."""
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(supervise.MARK, "")
            lives = process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        if lives and mark and Path(mark).parent == runs and shown(Run(Path(mark))) != monitor.RUNNING:
            found.append(process.pid)
    return found


def steps_of(run: Run) -> list[int]:
    return [event["step"] for event in run.events() if event["event"] == run_folder.STEP]


def kill(process: psutil.Process | subprocess.Popen[Any] | None) -> None:
    if process is None:
        return
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
    except (ProcessLookupError, psutil.Error, subprocess.TimeoutExpired):
        pass


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


# --- kills ----------------------------------------------------------------------------------------------------------


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


# --- other faults ---------------------------------------------------------------------------------------------------


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


# --- who trains what ------------------------------------------------------------------------------------------------


def stand_in_keepers(folder: Path, count: int = 2) -> list[BareKeeper]:
    """Hosts of one folder of runs, with the stand-in trainer."""
    from ..tests import sd_scripts_place
    from ..tests.dataset_sets import folder_sets

    place = sd_scripts_place.stand_in_place(folder / "here", folder / "ComfyUI")
    dataset = sd_scripts_place.small_dataset(folder_sets(folder / "sets", 3), folder / "datasets")
    files = sd_scripts_place.flux_files(folder / "models")
    settings = SdSettings(steps=STEPS, save_every=SAVE_EVERY, rank=4, sizes=Sizes.FULL)
    order = _order("flux", list(files.values()), dataset.folder, settings)
    return [BareKeeper(_paths(place), order, TOLD) for _ in range(count)]


def _order(family: str, files: Sequence[Path], dataset: Path, settings: SdSettings) -> dict[str, Any]:
    return {
        "architecture": family,
        "files": [str(path) for path in files],
        "dataset": str(dataset),
        "name": "toy",
        "settings": settings.to_json(),
    }


def _paths(place: Machine) -> dict[str, str]:
    return {
        **{name: str(getattr(place, name)) for name in ("runs", "loras", "comfyui", "tokenizers", "runner")},
        "python": str(place.trainer.python),
        "checkout": str(place.trainer.checkout),
    }


def real_keeper(folder: Path, comfyui: Path) -> BareKeeper | None:
    """A host with sd-scripts itself and FLUX at tiny sizes; None where it is not installed."""
    from ..tests.dataset_sets import folder_sets
    from ..tests.training import tiny
    from ..training.sd_scripts.architectures import FLUX

    try:
        trainer = environment.find()
    except environment.TrainerNotInstalled:
        return None
    models, tokenizers = folder / "models", folder / "tokenizers"
    models.mkdir(parents=True)
    command = [str(trainer.python), str(Path(tiny.__file__)), "write", str(trainer.checkout), "flux", str(models)]
    subprocess.run(command, check=True, capture_output=True)
    place_tokenizers(FLUX, comfyui, tokenizers)
    recipe = Recipe("toy", rows(128, 192, 3), prefix="[TOY]")
    dataset = build(folder_sets(folder / "sets", 4), folder / "datasets", recipe, BuildOptions(name="toy"))
    files = [models / "model.safetensors", *(p for p in sorted(models.glob("*.safetensors")) if p.stem != "model")]
    settings = SdSettings(
        steps=12, save_every=3, rank=4, alpha=4.0, sizes=Sizes.FULL, sample_every=0, gradient_checkpointing=False,
        batch_size=1,
    )  # fmt: skip
    place = Machine(
        trainer, folder / "runs", folder / "loras", comfyui, tokenizers, runner=Path(tiny.__file__), on_cpu=True
    )
    return BareKeeper(_paths(place), _order("flux", files, dataset.folder, settings), {})


def comfy_keeper(folder: Path, base: Path, *, in_host: bool) -> ComfyKeeper:
    """ComfyUI with the demo models and, where it does not train itself, the stand-in trainer as its sd-scripts."""
    from ..demo.job import Job
    from ..launcher.work import model_paths, prepare_base
    from ..tests import sd_scripts_place
    from ..tests.dataset_sets import folder_sets

    prepare_base(folder, ROOT)
    paths = folder / "models.yaml"
    paths.write_text(model_paths(base / "models"), encoding="utf-8")
    trainer = folder / "data" / "trainer"
    checkout = trainer / "sd-scripts"
    checkout.mkdir(parents=True)
    (checkout / "train_network.py").touch()
    python = trainer / "python"
    script = f'case "$1" in -c) echo cpu;; *) shift; exec "{sys.executable}" "{sd_scripts_place.STAND_IN}" "$@";; esac'
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o755)
    environment.remember(environment.Trainer(python, checkout), trainer)
    for option, path in sd_scripts_place.flux_files(folder / "made").items():
        kind = {"pretrained_model_name_or_path": "diffusion_models", "ae": "vae"}.get(option, "text_encoders")
        (folder / "models" / kind).mkdir(exist_ok=True)
        shutil.copy(path, folder / "models" / kind)
    os.environ["INCONTEXT_LORA_DATA"] = str(folder / "data")
    os.environ["STAND_IN"] = json.dumps(TOLD)

    def in_comfyui(server: ComfyServer) -> dict[str, Any]:
        demo_sets.write_sets(folder / "input" / "sets", 4, 1)
        prompt = Job(server, folder, lambda text: None).prompt("train-in-host")
        set_value(prompt, "InContextBuildDataset", "folder", "sets")
        for name, value in {"name": "toy", "steps": 400, "save_every": 3, "sample_every": 0}.items():
            set_value(prompt, "InContextTrainLoraInHost", name, value)
        return prompt

    def in_a_process(server: ComfyServer) -> dict[str, Any]:
        folder_sets(folder / "input" / "sets", 3, size=(512, 512))
        prompt = Job(server, folder, lambda text: None).prompt("train-sd-scripts-flux")
        set_value(prompt, "InContextBuildDataset", "folder", "sets")
        values = {
            "steps": STEPS, "save_every": SAVE_EVERY, "rank": 4, "background": True, "samples": 0, "name": "toy",
            "model": "flux.safetensors", "vae": "ae.safetensors", "text_encoder_1": "t5xxl.safetensors",
            "text_encoder_2": "clip_l.safetensors", "text_encoder_3": "none",
        }  # fmt: skip
        for name, value in values.items():
            set_value(prompt, "InContextTrainLora", name, value)
        return prompt

    if in_host:
        return ComfyKeeper(folder, "InContextTrainLoraInHost", in_comfyui, 3, paths)
    return ComfyKeeper(folder, "InContextTrainLora", in_a_process, SAVE_EVERY, paths)


# --- the campaign ---------------------------------------------------------------------------------------------------


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
