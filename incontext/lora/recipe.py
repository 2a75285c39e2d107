"""`Recipe` defines a task: how many panels there are and where, how their caption is written, and how to sample.

A recipe travels on a wire, inside a LoRA file (`recipe_file`) and in the table of published tasks (`tasks`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..errors import InContextError, RecipeError
from ..files.strict_json import shown
from ..panels.layout import MOST_PANELS, PanelLayout
from ..plain_text import is_text

VERSION = 2  # 2: references may be isolated
LONGEST_TEXT = 20_000  # characters; the longest text of a published task has 200
LONGEST_MARKER = 128  # characters; a panel's name in brackets always fits
MOST_STEPS = 10_000
STRONGEST = 1_000.0  # guidance and cfg
LONGEST_LINEAGE = 1_000  # LoRAs


@dataclass(frozen=True, slots=True)
class Sampling:
    """Recommended settings for the recipe's base model. ``guidance`` is FLUX's embedded guidance; ``cfg`` is classifier-free.

    Raises:
        RecipeError: if a value is out of range.
    """

    steps: int = 20
    cfg: float = 1.0
    guidance: float = 3.5
    sampler: str = "euler"
    scheduler: str = "simple"

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST_STEPS:
            raise RecipeError(f"The recipe asks for {self.steps} sampling steps; expected 1 to {MOST_STEPS:,}.")
        for name, value in (("cfg", self.cfg), ("guidance", self.guidance)):
            if not -STRONGEST <= value <= STRONGEST:  # also for NaN
                raise RecipeError(f"The recipe's {name} is {value}; expected a number up to ±{STRONGEST:,.0f}.")
        for name in ("sampler", "scheduler"):
            _check_text(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class References:
    """How references were given in training; sampling must give them in the same way.

    Attributes:
        clean: references have no noise at any step. Otherwise they are re-noised at every step, which needs no training.
        share: of the training samples that had references, in 0…1.
        panels: indices of the panels that were always references; empty if they were drawn at random.
        isolated: references are clean and attend to each other only, so sampling computes them once.

    Raises:
        RecipeError: if a value is out of range.
    """

    clean: bool = False
    share: float = 0.0
    panels: tuple[int, ...] = ()
    isolated: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "panels", tuple(self.panels))
        for panel in self.panels:
            if type(panel) is not int or not 0 <= panel < MOST_PANELS:
                raise RecipeError(f"The recipe cannot be read: reference panel {shown(panel)} is not a panel's number.")
        if not 0 <= self.share <= 1:
            raise RecipeError(f"The share of samples with references is {self.share}; it must lie between 0 and 1.")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The comparison in which a LoRA was chosen; all fields are empty if there was none.

    Attributes:
        score: name of the score that decided, e.g. ``consistency``.
        measure: how likeness was measured, in words.
        value, low, high: the mean over captions, and its confidence interval.
        base: the mean without a LoRA, on the same captions.
        captions, seeds, candidates: how many were compared.

    Raises:
        RecipeError: if a value is not finite, or a text cannot be used.
    """

    score: str = ""
    measure: str = ""
    value: float = 0.0
    low: float = 0.0
    high: float = 0.0
    base: float = 0.0
    captions: int = 0
    seeds: int = 0
    candidates: int = 0

    def __post_init__(self) -> None:
        for name in ("score", "measure"):
            _check_text(f"the evidence's {name}", getattr(self, name))
        for name in ("value", "low", "high", "base"):
            if not math.isfinite(getattr(self, name)):
                raise RecipeError(f"The evidence's {name} is {getattr(self, name)}; expected a finite number.")

    def describe(self) -> str:
        """One sentence; empty without evidence."""
        if not self.score:
            return ""
        return (
            f"Chosen among {self.candidates} candidates on {self.captions} captions: {self.score} {self.value:.3f} "
            f"({self.low:.3f} to {self.high:.3f}), {self.base:.3f} without a LoRA; likeness by {self.measure}."
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """A task.

    Attributes:
        name: short and unique, e.g. ``film-storyboard``.
        title: for display.
        layout: the canvas and panels that the LoRA was trained on.
        prefix: trigger in front of every caption, e.g. ``[MOVIE-SHOTS]``; may be empty.
        opening: beginning of the summary, e.g. ``This two-part image portrays``.
        markers: text before each panel's description; by default the panel's name in square brackets.
        name_format: how names of people and things are written; ``{}`` is the name.
        base: the model that the LoRA was trained on.
        lora: file name of the published LoRA, if there is one.
        source: where to find that file.
        sampling: recommended settings.
        references: how references were given in training.
        note: anything else that a user should know.
        lineage: names of the LoRAs that this one was continued from, oldest first.
        strength: the strength at which the LoRA works best.
        evidence: the comparison in which the LoRA was chosen.

    Raises:
        RecipeError: if a field cannot be used, or markers and panels do not match.
    """

    name: str
    layout: PanelLayout
    title: str = ""
    prefix: str = ""
    opening: str = ""
    markers: tuple[str, ...] = ()
    name_format: str = "<{}>"
    base: str = ""
    lora: str = ""
    source: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    references: References = field(default_factory=References)
    note: str = ""
    lineage: tuple[str, ...] = ()
    strength: float = 1.0
    evidence: Evidence = field(default_factory=Evidence)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", self.layout.unplaced())
        for name in ("name", "title", "prefix", "opening", "name_format", "base", "lora", "source", "note"):
            _check_text(name, getattr(self, name))
        if not -STRONGEST <= self.strength <= STRONGEST:  # also NaN
            raise RecipeError(f"The recommended strength is {self.strength}; expected a number such as 1.0.")
        if len(self.lineage) > LONGEST_LINEAGE:
            raise RecipeError(
                f"The recipe names {len(self.lineage)} earlier LoRAs; at most {LONGEST_LINEAGE} are read."
            )
        for entries, longest in ((self.markers, LONGEST_MARKER), (self.lineage, LONGEST_TEXT)):
            for entry in entries:
                _check_text("a marker" if entries is self.markers else "lineage", entry, longest)
        markers = self.markers or [f"[{name}]" for name in self.layout.names]
        object.__setattr__(self, "markers", tuple(_one_line(marker) for marker in markers))
        object.__setattr__(self, "prefix", _one_line(self.prefix))
        object.__setattr__(self, "opening", _one_line(self.opening))
        object.__setattr__(self, "lineage", tuple(self.lineage))
        if len(self.markers) != len(self.layout):
            raise RecipeError(
                f"Recipe {self.name!r} has {len(self.layout)} panels and {len(self.markers)} markers; give one per panel."
            )
        if len(set(self.markers)) != len(self.markers) or not all(self.markers):
            raise RecipeError(
                f"Recipe {self.name!r} has the markers {list(self.markers)}; each must differ, none empty."
            )
        if self.name_format.count("{}") != 1:
            raise RecipeError(f"The name format is {self.name_format!r}; it must hold '{{}}' once, as in '<{{}}>'.")

    def with_layout(self, layout: PanelLayout) -> Recipe:
        """The same task on other panels; markers follow the new names."""
        return replace(self, layout=layout, markers=())

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["layout"] = self.layout.to_json()
        return {"version": VERSION, **data}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Recipe:
        """Read a recipe. Unknown fields, such as those of a newer version, are ignored.

        Raises:
            RecipeError: if there is no layout, or a known field cannot be used.
            LayoutError: if the layout cannot be read.
        """
        if not isinstance(data, Mapping) or "layout" not in data:
            raise RecipeError("This is not a recipe: it has no layout.")
        try:
            known = {
                **_known(Recipe, data),
                "layout": PanelLayout.from_json(data["layout"]),
                "sampling": Sampling(**_known(Sampling, data.get("sampling") or {})),
                "references": References(**_known(References, data.get("references") or {})),
                "evidence": Evidence(**_known(Evidence, data.get("evidence") or {})),
            }
            return Recipe(**{"name": "unnamed", **known})
        except InContextError:
            raise
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise RecipeError(f"This recipe cannot be read: {error}.") from error


def custom(layout: PanelLayout, prefix: str = "", recipe: Recipe | None = None) -> Recipe:
    """A recipe for a layout of the user's own.

    Args:
        layout: its panels.
        prefix: trigger in front of every caption; empty to keep the recipe's.
        recipe: a task whose caption style and settings are kept.

    Raises:
        RecipeError: if the prefix is not valid text.
    """
    if recipe is None:
        recipe = Recipe(name="custom", title="Custom layout", layout=layout)
    if prefix.strip():
        recipe = replace(recipe, prefix=prefix)
    return recipe.with_layout(layout)


def _known(kind: type, data: Any) -> dict[str, Any]:
    """The entries that are fields of the dataclass ``kind``.

    Raises:
        RecipeError: if one has another type than its default.
    """
    if not isinstance(data, Mapping):
        raise RecipeError(f"This recipe cannot be read: its {kind.__name__.lower()} is {shown(data)}, not an object.")
    defaults = {f.name: f.default for f in fields(kind)}
    known = {name: value for name, value in data.items() if name in defaults}
    for name, value in known.items():
        expected = _JSON_TYPES.get(type(defaults[name]))
        if expected and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
            raise RecipeError(
                f"This recipe cannot be read: {name!r} is {shown(value)}; expected a value such as {defaults[name]!r}."
            )
    return known


_JSON_TYPES = {str: (str,), bool: (bool,), int: (int,), float: (int, float), tuple: (list, tuple)}


def _check_text(name: str, value: Any, longest: int = LONGEST_TEXT) -> None:
    """
    Raises:
        RecipeError: if the value is not a text, is too long, or holds characters that are not text.
    """
    if not isinstance(value, str):
        raise RecipeError(f"This recipe cannot be read: {name} is {shown(value)}, not a text.")
    if len(value) > longest:
        raise RecipeError(
            f"This recipe cannot be read: {name} has {len(value):,} characters; at most {longest:,} are possible."
        )
    if not is_text(value):
        raise RecipeError(f"This recipe cannot be read: {name} ({shown(value)}) holds a character that is not text.")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def recipe_text(recipe: Recipe) -> str:
    """The recipe as one line of JSON, as a LoRA's header stores it."""
    return json.dumps(recipe.to_json(), ensure_ascii=False, separators=(",", ":"))
