from __future__ import annotations

import copy
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.errors import DatasetError, InContextError
from incontext_lora.tests import tiny_models
from incontext_lora.tests.dataset_sets import RECIPE, folder_set, folder_sets, joint

if TYPE_CHECKING:
    from conftest import HostPack


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


def test_a_whole_path_and_the_name_of_the_folder(host) -> None:
    source = folder_sets(host.base / "output" / "made before", 2)
    dataset, *_ = host.call("InContextBuildDataset", folder=f'"{source}"', recipe=RECIPE)
    assert dataset.name == "made before"


def test_a_folder_elsewhere_only_where_it_is_allowed(
    host: HostPack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INCONTEXT_LORA_FOLDERS", raising=False)
    source = folder_sets(tmp_path / "elsewhere", 2)
    (host.base / "input" / "linked sets").symlink_to(source)
    node = host.node("InContextBuildDataset")
    for folder in (
        str(source),
        os.path.relpath(source, host.base / "input"),
        "linked sets",
        str(tmp_path / "not there"),
    ):
        with pytest.raises(InContextError, match="INCONTEXT_LORA_FOLDERS="):
            host.call("InContextBuildDataset", folder=folder, recipe=RECIPE)
        assert "INCONTEXT_LORA_FOLDERS=" in node.fingerprint_inputs(folder=folder), "it is not looked into"
    assert not (host.base / "output" / "incontext_datasets" / "elsewhere").exists()
    monkeypatch.setenv("INCONTEXT_LORA_FOLDERS", str(tmp_path))
    dataset, *_ = host.call("InContextBuildDataset", folder=str(source), recipe=RECIPE)
    assert dataset.name == "elsewhere"


def test_comfyuis_own_datasets_folders_are_searched_too(
    host: HostPack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer versions of ComfyUI have such a folder; in older ones, extra_model_paths.yaml can name some."""
    import folder_paths

    monkeypatch.delenv("INCONTEXT_LORA_FOLDERS", raising=False)
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "datasets", ([str(tmp_path / "a"), str(tmp_path / "b")], set())
    )
    folder_sets(tmp_path / "b" / "mine", 2)
    for folder in ("mine", str(tmp_path / "b" / "mine")):
        dataset, *_ = host.call("InContextBuildDataset", folder=folder, recipe=RECIPE)
        assert dataset.name == "mine"
    with pytest.raises(InContextError, match=f"its name in .*input, {tmp_path / 'a'} or {tmp_path / 'b'}"):
        host.call("InContextBuildDataset", folder="not there", recipe=RECIPE)


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


# --- in workflows that are queued again -----------------------------------------------------------------------------


@dataclass
class Queue:
    """Prompts, one after the other, through ComfyUI's executor with its cache."""

    host: HostPack
    executor: Any
    prompt: dict[str, Any]

    def ran(self) -> set[str]:
        """Queue the prompt; returns the nodes that were executed, not taken from the cache."""
        self.host.prompt_server.last_node_id = None
        prompt = copy.deepcopy(self.prompt)  # ComfyUI writes into it
        run = self.executor.execute_async(prompt, "prompt", {"client_id": "browser"}, ["count"])
        self.host.loop.run_until_complete(run)
        messages = self.executor.status_messages
        errors = [data["exception_message"] for event, data in messages if event == "execution_error"]
        assert errors == []
        (cached,) = [set(data["nodes"]) for event, data in messages if event == "execution_cached"]
        return set(self.prompt) - cached


@pytest.fixture(params=["constant", "wired"])
def queue(host: HostPack, sets: str, request: pytest.FixtureRequest) -> Queue:
    import execution

    host.node("PrimitiveString")  # loads ComfyUI's extra nodes
    size = {"kind": "rows", "width": 128, "height": 192, "rows": 3, "columns": 1, "columns_per_row": "", "gutter": 0}
    settings = {
        "fit": "cover", "align": "center", "padding": "white", "references": "", "shape": "detect",
        "composites": "fit each panel",
    }  # fmt: skip
    folder: Any = sets
    prompt: dict[str, Any] = {
        "layout": {"class_type": "InContextLayout", "inputs": {**size, "panel_step": "16", "boxes": ""}},
        "count": {"class_type": "PreviewAny", "inputs": {"source": ["build", 3]}},
    }
    if request.param == "wired":
        prompt["folder"] = {"class_type": "PrimitiveString", "inputs": {"value": sets}}
        folder = ["folder", 0]
    prompt["build"] = {
        "class_type": "InContextBuildDataset",
        "inputs": {"folder": folder, "name": f"queued {sets}", "recipe": ["layout", 0], **settings},
    }
    executor = execution.PromptExecutor(host.prompt_server, cache_args={"lru": 0, "ram": 0, "ram_inactive": 0})
    return Queue(host, executor, prompt)


def test_an_unchanged_folder_is_built_once(queue: Queue) -> None:
    """Whatever comes after the dataset, a training too, would run again with it."""
    assert "build" in queue.ran()
    assert queue.ran() == set()
    assert queue.ran() == set()


def test_new_sets_are_seen(queue: Queue, sets: str) -> None:
    queue.ran()
    folder_set(Path(queue.host.base) / "input" / sets, 9)
    assert queue.ran() == {"build", "count"}
    assert len(Dataset.load(Path(queue.host.base) / "output" / "incontext_datasets" / f"queued {sets}")) == 4
    assert queue.ran() == set()


def test_a_dataset_that_was_deleted_or_overwritten_is_built_anew(queue: Queue, sets: str) -> None:
    queue.ran()
    folder = Path(queue.host.base) / "output" / "incontext_datasets" / f"queued {sets}"
    built = Dataset.load(folder)
    shutil.rmtree(folder)
    assert queue.ran() == {"build", "count"}
    assert Dataset.load(folder).digest == built.digest
    assert queue.ran() == set()
    other = f"other {sets}"
    folder_sets(Path(queue.host.base) / "input" / other, 2)
    queue.host.call("InContextBuildDataset", folder=other, name=f"queued {sets}", recipe=RECIPE)
    assert queue.ran() == {"build", "count"}
    assert Dataset.load(folder).digest == built.digest
    if "folder" in queue.prompt:
        queue.ran()  # the other build may have been this node's, with another folder on the wire: it is looked at too
    assert queue.ran() == set()


def test_training_reads_no_dataset_that_is_another_by_now(host: HostPack, sets: str) -> None:
    dataset, *_ = host.call("InContextBuildDataset", folder=sets, name=f"mine {sets}", recipe=RECIPE)
    dataset.check_current()
    host.call("InContextBuildDataset", folder=sets, name=f"mine {sets}", recipe=RECIPE)
    dataset.check_current()
    folder_set(Path(host.base) / "input" / sets, 9)
    host.call("InContextBuildDataset", folder=sets, name=f"mine {sets}", recipe=RECIPE)
    for node in ("InContextTrainLora", "InContextTrainLoraInHost"):
        with pytest.raises(
            DatasetError, match="overwritten since Build Dataset made it: it had 3 sets, the one there now has 4"
        ):
            train(host, node, dataset)
    shutil.rmtree(dataset.folder)
    with pytest.raises(DatasetError, match="no longer what Build Dataset made"):
        train(host, "InContextTrainLoraInHost", dataset)


def train(host: HostPack, node: str, dataset: Dataset) -> None:
    wires = {} if node == "InContextTrainLora" else {"model": tiny_models.sd3(), "clip": None, "vae": None}
    host.call(node, dataset=dataset, **wires)


def test_parentheses_in_parentheses_end_no_build(host: HostPack, sets: str) -> None:
    """ComfyUI's tokenizer reads them recursively, and a caption may hold thousands."""
    from incontext_lora.nodes.captions import tokens

    caption = host.base / "input" / sets / "set-1" / "caption.txt"
    caption.write_text("(" * 3_000 + "a fox" + ")" * 3_000 + caption.read_text(encoding="utf-8"), encoding="utf-8")
    for count in tokens.bundled_counters().values():
        assert count(caption.read_text(encoding="utf-8")) > 1_000


@pytest.mark.parametrize("folder", ["x" * 5000, "~nosuchuser/sets", "~nosuchuser", "a\ud800b", "a\0b", '"'])
def test_what_cannot_be_a_folder_is_said(host: HostPack, folder: str) -> None:
    with pytest.raises(InContextError, match="There is no folder") as refused:
        host.call("InContextBuildDataset", folder=folder, recipe=RECIPE)
    assert str(refused.value).encode()
    assert len(str(refused.value)) < 1000


def test_errors_of_the_base_class_have_a_short_type(host: HostPack) -> None:
    import execution

    assert execution.full_type_name(InContextError) == "incontext_lora.InContextError"
