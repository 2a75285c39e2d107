"""Arrange a workflow in rooms that fit a screen: the note on the left, the steps in rows, the result on the right.

    python -m demo.arrange [NAME …]      (all bundled workflows by default)

A step is a group; its nodes are dealt to columns in the order in which they run. Rows and columns are chosen so that the
whole is at most `WIDTH` wide and as low as that allows. A node keeps the height that it was saved with, so save it as high
as it becomes in either renderer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .workflow import WORKFLOWS, load

WIDTH = 1800
"""Canvas units; a screen of 1920 pixels then shows a workflow at nearly full size."""
GAP, ROOM, TITLE, HEADING = 30, 20, 30, 70
"""Between groups; between nodes, and from a node to the frame; a node's title bar; a group's frame above its first node."""
NOTE = 340
LETTER, LINE, PARAGRAPH = 7.2, 21, 8
"""Of a note's text: a letter's width, a line's height, and the room below a paragraph."""
WIDTHS: Mapping[str, int] = {
    "InContextJointCaption": 380,
    "InContextBuildDataset": 360,
    "InContextCaptionPanels": 380,
    "InContextCaptionDataset": 380,
    "InContextTrainLora": 400,
    "InContextTrainLoraInHost": 400,
    "InContextLoadLora": 310,
    "InContextLayout": 320,
    "InContextStitchPanels": 310,
    "InContextConditionPanels": 310,
    "LossGraphNode": 380,
    "SaveImage": 340,
    "PreviewImage": 340,
    "LoadImage": 280,
}
DEFAULT_WIDTH = 290


@dataclass(frozen=True)
class Column:
    """Nodes below each other, all of one width."""

    nodes: tuple[Mapping[str, Any], ...]

    @property
    def width(self) -> int:
        return max(WIDTHS.get(node["type"], DEFAULT_WIDTH) for node in self.nodes)

    @property
    def height(self) -> int:
        return sum(node["size"][1] + TITLE for node in self.nodes) + ROOM * (len(self.nodes) - 1)


@dataclass(frozen=True)
class Step:
    """A group with its nodes dealt to columns."""

    group: Mapping[str, Any]
    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        return sum(column.width for column in self.columns) + ROOM * (len(self.columns) + 1)

    @property
    def height(self) -> int:
        return HEADING - TITLE + max(column.height for column in self.columns) + ROOM


@dataclass(frozen=True)
class Plan:
    """Three zones beside each other: steps below the note, steps in rows, and steps above the result.

    Attributes:
        note: its text.
        left: steps below the note.
        rows: steps in the middle.
        right: steps below each other; the last is the result.
    """

    note: str
    left: tuple[Step, ...]
    rows: tuple[tuple[Step, ...], ...]
    right: tuple[Step, ...]

    @property
    def left_width(self) -> int:
        return max([NOTE, *(step.width for step in self.left)])

    @property
    def note_height(self) -> int:
        return note_height(self.note, self.left_width)

    @property
    def middle_width(self) -> int:
        return max((_row_width(row) for row in self.rows), default=-GAP)

    @property
    def width(self) -> int:
        return self.left_width + GAP + self.middle_width + GAP + max(step.width for step in self.right)

    @property
    def height(self) -> int:
        left = self.note_height + TITLE + sum(GAP + step.height for step in self.left)
        middle = sum(max(step.height for step in row) + GAP for row in self.rows) - GAP
        right = sum(step.height + GAP for step in self.right) - GAP
        return max(left, middle, right)


def note_height(text: str, width: int) -> int:
    """How high a Markdown note is, so that all of it is read without scrolling."""
    shown = re.sub(r"\]\([^)]*\)", "", text)
    lines = [math.ceil(len(line) * LETTER / (width - 60)) for line in shown.split("\n") if line.strip()]
    return 60 + sum(lines) * LINE + len(lines) * PARAGRAPH


def _row_width(row: Sequence[Step]) -> int:
    return sum(step.width for step in row) + GAP * (len(row) - 1)


def arrange(workflow: dict[str, Any]) -> None:
    """Give the nodes and groups of a workflow their places, in place.

    Its last group is the result. Every node but the one note belongs to the group around its upper left corner.

    Raises:
        ValueError: if no arrangement fits into `WIDTH`.
    """
    (note,) = (node for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    steps = sorted((node for node in workflow["nodes"] if node is not note), key=lambda node: node["order"])
    members = [[node for node in steps if _inside(node, group)] for group in workflow["groups"]]
    text = note["widgets_values"][0]
    plan = min(_plans(workflow["groups"], members, text), key=lambda each: (each.height, each.width))
    note["pos"], note["size"] = [0, TITLE - HEADING], [plan.left_width, plan.note_height]
    _stack(plan.left, 0, note["pos"][1] + note["size"][1] + GAP, plan.left_width)
    left, top = plan.left_width + GAP, -HEADING
    for row in plan.rows:
        height = max(step.height for step in row)
        x = left
        for step in row:
            last = step is row[-1]
            _place(step, x, top, left + plan.middle_width - x if last else step.width, height)
            x += step.width + GAP
        top += height + GAP
    _stack(plan.right, left + plan.middle_width + GAP, -HEADING, max(step.width for step in plan.right))
    workflow["extra"].pop("ds", None)  # without it, ComfyUI fits the view to the window


def _inside(node: Mapping[str, Any], group: Mapping[str, Any]) -> bool:
    left, top, width, height = group["bounding"]
    return left <= node["pos"][0] < left + width and top <= node["pos"][1] < top + height


def _plans(groups: Sequence[Any], members: Sequence[Any], note: str) -> Iterator[Plan]:
    choices = [
        [Step(group, tuple(columns)) for columns in _dealt(nodes)] for group, nodes in zip(groups, members, strict=True)
    ]
    found = False
    for steps in itertools.product(*choices):
        for first, last in itertools.combinations(range(len(steps)), 2):
            for rows in _rows(steps[first:last]):
                plan = Plan(note, steps[:first], rows, steps[last:])
                if plan.width <= WIDTH:
                    found = True
                    yield plan
    if not found:
        raise ValueError(f"Nothing fits into {WIDTH} units. Make a group of fewer nodes, or raise WIDTH.")


def _dealt(nodes: Sequence[Mapping[str, Any]]) -> Iterator[list[Column]]:
    """The nodes in one to four columns, in order; the lowest arrangement for each number of columns."""
    for count in range(1, min(4, len(nodes)) + 1):
        cuts = itertools.combinations(range(1, len(nodes)), count - 1)
        dealt = ([Column(tuple(nodes[a:b])) for a, b in itertools.pairwise((0, *cut, len(nodes)))] for cut in cuts)
        yield min(dealt, key=lambda columns: max(column.height for column in columns))


def _rows(steps: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], ...]]:
    for marks in itertools.product((False, True), repeat=len(steps) - 1):
        cuts = (0, *(place for place, cut in enumerate(marks, 1) if cut), len(steps))
        yield tuple(steps[a:b] for a, b in itertools.pairwise(cuts))


def _stack(steps: Sequence[Step], left: int, top: int, width: int) -> None:
    for step in steps:
        _place(step, left, top, width, step.height)
        top += step.height + GAP


def _place(step: Step, left: int, top: int, width: int, height: int) -> None:
    """Put a step's frame here and its nodes into it; columns share what the frame is wider than the step."""
    step.group["bounding"] = [left, top, width, height]  # pyright: ignore[reportIndexIssue]
    x = left + ROOM
    wider = (width - step.width) // len(step.columns)
    for column in step.columns:
        y = top + HEADING
        for node in column.nodes:
            node["pos"], node["size"] = [x, y], [column.width + wider, node["size"][1]]  # pyright: ignore[reportIndexIssue]
            y += node["size"][1] + ROOM + TITLE
        x += column.width + wider + ROOM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    for name in parser.parse_args().names or sorted(path.stem for path in WORKFLOWS.glob("*.json")):
        workflow = load(name)
        arrange(workflow)
        text = json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
        (WORKFLOWS / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
