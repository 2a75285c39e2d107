"""Only ComfyUI's own page, and programs on purpose, can change something: over HTTP, with the headers that browsers send."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.tests.route_client import Client
from incontext_lora.training.runs.run_folder import RunWriter
from incontext_lora.training.sd_scripts import installing

if TYPE_CHECKING:
    from conftest import HostPack

JSON = "application/json"
STOP = b'{"what": "stop"}'


@pytest.fixture(scope="module")
def client(host: HostPack) -> Iterator[Client]:
    made = Client(host)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOSTS", "FOLDERS", "REMOTE_INSTALL"):
        monkeypatch.delenv(f"INCONTEXT_LORA_{name}", raising=False)


@pytest.fixture
def run(host: HostPack) -> Iterator[Path]:
    """A run that has just spoken, so that it counts as running."""
    writer = RunWriter.create(host.base / "output" / "incontext_runs", "guarded", {"settings": {"steps": 9}})
    writer.event("started", steps=9)
    writer.close()
    return writer.run.folder


def stop(client: Client, run: Path, **headers: str) -> int:
    """Ask a run to stop; the status, after a look at what it did."""
    (run / "requests" / "stop").unlink(missing_ok=True)
    status, answer = client.send(f"runs/{run.name}/ask", STOP, **{"Content_Type": JSON, **headers})
    assert (run / "requests" / "stop").exists() == (status == 200), answer
    assert status == 200 or answer["error"].endswith((".", ")"))
    return status


PAGES = [
    # the real page, as people open it
    ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1:8188", "Sec_Fetch_Site": "same-origin"}, 200),
    ({"Host": "localhost:8188", "Origin": "http://localhost:8188", "Sec_Fetch_Site": "same-origin"}, 200),
    ({"Host": "192.168.1.20:8188", "Origin": "http://192.168.1.20:8188"}, 200),
    ({"Host": "[::1]:8188", "Origin": "http://[::1]:8188"}, 200),
    ({"Host": "[fd00::7]:8188", "Origin": "http://[fd00::7]:8188"}, 200),
    ({"Host": "workstation:8188", "Origin": "http://workstation:8188"}, 200),
    ({"Host": "workstation.local:8188", "Origin": "http://workstation.local:8188"}, 200),
    ({"Host": "COMFY.localhost", "Origin": "http://comfy.localhost"}, 200),
    # behind a reverse proxy
    ({"Host": "comfy.example.com", "Origin": "https://comfy.example.com", "Sec_Fetch_Site": "same-origin"}, 200),
    ({"Host": "comfy.example.com:8443", "Origin": "https://comfy.example.com:8443"}, 200),
    ({"Host": "comfy.example.com", "Origin": "https://comfy.example.com:8443", "Sec_Fetch_Site": "same-origin"}, 200),
    ({"Host": "10.0.0.5:8188", "X_Forwarded_Host": "comfy.example.com", "Origin": "https://comfy.example.com"}, 200),
    ({"Host": "nas.lan", "Origin": "http://nas.lan"}, 200),
    # a program
    ({"Host": "127.0.0.1:8188"}, 200),
    ({"Host": "127.0.0.1:8188", "Content_Type": "application/json; charset=UTF-8"}, 200),
    # other pages
    ({"Host": "127.0.0.1:8188", "Origin": "null"}, 403),
    ({"Host": "127.0.0.1:8188", "Origin": "null", "Sec_Fetch_Site": "cross-site"}, 403),
    ({"Host": "127.0.0.1:8188", "Origin": ""}, 403),
    ({"Host": "127.0.0.1:8188", "Origin": "file://"}, 403),
    ({"Host": "127.0.0.1:8188", "Origin": "http://evil.example"}, 403),
    ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1:3000", "Sec_Fetch_Site": "same-site"}, 403),
    ({"Host": "127.0.0.1:8188", "Origin": "http://localhost:8188"}, 403),
    ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1:8188@evil.example"}, 403),
    ({"Host": "192.168.1.20:8188", "Origin": "http://evil.example"}, 403),
    ({"Host": "127.0.0.1:8188", "Sec_Fetch_Site": "cross-site"}, 403),
    ({"Host": "127.0.0.1:8188", "Sec_Fetch_Site": "same-site"}, 403),
    ({"Host": "127.0.0.1:8188", "Origin": "chrome-extension://abcdefgh"}, 403),
    ({"Host": "comfy.example.com", "Origin": "https://comfy.example.com:3000", "Sec_Fetch_Site": "same-site"}, 403),
    # names that were made to lead here
    ({"Host": "evil.example:8188", "Origin": "http://evil.example:8188", "Sec_Fetch_Site": "same-origin"}, 403),
    ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ({"Host": "evil.example:8188"}, 403),
    ({"Host": "127.0.0.1.evil.example:8188", "Origin": "http://127.0.0.1.evil.example:8188"}, 403),
    ({"Host": "localhost.evil.example:8188", "Origin": "http://localhost.evil.example:8188"}, 403),
    ({"Host": "evil.example:8188", "X_Forwarded_Host": "localhost", "Origin": "http://evil.example:8188"}, 403),
    ({"Host": ""}, 403),
    ({"Host": "a b"}, 403),
    # bodies that a page can send without asking
    ({"Host": "127.0.0.1:8188", "Content_Type": "text/plain"}, 415),
    ({"Host": "127.0.0.1:8188", "Content_Type": "application/x-www-form-urlencoded"}, 415),
    ({"Host": "127.0.0.1:8188", "Content_Type": "text/plain; a=application/json"}, 415),
    ({"Host": "127.0.0.1:8188", "Content_Type": ""}, 415),
    ({"Host": "127.0.0.1:8188", "Content_Type": "application/jsonx"}, 415),
    ({"Host": "127.0.0.1:8188", "Content_Type": "application/json; charset=utf-7"}, 415),
]


@pytest.mark.parametrize(("headers", "status"), PAGES, ids=[" ".join(headers.values()) or "-" for headers, _ in PAGES])
def test_who_can_stop_a_training(client: Client, run: Path, headers: dict[str, str], status: int) -> None:
    assert stop(client, run, **headers) == status


@pytest.mark.parametrize(
    "path",
    [
        *("caption", "parse_caption", "trainer", "trainer/processes"),
        *(f"sets/x/{action}" for action in ("reference", "dataset")),
        *(f"runs/x/{action}" for action in ("ask", "resume", "use", "label", "folder", "delete")),
    ],
)
def test_every_post_is_guarded(client: Client, path: str) -> None:
    assert client.send(path, b"{}", Content_Type="text/plain")[0] == 415
    assert client.send(path, b"{}", Content_Type=JSON, Origin="null")[0] == 403
    assert client.send(path, b"{}", Content_Type=JSON, Origin="http://evil.example")[0] == 403
    assert client.send(path, b"[" * 100_000, Content_Type=JSON)[0] == 400


def test_no_post_of_the_pack_is_without_a_guard(host: HostPack) -> None:
    from aiohttp import web

    ours = [r for r in host.prompt_server.routes if isinstance(r, web.RouteDef) and "/incontext_lora/" in r.path]
    assert {r.method for r in ours} == {"GET", "POST"}
    assert len([r for r in ours if r.method == "POST"]) == 12, "name the new one in the test above"


def test_a_host_can_be_allowed(client: Client, run: Path, host: HostPack, monkeypatch: pytest.MonkeyPatch) -> None:
    page = {"Host": "comfy.example.com", "Origin": "http://comfy.example.com"}
    assert stop(client, run, **page) == 403
    monkeypatch.setenv("INCONTEXT_LORA_HOSTS", "comfy.example.com")
    assert stop(client, run, **page) == 200
    monkeypatch.delenv("INCONTEXT_LORA_HOSTS")
    settings = host.base / "user" / "__incontext_lora" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"hosts": ["comfy.example.com"]}))
    try:
        assert stop(client, run, **page) == 200
    finally:
        shutil.rmtree(settings.parent)


class TestInstallation:
    @pytest.fixture(autouse=True)
    def begun(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What was begun, in place of a real installation."""
        begun: list[str] = []
        monkeypatch.setenv("INCONTEXT_LORA_DATA", str(tmp_path))
        monkeypatch.setattr(installing, "begin", lambda what, *_: begun.append(what[-1]))
        return begun

    def ask(self, client: Client, action: str, **headers: str) -> tuple[int, Any]:
        return client.send("trainer", json.dumps({"action": action}).encode(), Content_Type=JSON, **headers)

    def test_from_this_machine(self, client: Client, begun: list[str]) -> None:
        origin = f"http://{client.address}"
        assert self.ask(client, "install", Origin=origin, Sec_Fetch_Site="same-origin")[0] == 200
        assert self.ask(client, "install", Host="localhost:8188", Origin="http://localhost:8188")[0] == 200
        assert begun == ["install", "install"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "comfy.example.com", "Origin": "https://comfy.example.com"},
            {"Host": "192.168.1.20:8188", "Origin": "http://192.168.1.20:8188"},
            {"X_Forwarded_For": "203.0.113.9"},
            {"Forwarded": "for=203.0.113.9"},
        ],
    )
    def test_from_another_only_where_it_is_allowed(
        self, client: Client, begun: list[str], headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        status, answer = self.ask(client, "install", **headers)
        assert (status, begun) == (403, [])
        assert "INCONTEXT_LORA_REMOTE_INSTALL=1" in answer["error"]
        assert self.ask(client, "check", **headers)[0] == 200
        monkeypatch.setenv("INCONTEXT_LORA_REMOTE_INSTALL", "1")
        assert self.ask(client, "install", **headers)[0] == 200
        assert begun == ["check", "install"]

    @pytest.mark.parametrize(
        ("peer", "here", "allowed"),
        [
            ("127.0.0.1", "127.0.0.1", True),
            ("::1", "::1", True),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
            ("192.168.1.20", "192.168.1.20", True),  # this machine, opened by its own address
            ("192.168.1.7", "192.168.1.20", False),
            ("", "", False),
        ],
    )
    def test_the_address_decides(self, host: HostPack, peer: str, here: str, allowed: bool) -> None:
        from incontext_lora.incontext.permissions import Permissions
        from incontext_lora.nodes.server import access

        name = f"[{here}]" if ":" in here else here or "127.0.0.1"
        said = access.refusal_to_install({"Host": f"{name}:8188"}, peer, here, Permissions())
        assert (said == "") == allowed
