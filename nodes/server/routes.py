"""How a question of the interface is answered: who may ask, in which thread, and as what JSON.

Every POST of the pack goes through `posted`: JSON in UTF-8, from ComfyUI's own page or from a program (see access.py).
A request that cannot be answered gets status 400 and ``{"error": …}``, a sentence for the user; one that is not
allowed gets 403, another content type 415, and one too many at once 503.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

from aiohttp import web

from ...incontext.errors import InContextError
from ...incontext.files import strict_json
from ...incontext.permissions import NotAllowed
from .. import host
from . import access

ROOT = "/incontext_lora"

READERS = 2  # threads that read what strangers wrote: recipes, captions, LoRA files
MOST_WAITING = 32  # questions for them; more are turned away
PATIENCE = 30.0  # seconds per question; the first count of tokens reads the vocabularies
PIECE = 1 << 16  # bytes of an answer that are sent before others have their turn
REST = 3.0  # times as long as the last answer took; work on the next one waits that long
LONGEST_REST = 1.0  # seconds

Json = dict[str, Any]
Answer = TypeVar("Answer")


class Busy(InContextError):
    """There are too many requests at once, or one takes too long."""


class Threads:
    """Threads of our own for one kind of question: those that ComfyUI shares with all packs stay free."""

    def __init__(self, kind: str, threads: int, most: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"incontext-lora-{kind}")
        self._most = most
        self.waiting: set[asyncio.Future[Any]] = set()

    def begin(self, work: Callable[..., Answer], *arguments: Any) -> asyncio.Future[Answer]:
        """
        Raises:
            Busy: if too many others wait.
        """
        if len(self.waiting) >= self._most:
            raise Busy(f"{len(self.waiting)} requests are already waiting for an answer. Try again in a moment.")
        future = asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)
        self.waiting.add(future)
        future.add_done_callback(self.waiting.discard)
        return future


_texts = Threads("read", READERS, MOST_WAITING)
_waiting = _texts.waiting
# one thread: Python runs one at a time, and each busy thread delays ComfyUI's own answers
watching = Threads("watch", 1, 256)
acting = Threads("act", 4, 32)
picturing = Threads("pictures", 2, 1024)


async def read_apart(read: Callable[..., Answer], *arguments: Any) -> Answer:
    """Call a function in a thread of its own, so that neither the page nor ComfyUI's other work waits for it.

    Raises:
        Busy: if too many others wait, or it takes longer than `PATIENCE`.
        Exception: whatever ``read`` raises.
    """
    future = _texts.begin(read, *arguments)
    done, _ = await asyncio.wait({future}, timeout=PATIENCE)
    if not done:
        raise Busy(f"There was no answer within {PATIENCE:g} s. Try again with a smaller recipe or a shorter text.")
    return future.result()


class SharedAnswer:
    """One answer for everybody who asks before work on it begins; the next one begins after a rest.

    So all watching pages together cost as much as one, and a quarter of a processor at most. Nobody gets an answer that was
    begun before they asked.
    """

    def __init__(self, find: Callable[[], JsonText]) -> None:
        self._find = find
        self._next: asyncio.Task[JsonText] | None = None
        self._before: asyncio.Task[JsonText] | None = None
        self._rested = 0.0

    async def __call__(self) -> JsonText:
        if self._next is None or self._next.get_loop() is not asyncio.get_running_loop():
            self._next = asyncio.create_task(self._answer(self._before))
        return await asyncio.shield(self._next)  # a page that goes away does not cancel the answer for the others

    async def _answer(self, before: asyncio.Task[JsonText] | None) -> JsonText:
        if before is not None and before.get_loop() is asyncio.get_running_loop() and not before.done():
            await asyncio.wait({before})
        await asyncio.sleep(max(0.0, self._rested - time.monotonic()))
        self._before, self._next = self._next, None
        began = time.monotonic()
        try:
            return await watching.begin(self._find)
        finally:
            now = time.monotonic()
            self._rested = now + min(REST * (now - began), LONGEST_REST)


@dataclass(frozen=True)
class JsonText:
    """An answer that may be long, as it is sent; made in a thread.

    Attributes:
        tag: differs for a different text.
    """

    body: bytes
    tag: str

    @classmethod
    def of(cls, text: str) -> JsonText:
        body = text.encode()
        return cls(body, blake2b(body, digest_size=16).hexdigest())


def answering(
    answer: Callable[[web.Request], Awaitable[Json | JsonText]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler for an answer: a value, or its text where that may be long."""

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            value = await answer(request)
            if isinstance(value, JsonText):
                return await _sent(request, value)
            return web.json_response(value)
        except NotAllowed as error:
            return _error(str(error), 403)
        except Busy as error:
            return _error(str(error), 503)
        except InContextError as error:
            return _error(str(error), 400)
        except (KeyError, TypeError, ValueError) as error:  # not in the form documented above
            return _error(f"The request cannot be read: {error!r}.", 400)
        except OSError as error:
            return _error(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.", 400)

    return handler


def posted(
    answer: Callable[[web.Request, Json], Awaitable[Json]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler for POST: refuses strangers' pages, reads the body, answers."""

    async def checked(request: web.Request) -> Json:
        if said := access.refusal(request.headers, host.permissions()):
            raise NotAllowed(said)
        return await answer(request, await _body(request))

    handle = answering(checked)

    async def handler(request: web.Request) -> web.StreamResponse:
        if said := access.wrong_content(request.headers):
            return _error(said, 415)
        return await handle(request)

    return handler


async def _sent(request: web.Request, text: JsonText) -> web.StreamResponse:
    """Send JSON in pieces, between which others have their turn; nothing if the page has the same already."""
    body = text.body
    headers = {"ETag": f'"{text.tag}"', "Cache-Control": "private, no-cache"}
    if any(text.tag == known.value for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    if len(body) <= PIECE:
        return web.Response(body=body, headers=headers, content_type="application/json", charset="utf-8")
    response = web.StreamResponse(headers=headers)
    response.content_type, response.charset = "application/json", "utf-8"
    response.content_length = len(body)
    await response.prepare(request)
    for start in range(0, len(body), PIECE):
        await response.write(body[start : start + PIECE])
        await asyncio.sleep(0)
    await response.write_eof()
    return response


async def _body(request: web.Request) -> Json:
    """The object in a request's body; an empty body is an empty object.

    Raises:
        InContextError: if it is something else.
    """
    if (request.content_length or 0) > strict_json.LARGEST:
        raise InContextError(f"The request has {request.content_length} bytes. Send at most {strict_json.LARGEST}.")
    data = await request.read()
    try:
        value = await read_apart(strict_json.parse, data) if data else {}
    except strict_json.JsonError as error:
        raise InContextError(f"The request cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise InContextError(f"The request cannot be read: it is {strict_json.shown(value)}, but should be an object.")
    return value


def _error(text: str, status: int) -> web.Response:
    return web.json_response({"error": text}, status=status)
