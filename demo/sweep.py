"""Sweeps in ComfyUI without the browser: `python run.py sweep --workflow`. The same sweeps as from the node, on the same disk.

    python run.py sweep --workflow mine.json --vary learning-rate=1e-4,3e-4 --vary rank=8,16

The workflow is one of yours, or a template's name, with a Train In-Context LoRA (in ComfyUI) node, your model and your
dataset. Without --workflow, sd-scripts trains.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .main_job import Line
from .server import ComfyServer, ServerError
from .workflow import Prompt, WorkflowError, find_node, load, set_value, to_prompt

TRAIN = "InContextTrainLoraInHost"
SWEEP = "InContextSweep"
AXES = ("rank", "learning_rate", "steps", "sets", "reference_share", "leave_out")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="run.py sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--workflow", required=True, metavar="FILE", help="with the training node")
    made.add_argument(
        "--vary",
        action="append",
        required=True,
        metavar="SETTING=VALUES",
        help=f"values with commas between them, as in rank=8,16; once per setting: {', '.join(AXES)}",
    )
    made.add_argument("--strategy", choices=("grid", "successive halving"), default="grid")
    made.add_argument("--keep-one-in", type=int, default=3, metavar="NUMBER", help="of successive halving (default: 3)")
    made.add_argument("--keep-hopeless", action="store_true", help="stop no training before its end")
    made.add_argument("--name", help="of the sweep and its runs (default: that of the training node)")
    made.add_argument("--base", type=Path, required=True, help=argparse.SUPPRESS)
    made.add_argument("--comfyui", type=Path, required=True, help=argparse.SUPPRESS)
    made.add_argument("--server-argument", action="append", default=[], help=argparse.SUPPRESS)
    return made


def prompt_of(options: argparse.Namespace, info: dict[str, Any]) -> Prompt:
    """The workflow as a prompt, with the sweep connected to its training node.

    Raises:
        WorkflowError: where it has no such node, or an option is not a setting and its values.
    """
    prompt = to_prompt(load(options.workflow), info)
    values = dict.fromkeys(AXES, "")
    for each in options.vary:
        name, separator, text = each.partition("=")
        name = name.strip().replace("-", "_")
        if not separator or name not in AXES:
            raise WorkflowError(f"--vary is {each[:80]!r}; write a setting and its values, as in --vary rank=8,16.")
        if values[name]:
            raise WorkflowError(f"--vary names {name} twice. Write all of its values in one, as in rank=8,16.")
        values[name] = text
    if options.name:
        set_value(prompt, TRAIN, "name", options.name)
    others = {
        "strategy": options.strategy,
        "keep_one_in": options.keep_one_in,
        "stop_hopeless": not options.keep_hopeless,
    }
    prompt["sweep"] = {"class_type": SWEEP, "inputs": {**values, **others}}
    prompt[find_node(prompt, TRAIN)]["inputs"]["sweep"] = ["sweep", 0]
    return prompt


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    line, table = Line(), ""
    line.phase("starting ComfyUI")
    try:
        with ComfyServer(options.base, options.comfyui, extra_arguments=options.server_argument) as server:
            prompt = prompt_of(options, server.object_info())
            line.phase("training; Ctrl-C loses nothing, the same command goes on")

            def watch(event: str, data: dict[str, Any]) -> None:
                nonlocal table
                if event == "progress_text":
                    text = str(data.get("text", ""))
                    table = text if "\n" in text else table
                    line.update(text.partition("\n")[0])

            server.run(prompt, watch)
    except (ServerError, WorkflowError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    line.phase("finished")
    print(f"\n{table}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
