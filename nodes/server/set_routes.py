"""What the gallery asks about finished sets, and what it does with them.

GET  /incontext_lora/sets?text=…&after=SET&limit=N    {"sets": [newest first], "more", "total", "unread", "bare"}
GET  /incontext_lora/sets/{set}                       {"set": one of them}
GET  /incontext_lora/sets/{set}/panels/{panel}        a small picture of a panel, counted from 0
GET  /incontext_lora/sets/{set}/workflow              {"workflow": what made it or null, "prompt"}, as texts
POST /incontext_lora/sets/{set}/reference             {"panel": from 0, or null for the canvas} → {"name": in the input folder}
POST /incontext_lora/sets/{set}/dataset               {"folder"} → {"folder", "set", "count": sets there now, "is_new"}
GET  /incontext_lora/set_folders                      {"folders": [{"name", "count"}]}: where sets can be added

A set is named by an id that the list gives, so no request names a file. ``unread`` files have not been read yet: ask again for
them. ``bare`` ones hold no prompt. For who may POST, see access.py.
"""

from __future__ import annotations

from aiohttp import web

from .handlers import acted, json_text, pictured, watched
from .routes import ROOT, Json, JsonText, Threads

# a thread of its own: the first question may read thousands of files
_looking = Threads("sets", 1, 64)


def add_set_routes(routes: web.RouteTableDef) -> None:
    """Add the routes to those of ComfyUI's server."""
    routes.get(f"{ROOT}/sets")(watched(_sets, _looking))
    routes.get(f"{ROOT}/sets/{{set}}")(watched(_set, _looking))
    routes.get(f"{ROOT}/sets/{{set}}/panels/{{panel}}")(pictured(_panel))
    routes.get(f"{ROOT}/sets/{{set}}/workflow")(watched(_workflow, _looking))
    routes.post(f"{ROOT}/sets/{{set}}/reference")(acted(_reference))
    routes.post(f"{ROOT}/sets/{{set}}/dataset")(acted(_dataset))
    routes.get(f"{ROOT}/set_folders")(watched(_folders, _looking))


# what answers is imported with the first question: ComfyUI's start does not wait for it


def _sets(request: web.Request) -> JsonText:
    from . import set_answers

    asked = request.query
    limit = int(asked.get("limit", set_answers.PAGE))
    return json_text(set_answers.sets(asked.get("text", ""), asked.get("after", ""), limit))


def _set(request: web.Request) -> JsonText:
    from . import set_answers

    return json_text(set_answers.one_set(request.match_info["set"]))


def _panel(request: web.Request) -> bytes:
    from . import set_answers

    return set_answers.panel(request.match_info["set"], request.match_info["panel"])


def _workflow(request: web.Request) -> JsonText:
    from . import set_answers

    return json_text(set_answers.workflow(request.match_info["set"]))


def _reference(request: web.Request, asked: Json) -> Json:
    from . import set_answers

    return set_answers.reference(request.match_info["set"], asked.get("panel"))


def _dataset(request: web.Request, asked: Json) -> Json:
    from . import set_answers

    return set_answers.add_to_dataset(request.match_info["set"], str(asked["folder"]))


def _folders(request: web.Request) -> JsonText:
    from . import set_answers

    return json_text(set_answers.folders())
