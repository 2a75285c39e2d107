"""A page of somebody else's, in the browser in which ComfyUI is open too, changes nothing; ComfyUI's own page does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.tests.browser.test_training import panel, pick, runs_folder, wait_for_state
from incontext_lora.training.runs import claims
from incontext_lora.training.runs.run_folder import RunWriter

if TYPE_CHECKING:
    from incontext_lora.demo.server import ComfyServer
    from incontext_lora.tests.browser.conftest import Interface
    from playwright.sync_api import Browser, Page

POSTS = {
    "runs/guarded/ask": {"what": "stop"},
    "runs/guarded/resume": {},
    "runs/guarded/use": {"checkpoint": "a.safetensors"},
    "trainer": {"action": "check"},
    "trainer/processes": {"count": 2},
    "caption": {},
    "parse_caption": {},
}
# every way in which a script can send a body; each says what became of it
SEND = """async ([root, posts]) => {
    const told = [];
    for (const [path, value] of Object.entries(posts)) {
        const body = JSON.stringify(value), url = root + path;
        for (const mode of ["cors", "no-cors"])
            for (const type of ["application/json", "text/plain", ""]) {
                const headers = type ? {"Content-Type": type} : {};
                const data = type ? body : new Blob([body]);
                try {
                    const answer = await fetch(url, {method: "POST", mode, headers, body: data, credentials: "include"});
                    told.push(answer.type === "opaque" ? "opaque" : answer.status);
                } catch (error) { told.push("refused") }
            }
        told.push(navigator.sendBeacon(url, new Blob([body], {type: "text/plain"})) ? "opaque" : "refused");
    }
    return told }"""


class Stranger(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A stranger</title>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of a web server that is not ComfyUI."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def run(prepared_server: ComfyServer) -> Iterator[Path]:
    """A run that somebody trains."""
    writer = RunWriter.create(runs_folder(prepared_server), "guarded", {"trainer": "in-host", "settings": {"steps": 9}})
    writer.event("started", steps=9)
    with claims.attending(writer.run.folder):
        yield writer.run.folder
    writer.event("finished")
    writer.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def in_a_sandbox(page: Page, root: str) -> list[Any]:
    """The same from a frame whose origin is null."""
    script = f"({SEND})({json.dumps([root, POSTS])}).then(told => parent.postMessage(told, '*'))"
    return page.evaluate(
        """script => new Promise(done => {
            addEventListener("message", event => done(event.data), {once: true});
            const frame = document.createElement("iframe");
            frame.sandbox = "allow-scripts allow-forms";
            frame.srcdoc = `<script>${script}</` + `script>`;
            document.body.append(frame) })""",
        script,
    )


def changed(server: ComfyServer, run: Path) -> list[str]:
    """What a request has changed."""
    trainer = server.base / "data" / "trainer"
    paths = [run / "requests" / "stop", trainer / "processes.json", trainer / "setting-up.txt"]
    return [path.name for path in paths if path.exists()]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])  # another site, and another port of the same
def test_a_strangers_page_changes_nothing(
    page: Page, prepared_server: ComfyServer, run: Path, stranger: int, name: str
) -> None:
    root = f"{prepared_server.url}/incontext_lora/"
    page.goto(f"http://{name}:{stranger}/")
    answers: list[int] = []
    page.on("response", lambda answer: answers.append(answer.status) if answer.request.method == "POST" else None)
    told = page.evaluate(SEND, [root, POSTS]) + in_a_sandbox(page, root)
    assert len(told) == 2 * 7 * len(POSTS)
    assert set(told) <= {"refused", "opaque"}, "no answer can be read"
    assert "opaque" in told, "some of them reached ComfyUI"
    assert set(answers) <= {403, 415}
    assert changed(prepared_server, run) == []


def test_a_strangers_form_changes_nothing(page: Page, prepared_server: ComfyServer, run: Path, stranger: int) -> None:
    page.goto(f"http://localhost:{stranger}/")
    with page.expect_response("**/runs/guarded/ask") as told:
        page.evaluate(
            """url => {
                const form = Object.assign(document.createElement("form"), {method: "post", action: url});
                form.enctype = "text/plain";
                form.append(Object.assign(document.createElement("input"), {name: '{"what": "stop", "a": "', value: '"}'}));
                document.body.append(form);
                form.submit() }""",
            f"{prepared_server.url}/incontext_lora/runs/guarded/ask",
        )
    assert told.value.status in (403, 415)
    assert changed(prepared_server, run) == []


def test_comfyuis_own_page_may(interface: Interface, run: Path) -> None:
    shown = panel(interface)
    pick(shown, run.name)
    wait_for_state(shown, "running")
    for what in ("save", "sample", "stop"):
        shown.locator(f"[data-action={what}]").click()
        for _ in range(100):
            if (run / "requests" / what).exists():
                break
            interface.page.wait_for_timeout(100)
        assert (run / "requests" / what).exists()
    status = interface.page.evaluate(
        """async () => (await app.api.fetchApi("/incontext_lora/trainer", {
            method: "POST", headers: {"Content-Type": "application/json"}, body: '{"action": "nothing"}'})).status"""
    )
    assert status == 400, "it is read, and is not an action"
