"""The gallery's routes, as ComfyUI serves them: lists, pictures, and what is done with a set."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from incontext_lora.incontext.dataset.report import Level
from incontext_lora.incontext.lora.recipe import Recipe, custom
from incontext_lora.incontext.panels.arrange import rows
from incontext_lora.tests.made_sets import HEIGHT, WIDTH, canvas, made_prompt, node, panels_of, save, save_set
from incontext_lora.tests.route_client import Client
from PIL import Image

if TYPE_CHECKING:
    from conftest import HostPack

ESCAPES = ["..", "%2e%2e", "..%2f..%2fetc", "%2fetc%2fpasswd", "%00", "%FF", "x" * 300, "~", "0"]
RECIPE: Recipe = custom(rows(WIDTH, HEIGHT, 3), "[TOY]")


@pytest.fixture(scope="module")
def client(host: HostPack) -> Iterator[Client]:
    made = Client(host)
    yield made
    made.close()


@pytest.fixture
def output(host: HostPack) -> Iterator[Path]:
    folder = host.base / "output"
    yield folder
    for path in folder.rglob("*.*"):
        if path.suffix in (".png", ".jpg", ".webp") and "incontext_" not in str(path):
            path.unlink()


def listed(client: Client, query: str = "") -> dict[str, Any]:
    status, answer = client.get(f"sets?{query}")
    assert status == 200, answer
    return answer


def test_a_set_is_shown_panel_by_panel(client: Client, output: Path) -> None:
    save_set(output, 1)
    (made,) = listed(client)["sets"]
    assert [panel["name"] for panel in made["panels"]] == ["SCENE-1", "SCENE-2", "SCENE-3"]
    assert [panel["text"] for panel in made["panels"]] == [r"one \(1\)", "two", "three"]
    assert made["seed"] == "1"
    assert made["loras"] == [{"name": "toy.safetensors", "strength": 0.8}]
    assert made["picture"] == {"filename": "set_00001_.png", "subfolder": "made", "type": "output"}
    assert [made["caption"][start:end] for start, end in made["marks"]] == [
        "[TOY]",
        "[SCENE-1]",
        "[SCENE-2]",
        "[SCENE-3]",
    ]
    assert (made["scores"], made["is_new"]) == ([], True)
    status, data = client.get(f"sets/{made['id']}/panels/1")
    assert status == 200
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (128, 64)
        shown, there = np.asarray(picture).astype(int), np.asarray(panels_of(canvas(1))[1]).astype(int)
    assert abs(shown.mean() - there.mean()) < 2
    assert client.get(f"sets/{made['id']}")[1]["set"] == made


def test_pages_and_words(client: Client, output: Path) -> None:
    for number in range(1, 6):
        save_set(output, number, parts=False)
    first = listed(client, "limit=2")
    assert (first["total"], first["more"], len(first["sets"])) == (5, True, 2)
    second = listed(client, f"limit=3&after={first['sets'][-1]['id']}")
    assert second["more"] is False
    assert len({made["id"] for made in first["sets"] + second["sets"]}) == 5
    assert [made["seed"] for made in listed(client, "text=set%204.%20TOY.safetensors")["sets"]] == ["4"]
    assert listed(client, "text=nowhere")["sets"] == []


def test_scores_are_those_of_the_very_prompt(client: Client, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from incontext_lora.nodes import host as globals_of_host

    prompt = made_prompt(batch=2, node_40=node("InContextScoreSet", image=["11", 0], layout=["4", 1]))
    for number in (1, 2):
        save(output / "made" / f"set_{number:05}_.png", canvas(number), prompt)
    images = [{"filename": f"set_{n:05}_.png", "subfolder": "made", "type": "output"} for n in (1, 2)]
    scores = [
        {"mean": 0.9, "lowest": 0.8, "caption": None, "measure": "m"},
        {"mean": 0.5, "lowest": 0.1, "caption": 0.3},
    ]
    outputs = {"12": {"images": images}, "40": {"incontext_scores": scores}}
    monkeypatch.setattr(globals_of_host, "finished_outputs", lambda: [outputs])
    assert {made["name"]: made["scores"] for made in listed(client)["sets"]} == {
        "set_00001_": scores[:1],
        "set_00002_": scores[1:],
    }
    monkeypatch.setattr(globals_of_host, "finished_outputs", list)
    assert all(made["scores"] == [] for made in listed(client)["sets"])


def test_a_score_that_is_no_number_leaves_the_list_readable(
    client: Client, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from incontext_lora.nodes import host as globals_of_host

    prompt = made_prompt(node_40=node("InContextScoreSet", image=["11", 0], layout=["4", 1]))
    save(output / "made" / "set_00001_.png", canvas(1), prompt)
    images = [{"filename": "set_00001_.png", "subfolder": "made", "type": "output"}]
    score = {"mean": float("nan"), "lowest": float("nan"), "caption": None, "measure": "m"}
    outputs = {"12": {"images": images}, "40": {"incontext_scores": [score]}}
    monkeypatch.setattr(globals_of_host, "finished_outputs", lambda: [outputs])
    (made,) = listed(client)["sets"]
    assert made["scores"] == []


def test_score_set_says_its_scores_for_the_gallery(host: HostPack) -> None:
    import torch

    pictures = torch.rand(2, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
    shown = host.output("InContextScoreSet", image=pictures, layout=RECIPE.layout).ui["incontext_scores"]
    assert len(shown) == 2
    assert 0 <= shown[0]["lowest"] <= shown[0]["mean"] <= 1
    assert shown[0]["caption"] is None


def test_a_panel_becomes_a_reference_once(client: Client, output: Path, host: HostPack) -> None:
    save_set(output, 1, parts=False)
    (made,) = listed(client)["sets"]
    path = f"sets/{made['id']}/reference"
    status, first = client.post(path, {"panel": 1})
    assert status == 200, first
    with Image.open(host.base / "input" / first["name"]) as picture:
        assert picture.tobytes() == panels_of(canvas(1))[1].tobytes()
        assert "prompt" not in picture.info
    assert client.post(path, {"panel": 1})[1]["name"] == first["name"]
    whole = client.post(path, {"panel": None})[1]
    assert (whole["width"], whole["height"]) == (WIDTH, HEIGHT)
    assert whole["name"] != first["name"]
    (host.base / "input" / first["name"]).write_bytes(b"changed by somebody")
    other = client.post(path, {"panel": 1})[1]["name"]
    assert other != first["name"]
    assert (host.base / "input" / first["name"]).read_bytes() == b"changed by somebody"
    assert client.post(path, {"panel": 3})[0] == 400
    assert client.post(path, {"panel": -1})[0] == 400


def test_sets_that_are_added_are_built_without_findings(client: Client, output: Path, host: HostPack) -> None:
    """The whole way: pictures in the output folder, the gallery, Build Dataset."""
    for number in range(1, 22):
        save_set(output, number, parts=number % 2 == 0)
    sets = listed(client, "limit=50")["sets"]
    for count, made in enumerate(reversed(sets), 1):
        status, added = client.post(f"sets/{made['id']}/dataset", {"folder": "from-gallery"})
        assert status == 200, added
        assert (added["count"], added["is_new"]) == (count, True)
    assert client.post(f"sets/{sets[0]['id']}/dataset", {"folder": "from-gallery"})[1]["is_new"] is False
    assert {"name": "from-gallery", "count": 21} in client.get("set_folders")[1]["folders"]
    dataset, _, report, count = host.call("InContextBuildDataset", folder="from-gallery", recipe=RECIPE)
    assert count == 21
    # a caption that holds parentheses is always noted
    said = [finding for finding in dataset.report.findings if finding.level is not Level.NOTE]
    assert said == [], report
    assert {finding.problem for finding in dataset.report.findings} == {
        "ComfyUI reads (parentheses) as emphasis. Escape them, \\( \\), if they are meant as text."
    }
    assert dataset.items[0].caption == "[TOY] Set 1. [SCENE-1] one (1) [SCENE-2] two [SCENE-3] three"
    with Image.open(dataset.image(dataset.items[0])) as built:
        assert built.convert("RGB").tobytes() == canvas(1).tobytes()


@pytest.mark.parametrize(
    "name", ["", " ", "..", "../out", "a/b", "/etc", "CON", "x" * 300, "clipspace", ".hidden", "a\0b"]
)
def test_a_dataset_stays_in_its_place(client: Client, output: Path, host: HostPack, name: str) -> None:
    save_set(output, 1, parts=False)
    (made,) = listed(client)["sets"]
    before = sorted((host.base / "input").iterdir())
    status, answer = client.post(f"sets/{made['id']}/dataset", {"folder": name})
    assert status == 400
    assert answer["error"].endswith("Choose another name.")
    assert sorted((host.base / "input").iterdir()) == before


def test_a_link_is_no_dataset(client: Client, output: Path, host: HostPack, tmp_path: Path) -> None:
    save_set(output, 1, parts=False)
    (made,) = listed(client)["sets"]
    link = host.base / "input" / "linked-sets"
    try:
        link.symlink_to(tmp_path)
    except OSError:
        pytest.skip("this system makes no links")
    assert client.post(f"sets/{made['id']}/dataset", {"folder": "linked-sets"})[0] == 400
    link.unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ESCAPES)
def test_ids_lead_nowhere_else(client: Client, name: str) -> None:
    for path in (f"sets/{name}", f"sets/{name}/panels/0", f"sets/{name}/workflow"):
        assert client.get(path)[0] in (400, 404)
    assert client.post(f"sets/{name}/reference", {"panel": 0})[0] in (400, 404, 405)


def test_the_workflow_comes_back(client: Client, output: Path) -> None:
    workflow = {"nodes": [], "links": [], "version": 0.4}
    save(output / "set_00001_.png", canvas(1), made_prompt(), workflow)
    save(output / "prompt_00001_.png", canvas(2), made_prompt("Another."))
    found = {made["name"]: client.get(f"sets/{made['id']}/workflow")[1] for made in listed(client)["sets"]}
    assert json.loads(found["set_00001_"]["workflow"]) == workflow
    assert found["prompt_00001_"]["workflow"] is None
    assert json.loads(found["prompt_00001_"]["prompt"]) == made_prompt("Another.")


def test_pictures_that_tell_nothing_are_counted(client: Client, output: Path) -> None:
    canvas(1).save(output / "photo.jpg")
    canvas(1).save(output / "photo.webp")
    save(output / "bare.png", canvas(1))
    (output / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    save(output / "huge.png", canvas(1), json.dumps({"1": {"class_type": "A", "inputs": {"x": "y" * (9 << 20)}}}))
    answer = listed(client)
    assert (answer["sets"], answer["bare"]) == ([], 5)


def test_a_deleted_picture_is_named(client: Client, output: Path) -> None:
    save_set(output, 1, parts=False)
    (made,) = listed(client)["sets"]
    (output / "made" / "set_00001_.png").unlink()
    status, answer = client.get(f"sets/{made['id']}/panels/0")
    assert status == 404
    assert "reload the gallery" in answer["error"]
    assert listed(client)["sets"] == []
    assert "no such set any more" in client.get(f"sets/{made['id']}")[1]["error"]


@pytest.mark.parametrize("query", ["limit=x", "limit=-5", "limit=99999999999", "after=nobody", "text=%00"])
def test_odd_questions(client: Client, output: Path, query: str) -> None:
    save_set(output, 1, parts=False)
    status, answer = client.get(f"sets?{query}")
    assert status == 400 if query == "limit=x" else len(answer["sets"]) <= 1
