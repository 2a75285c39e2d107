"""What a user chooses about given panels."""

from __future__ import annotations

from enum import Enum


class ReferenceEntry(Enum):
    """How given panels enter at each step of sampling."""

    RECIPE = "as the recipe says"
    CLEAN = "keep clean"
    NOISED = "re-noise"
    ISOLATED = "isolate"  # clean, and computed once


class ModelKind(Enum):
    """What a model can be told about given panels."""

    DETECT = "detect"
    PLAIN = "plain transformer"
    INPAINTING = "inpainting model"
    EDIT = "edit model"
