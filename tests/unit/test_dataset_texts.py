from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.dataset.report import Level
from incontext_lora.incontext.dataset.texts import decode, one_line, read

PROSE = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co"), exclude_characters="\ufeff"), min_size=1)


@given(PROSE, st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]))
def test_marked_encodings_are_read_exactly(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding))[0] == text


@given(PROSE)
def test_utf_8_is_read_exactly(text: str) -> None:
    assert decode(text.encode("utf-8")) == (text, "UTF-8", True)


@given(st.binary())
def test_no_bytes_whatever_stop_it(data: bytes) -> None:
    decode(data)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark(encoding: str) -> None:
    assert decode("[SCENE-1] Leo läuft".encode(encoding))[0] == "[SCENE-1] Leo läuft"


@pytest.mark.parametrize(
    ("data", "line", "level"),
    [
        ("Café".encode(), "Café", None),
        ("\ufeffCafé".encode(), "Café", Level.NOTE),
        ("Café".encode("utf-16"), "Café", Level.NOTE),
        ("Café".encode("latin-1"), "Café", Level.WARNING),
        (b"\x81", None, Level.ERROR),
        (b"one\r\ntwo\n", "one two", Level.NOTE),
        (b"one\n\n", "one", None),
        (b"\x00\x01\x02\x03", None, Level.ERROR),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x01", None, Level.ERROR),
    ],
)
def test_what_is_said_about_a_file(tmp_path: Path, data: bytes, line: str | None, level: Level | None) -> None:
    path = tmp_path / "1.txt"
    path.write_bytes(data)
    text = read(path, "set/1.txt")
    assert text.line == line
    assert [finding.level for finding in text.findings] == ([level] if level else [])
    assert all(finding.file == "set/1.txt" for finding in text.findings)


@pytest.mark.parametrize(
    "data",
    [
        b"a red fox\0",
        b"a red fox\0\0 in snow",
        b"\0a red fox",
        b"a\0 red fox",
        "[SCENE-1] Leo läuft".encode("utf-16-le")[:-1],
        "狐狸在雪中".encode("utf-16-le") + b"\0a",
        "a fox\0".encode("utf-16"),
        "一只红色的狐狸".encode("gbk"),
        "a fox, 一只红色的狐狸".encode("gbk"),
        "赤い狐が雪の中".encode("shift_jis"),
        "рыжая лиса".encode("koi8-r"),
        "рыжая лиса".encode("cp1251"),
        "붉은 여우".encode("euc-kr"),
        b"a fox\x1b[31m",
        "a fox\x85\x9b".encode(),
        b"a fox" + b"\xed\xa0\x80",
        b"caf\x81",
    ],
)
def test_what_would_be_read_as_other_text_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "1.txt"
    path.write_bytes(data)
    text = read(path, "set/1.txt")
    assert text.line is None
    assert [(finding.level, finding.remedy) for finding in text.findings] == [(Level.ERROR, "Save it as UTF-8 text.")]


@pytest.mark.parametrize(
    "text", ["Café", "“Quotes” – and a dash…", "L’été à la plage, où l'eau est fraîche", "5 €, 20 °C"]
)
def test_western_texts_of_old_editors_are_read(text: str) -> None:
    assert decode(text.encode("cp1252")) == (text, "Windows-1252", False)


def test_a_file_too_large_for_a_caption(tmp_path: Path) -> None:
    path = tmp_path / "1.txt"
    path.write_bytes(b"a" * ((1 << 20) + 1))
    assert read(path).line is None


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert one_line(line) == line
