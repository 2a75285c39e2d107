"""A built dataset, its sets and their warnings."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.tests.dataset_sets import RECIPE
from incontext_lora.tests.route_client import Client
from PIL import Image

if TYPE_CHECKING:
    from conftest import HostPack


def test_findings_stand_with_their_sets(client: Client, dataset: Dataset) -> None:
    status, answer = client.get("datasets/shown-sets")
    assert status == 200
    shown = answer["dataset"]
    assert [entry["name"] for entry in shown["sets"]] == ["set-1", "set-2", "set-3", "set-4"]
    assert [entry["name"] for entry in shown["left_out"]] == ["set-5"]
    assert shown["left_out"][0]["findings"][0]["level"] == "error"
    assert any("20 to 100" in finding["problem"] for finding in shown["findings"])
    status, picture = client.get(f"datasets/shown-sets/{shown['sets'][0]['id']}")
    assert status == 200
    assert Image.open(io.BytesIO(picture)).size == (128, 192)
    assert client.get("datasets/shown-sets/0000")[0] == 404
    assert client.get("datasets/not-built-yet") == (200, {"dataset": None})


def test_the_node_says_which_dataset_it_built(host: HostPack, dataset: Dataset) -> None:
    output = host.output("InContextBuildDataset", folder="shown-sets", recipe=RECIPE)
    assert output.ui["incontext_dataset"] == ["shown-sets"]
