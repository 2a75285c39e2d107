"""Write the missing caption files of a folder of sets.

Each caption is saved as soon as it is ready, so stopping loses nothing, and the next call continues where this one stopped.
A small file in the folder remembers which captions were written with which settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...dataset import images, texts
from ...dataset.files import write_atomic
from ...dataset.images import UnreadableImage
from ...dataset.options import Shape
from ...dataset.report import Finding, Level, grouped, printable
from ...dataset.scan import Scan, SetFiles, scan
from ...errors import CaptionError, DatasetError, PanelError, VisionError
from ...files import strict_json
from ...lora.recipe import Recipe
from ...panels.colours import WHITE
from .answer import AnswerError
from .options import Existing
from .refusal import ServerError

RECORD = ".incontext_captions.json"
BACKUP = ".bak"
"""Ending of the copy of a replaced caption, beside the new one."""

_IN_A_ROW = 3  # sets for which the server may fail before the rest is given up
_ENOUGH = 2048  # px per side; models are never sent more


@dataclass(frozen=True, slots=True)
class SetCaption:
    """The caption of a set.

    Attributes:
        line: the caption, on one line.
        remarks: sentences about it for the report.
    """

    line: str
    remarks: tuple[str, ...] = ()


Describe = Callable[[Sequence[np.ndarray]], SetCaption]
"""Pictures, uint8 [height, width, 3] each → caption. Raises InContextError if there is no caption for them."""


@dataclass(slots=True)
class FolderReport:
    """The result of `caption_folder`.

    Attributes:
        folder: the folder of sets.
        shape: how the sets are stored.
        found: number of sets.
        written, kept, failed: number of sets with each outcome.
        same: number of sets whose caption had already been written with the same settings.
        findings: about sets and files.
    """

    folder: Path
    shape: Shape
    found: int
    written: int = 0
    kept: int = 0
    same: int = 0
    failed: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def headline(self) -> str:
        counts = [
            (self.written, "written"),
            (self.kept, "kept"),
            (self.same, "already written"),
            (self.failed, "failed"),
        ]
        listed = ", ".join(f"{count} {word}" for count, word in counts if count or word == "written")
        return f"{self.folder.name}: {listed} of {self.found} sets"

    def text(self) -> str:
        """The report for users."""
        lines = [self.headline, f"Folder: {self.folder} (read as {self.shape.value})"]
        for title, level in (("Failed", Level.ERROR), ("Look at these", Level.WARNING), ("Notes", Level.NOTE)):
            findings = [finding for finding in self.findings if finding.level is level]
            if findings:
                lines += ["", title, *(f"- {line}" for line in grouped(findings))]
        return printable("\n".join(lines) + "\n")


def caption_folder(
    source: Path,
    recipe: Recipe,
    describe: Describe,
    *,
    existing: Existing = Existing.KEEP,
    shape: Shape | None = None,
    settings: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FolderReport:
    """Write a caption for every set of a folder.

    Args:
        source: the folder of sets, in any shape that `scan` knows.
        recipe: layout, prefix and markers.
        describe: captions the pictures of a set.
        existing: what to do with existing captions. A replaced one is kept under its name with `BACKUP`.
        shape: how the sets are stored; None to detect it.
        settings: everything that determines the result of ``describe``. A caption that was written with the same
            settings, and not changed since, is not written again.
        progress: called with the number of finished sets and of all sets; may raise to stop.

    Returns:
        The report. A set that cannot be described is in it, and does not stop the others.

    Raises:
        DatasetError: if there are no sets.
        ServerError: if the server is lost; captions written so far are kept.
        VisionError: if not a single set could be described.
    """
    found = scan(source, recipe, shape)
    report = FolderReport(source, found.shape, len(found.sets), findings=list(found.findings))
    if not found.sets:
        raise DatasetError(
            f"There are no image sets in {source}. Choose a folder with one folder per set, with numbered files such as "
            "hero_1.png and hero_2.png, or with ready-made composites."
        )
    job = _Job(found, recipe, describe, existing, settings, _read_record(found.root))
    in_a_row = 0
    for done, files in enumerate(found.sets):
        progress(done, len(found.sets))
        try:
            job.caption(files, report)
            in_a_row = 0
        except ServerError as error:
            in_a_row += 1
            _fail(report, files, str(error))
            if error.hopeless or in_a_row == _IN_A_ROW:
                raise _stopped(report, error) from None
        except (AnswerError, CaptionError, PanelError, DatasetError) as error:
            _fail(report, files, str(error))
    progress(len(found.sets), len(found.sets))
    if report.failed == report.found:
        raise VisionError(report.text())
    return report


@dataclass(frozen=True, slots=True)
class _Job:
    found: Scan
    recipe: Recipe
    describe: Describe
    existing: Existing
    settings: str
    record: dict[str, str]

    def caption(self, files: SetFiles, report: FolderReport) -> None:
        """Write the caption of one set, or record in the report why not.

        Raises:
            InContextError: if the set cannot be described.
        """
        for finding in files.findings:
            if finding.level is Level.ERROR:
                raise DatasetError(str(finding))
        target = files.joint or self._place(files)
        before = _line(target) if target.exists() else ""
        has_texts = before != "" or any(path and _line(path) != "" for path in files.panel_texts)
        if self.existing is Existing.KEEP and has_texts:
            report.kept += 1
            if before == "" and not all(path and _line(path) for path in files.panel_texts):
                problem, remedy = "Only some panels have a text, and no caption was written.", "Write the others."
                report.findings.append(Finding(Level.WARNING, problem, remedy, files.name))
            return
        mark = self._mark(files)  # as the pictures are now
        known = self.record.get(self._name(target), "")
        if before and known == _stamp(mark, before):
            report.same += 1
            return
        ours = bool(before) and known.endswith(_stamp("", before or ""))
        written = self.describe(self._pictures(files))
        self._write(target, written.line, before, ours, report, files)
        self.record[self._name(target)] = _stamp(mark, written.line)
        _write_record(self.found.root, self.record)
        report.written += 1
        for remark in written.remarks:
            report.findings.append(Finding(Level.WARNING, remark, set=files.name))
        if any(files.panel_texts):
            problem = "There are texts of single panels too; Build Dataset prefers the new caption."
            report.findings.append(Finding(Level.NOTE, problem, set=files.name))

    def _write(
        self, target: Path, line: str, before: str | None, ours: bool, report: FolderReport, files: SetFiles
    ) -> None:
        """Write a caption, unless someone changed it while the model was thinking.

        A caption that was not written by this function is kept beside the new one, under a name that is still free.

        Raises:
            DatasetError: if the caption has changed since ``before`` was read.
        """
        now = _line(target) if target.exists() else ""
        if now != before:
            problem = "Someone else wrote a caption in the meantime; it was kept."
            raise DatasetError(f"{problem} Choose 'replace' to write it again.")
        if now != "" and not ours:
            backup = _free(target.with_name(target.name + BACKUP))
            write_atomic(backup, _bytes(target))
            problem = f"The caption was replaced; the previous one is kept as {backup.name}."
            report.findings.append(Finding(Level.NOTE, problem, set=files.name))
        write_atomic(target, (line + "\n").encode())

    def _place(self, files: SetFiles) -> Path:
        first = files.images[0]
        if self.found.shape is Shape.FOLDERS:
            return first.parent / "caption.txt"
        return first.parent / f"{files.name if self.found.shape is Shape.NUMBERED else first.stem}.txt"

    def _name(self, target: Path) -> str:
        return target.relative_to(self.found.root).as_posix()

    def _pictures(self, files: SetFiles) -> list[np.ndarray]:
        wanted = 1 if self.found.shape is Shape.COMPOSITES else len(self.recipe.layout)
        if len(files.images) != wanted:
            raise PanelError(
                f"The set has {len(files.images)} image{'s' * (len(files.images) != 1)}; the recipe {self.recipe.name} has "
                f"{len(self.recipe.layout)} panels. Add or remove images, or choose a recipe with as many panels."
            )
        return [_decoded(path) for path in files.images]

    def _mark(self, files: SetFiles) -> str:
        """A text of everything that determines a set's caption: settings, recipe and pictures."""
        pictures = [hashlib.sha256(_bytes(path)).hexdigest() for path in files.images]
        return json.dumps([self.settings, self.recipe.to_json(), pictures], sort_keys=True)


def _decoded(path: Path) -> np.ndarray:
    """
    Raises:
        PanelError: if the image cannot be used.
    """
    try:
        return images.decode(_bytes(path), WHITE, (_ENOUGH, _ENOUGH)).pixels
    except UnreadableImage as error:
        raise PanelError(f"{path.name}: {error}") from None


def _bytes(path: Path) -> bytes:
    """
    Raises:
        DatasetError: if the file is too large or cannot be read.
    """
    try:
        if path.stat().st_size > images.LARGEST_FILE:
            raise DatasetError(f"{path.name} is larger than {images.LARGEST_FILE >> 20} MB. Reduce it.")
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read: {error.strerror or error}. Allow reading it.") from None


def _line(path: Path) -> str | None:
    """The text of a caption file: empty if it holds none, None if the file cannot be read."""
    return texts.read(path).line


def _free(path: Path) -> Path:
    """The path, with a number at its end if the file already exists."""
    tried, number = path, 1
    while tried.exists():
        number += 1
        tried = path.with_name(f"{path.name}{number}")
    return tried


def _fail(report: FolderReport, files: SetFiles, problem: str) -> None:
    report.failed += 1
    report.findings.append(Finding(Level.ERROR, problem, set=files.name))


def _stopped(report: FolderReport, error: ServerError) -> ServerError:
    done = f"{report.written} of {report.found} captions were written"
    return ServerError(f"{error}\n\n{done} before that and are kept. Run again to continue.", hopeless=True)


# --- what was written with which settings ---------------------------------------------------------------------------


def _stamp(mark: str, line: str) -> str:
    """Digests of a caption's inputs (``mark``) and of the caption; without ``mark``, the second one only."""
    made_of = f"{_digest(mark)} " if mark else ""
    return made_of + _digest(line)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _read_record(root: Path) -> dict[str, str]:
    try:
        data = strict_json.read(root / RECORD)
    except (OSError, ValueError):  # absent or damaged: captions then count as written by hand, so nothing is lost
        return {}
    known = data.get("captions") if isinstance(data, dict) else None
    return {str(name): str(stamp) for name, stamp in known.items()} if isinstance(known, Mapping) else {}


def _write_record(root: Path, record: Mapping[str, str]) -> None:
    text = json.dumps({"version": 1, "captions": dict(sorted(record.items()))}, indent=1)
    write_atomic(root / RECORD, (text + "\n").encode())
