"""What the interface asks of the server, over the server's own routes."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from incontext_lora.demo.models import LORA_FILE, WEIGHTS
from incontext_lora.incontext.lora import tasks
from safetensors.torch import save_file

if TYPE_CHECKING:
    from conftest import HostPack

STORY = tasks.recipe("film-storyboard")


class Client:
    """Calls a route's handler, as ComfyUI's server would."""

    def __init__(self, host: HostPack) -> None:
        self._host = host
        self._routes = {
            (route.method, route.path): route.handler
            for route in host.prompt_server.routes
            if isinstance(route, web.RouteDef)
        }

    def get(self, path: str, query: str = "") -> tuple[int, Any]:
        return self._answer("GET", path, make_mocked_request("GET", f"{path}?{query}"))

    def post(self, path: str, value: Any) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", "Host": "127.0.0.1:8188"}
        request = make_mocked_request("POST", path, headers)
        request._read_bytes = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self._answer("POST", path, request)

    def _answer(self, method: str, path: str, request: web.Request) -> tuple[int, Any]:
        response = self._host.loop.run_until_complete(self._routes[method, path](request))
        return response.status, json.loads(response.text)


@pytest.fixture(scope="module")
def client(host: HostPack) -> Client:
    return Client(host)


def fields(**changes: Any) -> dict[str, Any]:
    empty = {"summary": "", "panels": ["", "", ""], "names": "", "escape_parentheses": True}
    return {"recipe": STORY.to_json(), **empty, **changes}


def test_every_published_task_is_told(client: Client) -> None:
    status, recipes = client.get("/incontext_lora/recipes")
    assert status == 200
    assert recipes == {name: json.loads(json.dumps(recipe.to_json())) for name, recipe in tasks.RECIPES.items()}


def test_a_loras_own_recipe_is_told(client: Client, host: HostPack) -> None:
    folder = host.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(WEIGHTS / LORA_FILE, folder / "routes-demo.safetensors")
    status, answer = client.get("/incontext_lora/lora_recipe", "name=routes-demo.safetensors")
    assert status == 200
    assert len(answer["recipe"]["layout"]["panels"]) == 3
    assert answer["source"] == "the file itself"


@pytest.mark.parametrize(
    "name", ["", "gone.safetensors", "../../pyproject.toml", "/etc/passwd", "%2e%2e/x.safetensors"]
)
def test_only_listed_loras_are_opened(client: Client, name: str) -> None:
    status, answer = client.get("/incontext_lora/lora_recipe", f"name={name}")
    assert (status, answer) == (200, {"recipe": None, "source": "there is no such file yet"})


def test_a_published_lora_is_known_before_it_is_downloaded(client: Client) -> None:
    _, answer = client.get("/incontext_lora/lora_recipe", "name=couple-profile.safetensors")
    assert answer["recipe"] == json.loads(json.dumps(tasks.recipe("couple-profile").to_json()))


def test_the_caption_is_the_nodes(client: Client, host: HostPack) -> None:
    texts = {"summary": "A (sunny) day of Leo", "panels": ["Leo wakes", "", "Leo sleeps"], "names": "Leo"}
    status, answer = client.post("/incontext_lora/caption", fields(**texts))
    assert status == 200
    caption, report = host.call(
        "InContextJointCaption", recipe=STORY, summary=texts["summary"], names="Leo",
        **{f"panel_{n}": text for n, text in enumerate(texts["panels"], 1)},
    )  # fmt: skip
    assert answer["caption"] == caption
    assert "\n".join(answer["problems"]) == report
    marked = [caption[start:end] for start, end in answer["marks"]]
    assert marked == [STORY.prefix, *STORY.markers]


def test_tokens_are_counted_before_a_model_is_loaded(client: Client) -> None:
    _, short = client.post("/incontext_lora/caption", fields(summary="a cat"))
    assert [entry["encoder"] for entry in short["tokens"]] == ["clip_l", "t5xxl"]
    assert [entry["limit"] for entry in short["tokens"]] == [77, 512]
    assert [entry["cut"] for entry in short["tokens"]] == [None, None]
    _, long = client.post("/incontext_lora/caption", fields(panels=["a red lantern in the rain " * 12, "b", "c"]))
    clip, t5 = long["tokens"]
    assert clip["count"] > 77
    assert long["caption"][clip["cut"] :].startswith(("a ", "red ", "lantern ", "in ", "the ", "rain "))
    assert t5["cut"] is None


@pytest.mark.parametrize(
    ("base", "encoders"),
    [
        ("FLUX.1-Fill-dev", ["clip_l", "t5xxl"]),
        ("Flux", ["clip_l", "t5xxl"]),
        ("SD3", ["clip_l", "t5xxl"]),
        ("Chroma", ["t5xxl"]),
        ("QwenImage", []),
        ("Flux2", []),
        ("a model that nobody knows", ["clip_l", "t5xxl"]),
        ("", ["clip_l", "t5xxl"]),
    ],
)
def test_tokens_are_counted_for_the_encoders_of_the_base(client: Client, base: str, encoders: list[str]) -> None:
    asked = {**fields(summary="a cat"), "recipe": replace(STORY, base=base).to_json()}
    _, answer = client.post("/incontext_lora/caption", asked)
    assert [entry["encoder"] for entry in answer["tokens"]] == encoders


def test_a_whole_caption_falls_into_its_fields(client: Client) -> None:
    caption = f"{STORY.prefix} a day [SCENE-1] dawn [SCENE-2] noon [SCENE-3] night"
    status, parts = client.post("/incontext_lora/parse_caption", {"recipe": STORY.to_json(), "caption": caption})
    assert (status, parts) == (200, {"summary": "a day", "panels": ["dawn", "noon", "night"]})


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("caption", {}, "cannot be read"),
        ("caption", [], "but should be an object"),
        ("caption", b"no json", "cannot be read: it is not JSON"),
        ("caption", b"[" * 100_000, "nested deeper"),
        ("caption", b'{"a":' * 100_000, "nested deeper"),
        ("caption", b'{"summary": NaN}', "holds NaN"),
        ("caption", b'{"summary": 1e999}', "not finite"),
        ("caption", b'{"summary": "\\ud800"}', "not valid text"),
        ("caption", "{}".encode("utf-16"), "not valid UTF-8"),
        ("caption", b'{"summary": "\xff"}', "not valid UTF-8"),
        ("caption", b" " * (5 << 20), "larger than 4 MB"),
        ("caption", {**fields(), "recipe": {"name": "x"}}, "not a recipe"),
        ("caption", fields(summary="[SCENE-2] stray"), "holds the panel marker"),
        ("caption", fields(panels=["[SCENE-2] stray"]), "holds the marker"),
        ("caption", fields(seed="red"), "cannot be read"),
        ("parse_caption", {"recipe": STORY.to_json(), "caption": "nothing"}, "lacks [SCENE-1]"),
    ],
)
def test_what_cannot_be_answered_is_said(client: Client, path: str, value: Any, said: str) -> None:
    status, answer = client.post(f"/incontext_lora/{path}", value)
    assert status == 400
    assert said in answer["error"]


# --- strangers --------------------------------------------------------------------------------------------------------


def test_many_panels_are_refused_while_comfyui_goes_on(host: HostPack, client: Client) -> None:
    """A recipe of 20,000 panels, which were once compared with each other: refused within a beat of the event loop."""
    panels = [{"name": f"P{n}", "box": [n, 0, 1, 1]} for n in range(20_000)]
    recipe = STORY.to_json() | {"layout": {"width": 20_000, "height": 64, "panels": panels}}
    beats: list[float] = []

    async def beat() -> None:
        while True:
            beats.append(time.perf_counter())
            await asyncio.sleep(0.005)

    beating = host.loop.create_task(beat())
    began = time.process_time()
    status, answer = client.post("/incontext_lora/caption", fields(recipe=recipe))
    taken = time.process_time() - began
    beating.cancel()
    assert status == 400
    assert "20000 panels; at most 256" in answer["error"]
    assert taken < 1
    assert len(beats) > 1


def test_a_sidecar_of_many_panels_is_passed_over(client: Client, host: HostPack) -> None:
    loras = host.base / "models" / "loras"
    name = "sidecar-of-strangers.safetensors"
    save_file({"a.lora_up.weight": torch.zeros(1, 1)}, loras / name)
    panels = [{"name": f"P{n}", "box": [n, 0, 1, 1]} for n in range(30_000)]
    sidecar = loras / name.replace(".safetensors", ".incontext.json")
    sidecar.write_text(json.dumps({"layout": {"width": 30_000, "height": 64, "panels": panels}}))
    began = time.process_time()
    status, answer = client.get("/incontext_lora/lora_recipe", f"name={name}")
    assert time.process_time() - began < 1.5
    assert status == 200
    assert answer["recipe"] is None
    assert "cannot be read" in answer["source"]


def test_too_many_questions_at_once_are_turned_away(host: HostPack, monkeypatch: pytest.MonkeyPatch) -> None:
    routes = sys.modules["incontext_lora.nodes.server.routes"]
    monkeypatch.setattr(routes, "PATIENCE", 0.05)
    go_on = threading.Event()

    async def ask() -> list[int]:
        handler = routes.answering(lambda request: routes.read_apart(go_on.wait))
        request = make_mocked_request("GET", "/")
        slow = [asyncio.create_task(handler(request)) for _ in range(routes.MOST_WAITING)]
        await asyncio.sleep(0)
        one_too_many = (await handler(request)).status
        waited = [(await each).status for each in slow]
        go_on.set()
        await asyncio.wait(routes._waiting)
        return [one_too_many, *waited]

    statuses = host.loop.run_until_complete(ask())
    assert statuses == [503] * (1 + routes.MOST_WAITING)
    assert not routes._waiting


@pytest.mark.parametrize(
    "body",
    [
        b'{"recipe": NaN}',
        b'{"recipe": {"layout": {"width": 1e400, "height": 64, "panels": []}}}',
        b"[" * 200_000,
        b'{"recipe": "\xff"}',
        b"\xff\xfe{\x00}\x00",
        b'{"recipe": {}, "panels": "abc"}',
        b'{"recipe": 1, "caption": "\\ud800"}',
    ],
)
def test_bodies_that_cannot_be_read_are_refused(client: Client, body: bytes) -> None:
    for path in ("/incontext_lora/caption", "/incontext_lora/parse_caption"):
        status, answer = client.post(path, body)
        assert status == 400
        assert answer["error"]
