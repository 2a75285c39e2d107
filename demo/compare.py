"""Compare checkpoints without the browser: `python run.py compare`. It uses the same node and the same folders as in the browser.

    python run.py compare --run my-run --captions captions.txt
    python run.py compare --lora one.safetensors --lora two.safetensors --captions captions.txt --workflow mine.json

It runs the template compare-and-choose, or a workflow of yours that has a Compare Checkpoints node with your models.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import one_workflow
from .workflow import Prompt, WorkflowError, find_node, load, require_node, set_value, to_prompt

NODE = "InContextCompareCheckpoints"
TEMPLATE = "compare-and-choose"


def parser() -> argparse.ArgumentParser:
    made = one_workflow.parser("compare", __doc__)
    made.add_argument("--run", help="training run whose checkpoints are compared")
    made.add_argument(
        "--lora", action="append", default=[], metavar="FILE", help="a LoRA as loaders list it; repeatable"
    )
    made.add_argument("--captions", type=Path, metavar="FILE", help="one joint caption per line, in UTF-8")
    made.add_argument(
        "--workflow",
        default=TEMPLATE,
        metavar="FILE",
        help="workflow with your models, or a template's name (default: %(default)s)",
    )
    made.add_argument("--name", help="name of the comparison (default: that of the run)")
    made.add_argument(
        "--checkpoints", type=int, metavar="N", help="compare at most this many checkpoints of the run; 0 for all"
    )
    made.add_argument("--strengths", metavar="LIST", help="strengths of each LoRA, such as 0.8,1.0")
    made.add_argument("--seeds", type=int, metavar="N", help="sets per caption")
    made.add_argument("--steps", type=int, metavar="N", help="sampling steps; 0 for the recipe's")
    made.add_argument("--cfg", type=float, metavar="X", help="guidance scale; 0 for the recipe's")
    made.add_argument("--keep", action="store_true", help="do not put the chosen LoRA into output/loras")
    return made


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, with the workflow and the captions read.

    Raises:
        WorkflowError: if a file cannot be read, or the workflow has no Compare Checkpoints.
    """
    options = parser().parse_args(arguments)
    options.workflow = load(options.workflow)
    require_node(options.workflow, NODE)
    if options.captions:
        options.captions = read_captions(options.captions)
    return options


def prompt_of(options: argparse.Namespace, info: dict[str, Any]) -> Prompt:
    """The workflow as a prompt, with the options from `read` on its Compare Checkpoints.

    Raises:
        WorkflowError: if it has no such node.
    """
    prompt = to_prompt(options.workflow, info)
    values = {
        name: getattr(options, name)
        for name in ("run", "name", "checkpoints", "strengths", "seeds", "steps", "cfg")
        if getattr(options, name) is not None
    }
    if options.run or options.lora:
        values = {"run": "none", **values, "loras": "\n".join(options.lora)}
    if options.captions:
        values["captions"] = options.captions
    if options.keep:
        values["use_chosen"] = False
    inputs = prompt[find_node(prompt, NODE)]["inputs"]
    for name, value in values.items():
        if name in inputs:
            set_value(prompt, NODE, name, value)
        else:
            inputs[name] = value
    return prompt


def read_captions(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkflowError(
            f"{path} cannot be read: {error}. Write one caption per line and save it as UTF-8."
        ) from error


def main(arguments: Sequence[str]) -> int:
    from . import sets as demo_sets  # needs numpy, which run.py itself may not have

    options = read(arguments)
    demo_sets.write_inputs(options.base / "input")
    history = one_workflow.run(options, "comparing", prompt_of)
    if history is None:
        return 1
    texts = [text for output in history["outputs"].values() for text in output.get("text", [])]
    print("\n".join(["", *texts]))
    folders = sorted({image["subfolder"] for out in history["outputs"].values() for image in out.get("images", [])})
    print("\n".join(f"\noutput/{folder}" for folder in folders))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
