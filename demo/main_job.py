"""The main job of the demo: sets → dataset → LoRA → new sets, in a real ComfyUI, judged by an exact checker.

    python run.py demo [--task NAME] [--out DIR]

It trains a LoRA on 40 sets that have something in common that no caption mentions (by default, their panels share a
colour), then generates held-out captions with and without it, and again with one panel given. Pictures, the LoRA and
report.json are written to --out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from . import judge, world
from . import sets as demo_sets
from .job import GeneratedSets, Job, Mode
from .line import Line
from .picture import before_after
from .server import ComfyServer
from .tasks import COLOUR, TASKS, Task

HELD_OUT = 48
SHOWN = 6


def figures(generated: Mapping[Mode, GeneratedSets]) -> dict[str, float]:
    """One side of the report: the three figures of the table, and the reference re-noised beside the isolated one."""
    plain, isolated, noised = (generated[mode].judged for mode in (Mode.PLAIN, Mode.ISOLATED, Mode.NOISED))
    return {
        "set_agreement": judge.set_agreement(plain),
        "reference_agreement": judge.reference_agreement(isolated),
        "caption_accuracy": judge.caption_accuracy(plain),
        "reference_agreement_noised": judge.reference_agreement(noised),
        "reference_caption_accuracy": judge.caption_accuracy(isolated),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py demo", description="Run the main job on the bundled small model.")
    parser.add_argument(
        "--task",
        choices=sorted(TASKS),
        default=COLOUR.name,
        help="what the sets have in common; all else stays the same (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, required=True, help="where pictures and report.json go")
    parser.add_argument("--base", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--comfyui", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--setup-seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--sets", type=int, default=demo_sets.SETS, help="sets in the dataset (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="training steps (default: those of the workflow)")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="captions to judge on (default: %(default)s)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    task = TASKS[args.task]
    line = Line()
    started = time.monotonic()
    line.phase("starting ComfyUI")
    with ComfyServer(args.base, args.comfyui) as server:
        job = Job(server, args.base, line.update, task)
        asked = list(task.held_out_sets(args.held_out, 0))
        line.phase(f"training a LoRA on {args.sets} sets whose {task.says}, which no caption mentions")
        trained = job.train(args.sets, steps=args.steps, seed=demo_sets.SEED, name=task.lora)
        generation = time.monotonic()
        results: dict[str, dict[Mode, GeneratedSets]] = {}
        for side, strength, name in (("base", 0.0, "without the LoRA"), ("lora", 1.0, "with the LoRA")):
            line.phase(f"generating {len(asked)} held-out captions {name}, also with one panel given")
            results[side] = job.generate(asked, lora=trained.lora, strength=strength, what=name, modes=list(Mode))
        generated = time.monotonic()
    line.phase("writing pictures and report")
    sides = {side: figures(one) for side, one in results.items()}
    captions = [world.caption(drawn, prefix=world.PREFIX) for drawn in asked[:SHOWN]]
    before_after(
        captions,
        [
            ("base model", results["base"][Mode.PLAIN].pictures[:SHOWN]),
            ("with the In-Context LoRA", results["lora"][Mode.PLAIN].pictures[:SHOWN]),
        ],
        args.out / "before-after.png",
    )
    before_after(
        [f"{caption}   (panel {number % world.PANELS + 1} is given)" for number, caption in enumerate(captions)],
        [
            ("base model", results["base"][Mode.ISOLATED].pictures[:SHOWN]),
            ("with the In-Context LoRA", results["lora"][Mode.ISOLATED].pictures[:SHOWN]),
        ],
        args.out / "reference.png",
    )
    lora = args.base / "output" / "loras" / trained.lora
    shutil.copyfile(lora, args.out / trained.lora)
    report = {
        "task": task.name,
        **sides,
        "sets": args.sets,
        "steps": trained.steps,
        "held_out": len(asked),
        "lora_file": trained.lora,
        "loss": {"first": trained.losses[0], "last": trained.losses[-1]},
        "seconds": {
            "setup": round(args.setup_seconds, 1),
            "build": round(trained.build_seconds, 1),
            "train": round(trained.seconds, 1),
            "generate": round(generated - generation, 1),
            "total": round(time.monotonic() - started, 1),
        },
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()},
    }
    (args.out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_table(task, sides)
    print(f"\n{args.out / 'before-after.png'}\n{args.out / 'reference.png'}\n{args.out / 'report.json'}")


def print_table(task: Task, sides: dict[str, dict[str, float]]) -> None:
    rows = {
        f"sets whose {task.says}": "set_agreement",
        "agreement with a given panel, isolated": "reference_agreement",
        "agreement with a given panel, re-noised": "reference_agreement_noised",
        "panels that show what their caption says": "caption_accuracy",
    }
    print(f"\n{'':44}{'base':>8}{'LoRA':>8}")
    for title, key in rows.items():
        print(f"{title:44}{sides['base'][key]:8.2f}{sides['lora'][key]:8.2f}")


if __name__ == "__main__":
    main()
