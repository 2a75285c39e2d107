"""What the interface asks about trainings, the trainer and datasets, and what it asks for.

GET  /incontext_lora/runs                           {"runs": [summary, newest first], "on_card": [names]}
GET  /incontext_lora/runs/{run}?from=BYTES          {"run", "checkpoints", "layout", "news": what happened since}
GET  /incontext_lora/runs/{run}/log                 {"log": [lines], "output": [lines]}
GET  /incontext_lora/runs/{run}/samples/{file}      a picture
POST /incontext_lora/runs/{run}/ask                 {"what": "stop", "save", "sample" or "end"}
POST /incontext_lora/runs/{run}/resume              go on with it in the background
POST /incontext_lora/runs/{run}/use                 {"checkpoint": file} → {"lora": name in output/loras}
GET  /incontext_lora/trainer                        whether sd-scripts is installed, its size, the log of an installation
POST /incontext_lora/trainer                        {"action": "install" or "check"}; a second one is refused
POST /incontext_lora/trainer/processes              {"count", "machines", "rank", "address", "port"}, or some of them
GET  /incontext_lora/datasets/{dataset}             {"dataset": its sets, each with its findings, or null}
GET  /incontext_lora/datasets/{dataset}/{item}      a small picture of a set

Everything is read from the folders of runs and datasets, so it does not matter who trains or when the page was loaded. What
cannot be answered gets status 400 and ``{"error": …}``, a sentence for the user. No request can name an interpreter, a
checkout or an option of the trainer, and no page but ComfyUI's own can POST (see access.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from ...incontext.permissions import NotAllowed
from .. import host
from . import access
from .routes import ROOT, Busy, Json, JsonText, SharedAnswer, acting, answering, picturing, posted, watching


def add_run_routes(routes: web.RouteTableDef) -> None:
    """Add the routes to those of ComfyUI's server."""
    runs = SharedAnswer(lambda: _answers().all_runs())
    routes.get(f"{ROOT}/runs")(answering(lambda request: runs()))
    for path, answer in GETS.items():
        routes.get(f"{ROOT}{path}")(answering(_get(answer)))
    for path, answer in POSTS.items():
        routes.post(f"{ROOT}{path}")(posted(_post(answer)))
    for path, picture in PICTURES.items():
        routes.get(f"{ROOT}{path}")(_pictured(picture))


def _get(answer: Callable[[Any, web.Request], JsonText]) -> Callable[[web.Request], Any]:
    async def handler(request: web.Request) -> JsonText:
        return await watching.begin(lambda: answer(_answers(), request))

    return handler


def _post(answer: Callable[[Any, web.Request, Json], Json]) -> Callable[[web.Request, Json], Any]:
    async def handler(request: web.Request, asked: Json) -> Json:
        return await acting.begin(lambda: answer(_answers(), request, asked))

    return handler


def _pictured(picture: Callable[[Any, web.Request], Any]) -> Callable[[web.Request], Any]:
    async def handler(request: web.Request) -> web.StreamResponse:
        from ...incontext.errors import InContextError

        try:
            found = await picturing.begin(lambda: picture(_answers(), request))
        except Busy as error:
            return web.json_response({"error": str(error)}, status=503)
        except InContextError as error:
            return web.json_response({"error": str(error)}, status=404)
        except OSError as error:  # it was removed in this very moment, or its disk
            return web.json_response({"error": f"The picture cannot be read: {error.strerror or error}."}, status=404)
        if isinstance(found, bytes):  # a set's picture, whose name changes whenever its content does
            headers = {"Cache-Control": "private, max-age=86400"}
            return web.Response(body=found, content_type="image/jpeg", headers=headers)
        # a sample's name comes again when a run is resumed or made anew: the browser asks each time whether it is new
        return web.FileResponse(found, headers={"Cache-Control": "private, no-cache"})

    return handler


def _answers() -> Any:
    """All that answering takes; loaded with the first question, since ComfyUI's start should not wait for it."""
    from . import run_answers

    return run_answers


def _set_up(answers: Any, request: web.Request, action: str) -> Json:
    """
    Raises:
        NotAllowed: where another machine asks for an installation, and may not.
    """
    transport = request.transport
    here = (transport.get_extra_info("sockname") or ("",))[0] if transport else ""
    said = access.refusal_to_install(request.headers, request.remote or "", here, host.permissions())
    if said and action == answers.installing.INSTALL:
        raise NotAllowed(said)
    return answers.set_up_trainer(action)


GETS: dict[str, Callable[[Any, web.Request], JsonText]] = {
    "/runs/{run}": lambda answers, request: answers.one_run(
        request.match_info["run"], int(request.query.get("from", 0))
    ),
    "/runs/{run}/log": lambda answers, request: JsonText.of(json.dumps(answers.log(request.match_info["run"]))),
    "/trainer": lambda answers, request: JsonText.of(json.dumps(answers.trainer())),
    "/datasets/{dataset}": lambda answers, request: JsonText.of(
        json.dumps(answers.dataset(request.match_info["dataset"]))
    ),
}
POSTS: dict[str, Callable[[Any, web.Request, Json], Json]] = {
    "/runs/{run}/ask": lambda answers, request, asked: answers.ask(request.match_info["run"], str(asked["what"])),
    "/runs/{run}/resume": lambda answers, request, asked: answers.resume(request.match_info["run"]),
    "/runs/{run}/use": lambda answers, request, asked: answers.use(request.match_info["run"], str(asked["checkpoint"])),
    "/trainer/processes": lambda answers, request, asked: answers.set_processes(asked),
    "/trainer": lambda answers, request, asked: _set_up(answers, request, str(asked["action"])),
}
PICTURES: dict[str, Callable[[Any, web.Request], Any]] = {
    "/runs/{run}/samples/{file}": lambda answers, request: answers.sample(
        request.match_info["run"], request.match_info["file"]
    ),
    "/datasets/{dataset}/{item}": lambda answers, request: answers.thumbnail(
        request.match_info["dataset"], request.match_info["item"]
    ),
}
