"""What the interface translates is what the pack says: each English sentence of the table is in its Python."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from incontext_lora.tests.repository_files import files, read

TABLE = "js/lib/messages_zh.mjs"
_KEY = re.compile(r'^  (?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>\w+)):', re.MULTILINE)


def test_every_translated_sentence_is_said() -> None:
    said = set(sentences())
    strange = [key for key in keys() if without_names(key) not in said]
    assert not strange, f"the pack does not say these (any more); give their new wording in {TABLE}: {strange}"


def test_there_is_something_to_compare() -> None:
    assert len(keys()) > 50
    assert {"training", "Stopped at step {}."} <= set(sentences())


def keys() -> list[str]:
    """The English sentences of the table."""
    return [
        json.loads(f'"{found["quoted"]}"') if found["quoted"] else found["bare"] for found in _KEY.finditer(read(TABLE))
    ]


def without_names(text: str) -> str:
    return re.sub(r"\{\w+\}", "{}", text).strip()


def sentences() -> Iterator[str]:
    """Every text in the pack's Python, with ``{}`` for each value."""
    for path in files(".py"):
        if path.startswith(("incontext/", "nodes/", "training/")):
            for node in ast.walk(ast.parse(read(path))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value.strip()
                elif isinstance(node, ast.JoinedStr):
                    yield "".join(map(part_of, node.values)).strip()


def part_of(value: ast.expr) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else "{}"
