"""Sweeps without the browser: `python run.py sweep`. The same sweeps in the same folders as from the nodes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ...incontext.errors import InContextError, TrainingError
from ..runs import run_folder
from ..runs.cards import WhenBusy, claim
from ..sd_scripts import cli as training
from ..sd_scripts import environment
from . import table
from .folder import FOLDER, Sweep
from .plan import AXES, Strategy, SweepSettings, parse_values
from .sd_scripts import SdScriptsTrainer, plan_of
from .work import work


def parser() -> argparse.ArgumentParser:
    made = training.parser()
    made.prog, made.description = "run.py sweep", __doc__
    group = made.add_argument_group("sweep", "all options above are those of each training")
    group.add_argument(
        "--vary",
        action="append",
        required=True,
        metavar="SETTING=VALUES",
        help=f"values with commas between them, as in rank=8,16; once per setting: {', '.join(AXES)}",
    )
    group.add_argument(
        "--strategy",
        choices=[each.value for each in Strategy],
        default=Strategy.GRID.value,
        help="train each to its end, or all a little and the better ones further (default: %(default)s)",
    )
    group.add_argument(
        "--keep-one-in", type=int, default=3, metavar="NUMBER", help="of successive halving (default: %(default)s)"
    )
    group.add_argument("--keep-hopeless", action="store_true", help="stop no training before its end")
    return made


def sweep_settings(options: argparse.Namespace) -> SweepSettings:
    """
    Raises:
        TrainingError: where they are not a sweep.
    """
    axes: dict[str, tuple[Any, ...]] = {}
    for each in options.vary:
        name, separator, values = each.partition("=")
        name = name.strip().replace("-", "_")
        if not separator or name not in AXES:
            raise TrainingError(f"--vary is {each[:80]!r}; write a setting and its values, as in --vary rank=8,16.")
        if name in axes:
            raise TrainingError(f"--vary names {AXES[name]} twice. Write all of its values in one, as in rank=8,16.")
        axes[name] = parse_values(name, values)
    return SweepSettings(axes, Strategy(options.strategy), options.keep_one_in, not options.keep_hopeless)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def show(event: Mapping[str, Any]) -> None:
    if event["event"] in (run_folder.VALIDATION, run_folder.NOTE):
        for line in training.lines(dict(event)):
            say(f"  {line}")


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        varied = sweep_settings(options)
        machine = training.this_machine(options, environment.find())
        order = training.order(options)
        when = WhenBusy(options.when_busy)
        claim(machine.runs, machine.cards, when, say=say).close()  # each training claims them again
        sweep = Sweep.begin(options.output / FOLDER, order.name, plan_of(order, varied))
        print(f"sweep: {sweep.folder}", flush=True)
        trainer = SdScriptsTrainer(order, machine, sweep.name, say=say, show=show, when_busy=when.in_queue)
        work(sweep, trainer, machine.runs, say)
    except (InContextError, environment.TrainerNotInstalled) as error:
        print(f"run.py sweep: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command goes on where it was.", flush=True)
        return 130
    print(table.text(sweep), flush=True)
    return 0 if table.best(sweep) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
