"""The supported Python versions. `run.py` imports this first, so even an older Python must be able to read it."""

from __future__ import annotations

OLDEST, NEWEST = (3, 10), (3, 13)


def unsupported(version: tuple[int, int]) -> str:
    """The sentence for a version that is not supported."""
    return "Python {}.{} is not supported: use 3.10 to 3.13, for example `python3.12 run.py ...`.".format(*version)
