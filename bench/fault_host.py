"""A process that does for trainings what ComfyUI does, without ComfyUI, so that it starts and can be killed in a moment.

    python fault_host.py PLACE ORDER      with the pack as the package ``incontext_lora``

When it starts it settles what ended meanwhile and watches what goes on. Then it reads commands, one line of JSON each, and
answers each with a line: ``{"do": "start"}``, ``{"do": "resume", "run": folder}``, ``{"do": "stop", "run": folder}``. ``told`` is
for the stand-in trainer.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from ..incontext.dataset.manifest import Dataset
from ..incontext.errors import InContextError
from ..training.runs import claims, supervise
from ..training.runs.event_tail import EventTail
from ..training.runs.run_folder import Run
from ..training.sd_scripts import begin, follow, preflight, settle
from ..training.sd_scripts.architectures import architecture
from ..training.sd_scripts.environment import Trainer
from ..training.sd_scripts.machine import Machine
from ..training.sd_scripts.order import Order
from ..training.sd_scripts.settings import SdSettings


def machine_from(values: dict[str, str]) -> Machine:
    return Machine(
        trainer=Trainer(Path(values["python"]), Path(values["checkout"])),
        runs=Path(values["runs"]),
        loras=Path(values["loras"]),
        comfyui=Path(values["comfyui"]),
        tokenizers=Path(values["tokenizers"]),
        runner=Path(values["runner"]),
        on_cpu=True,
    )


def order_from(values: dict[str, Any]) -> Order:
    family = architecture(values["architecture"])
    model, *others = (Path(path) for path in values["files"])
    dataset = Dataset.load(Path(values["dataset"]))
    settings = SdSettings.from_json(values["settings"]).on_cpu()
    return Order(dataset, family, preflight.assign(family, model, others), settings, values["name"], dataset.recipe)


def watch(run: Run, process: Any, loras: Path) -> None:
    """As the node does in the background."""

    def wait() -> None:
        with claims.attending(run.folder), contextlib.suppress(InContextError):
            code = follow.watch(run, process, EventTail(run, from_start=False), lambda event: None, pause=0.05)
            settle.settle_soon(run, loras, code)

    threading.Thread(target=wait, daemon=True).start()


def answer(asked: dict[str, Any], machine: Machine, order: Order) -> dict[str, Any]:
    if "told" in asked:
        os.environ["STAND_IN"] = json.dumps(asked["told"])
    try:
        if asked["do"] == "start":
            run, process = begin.start(order, machine)
        elif asked["do"] == "resume":
            run = Run(Path(asked["run"]))
            process = begin.resume(run, machine)
        else:
            run = Run(Path(asked["run"]))
            follow.stop(run, None, patience=asked["patience"])
            return {"state": settle.settle_soon(run, machine.loras, stopped=True).state}
    except InContextError as error:
        return {"error": str(error)}
    watch(run, process, machine.loras)
    return {"run": str(run.folder)}


def main(arguments: list[str]) -> None:
    machine, order = machine_from(json.loads(arguments[0])), order_from(json.loads(arguments[1]))
    settle.sweep(machine.runs, machine.loras)
    for record in machine.runs.glob(f"*/{supervise.RECORD}"):
        if supervise.find(record.parent) is not None:
            watch(Run(record.parent), None, machine.loras)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), machine, order)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
