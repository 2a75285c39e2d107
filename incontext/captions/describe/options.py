"""The user's choices for describing sets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

OLLAMA = "http://127.0.0.1:11434/v1"  # its address by default


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    """What the model should write beyond the recipe.

    Attributes:
        names: of people and things in the panels.
        invent_names: let the model name people who recur.
        hint: anything else that the model should know.
    """

    names: tuple[str, ...] = ()
    invent_names: bool = False
    hint: str = ""

    @staticmethod
    def of(names: str = "", invent_names: bool = False, hint: str = "") -> CaptionRequest:
        """From the texts that a user wrote; names are separated by commas."""
        listed = tuple(" ".join(name.split()) for name in names.split(","))
        return CaptionRequest(tuple(name for name in listed if name), invent_names, " ".join(hint.split()))


class Pictures(Enum):
    """The pictures of a set that are sent to a model."""

    EACH = "one picture a panel"
    ALL = "one picture of all panels"  # for models that read a single picture


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is asked.

    Attributes:
        model: its name on the server.
        timeout: seconds for one try.
        max_tokens: of the answer, including the model's thinking.
        seed: another seed gives another answer, if the server supports seeds.
        temperature: 0 always takes the likeliest word; higher values vary more.
        side: longer side of the pictures that are sent, in pixels.
        pictures: one picture per panel, or one of all panels.
    """

    model: str
    timeout: float = 300.0
    max_tokens: int = 2048
    seed: int = 0
    temperature: float = 0.2
    side: int = 768
    pictures: Pictures = Pictures.EACH


class Existing(Enum):
    """What to do with a set that already has a caption."""

    KEEP = "keep"
    REPLACE = "replace"
