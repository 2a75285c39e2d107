"""Sweeps without the browser: `python run.py sweep`. They are the same, and in the same folders, as from the nodes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ...incontext.errors import InContextError
from ..runs import run_folder
from ..runs.cards import claim
from ..runs.choices import WhenBusy
from ..sd_scripts import cli as training
from ..sd_scripts import environment
from . import table
from .arguments import parser, sweep_settings
from .folder import FOLDER, Sweep
from .sd_scripts import SdScriptsTrainer, plan_of
from .work import work


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def show(event: Mapping[str, Any]) -> None:
    if event["event"] in (run_folder.VALIDATION, run_folder.NOTE):
        for line in training.lines(dict(event)):
            say(f"  {line}")


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        settings = sweep_settings(options)
        machine = training.this_machine(options, environment.find())
        order = training.order(options)
        when = WhenBusy(options.when_busy)
        claim(machine.runs, machine.cards, when, say=say).close()  # each training claims them itself
        sweep = Sweep.begin(options.output / FOLDER, order.name, plan_of(order, settings))
        print(f"sweep: {sweep.folder}", flush=True)
        trainer = SdScriptsTrainer(order, machine, sweep.name, say=say, show=show, when_busy=when.in_queue)
        work(sweep, trainer, machine.runs, say)
    except (InContextError, environment.TrainerNotInstalled) as error:
        print(f"run.py sweep: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. Run the same command again to continue.", flush=True)
        return 130
    print(table.text(sweep), flush=True)
    return 0 if table.best(sweep) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
