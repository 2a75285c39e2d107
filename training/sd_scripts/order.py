"""What to train, as a value, from a node, from a command or from a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...incontext.dataset.manifest import Dataset
from ...incontext.errors import TrainingError
from ...incontext.files.strict_json import JsonError, field
from ...incontext.lora.header import header_digest
from ...incontext.lora.recipe import Recipe, References
from ...incontext.panels.box import Box
from ...incontext.panels.layout import PanelLayout
from ..runs.run_folder import Run
from ..subset import chosen_sets
from . import data, job, preflight
from .architectures import Architecture, architecture
from .settings import SdSettings

TRAINER = "sd-scripts"  # the trainer's name in run.json


@dataclass(frozen=True)
class Order:
    """What to train.

    Attributes:
        dataset: sets and captions.
        architecture: the model family.
        files: option of the trainer → model file, from `preflight.assign`.
        settings: of the training.
        name: of the run and the LoRA.
        recipe: of the task, usually the dataset's.
        weights: the LoRA to continue; None for a new one.
    """

    dataset: Dataset
    architecture: Architecture
    files: Mapping[str, Path]
    settings: SdSettings
    name: str
    recipe: Recipe
    weights: Path | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": {"folder": str(self.dataset.folder), "sets": len(self.dataset), "digest": self.dataset.digest},
            "architecture": self.architecture.name,
            "files": {option: str(path) for option, path in self.files.items()},
            "settings": self.settings.to_json(),
            "recipe": self.recipe.to_json(),
            "continue_from": str(self.weights) if self.weights else None,
            "digests": {
                str(path): header_digest(path)
                for path in (*self.files.values(), *((self.weights,) if self.weights else ()))
            },
        }

    @property
    def trained(self) -> Dataset:
        """The dataset without the sets that the settings leave out.

        Raises:
            TrainingError: as `chosen_sets`.
        """
        chosen = self.settings
        return chosen_sets(
            self.dataset,
            sets=chosen.sets,
            leave_out=chosen.leave_out,
            validation_sets=chosen.validation_sets,
            seed=chosen.seed,
        )

    @staticmethod
    def read(run: Run, models: Sequence[Path] = ()) -> Order:
        """The order of a run, checked like a new one, since the folder may come from anywhere.

        Args:
            models: folders that may contain the model files and LoRAs. A file elsewhere must be unchanged since the run
                began.

        Raises:
            TrainingError: if another trainer made the run, a file is missing or has changed, or run.json is not valid.
        """
        about = run.about
        if about.get("trainer") != TRAINER:
            raise TrainingError(
                f"{run.name} was trained {about.get('trainer', 'elsewhere')}; only runs of {TRAINER} can be resumed here."
            )
        try:
            folder = field(field(about, "dataset", dict), "folder", str)
            digest = field(field(about, "dataset", dict), "digest", str)
            family = architecture(field(about, "architecture", str))
            named = field(about, "files", dict)
            files = {option: Path(field(named, option, str)) for option in named}
            settings, recipe = field(about, "settings", dict), field(about, "recipe", dict)
            name = field(about, "name", str)
            continued = field(about, "continue_from", (str, type(None)), None)
            digests = field(about, "digests", dict, {})
        except JsonError as error:
            raise TrainingError(
                f"{run.name} cannot be resumed: its run.json cannot be used ({error}). Continue its last checkpoint in a new "
                "training instead."
            ) from None
        dataset = Dataset.load(Path(folder))
        if dataset.digest != digest:
            raise TrainingError(
                f"The dataset {dataset.name} has changed since {run.name} began. Use the dataset as it was then, or continue the "
                "last checkpoint on this one in a new training."
            )
        known = {family.model_option, *(file.option for file in family.files)}
        if set(files) != known:
            strange = sorted(set(files) ^ known)[0]
            raise TrainingError(
                f"The run.json of {run.name} should name the files {', '.join(sorted(known))} for {family.title}; "
                f"{strange!r} is {'missing' if strange in known else 'none of them'}. Start the training again."
            )
        weights = Path(continued) if continued else None
        for path in (*files.values(), *((weights,) if weights else ())):
            _check_known(path, digests, models, run.name)
        others = [files[file.option] for file in family.files]
        return Order(
            dataset,
            family,
            preflight.assign(family, files[family.model_option], others),
            SdSettings.from_json(settings),
            name,
            Recipe.from_json(recipe),
            weights,
        )


def _check_known(path: Path, digests: Mapping[str, Any], models: Sequence[Path], name: str) -> None:
    """
    Raises:
        TrainingError: if a file is missing, has been replaced, or was never in one of ComfyUI's folders.
    """
    if not path.exists():
        raise TrainingError(f"{path} is missing. Put it back to resume {name}.")
    noted = digests.get(str(path))
    if noted is None:
        plain = Path(os.path.abspath(path))  # without following links, which the folders' owner has made
        if not any(plain.is_relative_to(os.path.abspath(folder)) for folder in models):
            raise TrainingError(
                f"{path} is in none of ComfyUI's model folders, and the run.json of {name} does not say what it was. Put the "
                "file there and start the training again."
            )
    elif header_digest(path) != noted:
        raise TrainingError(
            f"{path} is not the file that {name} began with. Put the original one back, or start the training again."
        )


def trained_sizes(order: Order, settings: SdSettings) -> list[tuple[int, int]]:
    """Sizes in pixels that the composites are trained in, largest first."""
    layout, step = order.dataset.layout, order.architecture.size_step
    return data.rungs(layout.width, layout.height, step, settings.sizes, settings.megapixels)


def trained_recipe(order: Order) -> Recipe:
    """The recipe that the LoRA will contain."""
    share = order.settings.drawn_share
    references = References(
        clean=share > 0,
        share=share,
        panels=tuple(order.dataset.references),
        isolated=job.isolates(order.architecture, order.settings),
    )
    lineage = order.recipe.lineage
    if order.weights is not None:
        lineage = (*lineage, order.weights.name)
    return replace(
        order.recipe,
        layout=_trained_layout(order),
        base=order.recipe.base or order.architecture.base,
        references=references,
        lineage=lineage,
        lora="",
    )


def _trained_layout(order: Order) -> PanelLayout:
    """The dataset's layout, in the largest size that is trained."""
    layout = order.dataset.layout
    if not order.settings.megapixels:
        return layout
    width, height = trained_sizes(order, order.settings)[0]

    def scaled(box: Box) -> Box:
        left, right = (round(edge * width / layout.width) for edge in (box.left, box.right))
        top, bottom = (round(edge * height / layout.height) for edge in (box.top, box.bottom))
        return Box(left, top, right - left, bottom - top)

    return PanelLayout(width, height, tuple(map(scaled, layout.boxes)), layout.names)
