"""What the interface asks before anything runs: recipes, and a caption as the node would write it. All read only.

Every POST of the pack goes through `posted`: JSON in UTF-8, from ComfyUI's own page or from a program (see access.py).

GET  /incontext_lora/recipes                the published tasks: {name: recipe}
GET  /incontext_lora/lora_recipe?name=…     {"recipe": … or null, "source": where it was found}
POST /incontext_lora/caption                {"recipe", "summary", "panels", "names", "escape_parentheses"} →
                                            {"caption", "marks", "problems", "tokens"}
POST /incontext_lora/parse_caption          {"recipe", "caption"} → {"summary", "panels"}

Recipes are as in a LoRA's file (`Recipe.to_json`). A request that cannot be answered gets status 400 and ``{"error": …}``,
a sentence for the user; one that may not ask gets 403, another content type 415, and one too many at once 503.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from aiohttp import web

from ..incontext import caption as captions
from ..incontext import strict_json, tasks
from ..incontext.errors import InContextError
from ..incontext.lora_file import find_recipe
from ..incontext.permissions import NotAllowed
from ..incontext.recipe import Recipe
from . import access, host
from .caption import joint_caption
from .host import lora_names, lora_path
from .tokens import bundled_counters

ROOT = "/incontext_lora"

READERS = 2  # threads that read what strangers wrote: recipes, captions, LoRA files
MOST_WAITING = 32  # questions for them; more are turned away
PATIENCE = 30.0  # seconds for one; the first count of tokens reads the vocabularies

Json = dict[str, Any]
Answer = TypeVar("Answer")


class Busy(InContextError):
    """There are too many questions at once, or one takes too long."""


_readers = ThreadPoolExecutor(READERS, thread_name_prefix="incontext-lora-read")
_waiting: set[asyncio.Future[Any]] = set()


def add_routes(routes: web.RouteTableDef) -> None:
    """Add the routes to those of ComfyUI's server."""
    routes.get(f"{ROOT}/recipes")(answering(lambda request: read_apart(published_recipes)))
    routes.get(f"{ROOT}/lora_recipe")(answering(_lora_recipe))
    routes.post(f"{ROOT}/caption")(posted(_caption))
    routes.post(f"{ROOT}/parse_caption")(posted(_parse_caption))


def published_recipes() -> Json:
    return {name: recipe.to_json() for name, recipe in tasks.RECIPES.items()}


def lora_recipe(name: str) -> Json:
    """A LoRA's recipe; that of a published LoRA is known by its name before the file is there."""
    if name in lora_names():  # nothing else is opened, whatever the name says
        recipe, source = find_recipe(lora_path(name))
    else:
        recipe, source = tasks.recipe_for_file(name), "there is no such file yet"
    return {"recipe": recipe and recipe.to_json(), "source": source}


def written_caption(fields: Mapping[str, Any]) -> Json:
    """What Joint Caption would send, where its markers stand, what is to be mended, and its tokens by encoder.

    Raises:
        InContextError: where the caption cannot be written.
    """
    recipe = Recipe.from_json(fields["recipe"])
    panels = [str(text) for text in strict_json.field(fields, "panels", list)]
    text = joint_caption(
        recipe, str(fields["summary"]), panels, str(fields["names"]), bool(fields["escape_parentheses"])
    )
    counts = captions.count_tokens(text, bundled_counters())
    return {
        "caption": text,
        "marks": [list(span) for span in captions.marks(recipe, text)],
        "problems": list(captions.problems(recipe, text)),
        "tokens": [
            {"encoder": entry.encoder, "count": entry.count, "limit": entry.limit, "cut": entry.cut} for entry in counts
        ],
    }


def parsed_caption(fields: Mapping[str, Any]) -> Json:
    """The fields of a whole caption.

    Raises:
        InContextError: where its markers are not those of the recipe.
    """
    parts = captions.parse(Recipe.from_json(fields["recipe"]), str(fields["caption"]))
    return {"summary": parts.summary, "panels": list(parts.panels)}


async def _lora_recipe(request: web.Request) -> Json:
    return await read_apart(lora_recipe, request.query.get("name", ""))


async def _caption(request: web.Request, fields: Json) -> Json:
    return await read_apart(written_caption, fields)


async def _parse_caption(request: web.Request, fields: Json) -> Json:
    return await read_apart(parsed_caption, fields)


async def read_apart(read: Callable[..., Answer], *arguments: Any) -> Answer:
    """Call a function in a thread of its own, so that neither the page nor ComfyUI's other work waits for it.

    Raises:
        Busy: where too many others wait, or it takes longer than `PATIENCE`.
        Exception: whatever ``read`` raises.
    """
    if len(_waiting) >= MOST_WAITING:
        raise Busy(f"{len(_waiting)} questions wait for an answer already. Ask again in a moment.")
    future = asyncio.get_running_loop().run_in_executor(_readers, read, *arguments)
    _waiting.add(future)
    future.add_done_callback(_waiting.discard)
    done, _ = await asyncio.wait({future}, timeout=PATIENCE)
    if not done:
        raise Busy(f"There was no answer within {PATIENCE:g} s. Ask again, with a smaller recipe or a shorter text.")
    return future.result()


_READING = ThreadPoolExecutor(1, "incontext-lora reading")


async def reading(read: Callable[[], Any]) -> Any:
    """What ``read`` finds, in the one thread that all watching pages share.

    Python runs one thread at a time, and each one that computes delays ComfyUI's own answers: 20 pages must not be 20 of them.
    """
    return await asyncio.get_running_loop().run_in_executor(_READING, read)


def answering(answer: Callable[[web.Request], Awaitable[Json]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        try:
            value = await answer(request)
            text = await reading(lambda: json.dumps(value))  # a list of thousands of runs takes a while
            return web.Response(text=text, content_type="application/json")
        except NotAllowed as error:
            return _error(str(error), 403)
        except Busy as error:
            return _error(str(error), 503)
        except InContextError as error:
            return _error(str(error), 400)
        except (KeyError, TypeError, ValueError) as error:  # not of the form that is documented above
            return _error(f"The request cannot be read: {error!r}.", 400)
        except OSError as error:
            return _error(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.", 400)

    return handler


def posted(
    answer: Callable[[web.Request, Json], Awaitable[Json]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler for POST: refuses strangers' pages, reads the body, answers."""

    async def checked(request: web.Request) -> Json:
        if said := access.refusal(request.headers, host.permissions()):
            raise NotAllowed(said)
        return await answer(request, await _body(request))

    handle = answering(checked)

    async def handler(request: web.Request) -> web.Response:
        if said := access.wrong_content(request.headers):
            return _error(said, 415)
        return await handle(request)

    return handler


async def _body(request: web.Request) -> Json:
    """The object in a request's body; an empty body is an empty object.

    Raises:
        InContextError: where it is something else.
    """
    if (request.content_length or 0) > strict_json.LARGEST:
        raise InContextError(f"The request has {request.content_length} bytes. Send at most {strict_json.LARGEST}.")
    data = await request.read()
    try:
        value = await read_apart(strict_json.parse, data) if data else {}
    except strict_json.JsonError as error:
        raise InContextError(f"The request cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise InContextError(f"The request cannot be read: it should be an object, and is {strict_json.shown(value)}.")
    return value


def _error(text: str, status: int) -> web.Response:
    return web.json_response({"error": text}, status=status)
