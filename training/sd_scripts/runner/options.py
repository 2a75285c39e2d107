"""Builds the trainer's command line, so that its own parser checks every name, type and choice."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from .errors import JobError


def build_command_line(parser: argparse.ArgumentParser, options: dict[str, Any]) -> list[str]:
    """Build the arguments for these options.

    Raises:
        JobError: if this trainer does not have one of the options.
    """
    actions = {action.dest: action for action in parser._actions}
    line: list[str] = []
    for name, value in options.items():
        action = actions.get(name)
        if action is None:
            raise JobError(f"This sd-scripts has no option {name!r}. Install the trainer again.")
        if action.nargs == 0:
            line += [action.option_strings[0]] if value else []
        elif isinstance(value, list):
            line += [action.option_strings[0], *map(str, value)]
        else:
            line.append(f"{action.option_strings[0]}={value}")  # one argument, so that a value may begin with a dash
    return line


def parse(parser: argparse.ArgumentParser, options: dict[str, Any]) -> argparse.Namespace:
    """Parse these options with the trainer's own parser.

    Raises:
        JobError: if this trainer does not have one of the options or rejects a value.
    """
    words = build_command_line(parser, options)

    def refuse(message: str) -> NoReturn:
        raise JobError(f"The trainer's own parser rejects the job: {message}.")

    parser.error = refuse
    return parser.parse_args(words)
