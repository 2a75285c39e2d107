"""What a part is told, through the environment, and what it answers: lines of JSON in a file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VARIABLE = "INCONTEXT_LORA_GPU_BENCH"
# panels given of 3, and how: what is sampled
SAMPLED = ((0, "keep clean"), (1, "keep clean"), (2, "keep clean"), (1, "isolate"), (2, "isolate"))


@dataclass(frozen=True)
class Context:
    """Where and how a part measures.

    Attributes:
        work: folder for what it writes, the model files included.
        answers: file that it appends its results to.
        card: GB of the card to act like; None for the whole card.
        tiny: small models on any processor, to try the parts themselves.
        trainer: interpreter and checkout of sd-scripts; None for the installed one.
    """

    work: Path
    answers: Path
    card: float | None = None
    tiny: bool = False
    trainer: tuple[str, str] | None = None

    @property
    def models(self) -> Path:
        return self.work / "models"

    def to_environment(self) -> dict[str, str]:
        values = {**asdict(self), "work": str(self.work), "answers": str(self.answers)}
        return {VARIABLE: json.dumps(values)}

    @staticmethod
    def read() -> Context:
        values: dict[str, Any] = json.loads(os.environ[VARIABLE])
        trainer = values.pop("trainer")
        work, answers = Path(values.pop("work")), Path(values.pop("answers"))
        return Context(work, answers, **values, trainer=tuple(trainer) if trainer else None)

    def answer(self, **values: Any) -> None:
        """Write a result down at once: what a part had measured before it failed is kept."""
        with self.answers.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
