"""Earlier versions of bundled workflows still open: every node is known, and every saved value finds its widget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from incontext_lora.demo.workflow import to_prompt

if TYPE_CHECKING:
    from incontext_lora.demo.server import ComfyServer

WORKFLOWS = Path(__file__).parents[1] / "data" / "old" / "workflows"


@pytest.mark.parametrize("path", sorted(WORKFLOWS.rglob("*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_workflows_of_earlier_versions_are_still_understood(server: ComfyServer, path: Path) -> None:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    muted = 2  # mode of a node that is not sent
    ours = {
        node["type"] for node in workflow["nodes"] if node["type"].startswith("InContext") and node.get("mode") != muted
    }
    assert ours
    prompt = to_prompt(workflow, server.object_info())
    assert ours <= {entry["class_type"] for entry in prompt.values()}
