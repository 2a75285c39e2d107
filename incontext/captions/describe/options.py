"""What a user chooses when sets are described."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class CaptionWishes:
    """What the model should write beside what the recipe says.

    Attributes:
        names: of persons and things in the panels.
        invent_names: let the model name the persons who recur.
        hint: what else the model should know or mind.
    """

    names: tuple[str, ...] = ()
    invent_names: bool = False
    hint: str = ""

    @staticmethod
    def of(names: str = "", invent_names: bool = False, hint: str = "") -> CaptionWishes:
        """As a user writes them: names are separated by commas."""
        listed = tuple(" ".join(name.split()) for name in names.split(","))
        return CaptionWishes(tuple(name for name in listed if name), invent_names, " ".join(hint.split()))


class Pictures(Enum):
    """What a model is shown of a set."""

    EACH = "one picture a panel"
    ALL = "one picture of all panels"  # for models that read a single picture


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is asked.

    Attributes:
        model: its name on the server.
        timeout: seconds for one try.
        max_tokens: of the answer, with what a model thinks before it.
        seed: another one gives another answer, where the server knows seeds.
        temperature: how freely it chooses words.
        side: pixels of the longer side of the pictures that are sent.
        pictures: whether each panel is a picture, or all are one.
    """

    model: str
    timeout: float = 300.0
    max_tokens: int = 2048
    seed: int = 0
    temperature: float = 0.2
    side: int = 768
    pictures: Pictures = Pictures.EACH


class Existing(Enum):
    """What to do with a set that has a caption."""

    KEEP = "keep"
    REPLACE = "replace"
