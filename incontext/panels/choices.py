"""What a user chooses about panels, without what carries it out: ComfyUI's start loads this."""

from __future__ import annotations

from enum import Enum

LARGEST_TOLERANCE = 0.45  # of a panel: then the search ranges of neighbouring seams never overlap


class LayoutKind(Enum):
    """How a canvas is divided."""

    ROWS = "rows"
    COLUMNS = "columns"
    GRID = "grid"
    NESTED = "nested rows"
    BOXES = "boxes"


class Fit(Enum):
    """How an image of another size is fitted into its panel."""

    COVER = "cover"  # fill the panel and cut off the rest
    CONTAIN = "contain"  # show the whole image and pad with a colour
    CONTAIN_EDGE = "contain, extend edges"  # show the whole image and pad with its outermost pixels
    STRETCH = "stretch"  # change the proportions
    EXACT = "exact"  # refuse any other size


class Align(Enum):
    """Which part of an image is kept if it is cut, or where it lies if it is padded."""

    CENTER = "center"
    TOP = "top"
    BOTTOM = "bottom"
    LEFT = "left"
    RIGHT = "right"
    TOP_LEFT = "top left"
    TOP_RIGHT = "top right"
    BOTTOM_LEFT = "bottom left"
    BOTTOM_RIGHT = "bottom right"

    @property
    def horizontal(self) -> float:
        return 0.0 if "left" in self.value else 1.0 if "right" in self.value else 0.5

    @property
    def vertical(self) -> float:
        return 0.0 if "top" in self.value else 1.0 if "bottom" in self.value else 0.5


class Alpha(Enum):
    """How the transparent part of an image is treated."""

    FLATTEN = "flatten onto the padding colour"
    REPAINT = "repaint what is transparent"


class ColourMatch(Enum):
    """Which statistics of each colour channel are matched."""

    OFF = "off"
    MEAN = "brightness and tint"
    MEAN_AND_CONTRAST = "brightness, tint and contrast"
