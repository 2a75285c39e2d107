"""The client against a real server on this machine: every way in which a server can be late, wrong or gone."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from incontext_lora.demo.server import free_port
from incontext_lora.incontext.captions.describe import client, joint, refusal, servers
from incontext_lora.incontext.captions.describe.answer import AnswerError
from incontext_lora.incontext.captions.describe.client import complete
from incontext_lora.incontext.captions.describe.options import Pictures, Settings, Wishes
from incontext_lora.incontext.captions.describe.refusal import ServerError
from incontext_lora.incontext.captions.describe.servers import Server, address
from incontext_lora.incontext.captions.joint import JointCaption
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import rows
from incontext_lora.tests.vision_server import (
    Asked,
    Behaviour,
    Reply,
    VisionServer,
    fails,
    half,
    hangs,
    hangs_up,
    raw,
    reply,
    says,
)

RECIPE = Recipe("toy", rows(128, 192, 3), prefix="[TOY]")
GOOD = "SUMMARY: three cups\n[SCENE-1] one\n[SCENE-2] two\n[SCENE-3] three"
SETTINGS = Settings("seeing-model", timeout=20)
QUESTION = [{"role": "user", "content": [{"type": "text", "text": "what is this?"}]}]
KEY = "sk-test-0123456789abcdef"


class Cancelled(Exception):
    pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)


def ask(server: VisionServer, settings: Settings = SETTINGS, **more: Any) -> str:
    return complete(address(server.url), settings, QUESTION, **more)


def failure(*behaviours: Behaviour, settings: Settings = SETTINGS) -> tuple[str, VisionServer]:
    with VisionServer(*behaviours) as server, pytest.raises(ServerError) as error:
        ask(server, settings)
    return str(error.value), server


# --- answers --------------------------------------------------------------------------------------------------------


def test_the_question_arrives_as_the_protocol_wants_it() -> None:
    with VisionServer(says("hello")) as server:
        assert ask(server, Settings(" seeing-model ", max_tokens=99, seed=7)) == "hello"
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert asked.body == {
        "model": "seeing-model",
        "messages": QUESTION,
        "stream": False,
        "max_tokens": 99,
        "temperature": 0.2,
        "seed": 7,
    }
    assert "authorization" not in asked.headers
    assert asked.headers["content-type"] == "application/json"


def test_text_in_parts_is_joined() -> None:
    with VisionServer(says([{"type": "text", "text": "hel"}, {"type": "x"}, {"type": "text", "text": "lo"}])) as server:
        assert ask(server) == "hello"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (says("SUMMARY: a", "length"), "cut off after 2048 tokens. Raise max_tokens"),
        (says(None, refusal="I must not"), "withheld .* I must not"),
        (says("", "content_filter"), "withheld"),
        (says("", reasoning_content="Let me see …"), "thought, but did not answer. Raise max_tokens"),
        (says(None, reasoning="Let me see …"), "thought, but did not answer"),
        (raw(b'{"choices": []}'), "without an answer"),
        (raw(b'{"choices": [7]}'), "without an answer"),
        (raw(b'{"choices": [{"message": null}]}'), "without an answer"),
    ],
)
def test_an_answer_that_is_none_is_refused(behaviour: Behaviour, words: str) -> None:
    with VisionServer(behaviour) as server, pytest.raises(AnswerError, match=words):
        ask(server)
    assert len(server.questions) == 1


# --- servers that fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [fails(429), fails(500), fails(503, "loading"), fails(529), hangs_up, half])
def test_what_may_pass_is_tried_again(behaviour: Behaviour) -> None:
    said: list[str] = []
    with VisionServer(behaviour, behaviour, says("at last")) as server:
        assert ask(server, say=said.append) == "at last"
    assert len(server.questions) == 3
    assert sum("trying again" in text for text in said) == 2


@pytest.mark.parametrize(
    ("behaviour", "words", "tries"),
    [
        (fails(429, "quota"), "busy, or your allowance is used up. Ask again later. It says: quota", 3),
        (fails(500, "out of memory"), "has an error (500), also after 3 tries. See its log. It says: out of memory", 3),
        (hangs_up, "The connection to", 3),
        (fails(400, "this model does not support images"), "refused the question (400). Does the model 'seeing-model' read", 1),
        (fails(413), "Lower the side of the pictures", 1),
        (fails(401, "no key"), "does not let us in (401). It wants a key: set INCONTEXT_LORA_API_KEY", 1),
        (fails(403), "does not let us in (403)", 1),
        (fails(302, Location="http://127.0.0.1:9/v1"), "sends on to another address", 1),
        (raw(b"<html><body>Welcome</body></html>"), "not as an OpenAI-compatible API does", 1),
        (raw(b"\xff\xfe\x00"), "not as an OpenAI-compatible API does", 1),
        (raw(b""), "not as an OpenAI-compatible API does", 1),
        (raw(b'{"error": "no such route"}'), "It says: no such route", 1),
        (raw(b"[" * 100_000), "not as an OpenAI-compatible API does", 1),
        (raw(b'{"object": "list", "data": []}'), "usually ends in /v1", 1),
        (raw(b"x" * (5 << 20)), "larger than 4 MB", 1),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(behaviour: Behaviour, words: str, tries: int) -> None:
    message, server = failure(behaviour)
    assert words in message
    assert server.url in message
    assert len(server.questions) == tries


def test_an_unknown_model_is_told_with_those_that_there_are() -> None:
    message, server = failure(says("hello"), settings=Settings("blind-model"))
    assert "has no model 'blind-model'" in message
    assert "Its models: seeing-model." in message
    assert [asked.path for asked in server.asked] == ["/v1/chat/completions", "/v1/models"]


def test_no_model_and_no_server() -> None:
    with pytest.raises(ServerError, match="No model is named"):
        complete(address(servers.OLLAMA), Settings(" "), QUESTION)
    nobody = address(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ServerError, match=r"No server is running at .*ollama serve") as error:
        complete(nobody, SETTINGS, QUESTION)
    assert error.value.hopeless


def test_a_server_that_starts_late_is_found() -> None:
    port = free_port()
    with ExitStack() as stack:

        def say(text: str) -> None:
            if "trying again" in text:
                stack.enter_context(VisionServer(says("hello"), port=port))

        assert complete(address(f"http://127.0.0.1:{port}"), SETTINGS, QUESTION, say=say) == "hello"


def test_a_server_says_when_to_come_again() -> None:
    said: list[str] = []
    started = time.monotonic()
    with VisionServer(fails(429, retry_after="0.3"), says("hello")) as server:
        assert ask(server, say=said.append) == "hello"
    assert time.monotonic() - started >= 0.3
    with VisionServer(fails(503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), says("hello")) as server:
        assert ask(server) == "hello"


def test_a_setting_that_a_model_does_not_know_is_left_out() -> None:
    def picky(asked: Asked, server: VisionServer) -> Reply:
        for name, instead in (("max_tokens", "Use 'max_completion_tokens'"), ("temperature", "only 1"), ("seed", "?")):
            if name in asked.body:
                return reply({"error": {"message": f"Unsupported: '{name}'. {instead}"}}, 400)
        return reply({"choices": [{"message": {"content": "hello"}}]})

    with VisionServer(picky) as server:
        assert ask(server) == "hello"
    assert server.questions[-1].body["max_completion_tokens"] == SETTINGS.max_tokens


# --- time and cancel ------------------------------------------------------------------------------------------------


def test_the_time_limit_holds_however_the_time_is_spent() -> None:
    def drips(asked: Asked, server: VisionServer) -> None:
        """A byte now and then, so that no single wait is long."""
        with suppress(OSError):
            server.connections[-1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not server.closing.wait(0.05):
                server.connections[-1].sendall(b" ")

    for behaviour in (hangs, drips):
        started = time.monotonic()
        with (
            VisionServer(behaviour) as server,
            pytest.raises(ServerError, match=r"not answer within 0\.2 s.*raise the"),
        ):
            ask(server, Settings("seeing-model", timeout=0.2))
        assert time.monotonic() - started < 2
        assert len(server.questions) == 1, "a slow model is not asked again"


@pytest.mark.parametrize("behaviour", [hangs, fails(503)])
def test_cancel_is_heard_at_once(behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 30.0)
    started = time.monotonic()

    def go_on() -> None:
        if time.monotonic() - started > 0.3:
            raise Cancelled

    with VisionServer(behaviour) as server, pytest.raises(Cancelled):
        ask(server, go_on=go_on)
    assert time.monotonic() - started < 1.3
    assert len(server.questions) == 1


def test_the_server_hears_that_nobody_waits_any_more() -> None:
    heard = threading.Event()

    def listens(asked: Asked, server: VisionServer) -> None:
        connection = server.connections[-1]
        if connection.recv(1) == b"":
            heard.set()

    with VisionServer(listens) as server:
        with pytest.raises(ServerError, match="not answer"):
            ask(server, Settings("seeing-model", timeout=0.2))
        assert heard.wait(2)


# --- keys -----------------------------------------------------------------------------------------------------------


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

        with VisionServer(sends_on) as server, pytest.raises(ServerError, match="do not follow"):
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


def test_a_refused_key_is_told_by_its_place() -> None:
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


# --- one set --------------------------------------------------------------------------------------------------------


def panel(value: int, height: int = 64, width: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def describe(server: VisionServer, panels: list[np.ndarray], shown: Pictures = Pictures.EACH) -> Any:
    settings = Settings("seeing-model", side=96, pictures=shown)
    return joint.describe(
        RECIPE, panels, Wishes(), settings, lambda messages: complete(address(server.url), settings, messages)
    )


def test_all_panels_are_in_one_question() -> None:
    with VisionServer(says(GOOD)) as server:
        answer = describe(server, [panel(10), panel(120, 32, 32), panel(230)])
    assert answer.parts == JointCaption("three cups", ("one", "two", "three"))
    (asked,) = server.questions
    assert [text for text in asked.texts if text.startswith("Picture")] == [
        f"Picture {n} is panel [SCENE-{n}]:" for n in (1, 2, 3)
    ]
    assert [picture.size for picture in asked.pictures] == [(96, 48), (32, 32), (96, 48)]
    for picture, value in zip(asked.pictures, (10, 120, 230), strict=True):
        assert abs(float(np.asarray(picture).mean()) - value) < 3


def test_a_picture_of_the_whole_set_is_cut() -> None:
    whole = np.concatenate([panel(value, 50, 90) for value in (10, 120, 230)])
    with VisionServer(says(GOOD)) as server:
        describe(server, [whole])
    assert [picture.size for picture in server.questions[0].pictures] == [(90, 50)] * 3
    with (
        VisionServer(says(GOOD)) as server,
        pytest.raises(PanelError, match=r"2 pictures for 3 panels \(SCENE-1, SCENE-2"),
    ):
        describe(server, [panel(1)] * 2)
    assert server.asked == []


def test_a_model_that_reads_one_picture_gets_the_whole_set() -> None:
    several = [panel(10), panel(120, 32, 32), panel(230)]
    whole = np.concatenate([panel(value, 50, 90) for value in (10, 120, 230)])
    with VisionServer(says(GOOD)) as server:
        describe(server, several, Pictures.ALL)
        describe(server, [whole], Pictures.ALL)
        with pytest.raises(PanelError, match="2 pictures for 3 panels"):
            describe(server, several[:2], Pictures.ALL)
    stitched, given = (asked.pictures for asked in server.questions)
    assert [picture.size for picture in (*stitched, *given)] == [(64, 96), (58, 96)]
    lines = np.asarray(stitched[0]).mean(axis=(1, 2))
    assert lines[16] == pytest.approx(10, abs=6)
    assert lines[80] == pytest.approx(230, abs=6)
    assert 140 < lines[48] < 250, "the square is shown in full, with padding at its sides"
    assert "The picture has 3 panels" in server.questions[0].texts[0]


def test_an_unusable_answer_is_asked_for_once_more() -> None:
    with VisionServer(says("Three cups."), says(GOOD)) as server:
        answer = describe(server, [panel(1)] * 3)
    assert answer.repairs == ("Asked twice. The model did not describe the panels.",)
    first, second = server.questions
    question, said, complaint = second.body["messages"]
    assert [question] == first.body["messages"]
    assert said == {"role": "assistant", "content": "Three cups."}
    assert "did not describe the panels. Answer once more" in complaint["content"]


def test_two_unusable_answers_are_enough() -> None:
    with VisionServer(says("")) as server, pytest.raises(AnswerError, match="answered with nothing"):
        describe(server, [panel(1)] * 3)
    assert [len(asked.body["messages"]) for asked in server.questions] == [1, 2]
