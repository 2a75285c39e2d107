"""The grid of a comparison, candidates × captions × seeds, and a key for each picture made of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..files.strict_json import shown
from .choose import BASE, ChoiceError

MOST_CELLS = 20_000
MOST_CAPTIONS = 1_000
STRONGEST = 10.0
_ENDING = ".safetensors"
_VERSION = 1  # of the way cells are made; a new version makes all cells again

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A LoRA at a strength, or the base model.

    Attributes:
        file: of the LoRA; empty for the base model.
        run: the training run that saved it; empty for a LoRA in ComfyUI's own folders.
        strength: as in Load In-Context LoRA.
        digest: identifies the file's content.
    """

    file: str = ""
    run: str = ""
    strength: float = 0.0
    digest: str = ""

    @property
    def label(self) -> str:
        return f"{self.file.removesuffix(_ENDING)} × {self.strength:g}" if self.file else BASE

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "file": self.file, "run": self.run, "strength": self.strength}


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of the grid.

    Attributes:
        candidate: the LoRA and strength that it is made with.
        caption: index of its caption.
        seed: of the noise.
        key: 32 hexadecimal digits that depend on everything that the picture depends on.
    """

    candidate: Candidate
    caption: int
    seed: int
    key: str


def cells(
    candidates: Sequence[Candidate],
    captions: Sequence[str],
    seeds: Sequence[int],
    context: Mapping[str, Any],
    references: Sequence[str] = (),
) -> list[Cell]:
    """All cells, candidate by candidate, so that the model is patched only once for each.

    Args:
        context: JSON values of what else the pictures depend on: models, sampling, canvas.
        references: digest of the reference for each caption; empty without references.

    Raises:
        ChoiceError: if there are more cells than `MOST_CELLS`.
    """
    count = len(candidates) * len(captions) * len(seeds)
    if count > MOST_CELLS:
        raise ChoiceError(
            f"{len(candidates)} candidates × {len(captions)} captions × {len(seeds)} seeds are {count:,} pictures; at most "
            f"{MOST_CELLS:,} are compared at once. Use fewer checkpoints, strengths, captions or seeds."
        )
    return [
        Cell(
            candidate,
            number,
            seed,
            _key(context, candidate, caption, seed, references[number] if references else ""),
        )
        for candidate in candidates
        for number, caption in enumerate(captions)
        for seed in seeds
    ]


def _key(context: Mapping[str, Any], candidate: Candidate, caption: str, seed: int, reference: str) -> str:
    content = {
        "version": _VERSION,
        "context": context,
        "lora": candidate.digest if candidate.strength else "",
        "strength": candidate.strength if candidate.digest else 0.0,
        "caption": caption,
        "seed": seed,
        "reference": reference,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most ``most`` of the items, evenly spread and always with the last one; 0 for all."""
    count = len(items)
    if most <= 0 or count <= most:
        return list(items)
    return [items[math.ceil(count * (number + 1) / most) - 1] for number in range(most)]


def parse_strengths(text: str) -> list[float]:
    """Strengths as a user writes them, separated by commas or spaces.

    Raises:
        ChoiceError: if one is not a number from −`STRONGEST` to `STRONGEST`, or is 0, which is the base model.
    """
    found: list[float] = []
    for part in text.replace(",", " ").split():
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not 0 < abs(value) <= STRONGEST:
            raise ChoiceError(
                f"{shown(part)} is not a strength. Write numbers up to {STRONGEST:g} with commas between them, such as "
                "0.8, 1.0; the base model is always compared too."
            )
        found.append(value)
    if not found:
        raise ChoiceError("No strength is given. Write at least one, such as 1.0.")
    return list(dict.fromkeys(found))


def parse_captions(text: str) -> list[str]:
    """The captions of a text, one per line, without empty lines and repetitions.

    Raises:
        ChoiceError: if there are none, or more than `MOST_CAPTIONS`.
    """
    captions = list(dict.fromkeys(" ".join(line.split()) for line in text.splitlines() if line.strip()))
    if not captions:
        raise ChoiceError(
            "There are no captions to compare on. Write one joint caption per line, for sets that were not trained on."
        )
    if len(captions) > MOST_CAPTIONS:
        raise ChoiceError(
            f"There are {len(captions):,} captions; at most {MOST_CAPTIONS:,} are compared at once. Remove some."
        )
    return captions
