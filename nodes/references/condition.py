"""Some panels are given, the others are painted: prepared for the kind of model that paints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import Any

import comfy.model_base
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ...incontext.errors import PanelError
from ...incontext.lora.recipe import Recipe
from ...incontext.panels.edge import extended, extended_mask, missing
from ...incontext.panels.layout import PanelLayout
from ...incontext.tensors import checked_masks, checked_pictures
from .. import types
from ..host import send_text
from ..schema import found_by, shows_first
from .clean import keep_references_clean
from .isolated_sampling import isolate_references
from .isolation import supports_isolation
from .patches import patch_side

CATEGORY = "in-context lora/references"
EDIT_BASES = ("kontext", "qwen-image-edit", "qwen image edit", "omnigen2")  # as recipes name them


class Given(Enum):
    """How given panels enter at each step of sampling."""

    RECIPE = "as the recipe says"
    CLEAN = "keep clean"
    NOISED = "re-noise"
    ISOLATED = "isolate"  # clean, and computed once


class Kind(Enum):
    """What a model can be told about given panels."""

    DETECT = "detect"
    PLAIN = "plain transformer"
    INPAINTING = "inpainting model"
    EDIT = "edit model"


@dataclass(frozen=True)
class Found:
    """The kind of a model, and how it was recognised."""

    kind: Kind
    why: str


@found_by("inpaint", "reference", "fill", "kontext", "noise mask", "try-on", "edit")
@shows_first("given_panels", "model_kind")
class InContextConditionPanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextConditionPanels",
            display_name="Condition Panels",
            category=CATEGORY,
            description=(
                "Prepares a canvas of which some panels are given: the sampler keeps those and paints the others. It recognises "
                "the kind of model: a plain transformer (FLUX, SD3, Chroma) gets a noise mask, an inpainting model (FLUX Fill) "
                "also sees the given panels and the mask, an edit model (FLUX Kontext, Qwen-Image-Edit) gets reference latents. "
                "A LoRA that was trained on clean references binds to them when they stay clean at every step."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The diffusion transformer, with its LoRA."),
                io.Vae.Input("vae", tooltip="Encodes the given panels."),
                io.Image.Input("canvas", tooltip="From Stitch Panels."),
                io.Mask.Input("mask", tooltip="From Stitch Panels: white where something is to be painted."),
                io.Combo.Input(
                    "given_panels",
                    options=Given,
                    default=Given.RECIPE.value,
                    tooltip=(
                        "Keep clean, isolate: for LoRAs trained with such references; isolated ones are computed once, which "
                        "is faster. Re-noise: the training-free way, for any model."
                    ),
                ),
                io.Combo.Input(
                    "model_kind",
                    options=Kind,
                    default=Kind.DETECT.value,
                    optional=True,
                    tooltip=(
                        "Inpainting models are recognised by their inputs. FLUX Kontext and Qwen-Image-Edit look like their base "
                        "models: choose 'edit model' for them, unless the recipe names them."
                    ),
                ),
                io.Boolean.Input(
                    "noise_mask",
                    default=True,
                    optional=True,
                    tooltip=(
                        "For inpainting models: also hold the given panels fixed while sampling. Off where the LoRA wants to "
                        "repaint the whole canvas, as ACE++ does. Plain transformers always need it."
                    ),
                ),
                io.Boolean.Input(
                    "soft_mask",
                    default=False,
                    optional=True,
                    tooltip=(
                        "Differential Diffusion: grey parts of the mask are painted in the later steps only, so that a partly "
                        "given panel changes gradually."
                    ),
                ),
                types.Recipe.Input(
                    "recipe",
                    optional=True,
                    tooltip="From Load In-Context LoRA: says how the LoRA's references were trained.",
                ),
                types.Layout.Input(
                    "layout",
                    optional=True,
                    tooltip=(
                        "From Stitch Panels: checks that the canvas is the layout's; tells the panels apart for an edit model."
                    ),
                ),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="The encoded caption. Inpainting and edit models need it here, plain ones do not.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What is not wanted; the positive one serves where it is left open.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For the sampler."),
                io.Latent.Output(display_name="latent", tooltip="For the sampler, at denoise 1.0."),
                io.Conditioning.Output(display_name="positive", tooltip="For the sampler, where one is connected."),
                io.Conditioning.Output(display_name="negative", tooltip="For the sampler, where one is connected."),
                io.String.Output(
                    display_name="report", tooltip="The kind of model, how it was prepared, and what does not fit it."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        canvas: Tensor,
        mask: Tensor,
        given_panels: str,
        model_kind: str = Kind.DETECT.value,
        noise_mask: bool = True,
        soft_mask: bool = False,
        recipe: Recipe | None = None,
        layout: PanelLayout | None = None,
        positive: list | None = None,
        negative: list | None = None,
    ) -> io.NodeOutput:
        canvas, mask = checked_pictures(canvas, "the canvas"), checked_masks(mask, "the mask")
        check_canvas(canvas, mask, layout)
        given = Given(given_panels)
        found = recognised(model, Kind(model_kind), recipe, positive)
        entry = resolve_given(given, recipe)
        step = grid_step(model, vae)
        report = [f"{found.kind.value}: {found.why}", *off_grid(layout, step), *extension(canvas, step)]
        parts = given_parts(canvas[..., :3], mask, layout)
        canvas, mask = extended(canvas[..., :3], step), extended_mask(mask, step)
        if found.kind is Kind.INPAINTING:
            if given in (Given.CLEAN, Given.ISOLATED):
                report.append(
                    f"'{given.value}' is not used: an inpainting model sees the given panels through inputs of its own."
                )
            entry = Given.NOISED
            positive, negative, latent = inpainting(require(positive, found), negative, vae, canvas, mask, noise_mask)
            report.append(f"given panels and mask are concatenated; noise mask {'on' if noise_mask else 'off'}")
        else:
            if not noise_mask:
                report.append(
                    f"'noise mask' off does not fit a {found.kind.value}, which would lose the given panels: kept on."
                )
            if found.kind is Kind.EDIT:
                shown = [extended(part, step) for part in parts]
                positive, negative = referenced(require(positive, found), negative, vae, shown)
                report.append(f"{len(parts)} reference latent{'s' * (len(parts) != 1)}")
                if layout is None:
                    report.append("The whole canvas is one reference; connect the layout to tell its panels apart.")
            latent = with_noise_mask(encoded(vae, canvas), mask)
            if entry is Given.ISOLATED and (found.kind is Kind.EDIT or not supports_isolation(model.model)):
                entry = Given.CLEAN
                report.append(
                    f"{type(model.model).__name__} cannot isolate given panels here: they are kept clean instead."
                )
            report.append(f"given panels are {_ENTER[entry]}")
        if entry is not Given.NOISED:
            model = keep_references_clean(model)
        if entry is Given.ISOLATED:
            model = isolate_references(model)
        if soft_mask:
            if "noise_mask" in latent:
                model = differential_diffusion(model)
            else:
                report.append("'soft mask' has no effect without a noise mask.")
        if layout is not None and not bool((mask > 0).any()):
            report.append(
                "The mask is empty, so nothing will be painted. Leave a panel open in Stitch Panels, or mask one."
            )
        if negative is None:
            negative = positive
        text = "\n".join(report)
        send_text(cls.hidden.unique_id, text)
        return io.NodeOutput(model, latent, *(given_or_blocked(one) for one in (positive, negative)), text)


# --- the model ------------------------------------------------------------------------------------------------------


def recognised(model: Any, chosen: Kind, recipe: Recipe | None, positive: list | None) -> Found:
    """The kind of a MODEL.

    Raises:
        PanelError: where the model cannot be used so, with the remedy.
    """
    base = model.model
    name = type(base).__name__
    mask_inputs = takes_mask(base)
    if chosen is Kind.INPAINTING and not mask_inputs:
        raise PanelError(
            f"{name} was loaded from a model that has no inputs for a mask, so it is not an inpainting model. Choose 'detect', "
            "or load an inpainting model such as FLUX.1-Fill-dev."
        )
    if chosen is not Kind.DETECT:
        return Found(chosen, f"as chosen, for {name}")
    if mask_inputs:
        return Found(Kind.INPAINTING, f"{name} has {mask_inputs} for a mask")
    extra = extra_channels(base)
    if extra:
        raise PanelError(
            f"{name} has {extra} input channels for a control picture (such as Canny or Depth) and none for a mask, so given "
            "panels cannot be told to it. Load the plain or the Fill model; a control LoRA can be loaded on the plain one."
        )
    if recipe is not None and recipe.references.isolated and supports_isolation(base):
        return Found(Kind.PLAIN, f"the recipe {recipe.name!r} has isolated references")
    if isinstance(base, comfy.model_base.Omnigen2 | comfy.model_base.Flux2):
        return Found(Kind.EDIT, f"{name} takes reference latents")
    if recipe is not None and any(one in recipe.base.lower() for one in EDIT_BASES):
        return Found(Kind.EDIT, f"the recipe {recipe.name!r} is for {recipe.base}")
    if positive is not None and any("reference_latents" in extra for _, extra in positive):
        return Found(Kind.EDIT, "the caption already comes with reference latents")
    return Found(Kind.PLAIN, f"{name} has no inputs for given pictures")


def takes_mask(base: Any) -> str:
    """In words, through which inputs a model sees a mask; empty where it has none."""
    if isinstance(base, comfy.model_base.Flux):
        # a mask of the picture's resolution takes 64 channels on top of the given picture's 16
        return f"{extra_channels(base)} input channels" if extra_channels(base) > latent_channels(base) else ""
    mask_keys = [key for key in base.concat_keys if key in ("mask", "mask_inverted")]
    return f"the input {mask_keys[0]!r}" if mask_keys else ""


def extra_channels(base: Any) -> int:
    """Input channels of a FLUX-class transformer beyond the latent itself; 0 for other models."""
    if not isinstance(base, comfy.model_base.Flux):
        return 0
    transformer = base.diffusion_model
    weight = getattr(getattr(transformer, "img_in", None), "weight", None)
    if weight is None:
        return 0
    # Chroma counts its output channels with those of the patch; it has no others
    return max(0, weight.shape[1] // transformer.patch_size**2 - latent_channels(base))


def latent_channels(base: Any) -> int:
    return int(base.model_config.unet_config["out_channels"])


def require(positive: list | None, found: Found) -> list:
    if positive is None:
        raise PanelError(
            f"The model is an {found.kind.value} ({found.why}); it gets the given panels together with the caption. Connect the "
            "encoded caption to 'positive', and this node's 'positive' and 'negative' to the sampler."
        )
    return positive


def resolve_given(given: Given, recipe: Recipe | None) -> Given:
    """How given panels enter, where the recipe may decide; without one they are re-noised, as any model takes them."""
    if given is not Given.RECIPE:
        return given
    if recipe is None or not recipe.references.clean:
        return Given.NOISED
    return Given.ISOLATED if recipe.references.isolated else Given.CLEAN


_ENTER = {
    Given.CLEAN: "kept clean at every step",
    Given.NOISED: "re-noised at every step",
    Given.ISOLATED: "isolated: clean, and computed once for all steps",
}


# --- ComfyUI's own nodes --------------------------------------------------------------------------------------------


def core_node(name: str) -> Any:
    """A node of ComfyUI's ``nodes.py``, whose module has the same name as this package."""
    return import_module("nodes").NODE_CLASS_MAPPINGS[name]


def inpainting(
    positive: list, negative: list | None, vae: Any, canvas: Tensor, mask: Tensor, noise_mask: bool
) -> tuple[list, list, dict[str, Any]]:
    used = positive if negative is None else negative
    return core_node("InpaintModelConditioning")().encode(positive, used, canvas, vae, mask, noise_mask)


def referenced(positive: list, negative: list | None, vae: Any, parts: Sequence[Tensor]) -> tuple[list, list]:
    from comfy_extras.nodes_edit_model import ReferenceLatent

    prepared = [positive, positive if negative is None else negative]
    for part in parts:
        latent = {"samples": encoded(vae, part)}
        prepared = [ReferenceLatent.execute(one, latent).args[0] for one in prepared]
    return prepared[0], prepared[1]


def with_noise_mask(samples: Tensor, mask: Tensor) -> dict[str, Any]:
    return core_node("SetLatentNoiseMask")().set_mask({"samples": samples}, mask)[0]


def differential_diffusion(model: Any) -> Any:
    from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion

    return DifferentialDiffusion.execute(model).args[0]


def encoded(vae: Any, pictures: Tensor) -> Tensor:
    """Latents of a batch of pictures, which an autoencoder for video (Qwen-Image's) would take for one moving picture."""
    if getattr(vae, "latent_dim", 2) == 3 and len(pictures) > 1:
        return torch.cat([vae.encode(picture[None]) for picture in pictures])
    return vae.encode(pictures)


def given_or_blocked(conditioning: list | None) -> Any:
    if conditioning is not None:
        return conditioning
    return ExecutionBlocker(
        "Nothing is connected to this input of Condition Panels, so nothing comes out. Connect the caption."
    )


# --- the canvas -----------------------------------------------------------------------------------------------------


def check_canvas(canvas: Tensor, mask: Tensor, layout: PanelLayout | None) -> None:
    if tuple(mask.shape[-2:]) != tuple(canvas.shape[1:3]):
        raise PanelError(
            f"The mask is {mask.shape[-1]}×{mask.shape[-2]}, the canvas {canvas.shape[2]}×{canvas.shape[1]}. "
            "Connect both from the same Stitch Panels."
        )
    if layout is not None and (layout.width, layout.height) != (canvas.shape[2], canvas.shape[1]):
        raise PanelError(
            f"The canvas is {canvas.shape[2]}×{canvas.shape[1]}, the layout {layout.width}×{layout.height}. "
            "Connect both from the same Stitch Panels."
        )


def given_parts(canvas: Tensor, mask: Tensor, layout: PanelLayout | None) -> list[Tensor]:
    """What an edit model is shown: every panel that is given at least partly, in order; all without a layout."""
    if layout is None:
        return [canvas]
    return [
        canvas[:, box.rows, box.columns] for box in layout.boxes if bool((mask[:, box.rows, box.columns] < 0.5).any())
    ]


def grid_step(model: Any, vae: Any) -> int:
    """Pixels per token of a model: those of a latent pixel, times the latent pixels of a patch."""
    return int(vae.spacial_compression_encode()) * patch_side(model.model.diffusion_model)


def extension(canvas: Tensor, step: int) -> list[str]:
    """A line that says what is added to a canvas which does not fill the model's grid."""
    width, height = canvas.shape[2], canvas.shape[1]
    right, bottom = missing(width, step), missing(height, step)
    if not right and not bottom:
        return []
    return [
        f"The canvas is {width}×{height}; this model paints multiples of {step} px. {right} px at the right and {bottom} px at "
        "the bottom are added by repeating its edge. Keep Given Panels, Split Panels and Paste Panels cut them off again."
    ]


def off_grid(layout: PanelLayout | None, step: int) -> list[str]:
    """A line for each panel whose edges fall between the model's tokens, where neighbours would be mixed."""
    if layout is None:
        return []
    # nothing lies beyond the canvas's own right and bottom edge
    return [
        f"Panel {name} ({box}) does not begin and end on multiples of {step} px; its edge is painted together with its "
        f"neighbour's. Choose a panel step of {step}."
        for name, box in zip(layout.names, layout.boxes, strict=True)
        if any(edge % step for edge in (box.left, box.top))
        or (box.right % step and box.right != layout.width)
        or (box.bottom % step and box.bottom != layout.height)
    ]
