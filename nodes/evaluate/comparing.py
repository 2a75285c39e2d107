"""A comparison as its node runs it: first ComfyUI runs nodes that make the missing sets, then the choice is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy_api.latest import io

from ...incontext.evaluate.choose import ChoiceError
from ...incontext.evaluate.store import Store
from ...training.in_host.items import read_picture
from .. import host
from ..lora import apply_lora
from ..references.canvas import grid_step
from . import plan as plans
from . import result
from .graph import expansion, follows_cells
from .identity import graph_digest, models_digest


def compare(graph: Any, node_id: str, model: Any, clip: Any, vae: Any, values: Mapping[str, Any]) -> io.NodeOutput:
    """The node's outputs, or the nodes that make the missing sets.

    Args:
        graph: the prompt that runs, as ComfyUI's DynamicPrompt.
        node_id: of Compare Checkpoints in it.
        values: its inputs other than the models.

    Raises:
        InContextError: if there is nothing to compare, or what was just made is gone.
    """
    shown_on = graph.get_display_node_id(node_id)
    given = plans.Inputs(**values)
    models = f"{models_digest(model, clip, vae)} {graph_digest(graph, node_id, ('model', 'clip', 'vae'))}"
    plan, store = plans.make_plan(models, given), Store(host.comparisons_folder())
    missing = [cell for cell in plan.cells if not store.has(cell.key)]
    inputs = graph.get_node(node_id)["inputs"]
    if missing and follows_cells(graph, inputs):
        raise ChoiceError(
            f"{len(missing)} of {len(plan.cells)} sets that were just made are not in {store.folder}. The models changed "
            "while it ran, or files were removed; run it again."
        )
    if missing:
        host.send_text(shown_on, f"{len(missing)} of {len(plan.cells)} sets are missing and will be made")
        step = grid_step(model, vae)
        made, again = expansion(plan, missing, inputs, step=step, references=given.references, shown_on=shown_on)
        return io.NodeOutput(*(again.out(number) for number in range(6)), expand=made)
    comparison = result.finish(plan, store, given, lambda text: host.send_text(shown_on, text))
    chosen = comparison.chosen
    if chosen is not None:
        model, _ = apply_lora(model, host.lora_path(plans.place_of(chosen)), chosen.strength)
    host.send_text(shown_on, comparison.choice.reason)
    folder = store.folder / comparison.name
    place = {"subfolder": f"{store.folder.name}/{folder.name}", "type": "output"}
    return io.NodeOutput(
        comparison.lora,
        chosen.strength if chosen is not None else 0.0,
        model,
        torch.cat([read_picture(folder / name)[None] for name in comparison.grids]),
        comparison.report(),
        comparison.to_csv(),
        ui={"images": [{"filename": name, **place} for name in comparison.grids]},
    )
