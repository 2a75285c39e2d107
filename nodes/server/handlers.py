"""Handlers of requests about files: which threads answer, and in which form. Nothing here knows what is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from ...incontext.errors import InContextError
from .routes import Busy, Json, JsonText, Threads, acting, answering, picturing, posted, watching


def watched(answer: Callable[[web.Request], JsonText], threads: Threads = watching) -> Callable[[web.Request], Any]:
    """For GET: an answer that is read from files."""

    async def handler(request: web.Request) -> JsonText:
        return await threads.begin(answer, request)

    return answering(handler)


def acted(answer: Callable[[web.Request, Json], Json]) -> Callable[[web.Request], Any]:
    """For POST: something that changes files."""

    async def handler(request: web.Request, asked: Json) -> Json:
        return await acting.begin(answer, request, asked)

    return posted(handler)


def pictured(picture: Callable[[web.Request], Path | bytes]) -> Callable[[web.Request], Any]:
    """For GET: a picture, as a file or as a JPEG whose address changes whenever its content does."""

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            found = await picturing.begin(picture, request)
        except Busy as error:
            return web.json_response({"error": str(error)}, status=503)
        except InContextError as error:
            return web.json_response({"error": str(error)}, status=404)
        except OSError as error:  # it, or its disk, was removed at this moment
            return web.json_response({"error": f"The picture cannot be read: {error.strerror or error}."}, status=404)
        if isinstance(found, bytes):  # a set's picture, whose name changes whenever its content does
            headers = {"Cache-Control": "private, max-age=86400"}
            return web.Response(body=found, content_type="image/jpeg", headers=headers)
        # a resumed or repeated run uses a sample's name again: the browser asks each time whether it is new
        return web.FileResponse(found, headers={"Cache-Control": "private, no-cache"})

    return handler


def json_text(value: Json) -> JsonText:
    return JsonText.of(json.dumps(value))
