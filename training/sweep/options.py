"""The options of a sweep on the command line, the same for both trainers."""

from __future__ import annotations

import argparse
from typing import Any

from ...incontext.errors import TrainingError
from .choices import AXES, Strategy


def add_options(parser: Any) -> None:
    """Add the options to a parser, or to a group of it."""
    parser.add_argument(
        "--vary",
        action="append",
        required=True,
        metavar="SETTING=VALUES",
        help=f"comma-separated values, as in rank=8,16; once per setting: {', '.join(AXES)}",
    )
    parser.add_argument(
        "--strategy",
        choices=[each.value for each in Strategy],
        default=Strategy.GRID.value,
        help="train each one to its end, or all of them a little and the better ones further (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-one-in",
        type=int,
        default=3,
        metavar="NUMBER",
        help="for successive halving: one in this many trainings continues after each round (default: %(default)s)",
    )
    parser.add_argument("--keep-hopeless", action="store_true", help="stop no training before its end")


def varied(options: argparse.Namespace) -> dict[str, str]:
    """The values of ``--vary``: setting → the text of its values.

    Raises:
        TrainingError: if an option does not name a setting of `AXES` and its values, or names one twice.
    """
    values: dict[str, str] = {}
    for each in options.vary:
        name, separator, text = each.partition("=")
        name = name.strip().replace("-", "_")
        if not separator or name not in AXES:
            raise TrainingError(f"--vary is {each[:80]!r}; write a setting and its values, as in --vary rank=8,16.")
        if name in values:
            raise TrainingError(f"--vary names {AXES[name]} twice. Write all its values in one, as in rank=8,16.")
        values[name] = text
    return values
