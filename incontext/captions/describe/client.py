"""One request over the OpenAI-compatible API: time limit, retries, cancelling, and unusable responses.

It uses the standard library only, so that it is clear where bytes go: it follows no redirects, sends none of the machine's
cookies or passwords, and sends a key only to the server that the key is for.
"""

from __future__ import annotations

import http.client
import json
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...files import strict_json
from .answer import AnswerError
from .connection import connect, open_connection, to_this_machine
from .options import Settings
from .refusal import Response, ServerError, clean, without_key, words_of
from .servers import BASE, FILE, KEY, Server

TRIES = 3
FIRST_WAIT = 1.0  # seconds before the second try; doubled for each further one
LONGEST_WAIT = 30.0  # seconds, whatever the server asks for
_LARGEST = 4 << 20  # bytes of a response
_POLL = 0.1  # seconds
_LISTING = 10.0  # seconds allowed for a list of models
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+ -]{0,199}")  # how servers name models
_AGAIN = frozenset({429, 500, 502, 503, 504, 529})


def complete(
    server: Server,
    settings: Settings,
    messages: Sequence[Mapping[str, Any]],
    *,
    go_on: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Ask, and return the text of the answer.

    Args:
        messages: of the chat protocol.
        go_on: called several times a second; raises to give up.
        say: receives one line about what is being waited for.

    Raises:
        ServerError: if the server does not answer, or refuses.
        AnswerError: if the answer is cut off, withheld or empty.
    """
    if not settings.model.strip():
        raise ServerError("The model's name is missing. Write the name of a model that reads pictures.", hopeless=True)
    if not _MODEL.fullmatch(settings.model.strip()) or without_key(server, settings.model) != settings.model:
        # not the text itself: it may hold a key
        raise ServerError(
            "This is not a model name. It has at most 200 letters, digits and . _ - / : @ + characters, such as "
            "qwen2.5vl:7b; keys do not belong in it.",
            hopeless=True,
        )
    body = {
        "model": settings.model.strip(),
        "messages": list(messages),
        "stream": False,
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
        "seed": settings.seed,
    }
    response = _asked(server, body, settings.timeout, go_on, say)
    while response.status in (400, 422) and _without_refused(body, words_of(server, response)):
        response = _asked(server, body, settings.timeout, go_on, say)
    if response.status != 200:
        raise _refusal(server, settings, response, go_on)
    return _text_of(server, settings, response)


def _asked(
    server: Server,
    body: Mapping[str, Any],
    timeout: float,
    go_on: Callable[[], None],
    say: Callable[[str], None],
) -> Response:
    """The response, after up to `TRIES` tries.

    Raises:
        ServerError: if there is no response.
    """
    data = json.dumps(body).encode()
    wait = FIRST_WAIT
    for left in reversed(range(TRIES)):
        say(f"waiting for {body['model']}")
        asked_for: str | None = None
        try:
            response = _exchange(server, "POST", "/chat/completions", data, timeout, go_on)
        except TimeoutError:
            raise ServerError(
                f"{server.url} did not answer within {timeout:g} s. A model that is being loaded, or that thinks, takes "
                "long: raise the timeout, send smaller pictures, or use a smaller model."
            ) from None
        except (OSError, http.client.HTTPException) as error:
            if not left or not _may_pass(error):
                raise _unreachable(server, error) from None
            problem = "cannot be reached"
        else:
            if response.status not in _AGAIN or not left:
                return response
            problem = "is busy" if response.status == 429 else f"has an error ({response.status})"
            asked_for = response.headers.get("retry-after")
        seconds = min(_seconds(asked_for) or wait, LONGEST_WAIT)
        say(f"{server.host} {problem}; trying again in {seconds:.0f} s")
        _sleep(seconds, go_on)
        wait *= 2
    raise AssertionError("the last try returns or raises")


def _exchange(
    server: Server, method: str, path: str, data: bytes | None, timeout: float, go_on: Callable[[], None]
) -> Response:
    """One request in a thread of its own, which is abandoned when the time is up or ``go_on`` raises.

    Raises:
        TimeoutError: if the answer is not complete after ``timeout`` seconds.
        OSError, http.client.HTTPException: if there is no complete response.
    """
    connection, target, headers = open_connection(server, server.path + path, timeout)
    if server.is_localhost:  # do not trust a name server with this name
        connection._create_connection = to_this_machine  # type: ignore[attr-defined]
    outcome: queue.SimpleQueue[Response | Exception] = queue.SimpleQueue()
    sockets: list[socket.socket] = []
    given_up = threading.Event()

    def work() -> None:
        try:
            connect(connection, timeout)
            sockets.append(connection.sock)
            if given_up.is_set():
                connection.sock.close()
                return
            connection.request(method, target, data, headers)
            response = connection.getresponse()
            body = response.read(_LARGEST + 1)
            if len(body) <= _LARGEST and response.length:
                raise http.client.IncompleteRead(body, response.length)
            outcome.put(Response(response.status, {k.lower(): v for k, v in response.getheaders()}, body))
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=work, name="incontext-vision", daemon=True).start()
    deadline = time.monotonic() + timeout
    try:
        while True:
            go_on()
            try:
                got = outcome.get(timeout=max(0.0, min(_POLL, deadline - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= deadline:
                    raise TimeoutError from None
                continue
            if isinstance(got, Exception):
                raise got
            if len(got.body) > _LARGEST:
                raise http.client.HTTPException(f"the answer is larger than {_LARGEST >> 20} MB")
            return got
    finally:
        given_up.set()
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the thread, and tells the server that nobody is waiting
        connection.close()


def _sleep(seconds: float, go_on: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        go_on()
        time.sleep(min(_POLL, left))


def _seconds(header: str | None) -> float:
    """The seconds of a Retry-After header; 0 if it is absent or a date."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0


def _may_pass(error: Exception) -> bool:
    """Whether another try may succeed. A server that is starting refuses or drops connections for a while."""
    dropped = (ConnectionError, http.client.RemoteDisconnected, http.client.IncompleteRead)
    return isinstance(error, dropped)


def _unreachable(server: Server, error: Exception) -> ServerError:
    if isinstance(error, ConnectionRefusedError):
        text = f"No server is running at {server.url}. Start it (for Ollama: ollama serve), or correct the address."
    elif isinstance(error, socket.gaierror):
        text = f"There is no host {server.host}. Correct the address."
    else:
        reason = str(error).strip().rstrip(".") or type(error).__name__
        text = f"The connection to {server.url} failed ({clean(server, reason)}). Is this the right address and port?"
    refused = isinstance(error, ConnectionRefusedError)
    return ServerError(text, hopeless=refused or not _may_pass(error))


def _refusal(server: Server, settings: Settings, response: Response, go_on: Callable[[], None]) -> ServerError:
    """The error for a status other than 200, with what to do."""
    status, said = response.status, words_of(server, response)
    says = f" It says: {said}" if said else ""
    if 300 <= status < 400:
        return ServerError(
            f"{server.url} redirects to another address, where pictures and keys are not sent. Write that address instead.",
            hopeless=True,
        )
    if status in (401, 403, 407):
        sent = (
            f"The key in {server.source} was refused; set it again."
            if server.key
            else f"It needs a key: set {KEY}, and {BASE}={server.url}, in the environment and restart ComfyUI, or "
            f"write both into {FILE} (see the help page of Caption Panels)."
        )
        return ServerError(f"{server.url} refused access ({status}). {sent}{says}", hopeless=True)
    if status in (404, 405):
        return ServerError(
            f"{server.url} has no model {settings.model!r}, or this is not the address of its API, which usually ends in "
            f"/v1.{_which_models(server, go_on)}{says}",
            hopeless=True,
        )
    if status == 413:
        return ServerError(f"The pictures are too large for {server.url}. Lower the side of the pictures.{says}")
    if status == 429:
        return ServerError(f"{server.url} is busy, or your quota is used up. Ask again later.{says}")
    if status >= 500:
        return ServerError(f"{server.url} still has an error ({status}) after {TRIES} tries. See its log.{says}")
    return ServerError(
        f"{server.url} refused the request ({status}). Check that the model {settings.model!r} reads pictures, and as many "
        f"as there are panels.{says}"
    )


def _which_models(server: Server, go_on: Callable[[], None]) -> str:
    try:
        response = _exchange(server, "GET", "/models", None, _LISTING, go_on)
        models = strict_json.parse(response.body)["data"]
        names = [model["id"] for model in models if isinstance(model["id"], str) and _MODEL.fullmatch(model["id"])]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return ""
    names = [without_key(server, name) for name in names]
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f" Its models: {listed}." if names else " It has no models yet."


def _without_refused(body: dict[str, Any], said: str) -> bool:
    """Remove a setting that the server's message refuses, since some models support fewer. Whether one was removed."""
    if "max_completion_tokens" in said and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
        return True
    for name in ("temperature", "seed"):
        if name in said and name in body:
            del body[name]
            return True
    return False


def _text_of(server: Server, settings: Settings, response: Response) -> str:
    """The text of a response.

    Raises:
        ServerError: if it is not a response of this protocol.
        AnswerError: if it holds no complete answer.
    """
    try:
        data = strict_json.parse(response.body, odd_names=True)
    except strict_json.JsonError:
        data = None
    if not isinstance(data, dict) or not isinstance(data.get("choices"), list):
        said = words_of(server, response)
        raise ServerError(
            f"{server.url} answered, but not like an OpenAI-compatible API. Its address usually ends in /v1."
            + (f" It says: {said}" if said else ""),
            hopeless=True,
        )
    choice = next(iter(data["choices"]), None)
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise AnswerError("The server's response does not contain an answer. Ask again, or see the server's log.")
    if choice.get("finish_reason") == "length":
        raise AnswerError(
            f"The answer was cut off after {settings.max_tokens} tokens. Raise max_tokens, especially for a model that "
            "thinks; if that does not help, raise the context length on the server."
        )
    refused = message.get("refusal")
    if choice.get("finish_reason") == "content_filter" or refused:
        why = f": {clean(server, str(refused))}" if refused else "."
        raise AnswerError(f"The server withheld the answer because of its contents{why} Use another model.")
    content = _content(message.get("content"))
    if not content.strip() and (message.get("reasoning") or message.get("reasoning_content")):
        raise AnswerError(
            "The model thought, but did not answer. Raise max_tokens, or use a model that does not think."
        )
    return without_key(server, content)  # an answer ends up in pictures and files


def _content(content: Any) -> str:
    """The text of a message's content, which may be a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
