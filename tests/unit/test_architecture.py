"""The page that shows the rooms names files and folders that exist, and every folder of the repository."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from incontext_lora.tests.repository_files import ROOT, files, read

PAGE = "docs/architecture.md"


def named() -> set[str]:
    """Paths from the root, as the page quotes them."""
    quoted = re.findall(r"`([^`\n]+)`", read(PAGE))
    return {name for name in quoted if "/" in name or name.endswith((".py", ".mjs", ".js"))}


def test_what_it_names_is_there() -> None:
    assert "nodes/host.py" in named()
    assert not sorted(name for name in named() if not (ROOT / name).exists())


def test_every_folder_has_its_line() -> None:
    folders = {name.split("/")[0] + "/" for name in files(".py", ".mjs", ".json") if "/" in name}
    assert not sorted(folders - named() - {"docs/", ".github/"})


def test_it_is_one_page_with_one_drawing() -> None:
    assert len(read(PAGE).splitlines()) <= 90
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", read(PAGE))
    drawing = ElementTree.parse(ROOT / "docs" / picture).getroot()
    assert drawing.tag.endswith("svg")
    words = {element.text for element in drawing.iter() if element.tag.endswith("text")}
    rooms = {
        "js/",
        "nodes/",
        "incontext/",
        "training/",
        "panels/",
        "captions/",
        "dataset/",
        "lora/",
        "evaluate/",
        "runs/",
    }
    assert rooms <= words
