"""Tensors that nobody expects, at a tenth of what `bench trust` tries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.bench import hostile_tensors
from incontext_lora.tests.vision_server import VisionServer, says

if TYPE_CHECKING:
    from conftest import HostPack

CASES = 520


@pytest.mark.filterwarnings("ignore")
def test_every_node_handles_or_refuses_tensors_that_nobody_expects(host: HostPack) -> None:
    from incontext_lora.nodes import NODES

    def call(node: str, inputs: dict[str, Any]) -> Any:
        return host.call(node, **inputs)

    schemas = hostile_tensors.tensor_nodes(NODES)
    with VisionServer(says(hostile_tensors.CAPTION)) as server:
        given = hostile_tensors.given_by(schemas, call, server.url)
        outcome = hostile_tensors.campaign(schemas, call, given, CASES)
    assert not outcome.foreign, f"{len(outcome.foreign)}: {outcome.foreign[:8]}"
    assert {"InContextConditionPanels", "InContextReferenceAttention", "InContextCaptionPanels"} <= set(schemas)
    for node, cases in outcome.cases.items():
        assert 0.1 * cases < outcome.taken[node] < cases, f"{node}: {outcome.taken[node]} of {cases}"
