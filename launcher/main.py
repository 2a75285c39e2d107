"""Runs a command; turns errors and signals into one sentence and an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from .arguments import parse
from .errors import SetupError, Terminated
from .progress import say


def main(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # a console that lacks a character shows "?" instead of ending the run
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _on_termination)
    try:
        options, extra = parse(arguments)
        return options.run(options, extra)
    except SetupError as error:
        say(f"run.py: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return 130
    except Terminated:
        say("\nTerminated.")
        return 143


def _on_termination(number: int, frame: object) -> None:
    raise Terminated
