"""Sweeps in ComfyUI without the browser: `python run.py sweep --workflow`. The same sweeps as from the node.

    python run.py sweep --workflow mine.json --vary learning-rate=1e-4,3e-4 --vary rank=8,16

The workflow is one of yours, or a template's name, with a Train In-Context LoRA (in ComfyUI) node, your model and your
dataset. Without --workflow, sd-scripts trains.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from ..incontext.errors import TrainingError
from ..training.sweep.choices import AXES
from ..training.sweep.options import add_options, varied
from . import one_workflow
from .workflow import Prompt, WorkflowError, find_node, load, require_node, set_value, to_prompt

TRAIN = "InContextTrainLoraInHost"
SWEEP = "InContextSweep"


def parser() -> argparse.ArgumentParser:
    made = one_workflow.parser("sweep", __doc__)
    made.add_argument(
        "--workflow", required=True, metavar="FILE", help="workflow with the training node, or a template's name"
    )
    add_options(made)
    made.add_argument("--name", help="name of the sweep and its runs (default: that of the training node)")
    return made


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, with the workflow and the values of ``--vary`` read.

    Raises:
        WorkflowError: if the file cannot be read or has no training node, or an option is not a setting and its values.
    """
    options = parser().parse_args(arguments)
    options.workflow = load(options.workflow)
    require_node(options.workflow, TRAIN)
    try:
        options.vary = varied(options)
    except TrainingError as error:
        raise WorkflowError(str(error)) from error
    return options


def prompt_of(options: argparse.Namespace, info: dict[str, Any]) -> Prompt:
    """The workflow as a prompt, with the sweep that `read` gave connected to its training node.

    Raises:
        WorkflowError: if it has no such node.
    """
    prompt = to_prompt(options.workflow, info)
    if options.name:
        set_value(prompt, TRAIN, "name", options.name)
    others = {
        "strategy": options.strategy,
        "keep_one_in": options.keep_one_in,
        "stop_hopeless": not options.keep_hopeless,
    }
    values = {**dict.fromkeys(AXES, ""), **options.vary, **others}
    prompt["sweep"] = {"class_type": SWEEP, "inputs": values}
    prompt[find_node(prompt, TRAIN)]["inputs"]["sweep"] = ["sweep", 0]
    return prompt


def main(arguments: Sequence[str]) -> int:
    table = ""

    def shown(text: str) -> str:
        nonlocal table
        table = text if "\n" in text else table
        return text.partition("\n")[0]

    if one_workflow.run(read(arguments), "training", prompt_of, shown) is None:
        return 1
    print(f"\n{table}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
