"""The options of a sweep on the command line, the same whether sd-scripts trains or ComfyUI does."""

from __future__ import annotations

import argparse
from typing import Any

from ...incontext.errors import TrainingError
from .choices import AXES, Strategy


def add_options(parser: Any) -> None:
    """Add them to a parser, or to a group of one."""
    parser.add_argument(
        "--vary",
        action="append",
        required=True,
        metavar="SETTING=VALUES",
        help=f"values with commas between them, as in rank=8,16; once per setting: {', '.join(AXES)}",
    )
    parser.add_argument(
        "--strategy",
        choices=[each.value for each in Strategy],
        default=Strategy.GRID.value,
        help="train each to its end, or all a little and the better ones further (default: %(default)s)",
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
    """What ``--vary`` says: setting → its values as they are written.

    Raises:
        TrainingError: where an option is not a setting of `AXES` and its values, or names one again.
    """
    values: dict[str, str] = {}
    for each in options.vary:
        name, separator, text = each.partition("=")
        name = name.strip().replace("-", "_")
        if not separator or name not in AXES:
            raise TrainingError(f"--vary is {each[:80]!r}; write a setting and its values, as in --vary rank=8,16.")
        if name in values:
            raise TrainingError(f"--vary names {AXES[name]} twice. Write all of its values in one, as in rank=8,16.")
        values[name] = text
    return values
