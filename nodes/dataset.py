"""A folder of image sets → a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..incontext.dataset.options import BuildOptions, Composite, Shape
from ..incontext.errors import InContextError
from ..incontext.panels.choices import Align, Fit
from ..incontext.panels.colours import parse_colour
from . import host, types
from .captions import tokens
from .freshness import Watch
from .schema import found_by, shows_first

if TYPE_CHECKING:
    from ..incontext.lora.recipe import Recipe

CATEGORY = "in-context lora/dataset"
DETECT = "detect"


@found_by("training data", "images folder", "prepare")
@shows_first("folder", "name", "fit", "references")
class InContextBuildDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextBuildDataset",
            display_name="Build Dataset",
            category=CATEGORY,
            description=(
                "Makes a training dataset from a folder of image sets: one canvas and one joint caption per set. The "
                "report lists every problem; the originals are only read. Aim for 20 to 100 sets."
            ),
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.String.Input(
                    "folder",
                    tooltip=(
                        "Folder of the sets: its name in ComfyUI's input folder, or its whole path. One folder per set with "
                        "numbered images and caption.txt; or hero_1.png, hero_2.png … with hero.txt; or ready-made "
                        "composites with a .txt each."
                    ),
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="Name of the dataset, a folder in output/incontext_datasets. Empty: the name of the folder.",
                ),
                types.Recipe.Input(
                    "recipe", tooltip="Says where the panels are and how the caption is written: from In-Context Task."
                ),
                io.Combo.Input(
                    "fit",
                    options=Fit,
                    default=Fit.COVER.value,
                    tooltip="How an image of another size is fitted into its panel: fill and crop, show all and pad, or stretch.",
                ),
                io.Combo.Input(
                    "align",
                    options=Align,
                    default=Align.CENTER.value,
                    tooltip="Which part stays when an image is cropped, or where it is placed when padded.",
                ),
                io.String.Input(
                    "padding",
                    default="white",
                    tooltip="Colour of padding and of transparent parts: a name, #rrggbb, or 'r, g, b'.",
                ),
                io.String.Input(
                    "references",
                    default="",
                    tooltip=(
                        "Panels that will always be given, so the LoRA does not learn to paint them: numbers or "
                        "names, such as '1' or 'LEFT'. Empty: all panels are learned."
                    ),
                ),
                shape_input(),
                io.Combo.Input(
                    "composites",
                    options=Composite,
                    default=Composite.PANELS.value,
                    tooltip=(
                        "For ready-made composites: cut them into panels and fit each, or fit the whole canvas "
                        "as one picture."
                    ),
                ),
                io.Clip.Input(
                    "clip", optional=True, tooltip="Connect it to find captions that are too long for its encoders."
                ),
            ],
            outputs=[
                types.Dataset.Output(display_name="dataset", tooltip="For Train In-Context LoRA."),
                io.Image.Output(display_name="contact sheet", tooltip="All sets at a glance."),
                io.String.Output(display_name="report", tooltip="What was converted, what was left out, and why."),
                io.Int.Output(display_name="count", tooltip="How many sets the dataset holds."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, name: str | None = None, **_: Any) -> str:
        # a wired folder is None here; what an execution found in it is known, and so is what it built
        changes = _builds.changes({"folder": folder, "name": name})
        return f"{folder_fingerprint(folder) if folder is not None else 'wired'} {changes}"

    @classmethod
    def execute(
        cls,
        folder: str,
        name: str,
        recipe: Recipe,
        fit: str,
        align: str,
        padding: str,
        references: str,
        shape: str,
        composites: str,
        clip: Any = None,
    ) -> io.NodeOutput:
        from ..incontext.dataset import sheet
        from ..incontext.dataset.build import build
        from ..incontext.dataset.manifest import read_references

        node_id = str(cls.hidden.unique_id or "")
        count = host.counting(node_id)

        def progress(done: int, total: int) -> None:
            count(done, total)
            host.send_text(node_id, f"{done} of {total} sets")

        options = BuildOptions(
            name=name.strip(),
            fit=Fit(fit),
            align=Align(align),
            padding=parse_colour(padding),
            references=read_references(references, recipe.layout),
            composite=Composite(composites),
            shape=chosen_shape(shape),
        )
        source = folder_fingerprint(folder)  # as it is before it is read
        dataset = build(
            host.resolve_folder(folder),
            host.datasets_folder(),
            recipe,
            options,
            count_tokens=tokens.counters(clip) if clip is not None else None,
            progress=progress,
        )
        _builds.executed({"folder": folder, "name": name}, (source, dataset.digest))
        host.send_text(node_id, dataset.report.headline)
        contact_sheet = sheet.read(dataset.contact_sheet)
        return io.NodeOutput(
            dataset, contact_sheet, dataset.report.text(), len(dataset), ui={"incontext_dataset": [dataset.name]}
        )


def _files_of_build(inputs: Mapping[str, Any]) -> tuple[str, str]:
    """What is in the folder of sets, and the dataset that lies where the node put its own."""
    from ..incontext.dataset.build import dataset_name
    from ..incontext.dataset.manifest import Dataset

    try:
        name = dataset_name(host.resolve_folder(inputs["folder"]), inputs["name"].strip())
        built = Dataset.load(host.datasets_folder() / name).digest
    except InContextError as error:  # deleted, damaged, or the sets themselves are gone
        built = str(error)
    return folder_fingerprint(inputs["folder"]), built


_builds = Watch(_files_of_build)


def shape_input() -> io.Combo.Input:
    """How the sets of a folder are stored; see `chosen_shape`."""
    return io.Combo.Input(
        "shape",
        options=[DETECT, *(shape.value for shape in Shape)],
        default=DETECT,
        tooltip="How the sets are stored. Choose it if detection goes wrong; the report says what was found.",
    )


def chosen_shape(value: str) -> Shape | None:
    """None: to be found out."""
    return None if value == DETECT else Shape(value)


def folder_fingerprint(folder: str | None) -> str:
    """Changes whenever something in a folder of sets does, so that its node runs again."""
    from ..incontext.dataset.scan import fingerprint

    try:
        return fingerprint(host.resolve_folder(folder or ""))
    except InContextError as error:  # execute says it where the user sees it
        return str(error)
