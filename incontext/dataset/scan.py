"""Which sets a folder holds. Only names and captions are looked at; no image is opened.

A folder comes in one of three shapes:

    one folder per set         numbered files               ready-made composites
    sets/hero/1.png            sets/hero_1.png              sets/shot-01.jpg   (all panels on one canvas)
    sets/hero/2.png            sets/hero_2.png              sets/shot-01.txt
    sets/hero/caption.txt      sets/hero.txt

The first two may have one text per panel instead: 1.txt, 2.txt, hero_1.txt …, and summary.txt, hero_summary.txt.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DatasetError
from ..lora.recipe import Recipe
from . import texts
from .listing import Listing, below, is_litter, leads_out, list_folder, natural
from .options import Shape
from .report import Finding, Level

_NUMBERED = re.compile(r"(?P<name>.*?)[ _.\-]*\(?(?P<number>\d+)\)?")
_SEPARATORS = " _.-"


@dataclass(frozen=True, slots=True)
class SetFiles:
    """The files of one set.

    Attributes:
        name: for people.
        images: in the order of the panels; a composite is a single one.
        joint: the caption of the whole set.
        panel_texts: one per image, None where it is missing; empty if no image has one.
        summary: what goes in front of the panels' texts.
        unused: texts that lie beside but were not understood.
        findings: what is wrong with the files; an error means that the set cannot be built.
    """

    name: str
    images: tuple[Path, ...]
    joint: Path | None = None
    panel_texts: tuple[Path | None, ...] = ()
    summary: Path | None = None
    unused: tuple[Path, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found.

    Attributes:
        root: where the sets lie: the folder that was asked for, or the only folder in it.
        shape: how the sets are stored.
        sets: in natural order.
        findings: about what belongs to no set.
    """

    root: Path
    shape: Shape
    sets: tuple[SetFiles, ...]
    findings: tuple[Finding, ...] = ()


def scan(source: Path, recipe: Recipe, shape: Shape | None = None) -> Scan:
    """Find the sets of a folder.

    Args:
        source: the folder.
        recipe: says how many images make a set and which markers a joint caption holds.
        shape: how the sets are stored; found out when None.

    Raises:
        DatasetError: if the folder itself cannot be read.
    """
    listing, inner = _root(source, recipe, shape)
    findings = list(listing.findings)
    folder_sets = [files for files in inner if files.images]
    if shape is None and not folder_sets and _is_numbered_set(listing, recipe):
        only = _folder_set(listing.folder, Listing(listing.folder.parent), source, set(), recipe)
        problem = "The folder was read as a single set, since it holds the numbered images of one."
        remedy = "Choose the folder above it, which holds all sets."
        findings.append(Finding(Level.WARNING, problem, remedy, set=only.name))
        return Scan(listing.folder, Shape.FOLDERS, (only,), tuple(findings))
    if shape is None:
        flat = len(listing.images) / max(1, len(recipe.layout))
        shape = Shape.FOLDERS if folder_sets and len(folder_sets) >= flat else _flat_shape(listing, recipe)
    if shape is Shape.FOLDERS:
        findings += [
            Finding(
                Level.WARNING,
                "The image lies beside the folders of the sets and was not used.",
                "Put the images of each set into a folder of their own.",
                file=below(image, source),
            )
            for image in listing.images
        ]
        sets = inner
    else:
        findings += [
            Finding(
                Level.WARNING,
                f"The folder has images, but the source was read as {shape.value}; it was not used.",
                "Keep one shape, or choose the shape yourself.",
                set=files.name,
            )
            for files in folder_sets
        ]
        findings += [replace(f, level=Level.WARNING) for files in inner if not files.images for f in files.findings]
        sets, more = _numbered(listing, source) if shape is Shape.NUMBERED else _composites(listing, source)
        findings += more
    for archive in listing.archives if not sets else ():
        problem, remedy = "The archive was not read.", "Unpack it into this folder."
        findings.append(Finding(Level.WARNING, problem, remedy, file=below(archive, source)))
    return Scan(listing.folder, shape, tuple(sets), tuple(findings))


def fingerprint(source: Path) -> str:
    """A digest of names, sizes and times of everything that `scan` would see; changes when the sets change."""
    digest = hashlib.sha256()
    pending = [(source, 0)]
    while pending:
        folder, depth = pending.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            digest.update(f"{folder} {type(error).__name__}\n".encode("utf-8", "surrogatepass"))
            continue
        for entry in entries:
            if is_litter(entry.name) or leads_out(entry, source):
                continue
            try:
                status = entry.stat()
                is_folder = entry.is_dir()
            except OSError:
                continue
            stamp = "" if is_folder else f"{status.st_size} {status.st_mtime_ns}"
            digest.update(f"{entry.path}\0{stamp}\n".encode("utf-8", "surrogatepass"))
            if is_folder and depth < 3:
                pending.append((Path(entry.path), depth + 1))
    return digest.hexdigest()


def _root(source: Path, recipe: Recipe, shape: Shape | None) -> tuple[Listing, list[SetFiles]]:
    """The listing of the folder that holds the sets, and its subfolders as sets.

    Archives unpack into a folder of their own, so a single folder that is not itself a set is entered.
    """
    folder, visited = source, set[str]()
    while True:
        visited.add(os.path.realpath(folder))
        try:
            listing = list_folder(folder, source)
        except OSError as error:
            raise DatasetError(
                f"The folder {folder} cannot be read: {error.strerror or error}. Choose a folder that exists and can be read."
            ) from error
        if listing.images or len(listing.folders) != 1 or os.path.realpath(listing.folders[0]) in visited:
            break
        try:
            only = list_folder(listing.folders[0], source)
        except OSError:
            break
        if shape is Shape.FOLDERS and only.images:
            break
        if only.images and (shape is None and _is_one_set(only, recipe)):
            break
        folder = only.folder
    return listing, [_folder_set(inner, listing, source, visited, recipe) for inner in listing.folders]


def _folder_set(folder: Path, parent: Listing, source: Path, visited: set[str], recipe: Recipe) -> SetFiles:
    """A folder as a set; one without images when it cannot be one, with the reason."""

    def refused(problem: str, remedy: str) -> SetFiles:
        return SetFiles(folder.name, (), findings=(Finding(Level.ERROR, problem, remedy, folder.name),))

    if os.path.realpath(folder) in visited:
        return refused("The folder is a link to a folder above it.", "Remove the link.")
    try:
        listing = list_folder(folder, source)
    except OSError as error:
        return refused(f"The folder cannot be read: {error.strerror or error}.", "Allow reading it.")
    if not listing.images:
        if listing.folders:
            return refused("The folder holds folders, but no images.", "Build the dataset from this folder instead.")
        return refused("The folder holds no images.", "Put the set's images there, or remove the folder.")
    ordered, findings = _ordered(listing.images, folder.name, source)
    ordered, order = _by_panel_names(ordered, recipe) or (ordered, _order_remarks(ordered, folder.name))
    findings += order
    findings = [*(replace(finding, set=folder.name) for finding in listing.findings), *findings]
    panel_texts = [listing.texts.pop(image.stem.casefold(), None) for image in ordered]
    summary = listing.texts.pop("summary", None)
    name = folder.name.casefold()
    candidates = [listing.texts.pop(stem) for stem in ("caption", name) if stem in listing.texts]
    if name in parent.texts:
        candidates.append(parent.texts[name])
    if not candidates and len(listing.texts) == 1 and not any(panel_texts):
        candidates.append(listing.texts.popitem()[1])
    unused = (*candidates[1:], *listing.texts.values())
    joint = candidates[0] if candidates else None
    texts_or_none = tuple(panel_texts) if any(panel_texts) else ()
    return SetFiles(folder.name, tuple(ordered), joint, texts_or_none, summary, unused, tuple(findings))


def _by_panel_names(ordered: Sequence[Path], recipe: Recipe) -> tuple[list[Path], list[Finding]] | None:
    """Images that are called like the panels, left.png and right.png, in the order of the panels."""
    places = {name.casefold(): index for index, name in enumerate(recipe.layout.names)}
    if {path.stem.casefold() for path in ordered} != set(places):
        return None
    return sorted(ordered, key=lambda path: places[path.stem.casefold()]), []


def _order_remarks(ordered: Sequence[Path], name: str) -> list[Finding]:
    if len(ordered) < 2 or all(_NUMBERED.fullmatch(path.stem) for path in ordered):
        return []
    listed = ", ".join(path.name for path in ordered)
    problem = f"The images are not numbered; they were sorted by name: {listed}."
    return [Finding(Level.WARNING, problem, "Number them in the order of the panels.", set=name)]


def _is_one_set(listing: Listing, recipe: Recipe) -> bool:
    """Whether a folder is a set itself, rather than holding sets as flat files."""
    if len(_groups(listing.images)) > 1:
        return False
    captioned = [image for image in listing.images if image.stem.casefold() in listing.texts]
    if 2 * len(captioned) < len(listing.images):
        return True
    return len(listing.images) == len(recipe.layout) and not _have_markers(captioned, listing, recipe)


def _is_numbered_set(listing: Listing, recipe: Recipe) -> bool:
    """Whether a folder holds 1.png, 2.png … of one set and nothing else."""
    numbered = all(path.stem.isdecimal() for path in listing.images)
    return numbered and len(listing.images) == len(recipe.layout) and _is_one_set(listing, recipe)


def _flat_shape(listing: Listing, recipe: Recipe) -> Shape:
    """Numbered files of sets, or composites? Both may be called shot_1.png with a shot_1.txt."""
    groups = _groups(listing.images)
    if any(name in listing.texts and len(members) > 1 for name, members in groups.items()):
        return Shape.NUMBERED
    captioned = [image for image in listing.images if image.stem.casefold() in listing.texts]
    if _have_markers(captioned, listing, recipe):
        return Shape.COMPOSITES
    sizes = Counter(len(members) for members in groups.values())
    panels = len(recipe.layout)
    if panels > 1 and 2 * panels * sizes[panels] >= len(listing.images) > 0:
        return Shape.NUMBERED
    same_size = len(sizes) == 1 and len(groups) > 1 and next(iter(sizes)) > 1
    if same_size and sum(len(members) for members in groups.values()) == len(listing.images):
        return Shape.NUMBERED
    return Shape.COMPOSITES


def _have_markers(captioned: Sequence[Path], listing: Listing, recipe: Recipe) -> bool:
    """Whether most of the texts hold several panel markers, as joint captions do; a panel's text holds one at most."""
    enough = min(2, len(recipe.markers))
    joint = 0
    for image in captioned:
        line = texts.read(listing.texts[image.stem.casefold()]).line or ""
        joint += sum(marker in line for marker in recipe.markers) >= enough
    return joint > 0 and 2 * joint >= len(captioned)


def _groups(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Files by the name in front of their number, without case; files without name or number are in no group."""
    groups: dict[str, list[Path]] = {}
    for path in files:
        match = _NUMBERED.fullmatch(path.stem)
        if match and match["name"]:
            groups.setdefault(match["name"].casefold(), []).append(path)
    return groups


def _numbered(listing: Listing, source: Path) -> tuple[list[SetFiles], list[Finding]]:
    texts_left = dict(listing.texts)
    sets: list[SetFiles] = []
    grouped: set[Path] = set()
    for key, members in _groups(listing.images).items():
        match = _NUMBERED.fullmatch(members[0].stem)
        name = match["name"] if match else members[0].stem
        ordered, findings = _ordered(members, name, source)
        grouped.update(members)
        panel_texts = [texts_left.pop(image.stem.casefold(), None) for image in ordered]
        joint, summary = texts_left.pop(key, None), None
        for stem in list(texts_left):
            role = stem[len(key) :].strip(_SEPARATORS) if stem.startswith(key) else ""
            if role == "summary":
                summary = texts_left.pop(stem)
            elif role == "caption" and joint is None:
                joint = texts_left.pop(stem)
        texts_or_none = tuple(panel_texts) if any(panel_texts) else ()
        sets.append(SetFiles(name, tuple(ordered), joint, texts_or_none, summary, (), tuple(findings)))
    findings = [
        Finding(
            Level.WARNING,
            "The image's name does not end in a number, so it belongs to no set.",
            "Name the images of a set alike and number them: hero_1.png, hero_2.png.",
            file=below(image, source),
        )
        for image in listing.images
        if image not in grouped
    ]
    return sorted(sets, key=lambda files: natural(files.name)), findings + _orphans(texts_left, source)


def _composites(listing: Listing, source: Path) -> tuple[list[SetFiles], list[Finding]]:
    texts_left = dict(listing.texts)
    by_stem: dict[str, list[Path]] = {}
    for image in listing.images:
        by_stem.setdefault(image.stem.casefold(), []).append(image)
    sets = []
    for stem, members in by_stem.items():
        _, findings = _ordered(members, members[0].stem, source)
        sets.append(SetFiles(members[0].stem, (members[0],), texts_left.pop(stem, None), findings=tuple(findings)))
    return sets, _orphans(texts_left, source)


def _orphans(left: dict[str, Path], source: Path) -> list[Finding]:
    return [
        Finding(
            Level.WARNING,
            "The caption has no image beside it.",
            "Name it like its image or set, or remove it.",
            file=below(path, source),
        )
        for path in left.values()
    ]


def _ordered(members: Sequence[Path], name: str, source: Path) -> tuple[list[Path], list[Finding]]:
    """Images in the order of their numbers, and where that is ambiguous."""
    ordered = sorted(members, key=lambda path: natural(path.stem))
    findings: list[Finding] = []
    seen: dict[tuple[str, str | int], Path] = {}
    for path in ordered:
        match = _NUMBERED.fullmatch(path.stem)
        key = (match["name"].casefold(), int(match["number"])) if match else (path.stem.casefold(), "")
        earlier = seen.setdefault(key, path)
        if earlier is not path:
            problem = f"{earlier.name} and {path.name} are the same image of the set twice."
            findings.append(Finding(Level.ERROR, problem, "Keep one of the two.", set=name, file=below(path, source)))
    return ordered, findings
