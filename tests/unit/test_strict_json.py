"""JSON that others wrote: what a valid file never holds is refused, quickly and in a sentence."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from incontext_lora.incontext.files import strict_json
from incontext_lora.incontext.files.strict_json import JsonError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, "x", null, true]}', {"a": [1, 2.5, "x", None, True]}),
        (b'\xef\xbb\xbf{"a": "\xc3\xa4"}', {"a": "ä"}),
        ("18446744073709551615", 2**64 - 1),
        ('"\\ud83d\\ude00"', "😀"),
        ("[" * 64 + "]" * 64, None),
    ],
)
def test_valid_json_is_read_as_it_is(text: str | bytes, value: object) -> None:
    read = strict_json.parse(text)
    assert value is None or read == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{", "line 1 column 2"),
        ("NaN", "holds NaN"),
        ('{"a": [-Infinity]}', "holds -Infinity"),
        ('{"a": 1e999}', "not finite"),
        ('{"a": -1e400}', "not finite"),
        ("9" * 5000, "too large"),
        ("18446744073709551616", "too large"),
        ("[" * 65 + "]" * 65, "deeper than 64"),
        ('{"a":' * 65 + "1" + "}" * 65, "deeper than 64"),
        ("[" * 100_000, "deeper than 64"),
        ("[" * 100_000 + "]" * 100_000, "deeper than 64"),
        ('["\\ud800"]', "not valid text"),
        ('{"\\udfff": 1}', "not valid text"),
        (b"\xff\xfe{\x00}\x00", "not valid UTF-8"),
        ("[]" + " " * strict_json.LARGEST, "larger than 4 MB"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_a_valid_file_never_holds_is_refused(text: str | bytes, said: str) -> None:
    with pytest.raises(JsonError, match=said):
        strict_json.parse(text)


@pytest.mark.parametrize("unit", ["[],", "{},", "1,", '"",', "[[]],", '{"a":1e9},', '"\\u00e4",'])
def test_the_largest_text_costs_little(unit: str) -> None:
    """Of 4 MB, as many values as are allowed are read within a second, and more are refused at once."""
    values = unit.count(",") + unit.count("[") + unit.count("{")
    text = "[" + unit * ((strict_json.MOST - 2) // values) + "0]"
    began = time.process_time()
    strict_json.parse(text)
    with pytest.raises(JsonError, match="more than 200,000 values"):
        strict_json.parse("[" + unit * (strict_json.MOST // values + 1) + "0]")
    assert time.process_time() - began < 1


def test_one_long_text_costs_little() -> None:
    began = time.process_time()
    strict_json.parse('"' + "\\u00e4" * (strict_json.LARGEST // 6 - 1) + '"')
    strict_json.parse(" " * (strict_json.LARGEST - 2) + "[]")
    assert time.process_time() - began < 1


def test_names_that_are_not_text_are_read_where_they_are_allowed() -> None:
    assert strict_json.parse('["a\\udcff"]', odd_names=True) == ["a\udcff"]


def test_a_file_is_read_up_to_the_limit_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"a": 1}')
    assert strict_json.read_object(path) == {"a": 1}
    with path.open("ab") as file:
        file.truncate(1 << 40)  # a sparse file, larger than memory
    with pytest.raises(JsonError, match="larger than"):
        strict_json.read(path)


@pytest.mark.parametrize("text", ["[1]", "null", "3", '"run"', "true"])
def test_a_file_that_should_hold_an_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(JsonError, match="should hold an object"):
        strict_json.read_object(tmp_path / "run.json")


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JsonError, match="not a file"):
        strict_json.read(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(JsonError, match="not a file"):
            strict_json.read(tmp_path / "pipe")


def test_fields_have_the_right_type() -> None:
    data = {"steps": 3, "rate": 1, "name": "a", "on": True, "none": None}
    assert strict_json.field(data, "steps", int) == 3
    assert strict_json.field(data, "rate", float) == 1
    assert strict_json.field(data, "none", (str, type(None))) is None
    assert strict_json.field(data, "absent", str, "x") == "x"
    for name, kind, said in (
        ("absent", str, "'absent' is missing"),
        ("on", int, "'on' should be a whole number, but is true"),
        ("name", float, "'name' should be a number, but is 'a'"),
        ("none", dict, "'none' should be an object, but is null"),
    ):
        with pytest.raises(JsonError, match=said):
            strict_json.field(data, name, kind)
