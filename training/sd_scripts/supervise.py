"""The trainer's process: started, found again, asked to stop, ended with all its children.

A process is known by its pid and its birth (`process`), since pids are given out again. It belongs to the
run, not to ComfyUI: it goes on when ComfyUI is restarted or killed. Its children are found by a variable in their
environment even when they have left its process group.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ...incontext.errors import TrainingError
from ...incontext.files import strict_json
from ..runs.run_folder import write_atomically, written
from .environment import Trainer
from .process import birth, start_detached
from .processes import Processes

RUNNER = Path(__file__).with_name("runner") / "__main__.py"
MARK = "INCONTEXT_LORA_RUN"
RECORD = "process.json"
HOST_RECORD = "host.json"  # of a run that ComfyUI itself trains
OUTPUT = "trainer.log"
REQUESTS = "requests"
WISHES = ("stop", "save", "sample")  # what a training can be asked for
END = "end"  # beside the requests: it is ended by force, because the user wants it

# lead an interpreter away from its own packages
_DETOURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
# set by ComfyUI for its own process. Which cards are visible stays: training belongs on the card that was chosen there
_OF_COMFYUI = (
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG"),
    *("MIMALLOC_PURGE_DELAY", "OCL_SET_SVM_SIZE", "TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL"),
)
_PREFIXES_OF_COMFYUI = ("COMFYUI_", "COMFY_")


@dataclass(frozen=True)
class Launch:
    """What is started, as a value; ``cards`` names the graphics cards it trains on, None where they are not known."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    cards: Sequence[str] | None = None


def launch(
    trainer: Trainer,
    job: Path,
    processes: Processes,
    inherited: Mapping[str, str],
    *,
    offline: bool,
    runner: Path = RUNNER,
    cards: Sequence[str] | None = None,
) -> Launch:
    """The command and the environment for a job; no shell, and nothing in it that came from a workflow.

    Args:
        job: the job's folder, below the run's.
        offline: whether everything it needs is on this machine.
        runner: our script; tests have one of their own.
        cards: that it will train on.
    """
    run = job.parent
    environment = without_comfyui(without_detours(inherited))
    environment |= {
        MARK: str(run),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "PYTHONIOENCODING": "utf-8",
        "TQDM_MININTERVAL": "5",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if offline:
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if processes.cpu:
        environment["ACCELERATE_USE_CPU"] = "true"
    script = (str(runner), str(trainer.checkout), str(job))
    python = str(trainer.python)
    if processes.config:
        start = (python, "-m", "accelerate.commands.launch", "--config_file", processes.config)
    elif processes.count > 1:
        start = (
            *(python, "-m", "accelerate.commands.launch"),
            *("--num_processes", str(processes.count), "--num_machines", str(processes.machines)),
            *("--machine_rank", str(processes.rank), "--main_process_ip", processes.address),
            *("--main_process_port", str(processes.port), "--mixed_precision", "no", "--dynamo_backend", "no"),
            "--multi_gpu",  # Accelerate's launcher for several processes; on processors, ACCELERATE_USE_CPU says so
        )
    else:
        start = (python,)
    return Launch((*start, *script), environment, trainer.checkout, cards)


def without_comfyui(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what ComfyUI set for its own process."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _OF_COMFYUI and not name.startswith(_PREFIXES_OF_COMFYUI)
    }


def without_detours(inherited: Mapping[str, str]) -> dict[str, str]:
    """Variables of this process, without those that would lead another interpreter to our packages."""
    return {name: value for name, value in inherited.items() if name not in _DETOURS}


def start(what: Launch, run: Path) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, with its output in the run's folder, and note who it is."""
    with written(run):
        (run / REQUESTS).mkdir(exist_ok=True)
        for name in (*WISHES, END):
            (run / REQUESTS / name).unlink(missing_ok=True)
        # ComfyUI may be killed before it knows the pid; `find` then knows the process by its environment
        write_atomically(run / RECORD, json.dumps({"machine": platform.node(), **_on_cards(what.cards)}) + "\n")
        output = (run / OUTPUT).open("ab")
    with output:
        try:
            process = start_detached(what.arguments, what.folder, what.environment, output)
        except OSError as error:
            (run / RECORD).unlink(missing_ok=True)
            raise TrainingError(
                f"The trainer cannot be started: {error}. Install it again with `python run.py trainer install`."
            ) from error
    try:
        note(run, process.pid, cards=what.cards)
    except BaseException:  # a process that nobody could find again
        process.kill()
        process.wait()
        raise
    return process


def note(run: Path, pid: int, record: str = RECORD, cards: Sequence[str] | None = None) -> None:
    """Write down which process it is, so that `find` knows it again, and on which graphics cards it trains.

    Raises:
        TrainingError: where the disk refuses.
    """
    with written(run):
        write_atomically(run / record, json.dumps({**_identity(pid), **_on_cards(cards)}) + "\n")


def _on_cards(cards: Sequence[str] | None) -> dict[str, Any]:
    return {} if cards is None else {"cards": list(cards)}


def _identity(pid: int) -> dict[str, Any]:
    created = 0.0
    with contextlib.suppress(psutil.Error):  # over already
        created = psutil.Process(pid).create_time()  # what versions before `birth` looked at
    return {"pid": pid, "birth": birth(pid), "created": created, "machine": platform.node()}


def find(run: Path, record: str = RECORD) -> psutil.Process | None:
    """The run's process, if it is still that one and still runs."""
    try:
        noted = strict_json.read_object(run / record)
        if "pid" not in noted:
            return _first_marked(run) if noted.get("machine") == platform.node() else None
        process = psutil.Process(strict_json.field(noted, "pid", int))
        if "birth" in noted:
            same = bool(noted["birth"]) and noted["birth"] == birth(process.pid)
        else:
            same = abs(process.create_time() - strict_json.field(noted, "created", float)) < 1.0
        lives = process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except (OSError, OverflowError, strict_json.JsonError, psutil.Error, ValueError):
        return None
    return process if same and lives else None


def on_other_machine(run: Path) -> str:
    """Name of the machine that runs it; empty where it is this one, or nobody knows."""
    try:
        machine = strict_json.field(strict_json.read_object(run / RECORD), "machine", str)
    except (OSError, strict_json.JsonError):
        return ""
    return "" if machine == platform.node() else machine


def last_lines(path: Path, lines: int) -> list[str]:
    """The last lines of a log that hold something; what a carriage return has overwritten counts as a line."""
    text = _last_text(path).replace("\r", "\n")
    return [line.rstrip() for line in text.split("\n") if line.strip()][-lines:]


def _last_text(path: Path) -> str:
    """The last 64 kB of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64_000))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def request(run: Path, what: str) -> None:
    """Ask the trainer to ``stop``, ``save`` or ``sample`` after its present step.

    Raises:
        TrainingError: where the run's folder cannot be written.
    """
    with written(run):
        (run / REQUESTS).mkdir(exist_ok=True)
        (run / REQUESTS / what).touch()


def requested(run: Path) -> frozenset[str]:
    """What was asked for since the last look."""
    asked = set()
    for name in WISHES:
        with contextlib.suppress(OSError):
            (run / REQUESTS / name).unlink()
            asked.add(name)
    return frozenset(asked)


def members(run: Path) -> list[psutil.Process]:
    """All processes of a run that still live, whoever their parent is."""
    found: dict[int, psutil.Process] = {}
    main = find(run)
    if main is not None:
        with contextlib.suppress(psutil.Error):
            found = {child.pid: child for child in (main, *main.children(recursive=True))}
    return [*found.values(), *(process for process in _marked(run) if process.pid not in found)]


def _marked(run: Path) -> Iterator[psutil.Process]:
    """Living processes whose environment names this run."""
    mark = str(run)
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _first_marked(run: Path) -> psutil.Process | None:
    """A run's process that was started, but not noted: the one of which all others come."""
    return min(_marked(run), key=lambda process: process.create_time(), default=None)


def kill(run: Path, patience: float = 5.0) -> None:
    """End all processes of a run; returns when nothing of it is left."""
    if sys.platform != "win32":
        main = find(run)
        if main is not None:
            with contextlib.suppress(OSError):
                os.killpg(main.pid, signal.SIGKILL)
    deadline = time.monotonic() + patience
    while True:  # a process may have started another while the list was made
        left = members(run)
        if not left or time.monotonic() > deadline:
            return
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1.0)


def sweep(runs: Path) -> list[Path]:
    """End what is left of runs whose main process is gone; returns the runs that had such orphans."""
    swept = []
    for run in sorted(path.parent for path in runs.glob(f"*/{RECORD}")):
        if find(run) is None and not on_other_machine(run) and members(run):
            kill(run)
            swept.append(run)
    return swept


def tail(run: Path, lines: int = 40) -> Sequence[str]:
    """The last lines of the trainer's output, without its progress bars."""
    kept = [line.rsplit("\r", 1)[-1].rstrip() for line in _last_text(run / OUTPUT).splitlines()]
    return [line for line in kept if line and "it/s]" not in line and "s/it" not in line][-lines:]
