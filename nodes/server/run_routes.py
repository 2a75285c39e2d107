"""What the interface asks about trainings, the trainer and datasets, and what it can request.

GET  /incontext_lora/runs                           {"runs": [summary, newest first], "on_card": [names]}
GET  /incontext_lora/runs/{run}?from=BYTES          {"run", "checkpoints", "layout", "news": what happened since}
GET  /incontext_lora/runs/{run}/log                 {"log": [lines], "output": [lines]}
GET  /incontext_lora/runs/{run}/samples/{file}      a picture
GET  /incontext_lora/runs/{run}/comparison          {"comparison": the newest of its checkpoints, or null, "version"}
GET  /incontext_lora/runs/{run}/comparison/{file}   a grid of pictures of that comparison
POST /incontext_lora/runs/{run}/ask                 {"what": "stop", "save", "sample" or "end"} → {"asked", "time"}
POST /incontext_lora/runs/{run}/resume              continue it in the background
POST /incontext_lora/runs/{run}/use                 {"checkpoint": file} → {"lora": name in output/loras}
POST /incontext_lora/runs/{run}/label               {"label": shown name, "note"}, or one of them
POST /incontext_lora/runs/{run}/folder              shows it on the desktop → {"folder": path, "opened": whether it did}
POST /incontext_lora/runs/{run}/delete              deletes its folder, unless it trains
GET  /incontext_lora/trainer                        whether sd-scripts is installed, its size, the log of an installation
POST /incontext_lora/trainer                        {"action": "install" or "check"}; a second one is refused
POST /incontext_lora/trainer/processes              {"count", "machines", "rank", "address", "port"}, or some of them
GET  /incontext_lora/datasets/{dataset}             {"dataset": its sets, each with its findings, or null}
GET  /incontext_lora/datasets/{dataset}/{item}      a small picture of a set

Everything is read from the folders of runs and datasets, so it does not matter who trains or when the page was loaded. A request
that cannot be answered gets status 400 and ``{"error": …}``, a sentence for the user. No request can name an interpreter, a
checkout or an option of the trainer, and no page but ComfyUI's own can POST (see access.py).
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from ...incontext.permissions import NotAllowed
from .. import host
from . import access
from .handlers import acted, json_text, pictured, watched
from .routes import ROOT, Json, JsonText, SharedAnswer, answering


def add_run_routes(routes: web.RouteTableDef) -> None:
    """Add the routes to those of ComfyUI's server."""
    runs = SharedAnswer(_all_runs)
    routes.get(f"{ROOT}/runs")(answering(lambda request: runs()))
    routes.get(f"{ROOT}/runs/{{run}}")(watched(_one_run))
    routes.get(f"{ROOT}/runs/{{run}}/log")(watched(_log))
    routes.get(f"{ROOT}/runs/{{run}}/samples/{{file}}")(pictured(_sample))
    routes.get(f"{ROOT}/runs/{{run}}/comparison")(watched(_comparison))
    routes.get(f"{ROOT}/runs/{{run}}/comparison/{{file}}")(pictured(_comparison_grid))
    routes.post(f"{ROOT}/runs/{{run}}/ask")(acted(_ask))
    routes.post(f"{ROOT}/runs/{{run}}/resume")(acted(_resume))
    routes.post(f"{ROOT}/runs/{{run}}/use")(acted(_use))
    routes.post(f"{ROOT}/runs/{{run}}/label")(acted(_label))
    routes.post(f"{ROOT}/runs/{{run}}/folder")(acted(_folder))
    routes.post(f"{ROOT}/runs/{{run}}/delete")(acted(_delete))
    routes.get(f"{ROOT}/trainer")(watched(_trainer))
    routes.post(f"{ROOT}/trainer")(acted(_set_up_trainer))
    routes.post(f"{ROOT}/trainer/processes")(acted(_set_processes))
    routes.get(f"{ROOT}/datasets/{{dataset}}")(watched(_dataset))
    routes.get(f"{ROOT}/datasets/{{dataset}}/{{item}}")(pictured(_thumbnail))


def _is_from_here(request: web.Request) -> bool:
    """Whether the user sits at the machine that ComfyUI runs on."""
    transport = request.transport
    here = (transport.get_extra_info("sockname") or ("",))[0] if transport else ""
    return access.is_from_here(request.headers, request.remote or "", here)


# --- runs. What answers is imported with the first question: ComfyUI's start does not wait for it -------------------


def _all_runs() -> JsonText:
    from . import run_answers

    return run_answers.all_runs()


def _one_run(request: web.Request) -> JsonText:
    from . import run_answers

    return run_answers.one_run(request.match_info["run"], int(request.query.get("from", 0)))


def _log(request: web.Request) -> JsonText:
    from . import run_answers

    return json_text(run_answers.log(request.match_info["run"]))


def _sample(request: web.Request) -> Path:
    from . import run_answers

    return run_answers.sample(request.match_info["run"], request.match_info["file"])


def _comparison(request: web.Request) -> JsonText:
    from . import comparison_answers

    return json_text(comparison_answers.comparison(request.match_info["run"]))


def _comparison_grid(request: web.Request) -> Path:
    from . import comparison_answers

    return comparison_answers.grid(request.match_info["run"], request.match_info["file"])


def _ask(request: web.Request, asked: Json) -> Json:
    from . import run_answers

    return run_answers.ask(request.match_info["run"], str(asked["what"]))


def _resume(request: web.Request, asked: Json) -> Json:
    from . import run_answers

    return run_answers.resume(request.match_info["run"])


def _use(request: web.Request, asked: Json) -> Json:
    from . import run_answers

    return run_answers.use(request.match_info["run"], str(asked["checkpoint"]))


def _label(request: web.Request, asked: Json) -> Json:
    from . import run_answers

    return run_answers.label(request.match_info["run"], asked)


def _folder(request: web.Request, asked: Json) -> Json:
    from . import run_answers

    return run_answers.folder(request.match_info["run"], _is_from_here(request))


def _delete(request: web.Request, asked: Json) -> Json:
    from . import run_answers

    return run_answers.delete(request.match_info["run"])


# --- the trainer and datasets ---------------------------------------------------------------------------------------


def _trainer(request: web.Request) -> JsonText:
    from . import trainer_answers

    return json_text(trainer_answers.trainer())


def _set_up_trainer(request: web.Request, asked: Json) -> Json:
    """
    Raises:
        NotAllowed: if another machine asks for an installation and is not allowed to.
    """
    from . import trainer_answers

    action = str(asked["action"])
    transport = request.transport
    here = (transport.get_extra_info("sockname") or ("",))[0] if transport else ""
    said = access.refusal_to_install(request.headers, request.remote or "", here, host.permissions())
    if said and action == trainer_answers.INSTALL:
        raise NotAllowed(said)
    return trainer_answers.set_up(action)


def _set_processes(request: web.Request, asked: Json) -> Json:
    from . import trainer_answers

    return trainer_answers.set_processes(asked)


def _dataset(request: web.Request) -> JsonText:
    from . import dataset_answers

    return json_text(dataset_answers.dataset(request.match_info["dataset"]))


def _thumbnail(request: web.Request) -> bytes:
    from . import dataset_answers

    return dataset_answers.thumbnail(request.match_info["dataset"], request.match_info["item"])
