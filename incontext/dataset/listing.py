"""The images and captions in one folder. Only names are looked at."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from . import images
from .report import Finding, Level

_LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"})
_ARCHIVES = frozenset({".zip", ".7z", ".rar", ".tar", ".gz", ".tgz"})


@dataclass(slots=True)
class Listing:
    """A folder's entries of interest, each kind in natural order."""

    folder: Path
    images: list[Path] = field(default_factory=list)
    texts: dict[str, Path] = field(default_factory=dict)  # by stem without case
    folders: list[Path] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def natural(text: str) -> tuple[tuple[str | int, ...], str]:
    """A sorting key: 2 comes before 10, whatever the case of the letters."""
    parts = re.split(r"(\d+)", text)
    return tuple(int(part) if part.isdecimal() else part.casefold() for part in parts), text


def list_folder(folder: Path, source: Path) -> Listing:
    listing = Listing(folder)
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: natural(entry.name))
    for entry in entries:
        if is_litter(entry.name):
            continue
        path, suffix = Path(entry.path), Path(entry.name).suffix.lower()
        if leads_out(entry, source):
            problem = "It is a link to a place outside the folder of the sets, which is not followed."
            listing.findings.append(_unusable(path, source, problem))
            continue
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:  # a link that leads to itself
            listing.findings.append(_unusable(path, source, f"It cannot be followed: {error.strerror or error}."))
            continue
        if is_folder:
            listing.folders.append(path)
        elif is_file and suffix in images.SUFFIXES:
            listing.images.append(path)
        elif is_file and suffix == ".txt":
            stem = path.stem.casefold()
            if stem in listing.texts:
                problem = f"{listing.texts[stem].name} differs only in case; this one was not used."
                finding = Finding(Level.WARNING, problem, "Keep one of the two.", file=below(path, source))
                listing.findings.append(finding)
            listing.texts.setdefault(stem, path)
        elif is_file and suffix in _ARCHIVES:
            listing.archives.append(path)
        elif not is_file and (suffix in images.SUFFIXES or suffix == ".txt"):
            listing.findings.append(_unusable(path, source, "It is not a file, or a link that leads nowhere."))
    return listing


def below(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else path.name


def _unusable(path: Path, source: Path, problem: str) -> Finding:
    return Finding(Level.WARNING, problem, "Remove it, or put the file itself there.", file=below(path, source))


def leads_out(entry: os.DirEntry[str], source: Path) -> bool:
    """Whether an entry is a link, or on Windows a junction, to a place outside the folder that is read."""
    try:
        tag = getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0)
    except OSError:
        return False
    if not tag and not entry.is_symlink():
        return False
    return not Path(os.path.realpath(entry.path)).is_relative_to(os.path.realpath(source))


def is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER
