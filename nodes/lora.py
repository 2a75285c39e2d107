"""Load a LoRA together with its recipe, and save one with it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.lora
import comfy.lora_convert
import comfy.utils
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from safetensors import SafetensorError

from ..incontext.errors import LoraError
from . import types
from .host import file_stamp, lora_names, lora_path, loras_output_folder, send_text
from .schema import found_by

if TYPE_CHECKING:
    from ..incontext.lora.keys import MatchReport
    from ..incontext.lora.recipe import Recipe

log = logging.getLogger("incontext_lora")


@found_by("lora loader", "load lora", "recipe")
class InContextLoadLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextLoadLora",
            display_name="Load In-Context LoRA",
            category="in-context lora/lora",
            description=(
                "Applies a LoRA to the model and reads what it was trained for: panels, canvas, caption, "
                "settings. A LoRA that does not fit the model is refused; one that fits only in part is "
                "reported."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model that the LoRA was trained on."),
                io.Combo.Input(
                    "lora_name",
                    options=lora_names(),
                    tooltip="A LoRA in models/loras or output/loras. Only .safetensors: other files can run code.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How strongly the LoRA changes the model: 1 is as trained, 0 leaves the model unchanged.",
                ),
                types.Recipe.Input(
                    "recipe_if_missing",
                    optional=True,
                    tooltip=(
                        "Used if the LoRA has no recipe in its file, beside it, or in the table of published LoRAs. A "
                        "recipe that comes with the LoRA takes precedence."
                    ),
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model with the LoRA; the original is unchanged."),
                types.Recipe.Output(
                    display_name="recipe",
                    tooltip=(
                        "What the LoRA was trained for. If none is known, this output and the next three stop the nodes "
                        "after them with a message; the model can still be used."
                    ),
                ),
                types.Layout.Output(display_name="layout", tooltip="The panels that the LoRA was trained on."),
                io.Int.Output(
                    display_name="width", tooltip="Width of the canvas that the LoRA was trained on, in pixels."
                ),
                io.Int.Output(
                    display_name="height", tooltip="Height of the canvas that the LoRA was trained on, in pixels."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip=(
                        "How many of the LoRA's modules fit the model, where the recipe came from, and which "
                        "settings to use."
                    ),
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, lora_name: str | None = None, **_: Any) -> str:
        if lora_name is None:  # connected to another node, whose own fingerprint counts
            return ""
        from ..incontext.lora.recipe_file import sidecars

        path = lora_path(lora_name)
        return " ".join(file_stamp(file) for file in (path, *sidecars(path)) if file.exists())

    @classmethod
    def execute(
        cls, model: Any, lora_name: str, strength: float = 1.0, recipe_if_missing: Recipe | None = None
    ) -> io.NodeOutput:
        from ..incontext.lora.recipe_file import find_recipe

        path = lora_path(lora_name)
        found, source = find_recipe(path)
        if found is None and recipe_if_missing is not None:
            found, source = recipe_if_missing, f"the input 'recipe if missing' ({source})"
        if strength == 0:
            applied = "Strength 0: the model is unchanged."
        else:
            model, matched = apply_lora(model, path, strength)
            applied = matched.describe()
            if matched.unmatched or matched.misfits:
                log.warning("%s: %s", path.name, applied)
        report = f"{path.name}: {applied}\n{_recipe_words(found, source)}"
        send_text(cls.hidden.unique_id, applied.splitlines()[0])
        if found is None:
            missing = ExecutionBlocker(
                f"{path.name} has {source}, so its panels are not known. Connect the recipe of In-Context Task to "
                "'recipe if missing'."
            )
            return io.NodeOutput(model, missing, missing, missing, missing, report)
        return io.NodeOutput(model, found, found.layout, found.layout.width, found.layout.height, report)


@found_by("save lora", "metadata", "recipe")
class InContextSaveLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextSaveLora",
            display_name="Save In-Context LoRA",
            category="in-context lora/lora",
            description=(
                "Saves a trained LoRA to output/loras with its recipe inside, so that Load In-Context LoRA knows its "
                "panels, caption and settings. Nothing is ever overwritten."
            ),
            inputs=[
                io.LoraModel.Input("lora", tooltip="The trained LoRA, from a training node."),
                types.Recipe.Input("recipe", tooltip="What the LoRA was trained for. It is stored in the file."),
                io.String.Input(
                    "name",
                    default="my-incontext-lora",
                    tooltip=(
                        "Name of the file in output/loras; 'folder/name' puts it into a folder there. If the name is "
                        "taken, a number is added."
                    ),
                ),
            ],
            outputs=[io.String.Output(display_name="name", tooltip="The file's name as LoRA loaders show it.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, lora: dict[str, Any], recipe: Recipe, name: str) -> io.NodeOutput:
        from ..incontext.lora.save import save_new

        folder = loras_output_folder()
        saved = str(save_new(folder, name, lora, recipe).relative_to(folder))
        send_text(cls.hidden.unique_id, f"Saved as {saved}")
        return io.NodeOutput(saved)


def apply_lora(model: Any, path: Path, strength: float) -> tuple[Any, MatchReport]:
    """A clone of the model with the LoRA, and how many of its modules fit."""
    from ..incontext.lora.header import read_header
    from ..incontext.lora.keys import check_matched, is_lora, match, with_peft_names

    if not is_lora(read_header(path).tensors):
        raise LoraError(
            f"{path.name} is not a LoRA: its tensors are named like a whole model's. Load it as a model, or choose another "
            "file."
        )
    lora = _tensors(path)
    weights = model.model.state_dict()
    key_map = with_peft_names(comfy.lora.model_lora_keys_unet(model.model, {}))
    # the map also has names for parts that some models of the kind lack
    key_map = {name: to for name, to in key_map.items() if (to if isinstance(to, str) else to[0]) in weights}
    matched = match(
        {name: tuple(tensor.shape) for name, tensor in lora.items()},
        key_map,
        # packed weights (of fewer than 8 bits) have shapes other than those they stand for
        {name: tuple(weight.shape) for name, weight in weights.items() if weight.is_floating_point()},
    )
    check_matched(matched, path.name, type(model.model).__name__)
    wanted = {module: key_map[module] for module in matched.matched}
    patched = model.clone()
    patched.add_patches(comfy.lora.load_lora(lora, wanted, log_missing=False), strength)
    return patched, matched


def _tensors(path: Path) -> dict[str, Any]:
    """The LoRA's tensors under the names that ComfyUI uses.

    Raises:
        LoraError: if the library that reads them refuses the file.
    """
    try:
        return comfy.lora_convert.convert_lora(comfy.utils.load_torch_file(str(path), safe_load=True))
    except (OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise LoraError(
            f"{path.name} cannot be loaded: {str(error).splitlines()[0]} Download the file again, or save it again with the "
            "program that made it."
        ) from error


def _recipe_words(recipe: Recipe | None, source: str) -> str:
    if recipe is None:
        return f"Recipe: unknown; {source}. Connect one to 'recipe if missing' to use the other outputs."
    sampling = recipe.sampling
    lines = [
        f"Recipe: {recipe.title or recipe.name}, from {source}.",
        f"Panels: {recipe.layout.describe()}.",
        f"Caption: {' '.join(part for part in (recipe.prefix, recipe.opening, *recipe.markers) if part)}",
        f"Settings: {sampling.steps} steps, cfg {sampling.cfg:g}, guidance {sampling.guidance:g}, {sampling.sampler}, "
        f"{sampling.scheduler}.",
    ]
    if recipe.base:
        lines.append(f"Trained on {recipe.base}.")
    if recipe.references.share:
        lines.append(f"Given panels {_ENTER[recipe.references.clean, recipe.references.isolated]}, as in training.")
    if recipe.strength != 1.0:
        lines.append(f"Recommended strength: {recipe.strength:g}.")
    if recipe.evidence.score:
        lines.append(recipe.evidence.describe())
    if recipe.note:
        lines.append(recipe.note)
    return "\n".join(lines)


_ENTER = {
    (False, False): "are re-noised at every step",
    (True, False): "stay clean at every step",
    (True, True): "are isolated: clean, and computed once",
}
