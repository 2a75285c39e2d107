"""The help pages and the Chinese texts among themselves; tests/host/test_locales.py holds them against the nodes."""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "js" / "docs"
LOCALES = ROOT / "locales"
NODE_IDS = sorted(path.stem for path in DOCS.glob("*.md"))
LANGUAGES = ("en", "zh")
SECTIONS = {
    "en": ["Inputs", "Outputs", "Example", "When something goes wrong"],
    "zh": ["输入", "输出", "示例", "出现问题时"],
}
ENTRY = re.compile(r"- (.+?) \(([A-Z0-9_*]+)(?:, (`[^`]*`|[^)`]+))?\)[:：] ?(.+)")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
WIDEST = 30  # characters of code that fit into the sidebar as ComfyUI opens it, where nothing breaks the line
REMEDIES = "## When something goes wrong"
PUT_TOGETHER = {  # messages whose parts stand in several texts of the code
    "… captions were written before that and are kept",
    "The answer lacks …",
    "… texts are not sent",
    "The loss is nan at step …",
}
TERMS = {"CLIP", "VAE", "EMA", "LoRA", "Latent", "alpha"}  # names that stay as they are in Chinese


@dataclass(frozen=True)
class Row:
    """An entry of a list of inputs or outputs.

    Attributes:
        ids: what it is about; several where an entry stands for ``panel_1`` … ``panel_9``.
        labels: the Chinese names in front of the ids.
        cells: type, default (inputs only) and text; choices follow the text, each after ``<br>``.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    cells: tuple[str, ...]


def page_path(node_id: str, language: str) -> Path:
    """Where the interface looks first. The file without a language is for all others, which have no page of their own."""
    return DOCS / node_id / f"{language}.md"


def page(node_id: str, language: str) -> str:
    return page_path(node_id, language).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    _, _, rest = text.partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0]


def rows(node_id: str, language: str, which: int) -> list[Row]:
    """The list of inputs (0) or outputs (1)."""
    lines = section(page(node_id, language), SECTIONS[language][which])
    return [_row(entry) for entry in re.findall(r"^- .+(?:\n  - .+)*", lines, re.MULTILINE)]


def _row(entry: str) -> Row:
    line, *choices = entry.split("\n  - ")
    first, kind, default, text = ENTRY.fullmatch(line).groups()  # pyright: ignore[reportOptionalMemberAccess]
    ids = re.findall(r"`([^`]+)`", first)
    labels = [label.strip(" …") for label in re.split(r"`[^`]+`", first)[:-1]]
    if "…" in first:
        start, end = (int(name.rpartition("_")[2]) for name in ids)
        ids = [ids[0].removesuffix(str(start)) + str(number) for number in range(start, end + 1)]
        labels = [labels[0].removesuffix(str(start)) + str(number) for number in range(start, end + 1)]
    cells = [kind, *([default] if default else []), "<br>".join([text, *choices])]
    return Row(tuple(ids), tuple(labels), tuple(cells))


def texts(language: str, name: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


def leaves(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, data


def test_every_page_is_there_in_both_languages() -> None:
    assert NODE_IDS
    for node_id in NODE_IDS:  # ComfyUI asks for en.md first, and for the file without a language in all other languages
        assert page(node_id, "en") == (DOCS / f"{node_id}.md").read_text(encoding="utf-8"), (
            f"copy {node_id}.md to {node_id}/en.md"
        )
    assert sorted(path.parent.name for path in DOCS.glob("*/zh.md")) == NODE_IDS
    assert sorted(texts("zh", "nodeDefs")) == NODE_IDS


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", NODE_IDS)
def test_code_fits_into_the_sidebar(node_id: str, language: str) -> None:
    """A caption in a block of code is one line there, of which the beginning is seen; inline, it breaks between words."""
    text = page(node_id, language)
    assert re.findall(r"^    .{41,}", text, re.MULTILINE) == []
    pieces = [piece for code in re.findall(r"`([^`\n]+)`", text) for piece in re.split(r" |(?<=-)", code)]
    assert [piece for piece in pieces if len(piece) > WIDEST] == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", NODE_IDS)
def test_page_has_its_parts(node_id: str, language: str) -> None:
    text = page(node_id, language)
    opening, *_ = text.split("\n## ")
    assert opening.strip(), "a page begins by saying what the node is for"
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [title for title in titles if title in SECTIONS[language]] == SECTIONS[language]
    for title in titles:
        assert section(text, title).strip(), f"{title} is empty"
    for which, columns in ((0, 3), (1, 2)):
        assert rows(node_id, language, which)
        for row in rows(node_id, language, which):
            assert len(row.cells) == columns, row
            assert all(row.cells), row
    if language == "zh":
        paragraphs = [part for part in text.split("\n\n") if not re.match(r"    |!\[|`[^`]+`$", part)]
        assert [part for part in paragraphs if not CHINESE.search(part)] == []
    else:
        assert not CHINESE.search(text)


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_pages_say_the_same(node_id: str) -> None:
    for which in (0, 1):
        english, chinese = rows(node_id, "en", which), rows(node_id, "zh", which)
        assert [row.ids for row in english] == [row.ids for row in chinese]
        assert [row.cells[0] for row in english] == [row.cells[0] for row in chinese], "types"
        for one, other in zip(english, chinese, strict=True):
            choices = re.compile(r"<br>`([^`]+)`")
            assert choices.findall(one.cells[-1]) == choices.findall(other.cells[-1]), one.ids
            code = re.compile(r"`[^`]*`")
            assert code.findall(one.cells[1]) == code.findall(other.cells[1]), f"default of {one.ids}"
    for part, pattern in (
        ("pictures", r"\]\(images/[^)]+\)"),
        ("entries of lists", r"^ *- "),
        ("blocks of code", r"^    .+$"),
        ("remedies", r"^- \*\*"),
    ):
        english_parts, chinese_parts = (re.findall(pattern, page(node_id, each), re.MULTILINE) for each in LANGUAGES)
        assert len(english_parts) == len(chinese_parts), part


@functools.cache
def said_by_the_code() -> str:
    """All texts of the pack's Python, each value in them as a zero byte."""
    texts = []
    for folder in ("incontext", "nodes", "training"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                    texts.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return "\n".join(texts)


def unsaid(quote: str) -> list[str]:
    """Three words in a row of a quoted message that no text of the code has; values are left out."""
    words = [part.strip(" ,;").split() for part in quote.split("…")]
    rows = [" ".join(part[start : start + 3]) for part in words for start in range(len(part) - 2)]
    return [row for row in rows if not re.search(r"[\d\[\]()%]", row) and row not in said_by_the_code()]


def test_a_message_that_nobody_says_would_be_seen() -> None:
    assert unsaid("… holds quantised weights") == []
    assert unsaid("… holds weights from the moon") == ["holds weights from", "weights from the", "from the moon"]


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_quoted_messages_are_those_of_the_code(node_id: str) -> None:
    quotes = re.findall(r"“([^”]+)”", page(node_id, "en").partition(REMEDIES)[2])
    assert {quote: unsaid(quote) for quote in quotes if quote not in PUT_TOGETHER and unsaid(quote)} == {}
    chinese = page(node_id, "zh")
    assert [quote for quote in quotes if len(quote.split()) > 2 and quote not in chinese] == []


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_chinese_page_uses_the_names_on_the_node(node_id: str) -> None:
    names = texts("zh", "nodeDefs")[node_id]
    shown = {name: label for row in rows(node_id, "zh", 0) for name, label in zip(row.ids, row.labels, strict=True)}
    assert shown == {name: entry["name"] for name, entry in names["inputs"].items()}
    labels = [label for row in rows(node_id, "zh", 1) for label in row.labels]
    assert labels == [entry["name"] for entry in names["outputs"].values()]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_page_fits_the_sidebar(node_id: str, language: str) -> None:
    """Tables are wider than the 300 pixels of ComfyUI's help; lists wrap."""
    assert [line for line in page(node_id, language).splitlines() if line.startswith("|")] == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", NODE_IDS)
def test_what_a_page_points_to_is_there(node_id: str, language: str) -> None:
    text = page(node_id, language)
    for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        # the interface puts …/docs/ in front, in every language
        ElementTree.fromstring((DOCS / target).read_text(encoding="utf-8"))
    for listed in re.findall(r"(?:Templates?: |模板：)([^.。\n]+)", text):
        for name in re.findall(r"`([^`]+)`", listed):
            template = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
            assert node_id in {node["type"] for node in template["nodes"]}, name


def test_every_picture_is_used() -> None:
    used = {name for node_id in NODE_IDS for name in re.findall(r"\(images/([^)]+)\)", page(node_id, "en"))}
    assert used == {path.name for path in (DOCS / "images").iterdir()}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", NODE_IDS)
def test_nothing_in_a_page_is_taken_for_a_tag(node_id: str, language: str) -> None:
    """Names such as <Leo> would vanish outside of code."""
    prose = re.sub(r"`[^`\n]*`|^    .*$", "", page(node_id, language), flags=re.MULTILINE)
    assert set(re.findall(r"<[^>\n]*>", prose)) <= {"<br>"}


@pytest.mark.parametrize("path", sorted(LOCALES.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_interface_can_read_the_texts(path: Path) -> None:
    assert path.stem in ("main", "nodeDefs", "commands", "settings"), "ComfyUI reads no other files"
    for keys, text in leaves(json.loads(path.read_text(encoding="utf-8"))):
        assert isinstance(text, str), keys
        assert text == text.strip() != "", keys
        assert not any("." in key for key in keys), f"{keys}: a dot divides keys"
        # vue-i18n: {interpolation}, @:link, plural | plural
        assert not re.search(r"[{}|]|@[:.]", text), f"{keys}: {text!r} would not be shown as it is"


def test_nothing_was_left_in_english() -> None:
    for name in ("nodeDefs", "main"):
        for keys, text in leaves(texts("zh", name)):
            assert CHINESE.search(text) or text in TERMS or keys[-1] in ("in-context lora", "lora"), (keys, text)
    for keys, text in leaves(texts("zh", "nodeDefs")):
        if keys[-1] in ("tooltip", "description"):
            assert text.endswith(("。", "）")), f"{keys}: {text!r} is not a sentence"


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_names_on_one_node_differ(node_id: str) -> None:
    inputs = [entry["name"] for entry in texts("zh", "nodeDefs")[node_id]["inputs"].values()]
    assert len(set(inputs)) == len(inputs)
