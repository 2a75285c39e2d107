"""What a build has to say: findings, each with its set, its file and the remedy, and the report made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

_NAMES_IN_A_LINE = 8  # a finding that many sets share is one line with so many names


class Level(Enum):
    ERROR = "error"  # the set was left out
    WARNING = "warning"  # the set is in, but somebody should look at it
    NOTE = "note"  # something was converted or completed


@dataclass(frozen=True, slots=True)
class Remark:
    """What to say about one image of a set, whatever its file is called.

    Attributes:
        image: index of the image in its set.
    """

    level: Level
    problem: str
    remedy: str = ""
    image: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a reader should know.

    Attributes:
        level: what it means for the set.
        problem: what is the matter, as a sentence.
        remedy: what to do about it; may be empty for notes.
        set: name of the set; empty for the dataset as a whole.
        file: path below the source folder; empty where no single file is meant.
    """

    level: Level
    problem: str
    remedy: str = ""
    set: str = ""
    file: str = ""

    @property
    def place(self) -> str:
        """Set and file on one line, whatever characters their names hold."""
        if self.file and self.set and self.set not in self.file:
            return on_one_line(f"{self.set}, {self.file}")
        return on_one_line(self.file or self.set)

    def __str__(self) -> str:
        text = f"{self.problem} {self.remedy}".rstrip()
        return f"{self.place}: {text}" if self.place else text

    def to_json(self) -> dict[str, str]:
        return {
            "level": self.level.value,
            "set": self.set,
            "file": self.file,
            "problem": self.problem,
            "remedy": self.remedy,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Finding:
        return Finding(
            Level(data["level"]), data["problem"], data.get("remedy", ""), data.get("set", ""), data.get("file", "")
        )


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a build.

    Attributes:
        name: of the dataset.
        source: the folder that was read.
        shape: how it was read, in words.
        found: sets that were found.
        built: sets that the dataset holds.
        written, kept, removed: of its items, compared with the build before.
        findings: everything of note, in the order of the sets.
    """

    name: str
    source: str
    shape: str
    found: int
    built: int
    written: int
    kept: int
    removed: int
    findings: tuple[Finding, ...] = ()

    def of_level(self, level: Level) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level is level)

    @property
    def headline(self) -> str:
        counts = [(len(self.of_level(level)), level.value) for level in Level]
        listed = ", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts if count)
        return f"{self.name}: {self.built} of {self.found} sets" + (f", {listed}" if listed else "")

    def text(self) -> str:
        """The report for people; findings that several sets share become one line."""
        lines = [
            self.headline,
            f"Source: {on_one_line(self.source)} (read as {self.shape})",
            f"Items: {self.written} written, {self.kept} kept, {self.removed} removed",
        ]
        for title, level in (("Left out", Level.ERROR), ("Warnings", Level.WARNING), ("Notes", Level.NOTE)):
            findings = self.of_level(level)
            if findings:
                lines += ["", title, *(f"- {line}" for line in grouped(findings))]
        return printable("\n".join(lines) + "\n")

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "source": self.source,
            "shape": self.shape,
            "found": self.found,
            "built": self.built,
            "written": self.written,
            "kept": self.kept,
            "removed": self.removed,
            "findings": [finding.to_json() for finding in self.findings],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Report:
        return Report(
            name=data["name"],
            source=data["source"],
            shape=data["shape"],
            found=data["found"],
            built=data["built"],
            written=data["written"],
            kept=data["kept"],
            removed=data["removed"],
            findings=tuple(Finding.from_json(finding) for finding in data["findings"]),
        )


def on_one_line(name: str) -> str:
    """A name of a file or folder with a mark for each character that cannot be shown, such as a line break."""
    return "".join(character if character.isprintable() else "\ufffd" for character in name)


def printable(text: str) -> str:
    """Text that every encoder takes: file names may hold bytes that are not text."""
    return text.encode("utf-8", "replace").decode("utf-8")


def grouped(findings: Iterable[Finding]) -> list[str]:
    """One line for each different text, with the places it holds for."""
    places: dict[str, list[str]] = {}
    for finding in findings:
        text = f"{finding.problem} {finding.remedy}".rstrip()
        places.setdefault(text, []).append(finding.place)
    return [_line(text, [place for place in where if place]) for text, where in places.items()]


def _line(text: str, places: Sequence[str]) -> str:
    if not places:
        return text
    more = len(places) - _NAMES_IN_A_LINE
    listed = ", ".join(places[:_NAMES_IN_A_LINE]) + (f" and {more} more" if more > 0 else "")
    return f"{listed}: {text}"
