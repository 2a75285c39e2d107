"""Where versions of ComfyUI differ in what tests build or call; the pack itself needs nothing of this."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest  # benchmarks read this too, where it is not installed

# what classes have asked for since ComfyUI 0.3.75, as its own detection fills it in for FLUX.1, Chroma and HunyuanImage 2.1
_LATER = {"txt_ids_dims": [], "vec_in_dim": None, "meanflow_sum": False}


def flux_sizes(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a FLUX model, complete for this ComfyUI."""
    from comfy.ldm.flux.model import FluxParams

    return _complete(FluxParams, sizes)


def chroma_sizes(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a Chroma model, complete for this ComfyUI."""
    from comfy.ldm.chroma.model import ChromaParams

    return _complete(ChromaParams, sizes)


def hunyuan_sizes(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a HunyuanVideo or HunyuanImage model, complete for this ComfyUI."""
    from comfy.ldm.hunyuan_video.model import HunyuanVideoParams

    return _complete(HunyuanVideoParams, sizes)


def _complete(kind: type, sizes: Mapping[str, Any]) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(kind)}
    return {**{name: value for name, value in _LATER.items() if name in fields}, **sizes}


def leaves_out_steps(comfyui: Path) -> bool:
    """Whether this ComfyUI's progress bars leave out what comes too fast to be seen, as newer ones do."""
    return "PROGRESS_THROTTLE" in (comfyui / "comfy" / "utils.py").read_text(encoding="utf-8")


def progress_hook(monkeypatch: pytest.MonkeyPatch, hook: Callable[..., None]) -> None:
    """Have ComfyUI's progress bars call ``hook`` at every step; newer versions leave out what comes too fast to be seen."""
    import comfy.utils

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    for name in ("PROGRESS_THROTTLE_MIN_INTERVAL", "PROGRESS_THROTTLE_MIN_PERCENT"):
        monkeypatch.setattr(comfy.utils, name, 0.0, raising=False)


async def map_node(execution: Any, node: Any, inputs: dict[str, list[Any]], given: Any) -> list[Any]:
    """Have ComfyUI's executor call a node, with the last of what its ``get_input_data`` has returned."""
    call = execution._async_map_node_over_list
    name = "v3_data" if "v3_data" in inspect.signature(call).parameters else "hidden_inputs"
    return await call("test", "1", node, inputs, node.FUNCTION, allow_interrupt=True, **{name: given})
