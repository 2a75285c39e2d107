"""Many runs and many pages that watch: ComfyUI's event loop stays free."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.tests.route_client import Client
from incontext_lora.training.runs import monitor

if TYPE_CHECKING:
    from conftest import HostPack

RUNS, EVENTS, PAGES = 1500, 20_000, 8
LONGEST_HOLD = 0.008  # seconds of processor time; to write the list of these runs as JSON takes longer


@pytest.fixture(scope="module")
def client(host: HostPack) -> Iterator[Client]:
    made = Client(host)
    yield made
    made.close()


@pytest.fixture(scope="module")
def many_runs(host: HostPack) -> Iterator[Path]:
    root = host.base / "output" / "incontext_runs"
    for number in range(RUNS):
        folder = root / f"many-{number:04d}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"version": 1, "name": folder.name, "settings": {"steps": 100}}))
        steps = range(1, (EVENTS if number == 0 else 2) + 1)
        lines = [f'{{"event": "step", "step": {step}, "loss": 0.5, "smoothed": 0.5}}\n' for step in steps]
        (folder / "events.jsonl").write_text("".join([*lines, '{"event": "finished", "lora": "a.safetensors"}\n']))
    yield root
    for folder in root.glob("many-*"):
        shutil.rmtree(folder)


class Holds:
    """How long single steps of the event loop took, in processor time of its thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.longest, self.of = 0.0, ""
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            run(handle)
            took = time.thread_time() - began
            if took > self.longest:
                self.longest, self.of = took, repr(handle)

        monkeypatch.setattr(asyncio.Handle, "_run", timed)


async def read_raw(client: Client, path: str, **headers: str) -> tuple[int, bytes, Any]:
    async with client._client.get(f"/incontext_lora/{path}", headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers


async def watch(client: Client, looks: int) -> None:
    for _ in range(looks):
        assert (await read_raw(client, "runs"))[0] == 200
        offset, more = 0, True
        while more:
            _, body, _ = await read_raw(client, f"runs/many-0000?from={offset}")
            news = body[body.rindex(b'"news": ') + len(b'"news": ') :]
            head = json.loads(news[: news.index(b', "points"')] + b"}")
            offset, more = head["offset"], head["more"]


@pytest.mark.usefixtures("many_runs")
def test_pages_that_watch_never_hold_the_event_loop(
    host: HostPack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = client.get("runs")[1]["runs"]  # what the files say is known from here on
    assert sum(run["name"].startswith("many-") for run in listed) == RUNS

    async def all_pages() -> None:
        await asyncio.gather(*(watch(client, 2) for _ in range(PAGES)))

    gc.collect()
    gc.disable()  # a collection walks through all of torch, whoever happens to be running
    try:
        holds = Holds(monkeypatch)
        host.loop.run_until_complete(all_pages())
    finally:
        gc.enable()
    print(f"longest hold {1000 * holds.longest:.1f} ms: {holds.of}")
    assert holds.longest < LONGEST_HOLD, holds.of


def test_pages_that_ask_at_once_share_one_answer(
    host: HostPack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = sys.modules["incontext_lora.nodes.server.run_answers"]
    begun = []
    real = answers.all_runs

    def counted() -> Any:
        begun.append(time.monotonic())
        time.sleep(0.05)
        return real()

    monkeypatch.setattr(answers, "all_runs", counted)

    async def ask() -> list[tuple[int, bytes, Any]]:
        first = asyncio.create_task(read_raw(client, "runs"))
        while not begun:
            await asyncio.sleep(0.001)
        return [await first, *await asyncio.gather(*(read_raw(client, "runs") for _ in range(PAGES)))]

    told = host.loop.run_until_complete(ask())
    assert [status for status, _, _ in told] == [200] * (1 + PAGES)
    assert len(begun) == 2, "those who asked after the first was begun share the second"


def test_a_list_that_is_known_is_not_sent_again(host: HostPack, client: Client) -> None:
    status, body, headers = host.loop.run_until_complete(read_raw(client, "runs"))
    assert status == 200
    assert "no-cache" in headers["Cache-Control"]
    tag = headers["ETag"]
    assert host.loop.run_until_complete(read_raw(client, "runs", **{"If-None-Match": tag}))[:2] == (304, b"")
    assert host.loop.run_until_complete(read_raw(client, "runs", **{"If-None-Match": '"other"'}))[:2] == (200, body)


@pytest.mark.usefixtures("many_runs")
def test_what_one_page_was_told_is_not_read_again_for_the_next(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("runs/many-0000?from=0")[1]["news"]
    assert first["more"]

    def refuse(line: bytes) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(monitor, "parse_event", refuse)
    assert client.get("runs/many-0000?from=0")[1]["news"] == first
