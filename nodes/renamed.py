"""Nodes that had another id in an earlier version: newer ComfyUI replaces them in workflows that were saved with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from comfy_api import latest


@dataclass(frozen=True)
class NodeRename:
    """A node's former id and what became of it.

    Attributes:
        old: the id in saved workflows.
        new: the id today.
        widgets: the former node's fields in their order, which is how workflows hold their values.
        inputs: former name → name today; names that are left out are lost.
        outputs: former place → place today.
    """

    old: str
    new: str
    widgets: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[int, int] = field(default_factory=dict)


RENAMED: tuple[NodeRename, ...] = ()
"""No id has changed so far. Add an entry in the commit that renames a node."""


async def register_renamed(renamed: Sequence[NodeRename] = RENAMED) -> bool:
    """Tell ComfyUI what nodes are called today; returns False in versions that cannot be told (up to 0.3.75)."""
    if not hasattr(latest.io, "NodeReplace"):
        return False
    for each in renamed:
        await latest.ComfyAPI().node_replacement.register(
            latest.io.NodeReplace(
                new_node_id=each.new,
                old_node_id=each.old,
                old_widget_ids=list(each.widgets),
                input_mapping=[{"new_id": new, "old_id": old} for old, new in each.inputs.items()],
                output_mapping=[{"new_idx": new, "old_idx": old} for old, new in each.outputs.items()],
            )
        )
    return True
