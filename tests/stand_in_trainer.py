"""A stand-in for the trainer: a real process with the same arguments, events and files, that behaves as it is told.

STAND_IN holds JSON: ``silent`` as on a machine that helps another,
``load`` seconds while the models are loaded, ``pause`` seconds per step, ``fail`` in a phase
with ``words``, ``no_file``, ``wrong_file``, ``ignore`` requests, ``fork`` a child that leaves the process group,
``full_disk``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

folder = Path(sys.argv[2])
run = folder.parent
job: dict[str, Any] = json.loads((folder / "job.json").read_text())
told: dict[str, Any] = json.loads(os.environ.get("STAND_IN", "{}"))
began = time.monotonic()


def event(kind: str, **values: Any) -> None:
    if told.get("silent"):
        return
    with (run / "events.jsonl").open("a") as file:
        seconds = round(time.monotonic() - began, 3)
        file.write(json.dumps({"time": time.time(), "seconds": seconds, "event": kind, **values}) + "\n")


def lora(path: Path, key: str) -> None:
    half = {"dtype": "F32", "shape": [1, 1]}
    entries = {
        f"{key}.lora_down.weight": {**half, "data_offsets": [0, 4]},
        f"{key}.lora_up.weight": {**half, "data_offsets": [4, 8]},
    }
    header = json.dumps({"__metadata__": {"ss_steps": str(job["steps"])}, **entries}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\x80?" * 2)


def state(step: int) -> None:
    target = run / "state" / f"step{step:06d}"
    target.mkdir(parents=True, exist_ok=True)
    (target / "progress.json").write_text(json.dumps({"step": step}))


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
for step in range(job["first_step"] + 1, job["steps"] + 1):
    time.sleep(told.get("pause", 0.0))
    event(
        "step", step=step, steps=job["steps"], loss=1 / step, smoothed=1 / step, learning_rate=1e-4,
        seconds_per_step=0.1, seconds_left=0.1 * (job["steps"] - step), memory=1.0,
    )  # fmt: skip
    if job["save_every"] and step % job["save_every"] == 0:
        state(step)
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
    key = "transformer_blocks_0" if told.get("wrong_file") else "lora_unet_double_blocks_0_img_attn_qkv"
    lora(run / "checkpoints" / f"{job['name']}-step{job['steps']:06d}.safetensors", key)
event("ended", outcome="trained", code=0)
