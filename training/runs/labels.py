"""The name and the note that a user gives a run: `<run>/label.json`. The folder's own name stays, since files are named by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...incontext.errors import TrainingError
from ...incontext.files import strict_json
from ...incontext.files.atomic import write_atomic
from .run_folder import written

FILE = "label.json"
LONGEST = {"label": 100, "note": 10_000}  # characters


@dataclass(frozen=True)
class Label:
    """
    Attributes:
        label: shown in place of the folder's name; one line, empty for none.
        note: text of any form.
    """

    label: str = ""
    note: str = ""

    @staticmethod
    def read(run: Path) -> Label:
        """The label of a run; an empty one where there is none, or it is damaged."""
        try:
            found = strict_json.read_object(run / FILE)
            return Label(strict_json.field(found, "label", str, ""), strict_json.field(found, "note", str, ""))
        except (OSError, strict_json.JsonError):
            return Label()

    def changed(self, values: Mapping[str, Any]) -> Label:
        """With some of its values replaced.

        Raises:
            TrainingError: for a value of another kind, or a text that is too long.
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
        """
        Raises:
            TrainingError: where the disk refuses.
        """
        path = run / FILE
        with written(path):
            write_atomic(path, json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n")
