"""The graph that makes the missing pictures of a comparison, of ComfyUI's own nodes and the pack's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from comfy_execution.graph_utils import GraphBuilder
from torch import Tensor

from ...incontext.evaluate.grid import Candidate, Cell
from ...incontext.panels.choices import Align, Alpha, Fit
from ...incontext.panels.edge import pixels_missing
from ..references.options import ReferenceEntry
from .ids import CELL, COMPARE
from .plan import Plan, place_of, reference_of


def expansion(
    plan: Plan,
    cells: list[Cell],
    inputs: Mapping[str, Any],
    *,
    step: int,
    references: Tensor | None,
    shown_on: str,
) -> tuple[dict[str, Any], Any]:
    """Nodes for the missing cells, one after the other, then Compare Checkpoints again, which finds them all.

    Args:
        cells: those that are missing.
        step: pixels per token of the model.
        inputs: of Compare Checkpoints as the prompt has them: links and values.
        shown_on: the node on which progress is shown.

    Returns:
        The graph, and its Compare Checkpoints.
    """
    graph = GraphBuilder()
    size = {
        side: length + pixels_missing(length, step)
        for side, length in (("width", plan.layout.width), ("height", plan.layout.height))
    }
    blank = graph.node("EmptyImage", **size, batch_size=1, color=0)
    empty = graph.node("VAEEncode", pixels=blank.out(0), vae=inputs["vae"])
    negative = graph.node("CLIPTextEncode", clip=inputs["clip"], text="")
    positive = {number: _caption(graph, plan, inputs, number) for number in sorted({cell.caption for cell in cells})}
    models: dict[Candidate, Any] = {}
    after = None
    for number, cell in enumerate(cells, 1):
        if cell.candidate not in models:
            models[cell.candidate] = _model(graph, inputs, cell.candidate)
        wires = {
            "model": models[cell.candidate],
            "latent": empty.out(0),
            "positive": positive[cell.caption],
            "negative": negative.out(0),
        }
        if plan.reference is not None and references is not None:
            wires = _given(graph, plan, inputs, wires, reference_of(references, cell.caption))
        values = {
            "key": cell.key,
            "plan": cell_plan(plan, cell, f"{number} of {len(cells)}", shown_on),
            "seed": cell.seed,
        }
        made = graph.node(CELL, vae=inputs["vae"], **wires, **values, **({"after": after} if after else {}))
        after = made.out(0)
    again = graph.node(COMPARE, **{**inputs, "after": after})
    return graph.finalize(), again


def follows_cells(graph: Any, inputs: Mapping[str, Any]) -> bool:
    """Whether this is the Compare Checkpoints at the end of an expansion."""
    after = inputs.get("after")
    return isinstance(after, list) and graph.get_node(after[0])["class_type"] == CELL


def cell_plan(plan: Plan, cell: Cell, place: str, shown_on: str) -> str:
    """What a cell needs beside its wires, as JSON."""
    sampling = plan.sampling
    return json.dumps(
        {
            "steps": sampling.steps,
            "cfg": sampling.cfg,
            "sampler": sampling.sampler,
            "scheduler": sampling.scheduler,
            "width": plan.layout.width,
            "height": plan.layout.height,
            "candidate": cell.candidate.label,
            "caption": plan.asked[cell.caption].text,
            "place": place,
            "shown_on": shown_on,
        },
        ensure_ascii=False,
    )


def _caption(graph: GraphBuilder, plan: Plan, inputs: Mapping[str, Any], number: int) -> Any:
    encoded = graph.node("CLIPTextEncode", clip=inputs["clip"], text=plan.asked[number].text)
    # models other than FLUX ignore it
    return graph.node("FluxGuidance", conditioning=encoded.out(0), guidance=max(0.0, plan.sampling.guidance)).out(0)


def _model(graph: GraphBuilder, inputs: Mapping[str, Any], candidate: Candidate) -> Any:
    if not candidate.file:
        return inputs["model"]
    loaded = graph.node(
        "InContextLoadLora", model=inputs["model"], lora_name=place_of(candidate), strength=candidate.strength
    )
    return loaded.out(0)


def _given(
    graph: GraphBuilder, plan: Plan, inputs: Mapping[str, Any], wires: Mapping[str, Any], picture: Tensor
) -> dict[str, Any]:
    """The same wires with one panel given."""
    assert plan.reference is not None
    stitched = graph.node(
        "InContextStitchPanels",
        layout=plan.layout,
        fit=Fit.COVER.value,
        align=Align.CENTER.value,
        padding="white",
        alpha=Alpha.FLATTEN.value,
        gutter="white",
        fill="gray",
        **{f"panel_{plan.reference + 1}": picture},
    )
    conditioned = graph.node(
        "InContextConditionPanels",
        model=wires["model"],
        vae=inputs["vae"],
        canvas=stitched.out(0),
        mask=stitched.out(1),
        given_panels=ReferenceEntry.RECIPE.value,
        recipe=plan.recipe,
        layout=plan.layout,
        positive=wires["positive"],
        negative=wires["negative"],
    )
    return {name: conditioned.out(number) for number, name in enumerate(("model", "latent", "positive", "negative"))}
