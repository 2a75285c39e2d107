from __future__ import annotations

from pathlib import Path

import pytest
from incontext_lora.incontext.dataset import Dataset
from incontext_lora.tests.dataset_sets import RECIPE, folder_sets, joint


@pytest.fixture
def sets(host, request: pytest.FixtureRequest) -> str:
    name = f"sets-{request.node.name}"
    folder_sets(Path(host.base) / "input" / name, 3)
    return name


def test_the_node_builds_and_reports(host, sets: str) -> None:
    dataset, contact_sheet, report, count = host.call(
        "InContextBuildDataset", folder=sets, name="toys", recipe=RECIPE, references="SCENE-1"
    )
    assert dataset == Dataset.load(Path(host.base) / "output" / "incontext_datasets" / "toys")
    assert contact_sheet.ndim == 4
    assert contact_sheet.shape[3] == 3
    assert report.startswith("toys: 3 of 3 sets")
    assert count == 3
    assert dataset.references == (0,)


def test_a_whole_path_and_the_name_of_the_folder(host, tmp_path: Path) -> None:
    source = folder_sets(tmp_path / "elsewhere", 2)
    dataset, *_ = host.call("InContextBuildDataset", folder=str(source), recipe=RECIPE)
    assert dataset.name == "elsewhere"


def test_errors_are_for_people(host, sets: str) -> None:
    with pytest.raises(ValueError, match="no folder"):
        host.call("InContextBuildDataset", folder="not-there", recipe=RECIPE)
    with pytest.raises(ValueError, match="LEFT"):
        host.call("InContextBuildDataset", folder=sets, recipe=RECIPE, references="LEFT")


def test_the_fingerprint_changes_with_the_files(host, sets: str) -> None:
    node = host.node("InContextBuildDataset")
    before = node.fingerprint_inputs(folder=sets, name="", recipe=None)
    assert node.fingerprint_inputs(folder=sets, name="", recipe=None) == before
    (Path(host.base) / "input" / sets / "set-1" / "caption.txt").write_text(joint(1) + " changed")
    assert node.fingerprint_inputs(folder=sets, name="", recipe=None) != before
    assert isinstance(node.fingerprint_inputs(folder=None), str)


def test_cancel_ends_the_build_and_keeps_the_dataset_before(host, sets: str) -> None:
    import comfy.model_management

    dataset, *_ = host.call("InContextBuildDataset", folder=sets, name="kept", recipe=RECIPE)
    comfy.model_management.interrupt_current_processing(True)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            host.call("InContextBuildDataset", folder=sets, name="kept", recipe=RECIPE, fit="stretch")
    finally:
        comfy.model_management.interrupt_current_processing(False)
    assert Dataset.load(dataset.folder) == dataset
