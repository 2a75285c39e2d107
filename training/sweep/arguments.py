"""The options of `run.py sweep` with sd-scripts. Standard library only: `run.py` reads them before it sets anything up."""

from __future__ import annotations

import argparse

from ..sd_scripts import arguments as training
from .choices import Strategy
from .options import add_options, varied
from .plan import SweepSettings, parse_values

DESCRIPTION = "Train many times without the browser: the same sweeps in the same folders as from the nodes."


def parser() -> argparse.ArgumentParser:
    made = training.parser()
    made.prog, made.description = "run.py sweep", DESCRIPTION
    group = made.add_argument_group("sweep", "all other options apply to each training")
    add_options(group)
    return made


def sweep_settings(options: argparse.Namespace) -> SweepSettings:
    """The sweep that the options describe.

    Raises:
        TrainingError: if they do not describe one.
    """
    axes = {name: parse_values(name, values) for name, values in varied(options).items()}
    return SweepSettings(axes, Strategy(options.strategy), options.keep_one_in, not options.keep_hopeless)
