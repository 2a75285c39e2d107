"""The dataset as a value, and the file in its folder that says the same.

    <folder>/manifest.json       recipe, options, items, report
    <folder>/items/<id>.png      a composite of the recipe's canvas
    <folder>/items/<id>.txt      its caption, one line
    <folder>/masks/<id>.png      white where the loss counts; only when some panels are references
    <folder>/contact-sheet.jpg   all sets at a glance
    <folder>/report.txt, report.json

An id names the content: the same sources, caption and options give the same id, anything else another.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DatasetError, InContextError
from ..files import strict_json
from ..files.strict_json import shown
from ..lora.recipe import Recipe
from ..panels.layout import PanelLayout
from .options import BuildOptions
from .report import Level, Remark, Report

KIND = "incontext dataset"
VERSION = 1
MANIFEST = "manifest.json"
ITEMS = "items"
MASKS = "masks"
CONTACT_SHEET = "contact-sheet.jpg"
REPORT_TEXT = "report.txt"
REPORT_JSON = "report.json"
ODD_NAMES = "surrogatepass"  # keeps file names that are not valid text
LARGEST = 32 << 20  # bytes; a set takes about one thousand
MOST = 1_000_000  # values; a set takes some forty
ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class SourceImage:
    """Where a panel came from.

    Attributes:
        file: path below the source folder.
        sha256: of the file's bytes.
        width, height: of the upright image.
    """

    file: str
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Item:
    """One set of the dataset.

    Attributes:
        id: names the content and the files.
        set: the set's name at the source.
        caption: one line.
        sources: the images, in the order of the panels; one for a ready-made composite.
        size: of the image file, in bytes.
        pixels: sha256 of the composite's RGB bytes.
        masked: whether there is a mask.
        remarks: what was converted when the images were read.
        tokens: encoder → number of tokens; empty where none was connected.
    """

    id: str
    set: str
    caption: str
    sources: tuple[SourceImage, ...]
    size: int
    pixels: str
    masked: bool = False
    remarks: tuple[Remark, ...] = ()
    tokens: Mapping[str, int] = field(default_factory=dict)

    def to_json(self, canvas: PanelLayout) -> dict[str, Any]:
        return {
            "id": self.id,
            "set": self.set,
            "caption": self.caption,
            "image": f"{ITEMS}/{self.id}.png",
            "text": f"{ITEMS}/{self.id}.txt",
            "mask": f"{MASKS}/{self.id}.png" if self.masked else None,
            "width": canvas.width,
            "height": canvas.height,
            "sources": [
                {"file": source.file, "sha256": source.sha256, "width": source.width, "height": source.height}
                for source in self.sources
            ],
            "size": self.size,
            "pixels": self.pixels,
            "remarks": [
                {"level": remark.level.value, "image": remark.image, "problem": remark.problem, "remedy": remark.remedy}
                for remark in self.remarks
            ],
            "tokens": dict(self.tokens),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Item:
        if not ID.fullmatch(strict_json.field(data, "id", str)):  # it becomes a path
            raise ValueError(f"{shown(data['id'])} is not an item id")
        sources = strict_json.field(data, "sources", list)
        if any(not 0 <= strict_json.field(remark, "image", int) < len(sources) for remark in data["remarks"]):
            raise ValueError("a remark is about an image that is not there")
        return Item(
            id=data["id"],
            set=strict_json.field(data, "set", str),
            caption=strict_json.field(data, "caption", str),
            sources=tuple(
                SourceImage(
                    strict_json.field(source, "file", str),
                    strict_json.field(source, "sha256", str),
                    strict_json.field(source, "width", int),
                    strict_json.field(source, "height", int),
                )
                for source in strict_json.field(data, "sources", list)
            ),
            size=strict_json.field(data, "size", int),
            pixels=strict_json.field(data, "pixels", str),
            masked=data["mask"] is not None,
            remarks=tuple(
                Remark(
                    Level(remark["level"]),
                    strict_json.field(remark, "problem", str),
                    strict_json.field(remark, "remedy", str),
                    strict_json.field(remark, "image", int),
                )
                for remark in strict_json.field(data, "remarks", list)
            ),
            tokens={
                name: strict_json.field(data["tokens"], name, int) for name in strict_json.field(data, "tokens", dict)
            },
        )


@dataclass(frozen=True, slots=True)
class Dataset:
    """A built dataset.

    Attributes:
        folder: where it lies.
        recipe: the task it was built for.
        items: the sets, in the order of the source.
        options: how they were built.
        report: how that went.
    """

    folder: Path
    recipe: Recipe
    items: tuple[Item, ...]
    options: BuildOptions
    report: Report

    def __len__(self) -> int:
        return len(self.items)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def layout(self) -> PanelLayout:
        return self.recipe.layout

    @property
    def references(self) -> tuple[int, ...]:
        """Indices of the panels without loss."""
        return self.options.references

    @property
    def image_folder(self) -> Path:
        return self.folder / ITEMS

    @property
    def mask_folder(self) -> Path | None:
        """None when every panel is trained."""
        return self.folder / MASKS if self.references else None

    @property
    def contact_sheet(self) -> Path:
        return self.folder / CONTACT_SHEET

    @property
    def digest(self) -> str:
        """Changes when anything that a training sees changes: items, their order, the recipe."""
        content = {"items": [item.id for item in self.items], "recipe": self.recipe.to_json()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def image(self, item: Item) -> Path:
        return self.folder / ITEMS / f"{item.id}.png"

    def text(self, item: Item) -> Path:
        return self.folder / ITEMS / f"{item.id}.txt"

    def mask(self, item: Item) -> Path | None:
        return self.folder / MASKS / f"{item.id}.png" if item.masked else None

    def files(self, item: Item) -> tuple[Path, ...]:
        mask = self.mask(item)
        return (self.image(item), self.text(item), *((mask,) if mask else ()))

    def check_inside(self, path: Path) -> None:
        """Refuse a link that leads out of the dataset's folder.

        Raises:
            DatasetError: if it is such a link.
        """
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise DatasetError(
                f"{path} is a link to a place outside the dataset, which is not read. Build the dataset again."
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": KIND,
            "version": VERSION,
            "recipe": self.recipe.to_json(),
            "options": self.options.to_json(),
            "items": [item.to_json(self.layout) for item in self.items],
            "report": self.report.to_json(),
        }

    @staticmethod
    def load(folder: Path) -> Dataset:
        """Read the dataset in a folder.

        Raises:
            DatasetError: if there is none, it is damaged, or a newer version of the pack wrote it.
        """
        dataset = Dataset.read_manifest(folder)
        for item in dataset.items:
            for path in dataset.files(item):
                dataset.check_inside(path)
            missing = next((path for path in dataset.files(item) if not path.is_file()), None)
            if missing:
                raise DatasetError(
                    f"{missing} is missing, though {MANIFEST} lists it for the set {shown(item.set)}. "
                    "Build the dataset again."
                )
        return dataset

    def check_current(self) -> None:
        """Before something reads the files: are they still those of this dataset?

        Raises:
            DatasetError: if they were deleted, or another dataset has been built in their place.
        """
        remedy = "Queue the workflow again; Build Dataset then builds it again."
        try:
            now = Dataset.load(self.folder)
        except DatasetError as error:
            raise DatasetError(
                f"The dataset {self.name!r} is no longer what Build Dataset made. {error} {remedy}"
            ) from error
        if now.digest != self.digest:
            raise DatasetError(
                f"The dataset {self.name!r} in {self.folder} has been overwritten since Build Dataset made it: it had "
                f"{len(self.items)} sets, the one there now has {len(now.items)}, or was built with other settings. {remedy} If "
                "one workflow builds both, give them different names."
            )

    @staticmethod
    def read_manifest(folder: Path) -> Dataset:
        """As `load`, without asking whether the items' files are there."""
        path = folder / MANIFEST
        try:
            data = _read_json(path)
        except FileNotFoundError:
            raise DatasetError(
                f"{folder} holds no dataset: there is no {MANIFEST}. Build one with Build Dataset."
            ) from None
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} cannot be read: {error}. Build the dataset again.") from error
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise DatasetError(f"{path} is not the manifest of a dataset. Choose a folder that Build Dataset made.")
        if data.get("version") != VERSION:
            raise DatasetError(
                f"{path} has version {shown(data.get('version'))}; this pack reads version {VERSION}. Update the pack, or "
                "build the dataset again."
            )
        try:
            return Dataset(
                folder=folder,
                recipe=Recipe.from_json(data["recipe"]),
                items=tuple(Item.from_json(item) for item in data["items"]),
                options=BuildOptions.from_json(data["options"]),
                report=Report.from_json(data["report"]),
            )
        except InContextError:
            raise
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise DatasetError(f"{path} is damaged ({shown(error, 200)}). Build the dataset again.") from error


def is_dataset(folder: Path) -> bool:
    """Whether the folder was written by `build`, by this version or another."""
    try:
        data = _read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and data.get("kind") == KIND


def read_references(text: str, layout: PanelLayout) -> tuple[int, ...]:
    """Indices of the panels that ``text`` selects (`PanelLayout.select`); empty text means none.

    Raises:
        LayoutError: if the layout has no such panel.
        DatasetError: if no panel is left to learn.
    """
    return check_references(layout.select(text), layout)


def check_references(references: Sequence[int], layout: PanelLayout) -> tuple[int, ...]:
    """The references in order, once each.

    Raises:
        DatasetError: if an index is outside the layout, or no panel is left to learn.
    """
    wrong = [index for index in references if not 0 <= index < len(layout)]
    if wrong:
        raise DatasetError(f"Reference panel {wrong[0] + 1} does not exist; the layout has {len(layout)} panels.")
    if len(set(references)) == len(layout):
        raise DatasetError(
            f"All {len(layout)} panels are references, so nothing is left to learn. Leave out those to be generated."
        )
    return tuple(sorted(set(references)))


def _read_json(path: Path) -> Any:
    return strict_json.read(path, largest=LARGEST, most=MOST, odd_names=True)
