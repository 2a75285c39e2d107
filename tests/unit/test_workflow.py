"""Workflows as prompts, and the bundled files as such. ComfyUI's node descriptions are an excerpt of 0.3.75's own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from incontext_lora.demo.arrange import arrange
from incontext_lora.demo.cards import drawn_cards
from incontext_lora.demo.workflow import WORKFLOWS, WorkflowError, find_node, load, set_value, to_prompt
from PIL import Image

INFO: dict[str, Any] = json.loads((Path(__file__).parent.parent / "data" / "object_info.json").read_text("utf-8"))
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))


def node(
    number: int, kind: str, values: Any = (), links: Mapping[str, int | None] | None = None, **more: Any
) -> dict[str, Any]:
    """A node as the interface saves it; ``links`` are its connected inputs."""
    inputs = [{"name": name, "type": "*", "link": link} for name, link in (links or {}).items()]
    return {"id": number, "type": kind, "mode": 0, "inputs": inputs, "widgets_values": values, **more}


def workflow(*nodes: dict[str, Any], links: list[Any] | None = None) -> dict[str, Any]:
    return {"nodes": list(nodes), "links": links or [], "version": 0.4}


def converted(*nodes: dict[str, Any], links: list[Any] | None = None) -> dict[str, dict[str, Any]]:
    return to_prompt(workflow(*nodes, links=links), INFO)


def sampler(seed: Any = 7, control: str = "fixed", **more: Any) -> dict[str, Any]:
    return node(1, "KSampler", [seed, control, 20, 2.0, "euler", "simple", 1], **more)


# --- widgets --------------------------------------------------------------------------------------------------------


def test_widgets_get_their_names_and_the_seeds_control_is_left_out() -> None:
    assert converted(sampler())["1"]["inputs"] == {
        "seed": 7,
        "steps": 20,
        "cfg": 2.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "denoise": 1,
    }


def with_seed(**options: Any) -> dict[str, Any]:
    return {"Seeded": {"input": {"required": {"seed": ["INT", {"default": 0, **options}]}}}}


@pytest.mark.parametrize(
    ("options", "values"),
    [({}, [5, "fixed"]), ({"control_after_generate": True}, [5, "fixed"]), ({"control_after_generate": False}, [5])],
)
def test_a_seed_is_controlled_by_its_name_unless_the_node_says_otherwise(
    options: dict[str, Any], values: list[Any]
) -> None:
    prompt = to_prompt(workflow(node(1, "Seeded", values)), with_seed(**options))
    assert prompt["1"]["inputs"] == {"seed": 5}


@pytest.mark.parametrize("values", [["a.png"], ["a.png", "image"], {"image": "a.png"}])
def test_the_upload_button_of_load_image_is_no_value(values: Any) -> None:
    assert converted(node(1, "LoadImage", values))["1"]["inputs"] == {"image": "a.png"}


def test_inputs_that_are_forced_to_be_connections_have_no_widget() -> None:
    info = {"Joined": {"input": {"required": {"a": ["STRING", {"forceInput": True}], "b": ["STRING", {}]}}}}
    assert to_prompt(workflow(node(1, "Joined", ["text"])), info)["1"]["inputs"] == {"b": "text"}


def test_optional_widgets_may_have_come_after_the_workflow_was_saved() -> None:
    info = {"Grown": {"input": {"required": {"a": ["INT", {}]}, "optional": {"b": ["INT", {}], "c": ["INT", {}]}}}}
    assert to_prompt(workflow(node(1, "Grown", [7, 8])), info)["1"]["inputs"] == {"a": 7, "b": 8}
    with pytest.raises(WorkflowError, match="has 0 saved values, expected 1"):
        to_prompt(workflow(node(1, "Grown", [])), info)


def test_a_list_as_value_is_not_mistaken_for_a_connection() -> None:
    info = {"Many": {"input": {"required": {"which": ["COMBO", {"options": ["a", "b"], "multiselect": True}]}}}}
    assert to_prompt(workflow(node(1, "Many", [["a", "b"]])), info)["1"]["inputs"] == {
        "which": {"__value__": ["a", "b"]}
    }


@pytest.mark.parametrize("values", [[7, "fixed", 20], [7, "fixed", 20, 2.0, "euler", "simple", 1, "more"], None])
def test_another_number_of_values_than_widgets_is_refused(values: Any) -> None:
    with pytest.raises(WorkflowError, match=r"Node 1 \(KSampler\) has \d saved values, expected 7 .*save it again"):
        converted(node(1, "KSampler", values))


@pytest.mark.parametrize("seed", ["fixed", 1.5, True, None])
def test_a_value_of_another_type_is_refused(seed: Any) -> None:
    with pytest.raises(WorkflowError, match=r"Node 1 \(KSampler\) has .* for 'seed', expected a whole number"):
        converted(sampler(seed))


# --- connections ----------------------------------------------------------------------------------------------------


def test_a_connection_takes_the_place_of_the_widgets_value() -> None:
    size = node(2, "EmptySD3LatentImage", [64, 32, 1])
    text = node(3, "CLIPTextEncode", ["unused"], {"text": 9})
    prompt = converted(size, text, links=[[9, 2, 0, 3, 1, "LATENT"]])
    assert prompt["3"]["inputs"] == {"text": ["2", 0]}


def test_links_of_the_newer_format_are_read() -> None:
    link = {"id": 9, "origin_id": 2, "origin_slot": 1, "target_id": 3, "target_slot": 0, "type": "MASK"}
    prompt = converted(node(2, "LoadImage", ["a.png", "image"]), node(3, "PreviewAny", [], {"source": 9}), links=[link])
    assert prompt["3"]["inputs"] == {"source": ["2", 1]}


def test_notes_are_left_out() -> None:
    prompt = converted(node(1, "Note", ["read me"]), node(2, "MarkdownNote", ["# read me"]), sampler() | {"id": 3})
    assert list(prompt) == ["3"]


def test_reroutes_lead_to_what_lies_behind_them() -> None:
    links = [[1, 2, 0, 4, 0, "IMAGE"], [2, 4, 0, 5, 0, "*"], [3, 5, 0, 3, 0, "IMAGE"]]
    prompt = converted(
        node(2, "LoadImage", ["a.png", "image"]),
        node(4, "Reroute", [], {"": 1}),
        node(5, "Reroute", [], {"": 2}),
        node(3, "PreviewAny", [], {"source": 3}),
        links=links,
    )
    assert list(prompt) == ["2", "3"]
    assert prompt["3"]["inputs"] == {"source": ["2", 0]}


def test_an_open_reroute_leaves_the_widgets_value() -> None:
    text = node(3, "CLIPTextEncode", ["kept"], {"text": 3})
    prompt = converted(node(4, "Reroute", [], {"": None}), text, links=[[3, 4, 0, 3, 0, "STRING"]])
    assert prompt["3"]["inputs"] == {"text": "kept"}


def test_a_primitive_node_gives_its_value() -> None:
    prompt = converted(
        node(4, "PrimitiveNode", [512, "fixed"]),
        node(3, "EmptySD3LatentImage", [64, 32, 1], {"width": 3}),
        links=[[3, 4, 0, 3, 0, "INT"]],
    )
    assert prompt["3"]["inputs"] == {"width": 512, "height": 32, "batch_size": 1}


def test_a_bypassed_node_passes_on_what_fits() -> None:
    bypassed = node(4, "ImageScaleBy", ["area", 2.0], mode=4)
    bypassed["inputs"] = [{"name": "image", "type": "IMAGE", "link": 1}]
    links = [[1, 2, 0, 4, 0, "IMAGE"], [2, 4, 0, 3, 0, "IMAGE"]]
    prompt = converted(
        node(2, "LoadImage", ["a.png", "image"]), bypassed, node(3, "PreviewAny", [], {"source": 2}), links=links
    )
    assert prompt["3"]["inputs"] == {"source": ["2", 0]}
    links[1][5] = "MASK"  # of which the bypassed node has no input
    prompt = converted(
        node(2, "LoadImage", ["a.png", "image"]), bypassed, node(3, "PreviewAny", [], {"source": 2}), links=links
    )
    assert prompt["3"]["inputs"] == {}


def test_a_muted_node_is_left_out_with_its_connections() -> None:
    muted = node(2, "LoadImage", ["a.png", "image"], mode=2)
    prompt = converted(muted, node(3, "PreviewAny", [], {"source": 1}), links=[[1, 2, 0, 3, 0, "IMAGE"]])
    assert prompt == {"3": {"inputs": {}, "class_type": "PreviewAny", "_meta": {"title": "Preview as Text"}}}


def test_reroutes_in_a_circle_are_refused() -> None:
    with pytest.raises(WorkflowError, match="leads back to itself"):
        converted(
            node(4, "Reroute", [], {"": 1}),
            node(5, "Reroute", [], {"": 2}),
            node(3, "PreviewAny", [], {"source": 2}),
            links=[[1, 5, 0, 4, 0, "*"], [2, 4, 0, 5, 0, "*"]],
        )


def test_a_connection_from_nowhere_is_refused() -> None:
    with pytest.raises(WorkflowError, match="Connection 8 comes from nowhere"):
        converted(node(3, "PreviewAny", [], {"source": 8}))


def test_a_connection_to_an_input_that_the_node_lacks_is_refused() -> None:
    image = node(2, "LoadImage", ["a.png", "image"])
    with pytest.raises(WorkflowError, match=r"Node 3 \(PreviewAny, 'Look'\) has no input 'picture'"):
        converted(image, node(3, "PreviewAny", [], {"picture": 1}, title="Look"), links=[[1, 2, 0, 3, 0, "IMAGE"]])


def test_unknown_nodes_are_named_all_at_once() -> None:
    with pytest.raises(WorkflowError, match=r"does not know Alpha, Beta\. Install"):
        converted(node(1, "Beta"), node(2, "Alpha"), node(3, "Beta"), sampler() | {"id": 4})


# --- titles and values ----------------------------------------------------------------------------------------------


def prompt_of_two() -> dict[str, dict[str, Any]]:
    return converted(
        node(1, "CLIPTextEncode", ["one"], title="Positive"),
        node(2, "CLIPTextEncode", ["two"]),
        node(3, "SaveImage", ["x"], title="Save panels"),
    )


def test_nodes_are_found_by_title_and_by_class() -> None:
    prompt = prompt_of_two()
    assert find_node(prompt, "Positive") == "1"
    assert find_node(prompt, "CLIP Text Encode (Prompt)") == "2"  # its name in the interface
    assert find_node(prompt, "SaveImage") == "3"
    with pytest.raises(WorkflowError, match=r"2 nodes are called 'CLIPTextEncode' \(1, 2\)"):
        find_node(prompt, "CLIPTextEncode")
    with pytest.raises(WorkflowError, match=r"class 'Nothing'; there are .*Positive, Save panels"):
        find_node(prompt, "Nothing")


def test_values_are_set_where_they_exist() -> None:
    prompt = prompt_of_two()
    set_value(prompt, "Positive", "text", "a star")
    assert prompt["1"]["inputs"] == {"text": "a star"}
    assert prompt["2"]["inputs"] == {"text": "two"}
    with pytest.raises(WorkflowError, match="'Positive' has no input 'texts'; it has text"):
        set_value(prompt, "Positive", "texts", "a star")


def test_the_workflow_itself_is_not_changed() -> None:
    saved = workflow(sampler())
    before = json.dumps(saved)
    set_value(to_prompt(saved, INFO), "KSampler", "seed", 99)
    assert json.dumps(saved) == before


def test_files_that_are_not_workflows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=r"There is no workflow .*bundled are .*quickstart"):
        load("no-such-workflow")
    for text, words in (
        ("{", "not a JSON file"),
        ('{"1": {"class_type": "A"}}', r"not 'Export \(API\)'"),
        ("[]", "no list"),
    ):
        path = tmp_path / "w.json"
        path.write_text(text)
        with pytest.raises(WorkflowError, match=words):
            load(path)


# --- the bundled files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_workflow_is_consistent(name: str) -> None:
    """Both ends of every link agree, as in a file that the interface has saved."""
    data = load(name)
    nodes = {each["id"]: each for each in data["nodes"]}
    assert data["version"] == 0.4
    assert len(nodes) == len(data["nodes"])
    assert data["last_node_id"] >= max(nodes)
    links = {link[0]: link for link in data["links"]}
    assert len(links) == len(data["links"])
    assert data["last_link_id"] >= max(links)
    for number, origin, slot, target, target_slot, kind in data["links"]:
        output, taken = nodes[origin]["outputs"][slot], nodes[target]["inputs"][target_slot]
        assert number in output["links"]
        assert number == taken["link"]
        assert output["type"] == kind
        assert taken["type"] in (kind, "*")
        assert nodes[origin]["order"] < nodes[target]["order"]
    used = [link for each in data["nodes"] for output in each["outputs"] for link in output["links"] or ()]
    assert sorted(used) == sorted(links)
    assert sorted(i["link"] for n in data["nodes"] for i in n["inputs"] if i["link"] is not None) == sorted(links)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_workflow_reads_step_by_step(name: str) -> None:
    """Links lead to a later step, or within one to the right or down; a step is to the right of, or below, those before."""
    data = load(name)
    nodes = {each["id"]: each for each in data["nodes"]}
    step = {number: step_of(each, data) for number, each in nodes.items() if each["type"] != "MarkdownNote"}
    for _, origin, _, target, *_ in data["links"]:
        (ax, ay), (bx, by) = nodes[origin]["pos"], nodes[target]["pos"]
        later = step[origin] < step[target] or (step[origin] == step[target] and (ax < bx or (ax == bx and ay < by)))
        assert later, f"link from {origin} to {target} runs backwards"
    for before, after in itertools.pairwise(group["bounding"] for group in data["groups"]):
        assert before[0] < after[0] or before[1] < after[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_workflow_fits_a_screen_and_nothing_overlaps(name: str) -> None:
    data = load(name)
    boxes = [(*each["pos"], *each["size"]) for each in data["nodes"]]
    title, gap = 30, 15  # pixels: the bar above a node, and room around it
    for (ax, ay, aw, ah), (bx, by, bw, bh) in itertools.combinations(boxes, 2):
        apart = ax + aw + gap <= bx or bx + bw + gap <= ax or ay + ah + gap + title <= by or by + bh + gap + title <= ay
        assert apart, f"nodes at {ax}, {ay} and {bx}, {by} overlap"
    groups = [group["bounding"] for group in data["groups"]]
    for (ax, ay, aw, ah), (bx, by, bw, bh) in itertools.combinations(groups, 2):
        assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay
    left, right = min(x for x, *_ in boxes), max(x + w for x, _, w, _ in [*boxes, *groups])
    top, bottom = min(y for _, y, *_ in groups), max(y + h for _, y, _, h in [*boxes, *groups])
    assert right - left <= 1800
    assert bottom - top <= 2050
    assert "ds" not in data["extra"], "ComfyUI fits the view to the window where none is saved"


@pytest.mark.parametrize("name", NAMES)
def test_bundled_workflows_are_as_they_are_arranged(name: str) -> None:
    """`python -m demo.arrange` has been run, and running it again changes nothing."""
    data = load(name)
    again = json.loads(json.dumps(data))
    arrange(again)
    assert again == data


def step_of(each: Mapping[str, Any], data: Mapping[str, Any]) -> int:
    """The number of the group that a node lies in, with all of itself."""
    (x, y), (width, height) = each["pos"], each["size"]
    inside = [
        number
        for number, (left, top, wide, high) in enumerate(group["bounding"] for group in data["groups"])
        if left <= x and x + width <= left + wide and top <= y - 30 and y + height <= top + high
    ]
    assert len(inside) == 1, f"node {each['id']} ({each['type']}) is in the groups {inside}"
    return inside[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_workflow_says_what_to_do(name: str) -> None:
    data = load(name)
    (note,) = (each for each in data["nodes"] if each["type"] == "MarkdownNote")
    assert "**Run**" in note["widgets_values"][0]
    assert "`" not in note["widgets_values"][0], "code is hardly readable in notes of Nodes 2.0"
    assert all(group["title"].strip() for group in data["groups"])


def test_only_workflows_and_their_thumbnails_are_bundled() -> None:
    """ComfyUI offers every JSON file of the folder as a template, and shows the picture of the same name."""
    assert {"quickstart", "reference-panel", "storyboard-flux", "build-dataset", "train-in-host"} <= set(NAMES)
    files = {path.name for path in WORKFLOWS.iterdir() if path.name[0] != "."}
    assert files == {f"{name}{suffix}" for name in NAMES for suffix in (".json", ".jpg")}


@pytest.mark.parametrize("name", ["quickstart", "reference-panel", "train-in-host"])
def test_the_first_templates_are_apps_with_a_few_fields(name: str) -> None:
    """Newer ComfyUI shows them as such when one asks for it; they open as graphs."""
    data = load(name)
    nodes = {each["id"]: each for each in data["nodes"]}
    app = data["extra"]["linearData"]
    assert data["extra"]["linearMode"] is False
    assert 3 <= len(app["inputs"]) <= 5
    for number, field in app["inputs"]:
        assert field == "caption_editor" or field in {
            "strength",
            "image",
            "seed",
            "folder",
            "name",
            "steps",
            "learning_rate",
            "rank",
        }
        assert (nodes[number]["type"] == "InContextJointCaption") == (field == "caption_editor")
    shown = {"SaveImage", "PreviewImage", "PreviewAny", "LossGraphNode"}
    assert {nodes[number]["type"] for number in app["outputs"]} <= shown


@pytest.mark.parametrize("name", NAMES)
def test_a_thumbnail_is_square_and_small(name: str) -> None:
    """The list of templates crops pictures to a square, and loads all of them at once."""
    path = WORKFLOWS / f"{name}.jpg"
    with Image.open(path) as picture:
        assert picture.size == (512, 512)
    assert path.stat().st_size < 60_000


def test_drawn_thumbnails_are_what_the_code_draws() -> None:
    for name, card in drawn_cards().items():
        with Image.open(WORKFLOWS / f"{name}.jpg") as saved:
            difference = np.abs(np.asarray(saved, float) - np.asarray(card, float)).mean()
        assert difference < 4, f"{name}: run python -m demo.thumbnails"
