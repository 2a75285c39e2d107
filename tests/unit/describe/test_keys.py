"""Keys reach their server and nothing else; names and proxies of servers."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from typing import Any

import pytest
from incontext_lora.incontext.captions.describe import refusal, servers
from incontext_lora.incontext.captions.describe.client import complete
from incontext_lora.incontext.captions.describe.refusal import ServerError
from incontext_lora.incontext.captions.describe.servers import Server, address
from incontext_lora.tests.vision_questions import KEY, QUESTION, SETTINGS, ask
from incontext_lora.tests.vision_server import (
    Asked,
    Reply,
    VisionServer,
    fails,
    says,
)


def keyed(server: VisionServer) -> Server:
    return servers.permitted(server.url, servers.named_servers({servers.BASE: server.url, servers.KEY: KEY}))


def test_the_key_goes_to_its_server() -> None:
    with VisionServer(says("hello")) as server:
        assert complete(keyed(server), SETTINGS, QUESTION) == "hello"
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_the_key_does_not_follow_to_another_address() -> None:
    with VisionServer(says("stolen")) as thief:

        def sends_on(asked: Asked, server: VisionServer) -> Reply:
            return Reply(b"", 307, {"Location": f"{thief.url}/chat/completions"})

        with VisionServer(sends_on) as server, pytest.raises(ServerError, match="are not sent"):
            complete(keyed(server), SETTINGS, QUESTION)
    assert thief.asked == []


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500])
def test_no_message_holds_the_key(status: int) -> None:
    def echoes(asked: Asked, server: VisionServer) -> Reply:
        return Reply(json.dumps({"error": {"message": f"bad {dict(asked.headers)}"}}).encode(), status)

    said: list[str] = []
    with VisionServer(echoes) as server, pytest.raises(ServerError) as error:
        complete(keyed(server), SETTINGS, QUESTION, say=said.append)
    assert KEY not in str(error.value)
    assert "(the key)" in str(error.value)
    assert KEY not in repr(keyed(server)) + repr(error.value) + "".join(said)
    assert error.value.__cause__ is None


def test_no_answer_holds_the_key() -> None:
    with VisionServer(says(f"your key is {KEY}")) as server:
        assert complete(keyed(server), SETTINGS, QUESTION) == "your key is (the key)"


WAYS = {
    "escaped": "".join(f"\\u{ord(each):04x}" for each in KEY),
    "escaped twice": "".join(f"\\\\u{ord(each):04X}" for each in KEY),
    "partly escaped": KEY.replace("-", "\\u002d"),
    "of a URL": KEY.replace("-", "%2D"),
    "of HTML": KEY.replace("s", "&#115;"),
    "split": " ".join([KEY[:9], KEY[9:]]),
    "on two lines": "\n".join([KEY[:9], KEY[9:]]),
    "spaced": " ".join(KEY),
    "shouted": KEY.upper(),
    "with a space that is not seen": KEY[:5] + "\u200b" + KEY[5:],
}


@pytest.mark.parametrize("way", WAYS)
def test_the_key_is_masked_however_it_is_written(way: str) -> None:
    written = WAYS[way]
    for body in (
        f"no: {written} !",
        json.dumps({"error": {"message": f"no: {written} !"}}),
        f'{{"detail": "no: {KEY} !"}}',
    ):
        with VisionServer(fails(400, body)) as server, pytest.raises(ServerError) as error:
            complete(keyed(server), SETTINGS, QUESTION)
        assert "no: (the key) !" in str(error.value)
    with VisionServer(says(f"your key is {written}.")) as server:
        assert complete(keyed(server), SETTINGS, QUESTION) == "your key is (the key)."


@pytest.mark.parametrize(
    "model", [KEY, f"a {KEY}", " ".join([KEY[:9], KEY[9:]]), "a\nb", "x" * 300, "<b>", "\ud800", "-x"]
)
def test_a_model_has_the_name_of_one(model: str) -> None:
    said: list[str] = []
    with VisionServer(says("hello")) as server, pytest.raises(ServerError, match="not a model name") as error:
        complete(keyed(server), replace(SETTINGS, model=model), QUESTION, say=said.append)
    assert (server.asked, said) == ([], [])
    assert KEY not in str(error.value)


def test_what_a_server_calls_its_models_is_masked_too() -> None:
    models = (KEY, "good", "<script>", "seeing-model")
    with VisionServer(fails(404, "no"), models=models) as server, pytest.raises(ServerError) as error:
        complete(keyed(server), SETTINGS, QUESTION)
    assert "Its models: (the key), good, seeing-model." in str(error.value)


@pytest.mark.parametrize("text", ["\\\\" * 2_000_000, "s " * 1_000_000, " " * 4_000_000, KEY[:-1] * 100_000])
def test_masking_takes_time_that_grows_with_the_text(text: str) -> None:
    began = time.process_time()
    refusal.without_key(Server("http", "127.0.0.1", 1, "/v1", KEY), text)
    assert time.process_time() - began < 5


def test_names_below_localhost_lead_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a name server says of them: pictures may go to them without being asked."""
    monkeypatch.setattr(socket, "getaddrinfo", _only_numbers(socket.getaddrinfo))
    with VisionServer(says("hello")) as server:
        for name in ("localhost", "models.localhost", "evil.localhost"):
            url = server.url.replace("127.0.0.1", name)
            assert complete(address(url), SETTINGS, QUESTION) == "hello"
    assert {asked.headers["host"].partition(":")[0] for asked in server.questions} == {
        "localhost",
        "models.localhost",
        "evil.localhost",
    }


def _only_numbers(resolve: Any) -> Any:
    def resolved(host: str, *rest: Any, **more: Any) -> Any:
        assert not host.endswith("localhost"), "a name server was asked"
        return resolve(host, *rest, **more)

    return resolved


def test_an_error_about_a_refused_key_says_where_it_is() -> None:
    with (
        VisionServer(fails(401)) as server,
        pytest.raises(ServerError, match="key in INCONTEXT_LORA_API_KEY was refused"),
    ):
        complete(keyed(server), SETTINGS, QUESTION)


def test_the_machines_proxy_is_used_for_other_machines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with VisionServer(says("through the proxy")) as proxy, VisionServer(says("directly")) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        assert ask(server) == "directly"
        named = servers.named_servers({servers.BASE: "http://vision.example:8000/v1"})
        far = servers.permitted("http://vision.example:8000/v1", named)
        assert complete(far, SETTINGS, QUESTION) == "through the proxy"
    (asked,) = proxy.asked
    assert asked.path == "http://vision.example:8000/v1/chat/completions"
    assert asked.headers["host"] == "vision.example:8000"
