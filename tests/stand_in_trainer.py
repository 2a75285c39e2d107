"""A stand-in for the trainer: a real process with the same arguments, events and files, that behaves as it is told.

It writes events, states and LoRAs with the runner's own functions.

STAND_IN holds JSON: ``silent`` as on a machine that helps another,
``load`` seconds while the models are loaded, ``pause`` seconds per step, ``fail`` in a phase
with ``words``, ``no_file``, ``wrong_file``, ``ignore`` requests, ``fork`` a child that leaves the process group,
``full_disk``, ``checkpoints`` with every state, ``validate`` on two sets, ``slow`` seconds in the middle of each file,
``refuse`` [first, last]: the writes that find the disk full, counted from 1.
"""

from __future__ import annotations

import errno
import json
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RUNNER = Path(__file__).resolve().parents[1] / "training" / "sd_scripts" / "runner" / "__main__.py"
import_runner = runpy.run_path(str(RUNNER))["import_runner"]
disk, events = import_runner("disk"), import_runner("events")

folder = Path(sys.argv[2])
run = folder.parent
job: dict[str, Any] = json.loads((folder / "job.json").read_text())
told: dict[str, Any] = json.loads(os.environ.get("STAND_IN", "{}"))
event = events.Events(run / "events.jsonl", active=not told.get("silent"))
open_file = Path.open
writes = 0


def open_or_refuse(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
    global writes
    if mode not in ("r", "rb"):
        writes += 1
        first, last = told["refuse"]
        if first <= writes <= last:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return open_file(path, mode, *args, **kwargs)


if "refuse" in told:
    setattr(Path, "open", open_or_refuse)  # noqa: B010 - a full disk


def lora(path: Path, key: str) -> None:
    half = {"dtype": "F32", "shape": [1, 1]}
    entries = {
        f"{key}.lora_down.weight": {**half, "data_offsets": [0, 4]},
        f"{key}.lora_up.weight": {**half, "data_offsets": [4, 8]},
    }
    header = json.dumps({"__metadata__": {"ss_steps": str(job["steps"])}, **entries}).encode()
    header += b" " * (-len(header) % 8)
    data = len(header).to_bytes(8, "little") + header + b"\0\0\x80?" * 2

    def write(unfinished: Path) -> None:
        with unfinished.open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            time.sleep(told.get("slow", 0.0))
            file.write(data[len(data) // 2 :])

    def wait(error: Exception) -> bool:
        time.sleep(0.02)
        return path.stem.endswith(f"{job['steps']:06d}")

    disk.write_lora(path, write, wait)


def state(step: int) -> bool:
    """Save a state, and a checkpoint where it is told so; whether the disk took it."""
    states = run / "state"
    unfinished = states / f".step{step:06d}.part"
    try:
        states.mkdir(exist_ok=True)
        unfinished.mkdir(exist_ok=True)
        (unfinished / "progress.json").write_text(json.dumps({"step": step}))
        time.sleep(told.get("slow", 0.0))
        disk.keep_state(unfinished, states / f"step{step:06d}")
        if told.get("checkpoints"):
            file = run / "checkpoints" / f"{job['name']}-step{step:06d}.safetensors"
            lora(file, KEY)
            event("checkpoint", step=step, file=file.name)
    except OSError as error:
        if not disk.is_full_disk(error):
            raise
        return False
    return True


KEY = "lora_unet_double_blocks_0_img_attn_qkv"


def option(name: str, otherwise: float) -> float:
    """A number of the trainer's options."""
    found = re.search(rf"^{name} = (\S+)$", (folder / "job.toml").read_text(), re.MULTILINE)
    return float(found[1]) if found else otherwise


def validation(step: int) -> dict[str, Any]:
    """Losses that fall the faster the higher the learning rate and the rank are, and rise above a rate of 0.1."""
    speed = option("learning_rate", 1e-4) * option("network_dim", 1) * step
    loss = 1 + speed if option("learning_rate", 1e-4) > 0.1 else 0.5 + 0.5 / (1 + speed)
    return {"step": step, "loss": loss, "each": [loss - 0.1, loss + 0.1]}


def fail_in(phase: str) -> None:
    if told.get("fail") == phase:
        print(told.get("words", "something broke"), flush=True)
        sys.exit(told.get("code", 1))


if told.get("fork"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print("child", child.pid, flush=True)
for phase in ("starting", "loading the models", "encoding the pictures", "encoding the captions", "training"):
    event("phase", phase=phase)
    if phase == "loading the models":
        time.sleep(told.get("load", 0.0))
    fail_in(phase)
saved = True
for step in range(job["first_step"] + 1, job["steps"] + 1):
    time.sleep(told.get("pause", 0.0))
    event(
        "step", step=step, steps=job["steps"], loss=1 / step, smoothed=1 / step, learning_rate=1e-4,
        seconds_per_step=0.1, seconds_left=0.1 * (job["steps"] - step), memory=1.0,
    )  # fmt: skip
    if told.get("validate") and step % option("validate_every_n_steps", 1e9) == 0:
        event("validation", **validation(step))
    if job["save_every"] and (step % job["save_every"] == 0 or not saved):
        saved = state(step)
    if not told.get("ignore") and (run / "requests" / "stop").exists():
        state(step)
        event("ended", outcome="stopped", code=75)
        sys.exit(75)
    if told.get("full_disk"):
        print("OSError: [Errno 28] No space left on device", flush=True)
        with (run / "events.jsonl").open("a") as file:
            file.write('{"event": "st')  # what a full disk leaves of a line
        sys.exit(1)
event("phase", phase="saving")
fail_in("saving")
if not told.get("no_file"):
    key = "transformer_blocks_0" if told.get("wrong_file") else KEY
    lora(run / "checkpoints" / f"{job['name']}-step{job['steps']:06d}.safetensors", key)
event("ended", outcome="trained", code=0)
