"""Hostile inputs for every parser of what others wrote: valid ones, changed where it hurts.

Each case follows from its number alone, so a failed one can be repeated: ``case(number)``. As a process of its own, it tries
the cases of a range and prints the outcome as JSON, for `bench.trust`.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..incontext.dataset import images
from ..incontext.errors import InContextError
from ..incontext.files.strict_json import JsonError
from .hostile_cases import PARSERS, Places

OURS = (InContextError, JsonError, images.UnreadableImage)
SECONDS = 1.0  # of processor time, which a case may take
MEMORY = 256 << 20  # bytes, by which a case may raise the process's peak


@dataclass
class Outcome:
    """What a campaign showed.

    Attributes:
        cases: number of cases by parser.
        refused: how many of them were refused.
        foreign: case number, parser and error of each that ended in an error of another kind.
        slowest: seconds, case number and parser of the slowest.
        hungriest: bytes by which one case raised the peak, its number and parser.
    """

    cases: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    foreign: list[tuple[int, str, str]] = field(default_factory=list)
    slowest: tuple[float, int, str] = (0.0, -1, "")
    hungriest: tuple[int, int, str] = (0, -1, "")


def campaign(numbers: Sequence[int], folder: Path) -> Outcome:
    """Try the cases of these numbers.

    Args:
        folder: an empty one, for parsers of files.
    """
    outcome = Outcome()
    places = Places(folder)
    for number in numbers:
        name, call = case(number, places)
        outcome.cases[name] += 1
        peak, began = _peak(), time.process_time()
        try:
            call()
        except OURS as error:
            outcome.refused[name] += 1
            problem = _unreadable(str(error))
            if problem:
                outcome.foreign.append((number, name, problem))
        except Exception as error:  # what the campaign looks for
            outcome.foreign.append((number, name, f"{type(error).__name__}: {str(error)[:200]!r}"))
        outcome.slowest = max(outcome.slowest, (time.process_time() - began, number, name))
        outcome.hungriest = max(outcome.hungriest, (_peak() - peak, number, name))
    return outcome


def case(number: int, places: Places) -> tuple[str, Callable[[], object]]:
    """A parser's name, and the call of it with an input that follows from the number."""
    rng = random.Random(number)
    name = rng.choice(list(PARSERS))
    return name, PARSERS[name](rng, places)


def _unreadable(message: str) -> str:
    """What is wrong with one of our own messages; empty if a person can read it."""
    if not message.strip():
        return "an empty message"
    if len(message) > 20_000:
        return f"a message of {len(message)} characters"
    return ""


def _peak() -> int:
    """Bytes of memory that the process has had at most; 0 if the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(first: int, last: int) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        outcome = campaign(range(first, last), Path(folder))
    print(json.dumps({**vars(outcome), "refused": sum(outcome.refused.values())}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
