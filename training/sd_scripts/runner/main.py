"""Runs the job in a folder and returns an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from .disk import LossyOutput
from .errors import JobError, TrainingStop
from .events import Events
from .options import parse
from .plan import Plan

STOPPED = 75  # exit code after a stop on request, with everything saved


def main(arguments: Sequence[str], prepare: Callable[[], None] = lambda: None) -> int:
    """Run the job that CHECKOUT and JOB_FOLDER name, and return the exit code.

    Args:
        prepare: called once the checkout can be imported, before the models are loaded.
    """
    with contextlib.redirect_stdout(LossyOutput(sys.stdout)), contextlib.redirect_stderr(LossyOutput(sys.stderr)):  # type: ignore[type-var]
        return _main(arguments, prepare)


def _main(arguments: Sequence[str], prepare: Callable[[], None]) -> int:
    checkout, folder = (Path(argument).resolve() for argument in arguments)
    sys.path.insert(0, str(checkout))
    sys.argv = [str(checkout / "train.py")]  # for the trainer's own parsers
    events = Events(folder.parent / "events.jsonl", active=os.environ.get("RANK", "0") == "0")
    try:
        train(folder, events, prepare)
        events("ended", outcome="trained", code=0)
        return 0
    except TrainingStop:
        events("ended", outcome="stopped", code=STOPPED)
        return STOPPED if events.active else 0  # a launcher ends all processes as soon as one fails
    except BaseException as error:
        traceback.print_exc()
        message = str(error) if isinstance(error, JobError) else ""
        with contextlib.suppress(OSError):  # the disk may be full
            events(
                "ended", outcome="failed", code=1, phase=events.phase, error=message, error_type=type(error).__name__
            )
        return 1
    finally:
        _leave_group()


def train(folder: Path, events: Events, prepare: Callable[[], None]) -> None:
    """Run the job in a folder.

    Raises:
        JobError: if it cannot run.
        TrainingStop: if a stop was requested.
    """
    events.enter("starting")
    plan = Plan.read(folder / "job.json")
    module = importlib.import_module(plan.script)
    import toml

    from . import patches, trainer  # these import torch; by now, events report a failure

    options = toml.loads((folder / "job.toml").read_text(encoding="utf-8"))
    if plan.converter and options.get("network_weights"):
        weights = folder / "weights.safetensors"
        shutil.copyfile(options["network_weights"], weights)
        patches.convert(plan.converter, weights, reverse=True)
        options["network_weights"] = str(weights)
    args = parse(module.setup_parser(), options)
    prepare()
    extended = trainer.extend_trainer(getattr(module, plan.trainer), plan, folder.parent, events)()
    patches.apply(plan, extended.references, extended.report, args.tokenizer_cache_dir)
    extended.train(args)
    file = Path(args.output_dir) / f"{args.output_name}.safetensors"
    if events.active and not file.exists():
        raise JobError("The trainer ended without a LoRA because it found no data. Build the dataset again.")


def _leave_group() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
