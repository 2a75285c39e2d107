"""Other packs beside ours: how exactly pictures come back, on the same pictures.

They are measured where they are installed: in ``custom_nodes`` of the ComfyUI that ``COMFYUI_PATH`` names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .child import in_pack, measured
from .figure import Figure


def peer_figures(base: Path, say: Callable[[str], None]) -> list[Figure]:
    """Largest errors, of 1, by pack; ours are bound to be none. A peer that is not installed is named and left out."""
    found = measured(in_pack("bench.peer_rounds"), base, "peers")
    for name in found["missing"]:
        say(f"{name} is not in ComfyUI's custom_nodes and is left out")
    return [
        Figure.of(f"peers.{pack}_{what}_max_error", [error], "of 1", "<= 0" if pack == "ours" else "", detail)
        for pack, errors in found["errors"].items()
        for what, (error, detail) in errors.items()
    ]
