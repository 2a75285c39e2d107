"""Prepare a canvas with some panels given, for the kind of model that paints the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...incontext.lora.recipe import Recipe
from ...incontext.panels.edge import extend_edges, extend_mask
from ...incontext.panels.layout import PanelLayout
from .canvas import check_canvas, extension, given_parts, grid_step, off_grid
from .clean import keep_references_clean
from .core_nodes import add_noise_mask, add_reference_latents, encode, encode_for_inpainting, soften_mask
from .isolated_sampling import isolate_references
from .isolation import supports_isolation
from .model_kind import Recognition, recognise, require
from .options import ModelKind, ReferenceEntry

_DESCRIPTIONS = {
    ReferenceEntry.CLEAN: "kept clean at every step",
    ReferenceEntry.NOISED: "re-noised at every step",
    ReferenceEntry.ISOLATED: "isolated: clean, and computed once for all steps",
}


def resolve_given(given: ReferenceEntry, recipe: Recipe | None) -> ReferenceEntry:
    """How given panels enter, if the recipe decides; without one they are re-noised, which works with any model."""
    if given is not ReferenceEntry.RECIPE:
        return given
    if recipe is None or not recipe.references.clean:
        return ReferenceEntry.NOISED
    return ReferenceEntry.ISOLATED if recipe.references.isolated else ReferenceEntry.CLEAN


@dataclass(frozen=True)
class Request:
    """How a canvas is to be conditioned.

    Attributes:
        entry: how given panels enter at each step of sampling.
        kind: of the model; `ModelKind.DETECT` to recognise it.
        noise_mask: also keep given panels by a noise mask if the model sees them through its own inputs.
        soft_mask: let a grey mask repaint in part.
    """

    entry: ReferenceEntry
    kind: ModelKind
    noise_mask: bool
    soft_mask: bool


@dataclass(frozen=True)
class Preparation:
    """What the sampler takes, and lines that say how it was prepared.

    Attributes:
        latent: as ComfyUI's LATENT.
        positive, negative: conditioning; None if none was given.
    """

    model: Any
    latent: dict[str, Any]
    positive: list | None
    negative: list | None
    report: Sequence[str]


def prepare(
    model: Any,
    vae: Any,
    canvas: Tensor,
    mask: Tensor,
    request: Request,
    *,
    recipe: Recipe | None,
    layout: PanelLayout | None,
    positive: list | None,
    negative: list | None,
) -> Preparation:
    """Prepare a canvas for the kind of model that paints it.

    Args:
        canvas: float32 [batch, height, width, channels], 0…1.
        mask: float32 [batch, height, width], 1 where the model paints.

    Raises:
        PanelError: if canvas, mask and layout do not belong together, or the model cannot be used as requested.
    """
    check_canvas(canvas, mask, layout)
    recognition = recognise(model, request.kind, recipe, positive)
    step = grid_step(model, vae)
    report = [f"{recognition.kind.value}: {recognition.why}", *off_grid(layout, step), *extension(canvas, step)]
    parts = given_parts(canvas[..., :3], mask, layout)
    canvas, mask = extend_edges(canvas[..., :3], step), extend_mask(mask, step)
    if recognition.kind is ModelKind.INPAINTING:
        entry = ReferenceEntry.NOISED
        report += _ignored_entry(request.entry)
        caption = require(positive, recognition)
        positive, negative, latent = encode_for_inpainting(caption, negative, vae, canvas, mask, request.noise_mask)
        report.append(f"given panels and mask are concatenated; noise mask {'on' if request.noise_mask else 'off'}")
    else:
        if not request.noise_mask:
            report.append(
                f"'noise mask' off does not fit a {recognition.kind.value}, which would lose the given panels: kept on."
            )
        if recognition.kind is ModelKind.EDIT:
            shown = [extend_edges(part, step) for part in parts]
            positive, negative = add_reference_latents(require(positive, recognition), negative, vae, shown)
            report += _reference_lines(len(parts), layout)
        latent = add_noise_mask(encode(vae, canvas), mask)
        entry, lines = _possible_entry(resolve_given(request.entry, recipe), recognition, model)
        report += lines
    model = _let_enter(model, entry)
    if request.soft_mask:
        if "noise_mask" in latent:
            model = soften_mask(model)
        else:
            report.append("'soft mask' has no effect without a noise mask.")
    if layout is not None and not bool((mask > 0).any()):
        report.append(
            "The mask is empty, so nothing will be painted. Leave a panel open in Stitch Panels, or mask one."
        )
    return Preparation(model, latent, positive, positive if negative is None else negative, report)


def _ignored_entry(entry: ReferenceEntry) -> list[str]:
    if entry not in (ReferenceEntry.CLEAN, ReferenceEntry.ISOLATED):
        return []
    return [f"'{entry.value}' is not used: an inpainting model sees the given panels through inputs of its own."]


def _reference_lines(count: int, layout: PanelLayout | None) -> list[str]:
    lines = [f"{count} reference latent{'s' * (count != 1)}"]
    if layout is None:
        lines.append("The whole canvas is one reference; connect the layout to tell its panels apart.")
    return lines


def _possible_entry(entry: ReferenceEntry, recognition: Recognition, model: Any) -> tuple[ReferenceEntry, list[str]]:
    """How given panels can enter this model, and the lines that say so."""
    lines = []
    cannot_isolate = recognition.kind is ModelKind.EDIT or not supports_isolation(model.model)
    if entry is ReferenceEntry.ISOLATED and cannot_isolate:
        entry = ReferenceEntry.CLEAN
        lines.append(f"{type(model.model).__name__} cannot isolate given panels here: they are kept clean instead.")
    return entry, [*lines, f"given panels are {_DESCRIPTIONS[entry]}"]


def _let_enter(model: Any, entry: ReferenceEntry) -> Any:
    if entry is not ReferenceEntry.NOISED:
        model = keep_references_clean(model)
    return isolate_references(model) if entry is ReferenceEntry.ISOLATED else model
