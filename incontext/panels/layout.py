"""`PanelLayout`: where the panels are. Every node takes its coordinates from this value.

Positions are whole pixels of the canvas, x to the right and y down. The space between boxes is gutter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from ..errors import LayoutError
from ..files.strict_json import shown
from ..plain_text import is_text
from .box import Box, Placement, between, overlapping

MOST_PANELS = 256  # as many as Panel Layout's grid can have; published tasks have at most nine
LONGEST_SIDE = 16384  # px of the canvas, as in ComfyUI's own widgets
LARGEST_AREA = 1 << 26  # px of the canvas, 8192×8192; such a picture takes 800 MB in ComfyUI
LONGEST_NAME = 120  # characters
LONGEST_TEXT = 50_000  # characters of a widget's text; 256 boxes take 10,000


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """A canvas and its panels, in reading order.

    Attributes:
        width, height: of the canvas, in pixels.
        boxes: one per panel, within the canvas and without overlaps.
        names: one per panel, unique, e.g. ``SCENE-1`` or ``TOP-LEFT``.
        placements: one per panel after stitching; None for a panel to generate. Empty before stitching.

    Raises:
        LayoutError: if the canvas, boxes, names and placements are not consistent.
    """

    width: int
    height: int
    boxes: tuple[Box, ...]
    names: tuple[str, ...] = ()
    placements: tuple[Placement | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.boxes:
            raise LayoutError("A layout needs at least one panel.")
        check_size(self.width, self.height, len(self.boxes))
        if not self.names:
            object.__setattr__(self, "names", default_names(self.boxes))
        if len(self.names) != len(self.boxes):
            raise LayoutError(
                f"Panels: {len(self.boxes)}, names: {len(self.names)}. Give one name per panel, separated by commas."
            )
        if not all(name.strip() for name in self.names):
            raise LayoutError(f"Panel names are {list(self.names)}; none may be empty. Name all panels, or none.")
        for name in self.names:
            _check_name(name)
        repeated = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if repeated:
            raise LayoutError(f"Panel names must differ; used more than once: {', '.join(repeated)}.")
        if self.placements and len(self.placements) != len(self.boxes):
            raise LayoutError(f"{len(self.boxes)} panels have {len(self.placements)} placements; give one per panel.")
        for name, box in zip(self.names, self.boxes, strict=True):
            if box.width <= 0 or box.height <= 0:
                raise LayoutError(f"Panel {name} is {box}; width and height must be positive.")
            if box.left < 0 or box.top < 0 or box.right > self.width or box.bottom > self.height:
                raise LayoutError(
                    f"Panel {name} is {box}, which leaves the canvas of {self.width}×{self.height}. "
                    "Move or shrink the panel, or enlarge the canvas."
                )
        pair = overlapping(self.boxes)
        if pair:
            i, j = pair
            raise LayoutError(
                f"Panels {self.names[i]} ({self.boxes[i]}) and {self.names[j]} ({self.boxes[j]}) overlap. "
                "Move one of them; panels may touch but not overlap."
            )

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def given(self) -> tuple[bool, ...]:
        """Per panel, whether stitching put an image there."""
        if not self.placements:
            return (False,) * len(self.boxes)
        return tuple(placement is not None for placement in self.placements)

    @property
    def gutter_area(self) -> int:
        """Pixels of the canvas that belong to no panel."""
        return self.width * self.height - sum(box.width * box.height for box in self.boxes)

    @property
    def gaps(self) -> tuple[Box, ...]:
        """Rectangles that cover each pixel of the gutter exactly once."""
        if not self.gutter_area:
            return ()
        edges = sorted({0, self.height, *(box.top for box in self.boxes), *(box.bottom for box in self.boxes)})
        found: list[Box] = []
        growing: dict[tuple[int, int], int] = {}  # left and right of a free span in the band above → its top
        for top, bottom in pairwise(edges):
            covered = sorted((box.left, box.right) for box in self.boxes if box.top <= top and bottom <= box.bottom)
            ends, starts = [0, *(right for _, right in covered)], [*(left for left, _ in covered), self.width]
            free = [(left, right) for left, right in zip(ends, starts, strict=True) if left < right]
            found += [between(span, begun, top) for span, begun in growing.items() if span not in free]
            growing = {span: growing.get(span, top) for span in free}
        return (*found, *(between(span, begun, self.height) for span, begun in growing.items()))

    def named(self, names: Sequence[str]) -> PanelLayout:
        """The same layout with other names.

        Raises:
            LayoutError: if the names cannot be used.
        """
        return replace(self, names=tuple(names))

    def placed(self, placements: Sequence[Placement | None]) -> PanelLayout:
        """The same layout with a placement (or None) for each panel."""
        return replace(self, placements=tuple(placements))

    def unplaced(self) -> PanelLayout:
        """The layout without placements, as recipes keep it."""
        return replace(self, placements=())

    def on_canvas(self, width: int, height: int) -> tuple[Box, ...]:
        """The boxes on a canvas of another size and the same proportions.

        Raises:
            LayoutError: if the proportions differ, or an edge would not fall on a whole pixel.
        """
        if (width, height) == (self.width, self.height):
            return self.boxes
        if width * self.height != height * self.width:
            raise LayoutError(
                f"The image is {width}×{height}, but the layout's canvas is {self.width}×{self.height}, which has different "
                "proportions. Connect the layout that the image was made with."
            )
        return tuple(box.scaled(width, self.width) for box in self.boxes)

    def describe(self) -> str:
        """The canvas and every panel, in one line for users."""
        panels = ", ".join(f"{name} {box}" for name, box in zip(self.names, self.boxes, strict=True))
        return f"{self.width}×{self.height}: {panels}"

    def index(self, text: str) -> int:
        """A panel's index, from its number (from 1) or its name. Brackets and upper or lower case do not matter.

        Raises:
            LayoutError: if the layout has no such panel.
        """
        written = text.strip().strip("[]").casefold()
        names = [name.casefold() for name in self.names]
        if written in names:
            return names.index(written)
        if written.isdecimal() and len(written) < 10 and 1 <= int(written) <= len(self):
            return int(written) - 1
        raise LayoutError(f"There is no panel {shown(text.strip())}; {self._panels_to_choose()}.")

    def select(self, text: str) -> tuple[int, ...]:
        """Indices of the panels that a user lists by number or name, ascending: ``2``, ``1 3``, ``LEFT, SCENE-2``.

        Commas, semicolons, spaces and line breaks separate panels; a name may contain spaces. Empty text selects none.

        Raises:
            LayoutError: if the layout has no such panel, or the text has more than `LONGEST_TEXT` characters.
        """
        check_length(text, "The list of panels")
        names = {name.casefold() for name in self.names}
        parts = [part.strip() for part in re.split(r"[,;，；、\n]", text)]
        words = [word for part in parts for word in ([part] if part.strip("[]").casefold() in names else part.split())]
        return tuple(sorted({self.index(word) for word in words}))

    def select_some(self, text: str) -> tuple[int, ...]:
        """`select` for nodes that need at least one panel.

        Raises:
            LayoutError: as `select`, and if no panel is listed.
        """
        indices = self.select(text)
        if not indices:
            raise LayoutError(f"No panel is listed; {self._panels_to_choose()}.")
        return indices

    def _panels_to_choose(self) -> str:
        return f"choose from 1 to {len(self)}: {', '.join(self.names)}"

    def to_json(self) -> dict[str, Any]:
        """Canvas, boxes and names as JSON values. Placements belong to one stitched canvas and are left out."""
        return {
            "width": self.width,
            "height": self.height,
            "panels": [
                {"name": name, "box": [box.left, box.top, box.width, box.height]}
                for name, box in zip(self.names, self.boxes, strict=True)
            ],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> PanelLayout:
        """Read what `to_json` wrote.

        Raises:
            LayoutError: if it is not a layout, or its parts are not consistent.
        """
        try:
            panels = data["panels"]
            if not isinstance(panels, list | tuple):
                raise ValueError(f"panels is {shown(panels)}")
            check_size(_whole(data["width"]), _whole(data["height"]), len(panels))
            return PanelLayout(
                _whole(data["width"]),
                _whole(data["height"]),
                tuple(Box(*(_whole(edge) for edge in panel["box"])) for panel in panels),
                tuple(_text(panel["name"]) for panel in panels),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, LayoutError):
                raise
            raise LayoutError(
                f"This is not a layout: {shown(error, 120)}. Expected width, height and panels with name and box "
                "[left, top, width, height]."
            ) from error


def default_names(boxes: Sequence[Box]) -> tuple[str, ...]:
    """The names that published captions use for this arrangement: LEFT/RIGHT, TOP/BOTTOM, TOP-LEFT…, else SCENE-n."""
    tops = sorted({box.top for box in boxes})
    lefts = sorted({box.left for box in boxes})
    if len(boxes) == 2 and len(tops) == 1:
        return ("LEFT", "RIGHT") if boxes[0].left < boxes[1].left else ("RIGHT", "LEFT")
    if len(boxes) == 2 and len(lefts) == 1:
        return ("TOP", "BOTTOM") if boxes[0].top < boxes[1].top else ("BOTTOM", "TOP")
    if len(boxes) == 4 and len(tops) == 2 and len(lefts) == 2 and len({(box.top, box.left) for box in boxes}) == 4:
        return tuple(
            f"{('TOP', 'BOTTOM')[tops.index(box.top)]}-{('LEFT', 'RIGHT')[lefts.index(box.left)]}" for box in boxes
        )
    return tuple(f"SCENE-{number}" for number in range(1, len(boxes) + 1))


def check_size(width: int, height: int, panels: int) -> None:
    """Check the size of an untrusted layout before anything is built from it.

    Raises:
        LayoutError: if it has too many panels, or the canvas is too large.
    """
    if panels > MOST_PANELS:
        raise LayoutError(f"The layout has {panels} panels; at most {MOST_PANELS} are possible. Remove panels.")
    for side, length in (("width", width), ("height", height)):
        if length > LONGEST_SIDE:
            raise LayoutError(
                f"The canvas {side} is {length}; at most {LONGEST_SIDE} px are possible. Make it smaller."
            )
    if width * height > LARGEST_AREA:
        raise LayoutError(
            f"The canvas of {width}×{height} has {width * height:,} pixels; at most {LARGEST_AREA:,} are possible, as in "
            "8192×8192. Make it smaller."
        )


def check_length(text: str, what: str) -> None:
    """
    Raises:
        LayoutError: if a text has more than `LONGEST_TEXT` characters. ``what`` names it, in the plural.
    """
    if len(text) > LONGEST_TEXT:
        raise LayoutError(
            f"{what} have {len(text):,} characters; at most {LONGEST_TEXT:,} are read. Write fewer, or shorter ones."
        )


def _check_name(name: str) -> None:
    if len(name) > LONGEST_NAME:
        raise LayoutError(
            f"The panel name {shown(name)} has {len(name)} characters; at most {LONGEST_NAME} are possible. Shorten it."
        )
    if not is_text(name):
        raise LayoutError(f"The panel name {shown(name)} holds a character that is not text. Write it again.")


def _whole(value: Any) -> int:
    """A whole number from JSON, which may be written as 64.0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1 << 31 or value % 1:
        raise ValueError(f"{shown(value)} is not a number of pixels")
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the name {shown(value)} is not a text")
    return value
