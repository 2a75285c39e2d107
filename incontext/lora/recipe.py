"""What a task *is*: `Recipe` says how many panels there are and where, how their caption is written, and how to sample.

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
LONGEST_TEXT = 20_000  # characters of a recipe's text; the longest of a published task has 200
LONGEST_MARKER = 128  # characters; a panel's name in brackets always fits
MOST_STEPS = 10_000
STRONGEST = 1_000.0  # guidance and cfg
LONGEST_LINEAGE = 1_000  # LoRAs


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings that work for the recipe's base model. ``guidance`` is FLUX's embedded one, ``cfg`` the true one."""

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
                raise RecipeError(f"The recipe's {name} is {value}; expected a number from 0 to {STRONGEST:,.0f}.")
        for name in ("sampler", "scheduler"):
            _check_text(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class References:
    """How given panels entered in training, and so how they must enter in sampling.

    Attributes:
        clean: given panels keep no noise at any step (else they are re-noised at every step, as all models can).
        share: of the training samples that had references.
        panels: indices of the panels that always were references; empty when they were drawn at random.
        isolated: clean ones that attend to each other only, so that sampling computes them once.
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
    """Why this LoRA was chosen among others; all empty where it was not.

    Attributes:
        score: what was compared, e.g. ``consistency``.
        measure: with what likeness was measured, in words.
        value, low, high: the mean over captions and its confidence interval.
        base: the mean without a LoRA, on the same captions.
        captions, seeds, candidates: how many were compared.
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
        title: for people.
        layout: canvas and panels that the LoRA was trained on.
        prefix: the trigger in front of every caption, e.g. ``[MOVIE-SHOTS]``; may be empty.
        opening: how the overall summary begins, e.g. ``This two-part image portrays``.
        markers: what stands before each panel's text; by default the panel's name in square brackets.
        name_format: how the names of persons and things are written; ``{}`` is the name.
        base: the model it was trained on.
        lora: file name of the published LoRA, where there is one.
        source: where that file is found.
        sampling: settings that work.
        references: how given panels entered in training.
        note: what else a user should know.
        lineage: names of the LoRAs that this one was continued from, oldest first.
        strength: at which the LoRA works best.
        evidence: the comparison in which it was chosen.
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
        """Read a recipe; fields of a newer version that are not understood here are passed over.

        Raises:
            RecipeError: where there is no layout or a known field has the wrong form.
            LayoutError: where the layout cannot be read.
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
    """The recipe of a layout of one's own.

    Args:
        layout: its panels.
        prefix: what every caption begins with; empty for the recipe's own.
        recipe: a task whose caption style and settings are kept.

    Raises:
        RecipeError: where the prefix is not a text.
    """
    if recipe is None:
        recipe = Recipe(name="custom", title="Custom layout", layout=layout)
    if prefix.strip():
        recipe = replace(recipe, prefix=prefix)
    return recipe.with_layout(layout)


def _known(kind: type, data: Any) -> dict[str, Any]:
    """Those entries that are fields of ``kind``, each of the kind of its default."""
    if not isinstance(data, Mapping):
        raise RecipeError(f"This recipe cannot be read: its {kind.__name__.lower()} is {shown(data)}, not an object.")
    defaults = {f.name: f.default for f in fields(kind)}
    known = {name: value for name, value in data.items() if name in defaults}
    for name, value in known.items():
        expected = _JSON_TYPES.get(type(defaults[name]))
        if expected and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
            raise RecipeError(
                f"This recipe cannot be read: {name!r} is {shown(value)}; expected {defaults[name]!r} or alike."
            )
    return known


_JSON_TYPES = {str: (str,), bool: (bool,), int: (int,), float: (int, float), tuple: (list, tuple)}


def _check_text(name: str, value: Any, longest: int = LONGEST_TEXT) -> None:
    """
    Raises:
        RecipeError: where it is not a text, too long, or holds what cannot be read or stored.
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
    """The recipe as one line of JSON, as it is stored in a LoRA's header."""
    return json.dumps(recipe.to_json(), ensure_ascii=False, separators=(",", ":"))
