"""The caption files of a set → its joint caption, one line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..captions import joint
from ..errors import CaptionError
from ..lora.recipe import Recipe
from . import texts
from .options import Shape
from .report import Finding, Level
from .scan import SetFiles

# These read a caption only for its overall tone where another encoder reads all of it.
_COARSE = ("clip_l", "clip_g")


@dataclass(frozen=True, slots=True)
class SetCaption:
    """A joint caption; None where the set has none that can be used."""

    caption: str | None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class CaptionMeasure:
    """How long a caption is.

    Attributes:
        tokens: encoder → number of tokens.
        problems: limits that it passes, as sentences.
        coarse: encoders that read it only in part, which does no harm since another reads all of it.
    """

    tokens: Mapping[str, int]
    problems: tuple[str, ...]
    coarse: tuple[str, ...]


def compose(
    files: SetFiles, recipe: Recipe, shape: Shape, references: Iterable[int], name_of: Callable[[Path], str]
) -> SetCaption:
    """The caption of a set: its joint one, or one built from a text for each panel.

    Args:
        files: where the texts are.
        recipe: prefix and markers.
        shape: tells which files to ask for.
        references: panels that need no text, since they are given.
        name_of: what findings call a file.
    """
    findings: list[Finding] = []
    given = set(references)

    def read(path: Path) -> str | None:
        text = texts.read(path, name_of(path))
        findings.extend(replace(finding, set=files.name) for finding in text.findings)
        return text.line

    def refuse(problem: str, remedy: str, path: Path | None = None) -> SetCaption:
        file = name_of(path) if path else ""
        return SetCaption(None, (*findings, Finding(Level.ERROR, problem, remedy, files.name, file)))

    only_text = [path for path in files.panel_texts if path]
    joint_file, panel_texts = files.joint, files.panel_texts
    if joint_file is None and len(only_text) == 1 and len(files.images) > 1 and _is_joint(only_text[0], recipe):
        joint_file, panel_texts = only_text[0], ()
    if joint_file is None and not panel_texts:
        return refuse("The set has no caption.", _asked_for(files, shape))

    line = read(joint_file) if joint_file else ""
    summary = read(files.summary) if files.summary else ""
    if line is None or summary is None:
        return SetCaption(None, tuple(findings))
    if joint_file and not line:
        return refuse("The caption is empty.", "Describe the set.", joint_file)
    if (
        joint_file and panel_texts and not summary and _markers(line, recipe) == 0
    ):  # what stands above the panels is their summary
        line, summary, joint_file = "", line, None
    if joint_file:
        unused = [path for path in (*only_text, files.summary, *files.unused) if path and path != joint_file]
        findings += [_not_used(files, path, joint_file.name, name_of) for path in unused]
    else:
        findings += [_not_used(files, path, "the texts of the panels", name_of) for path in files.unused]
        parts = [read(path) if path else "" for path in panel_texts]
        if any(part is None for part in parts):
            return SetCaption(None, tuple(findings))
        lines = [part or "" for part in parts]
        empty = [i for i, part in enumerate(lines) if not part and i not in given]
        if empty:
            listed = ", ".join(recipe.markers[i] if i < len(recipe.markers) else str(i + 1) for i in empty)
            return refuse(f"The text of {listed} is missing or empty.", "Describe each panel.")
        try:
            line = joint.build(recipe, summary, lines)
        except CaptionError as error:
            return refuse(str(error), "")
    try:
        joint.check(line)
    except CaptionError as error:
        return refuse(str(error), "", joint_file)
    findings += [Finding(level, problem, "", files.name) for level, problem in _remarks(line, recipe, given)]
    return SetCaption(_with_prefix(line, recipe), tuple(findings))


def measure(line: str, counters: Mapping[str, Callable[[str], int]]) -> CaptionMeasure:
    """Count a caption's tokens and find the limits that it passes."""
    counts = joint.count_tokens(line, counters)
    fine = any(entry.encoder not in _COARSE for entry in counts)
    problems: list[str] = []
    coarse: list[str] = []
    for entry in counts:
        if entry.cut is None:
            continue
        if fine and entry.encoder in _COARSE:
            coarse.append(entry.encoder)
            continue
        rest = line[entry.cut :]
        problems.append(
            f"The caption has {entry.count} tokens for {entry.encoder}; trainers read {entry.limit} and drop what "
            f"follows, from “{rest[:40]}{'…' * (len(rest) > 40)}” on."
        )
    return CaptionMeasure({entry.encoder: entry.count for entry in counts}, tuple(problems), tuple(coarse))


def _remarks(line: str, recipe: Recipe, given: Collection[int]) -> list[tuple[Level, str]]:
    found: list[tuple[Level, str]] = []
    if foreign := joint.foreign_prefix(recipe, line):
        found.append((Level.NOTE, f"The prefix {foreign} was replaced by {recipe.prefix}."))
    elif recipe.prefix and not line.startswith(recipe.prefix):
        found.append((Level.NOTE, f"The prefix {recipe.prefix} was added to the caption."))
    try:
        parts = joint.parse(recipe, line)
    except CaptionError as error:
        found.append((Level.WARNING, str(error)))
    else:
        if not parts.summary:
            found.append((Level.NOTE, "The caption has no summary before the first panel; it ties them together."))
        empty = [recipe.markers[i] for i, text in enumerate(parts.panels) if not text and i not in given]
        if empty:
            found.append((Level.WARNING, f"No text follows {', '.join(empty)}."))
    found += [(Level.NOTE, problem) for problem in joint.parenthesis_problems(line)]
    return found


def _with_prefix(line: str, recipe: Recipe) -> str:
    if not recipe.prefix or line.startswith(recipe.prefix):
        return line
    return f"{recipe.prefix} {line.removeprefix(joint.foreign_prefix(recipe, line)).lstrip()}"


def _markers(line: str, recipe: Recipe) -> int:
    return sum(marker in line for marker in recipe.markers)


def _is_joint(path: Path, recipe: Recipe) -> bool:
    line = texts.read(path).line or ""
    return _markers(line, recipe) >= min(2, len(recipe.markers))


def _asked_for(files: SetFiles, shape: Shape) -> str:
    first = files.images[0].stem if files.images else "1"
    wanted = {
        Shape.FOLDERS: f"Put caption.txt into the folder, or a text for each panel: {first}.txt …",
        Shape.NUMBERED: f"Put {files.name}.txt beside it, or a text for each panel: {first}.txt …",
        Shape.COMPOSITES: f"Put {first}.txt beside it.",
    }[shape]
    if files.unused:
        wanted += f" Not understood: {', '.join(path.name for path in files.unused)}."
    return wanted


def _not_used(files: SetFiles, path: Path, instead: str, name_of: Callable[[Path], str]) -> Finding:
    problem = f"The text was not used; {instead} came first."
    return Finding(Level.WARNING, problem, "Remove what is not wanted.", files.name, name_of(path))
