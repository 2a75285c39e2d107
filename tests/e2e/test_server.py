"""The server helper against the real server: what succeeds, what is refused, what fails, and how that reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from incontext_lora.demo.server import ComfyServer, ExecutionFailed, PromptRefused, ServerError
from incontext_lora.launcher.pack import ROOT
from incontext_lora.launcher.work import prepare_base
from PIL import Image

BOXES = {"kind": "boxes", "width": 192, "height": 64, "rows": 1, "columns": 3, "columns_per_row": "3", "gutter": 0}


def layout_prompt(**changes: Any) -> dict[str, Any]:
    """A layout whose width is shown: two nodes, no model."""
    inputs = {**BOXES, "panel_step": "16", "boxes": "A: 0, 0, 64, 64", **changes}
    return {
        "1": {"class_type": "InContextLayout", "inputs": inputs},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 2]}},
    }


def test_a_prompt_runs_and_its_events_arrive(server: ComfyServer) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    entry = server.run(layout_prompt(), lambda name, data: seen.append((name, data)))
    assert entry["outputs"]["2"]["text"] == ["192"]
    assert ("executing", "2") in [(name, data.get("node")) for name, data in seen]


def test_a_failing_node_is_named_with_its_own_words(server: ComfyServer) -> None:
    with pytest.raises(ExecutionFailed, match="leaves the canvas of 192×64") as failed:
        server.run(layout_prompt(boxes="A: 0, 0, 640, 64"))
    assert (failed.value.node_id, failed.value.node_type) == ("1", "InContextLayout")
    assert failed.value.exception_type == "incontext_lora.LayoutError"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({"1": {"class_type": "NoSuchNode", "inputs": {}}}, "NoSuchNode"),
        (layout_prompt(width="wide"), "wide"),
        ({}, "prompt"),
    ],
    ids=["unknown node", "wrong type", "empty"],
)
def test_an_invalid_prompt_is_refused_with_the_reason(server: ComfyServer, prompt: dict[str, Any], words: str) -> None:
    with pytest.raises(PromptRefused, match=words):
        server.run(prompt)


def test_a_picture_goes_up_and_comes_down(server: ComfyServer, tmp_path: Path) -> None:
    picture = tmp_path / "a red one.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    assert server.upload_image(picture, "sub") == "sub/a red one.png"
    assert server.fetch_image("a red one.png", "sub", "input") == picture.read_bytes()


def test_a_server_that_cannot_start_says_why(tmp_path: Path, comfyui: Path) -> None:
    prepare_base(tmp_path, ROOT)
    with (
        pytest.raises(ServerError, match="unrecognized arguments: --no-such"),
        ComfyServer(tmp_path, comfyui, extra_arguments=["--no-such"]),
    ):
        pass
