"""The name and the note that a user gives a run: `<run>/label.json`. The folder keeps its name; files are named after it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files import strict_json
from ...incontext.files.atomic import write_atomic

FILE = "label.json"
LONGEST = {"label": 100, "note": 10_000}  # characters


@dataclass(frozen=True)
class Label:
    """What the user wrote about a run.

    Attributes:
        label: shown instead of the folder's name; one line, empty for none.
        note: any text.
    """

    label: str = ""
    note: str = ""

    @staticmethod
    def read(run: Path) -> Label:
        """The label of a run; empty if there is none, or it is damaged."""
        try:
            found = strict_json.read_object(run / FILE)
            return Label(strict_json.field(found, "label", str, ""), strict_json.field(found, "note", str, ""))
        except (OSError, strict_json.JsonError):
            return Label()

    def changed(self, values: Mapping[str, Any]) -> Label:
        """The label with some of its values replaced.

        Raises:
            TrainingError: if a name is unknown, or a value is not a text or too long.
        """
        for name, value in values.items():
            if name not in LONGEST or not isinstance(value, str):
                raise TrainingError(f"A run has a label and a note, both texts; {name!r} cannot be set. Leave it out.")
            if len(value) > LONGEST[name]:
                raise TrainingError(f"The {name} has {len(value)} characters. Shorten it to {LONGEST[name]}.")
        texts = {name: value.strip() for name, value in values.items()}
        if "label" in texts:
            texts["label"] = " ".join(texts["label"].split())
        return replace(self, **texts)

    def write(self, run: Path) -> None:
        """Save the label in the run's folder.

        Raises:
            TrainingError: if it cannot be written.
        """
        path = run / FILE
        with explain_write_errors(path, TrainingError):
            write_atomic(path, json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n")
