"""One question over the OpenAI-compatible API: answers, failures, time and cancel."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress

import pytest
from incontext_lora.demo.server import free_port
from incontext_lora.incontext.captions.describe import client
from incontext_lora.incontext.captions.describe.answer import AnswerError
from incontext_lora.incontext.captions.describe.client import complete
from incontext_lora.incontext.captions.describe.options import OLLAMA, Settings
from incontext_lora.incontext.captions.describe.refusal import ServerError
from incontext_lora.incontext.captions.describe.servers import address
from incontext_lora.tests.vision_questions import QUESTION, SETTINGS, ask, failure
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


class Cancelled(Exception):
    pass


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
        (raw(b'{"choices": []}'), "does not contain an answer"),
        (raw(b'{"choices": [7]}'), "does not contain an answer"),
        (raw(b'{"choices": [{"message": null}]}'), "does not contain an answer"),
    ],
)
def test_an_unusable_answer_is_refused(behaviour: Behaviour, words: str) -> None:
    with VisionServer(behaviour) as server, pytest.raises(AnswerError, match=words):
        ask(server)
    assert len(server.questions) == 1


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
        (fails(429, "quota"), "busy, or your quota is used up. Ask again later. It says: quota", 3),
        (fails(500, "out of memory"), "still has an error (500) after 3 tries. See its log. It says: out of memory", 3),
        (hangs_up, "The connection to", 3),
        (fails(400, "this model does not support images"), "refused the request (400). Check that the model", 1),
        (fails(413), "Lower the side of the pictures", 1),
        (fails(401, "no key"), "refused access (401). It needs a key: set INCONTEXT_LORA_API_KEY", 1),
        (fails(403), "refused access (403)", 1),
        (fails(302, Location="http://127.0.0.1:9/v1"), "redirects to another address", 1),
        (raw(b"<html><body>Welcome</body></html>"), "not like an OpenAI-compatible API", 1),
        (raw(b"\xff\xfe\x00"), "not like an OpenAI-compatible API", 1),
        (raw(b""), "not like an OpenAI-compatible API", 1),
        (raw(b'{"error": "no such route"}'), "It says: no such route", 1),
        (raw(b"[" * 100_000), "not like an OpenAI-compatible API", 1),
        (raw(b'{"object": "list", "data": []}'), "usually ends in /v1", 1),
        (raw(b"x" * (5 << 20)), "larger than 4 MB", 1),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(behaviour: Behaviour, words: str, tries: int) -> None:
    message, server = failure(behaviour)
    assert words in message
    assert server.url in message
    assert len(server.questions) == tries


def test_an_error_about_an_unknown_model_lists_the_models() -> None:
    message, server = failure(says("hello"), settings=Settings("blind-model"))
    assert "has no model 'blind-model'" in message
    assert "Its models: seeing-model." in message
    assert [asked.path for asked in server.asked] == ["/v1/chat/completions", "/v1/models"]


def test_no_model_and_no_server() -> None:
    with pytest.raises(ServerError, match="name is missing"):
        complete(address(OLLAMA), Settings(" "), QUESTION)
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


def test_the_server_sees_that_the_request_was_abandoned() -> None:
    heard = threading.Event()

    def listens(asked: Asked, server: VisionServer) -> None:
        connection = server.connections[-1]
        if connection.recv(1) == b"":
            heard.set()

    with VisionServer(listens) as server:
        with pytest.raises(ServerError, match="not answer"):
            ask(server, Settings("seeing-model", timeout=0.2))
        assert heard.wait(2)
