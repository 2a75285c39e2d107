"""A file that another program has open, as on Windows, where it can be neither renamed nor replaced meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from incontext_lora.incontext.files import atomic


class BusyFile:
    """Lets `os.rename` or `os.replace` fail a number of times, and `atomic` try again at once.

    Attributes:
        refusals: how many of the next calls fail.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, function: str, refusals: int = 2) -> None:
        self.refusals = refusals
        real = getattr(os, function)

        def refuse(source: Path, target: Path) -> None:
            if self.refusals:
                self.refusals -= 1
                raise PermissionError(13, "The process cannot access the file", str(target), 32)
            real(source, target)

        monkeypatch.setattr(atomic.os, function, refuse)
        monkeypatch.setattr(atomic.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(atomic, "PATIENT_TRIES", 50)
