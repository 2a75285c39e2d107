"""The one module that touches ComfyUI's globals: its folders, its server, its progress bar."""

from __future__ import annotations

import contextlib
import html
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.utils
import folder_paths

from ..incontext.errors import InContextError, explain_write_errors
from ..incontext.files import names
from ..incontext.files.images import open_image
from ..incontext.permissions import FILE, Permissions, listed, shorten

if TYPE_CHECKING:
    from ..training.runs.choices import WhenBusy

log = logging.getLogger("incontext_lora")

STARTED = time.time_ns()  # files that are newer were made since ComfyUI started
RUNS = "incontext_runs"  # folder of all runs, in ComfyUI's output folder


def resolve_folder(text: str) -> Path:
    """The folder that a workflow names: a whole path, or a name in ComfyUI's input folder or one of its ``datasets`` folders.

    Raises:
        NotAllowed: if it is outside ComfyUI's folders and whoever runs ComfyUI has not allowed it.
        InContextError: if there is no such folder.
    """
    own = workflow_folders()
    written = names.as_path(text)
    if text.strip().strip('"'):
        allowed = permissions()
        for folder in [written] if written.is_absolute() else [root / written for root in (own[0], *own[2:])]:
            allowed.check_folder(folder, own)  # checked before looking, so that nobody learns what exists elsewhere
            if names.is_folder(folder):
                return folder
    raise InContextError(
        f"There is no folder '{shorten(written)}'. Write its whole path, or its name in {listed((own[0], *own[2:]))}."
    )


def workflow_folders() -> tuple[Path, ...]:
    """Where workflows may read and write: ComfyUI's input folder, its output folder, and its ``datasets`` folders."""
    # older versions of ComfyUI have no such folder, but the user's extra_model_paths.yaml can name some
    datasets = folder_paths.folder_names_and_paths.get("datasets", ((), ()))[0]
    own = (folder_paths.get_input_directory(), folder_paths.get_output_directory(), *datasets)
    return tuple(Path(each) for each in own)


def datasets_folder() -> Path:
    return _output("incontext_datasets")


def runs_folder() -> Path:
    return _output(RUNS)


def input_folder() -> Path:
    return Path(folder_paths.get_input_directory())


def picture_folders() -> dict[str, Path]:
    """Where ComfyUI keeps pictures that were saved (``output``) and shown (``temp``)."""
    return {"output": Path(folder_paths.get_output_directory()), "temp": Path(folder_paths.get_temp_directory())}


def output_folder(name: str) -> Path:
    """A folder in ComfyUI's output folder; creates nothing."""
    return Path(folder_paths.get_output_directory()) / name


def runs() -> list[Path]:
    """Folders of all runs; creates nothing."""
    with contextlib.suppress(FileNotFoundError), os.scandir(output_folder(RUNS)) as entries:
        return sorted(Path(each.path) for each in entries if os.path.isfile(os.path.join(each.path, "run.json")))
    return []


def runs_with(pattern: str) -> list[Path]:
    """Folders of the runs that hold something of this pattern; creates nothing."""
    runs = output_folder(RUNS)
    return sorted({runs / path.relative_to(runs).parts[0] for path in runs.glob(f"*/{pattern}")})


def resumable_runs(trainer: str) -> list[str]:
    """Names of this trainer's runs that have a saved state; a finished one has none any more."""
    folders = runs_with("state/step*")
    if not folders:  # as at most starts, which then need not load what runs are
        return []
    from ..training.runs.run_folder import Run

    found = []
    for folder in folders:
        with contextlib.suppress(InContextError):
            if Run(folder).about.get("trainer") == trainer:
                found.append(folder.name)
    return found


def loras_output_folder() -> Path:
    """``output/loras``, which ComfyUI searches for LoRAs by itself."""
    return _output("loras")


def lora_names() -> list[str]:
    """LoRA files that can be loaded; formats other than safetensors can hold programs and are not listed."""
    return [name for name in folder_paths.get_filename_list("loras") if name.lower().endswith(".safetensors")]


def lora_path(name: str) -> Path:
    """Where a LoRA is: in ComfyUI's folders, or the checkpoint of a run that `checkpoint_name` names.

    Raises:
        InContextError: if there is no such LoRA.
    """
    path = folder_paths.get_full_path("loras", name) or _checkpoint_path(name)
    if path is None:
        raise InContextError(
            f"There is no LoRA {name!r}. Put it into models/loras, refresh the page (R) and choose it again."
        )
    return Path(path)


def checkpoint_name(run: str, file: str) -> str:
    """What `lora_path` and Load In-Context LoRA take for a run's checkpoint, which no list of LoRAs shows."""
    return f"{RUNS}/{run}/checkpoints/{file}"


def _checkpoint_path(name: str) -> Path | None:
    parts = name.split("/")
    if len(parts) != 4 or any(map(names.problem, parts)) or not parts[3].endswith(".safetensors"):
        return None
    path, runs = output_folder(name), output_folder(parts[0])
    if checkpoint_name(parts[1], parts[3]) != name or not path.is_file():
        return None
    return path if path.resolve().is_relative_to(runs.resolve()) else None


def comparisons_folder() -> Path:
    """``output/incontext_comparisons``; creates nothing."""
    return output_folder("incontext_comparisons")


def model_names(folder: str) -> list[str]:
    """The files that ComfyUI lists in one of its model folders."""
    return folder_paths.get_filename_list(folder)


def model_path(folder: str, name: str) -> str | None:
    """Where such a file is; None if it is gone."""
    return folder_paths.get_full_path(folder, name)


def model_folders(*kinds: str) -> tuple[Path, ...]:
    """All folders in which ComfyUI looks for models of these kinds."""
    return tuple(Path(folder) for kind in kinds for folder in folder_paths.get_folder_paths(kind))


def file_stamp(path: Path) -> str:
    """Changes whenever the file does."""
    status = path.stat()
    return f"{status.st_mtime_ns}-{status.st_size}"


def send_text(node_id: str, text: str) -> None:
    """Text on the node, while it works and afterwards; escaped, since the page reads it as HTML and names come from anywhere."""
    from server import PromptServer  # pyright: ignore[reportAttributeAccessIssue]  (ComfyUI's module, not ours)

    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id:
        server.send_progress_text(html.escape(text, quote=False), node_id)


def server_routes() -> Any:
    """ComfyUI's table of routes, to which more can be added while packs are loaded; None if no server was made."""
    from server import PromptServer  # pyright: ignore[reportAttributeAccessIssue]  (ComfyUI's module, not ours)

    server = getattr(PromptServer, "instance", None)
    return None if server is None else server.routes


def finished_outputs() -> list[dict[str, Any]]:
    """What the nodes of each finished prompt showed, by node id; the oldest prompt first. Not to be changed."""
    from server import PromptServer  # pyright: ignore[reportAttributeAccessIssue]  (ComfyUI's module, not ours)

    queue = getattr(getattr(PromptServer, "instance", None), "prompt_queue", None)
    if queue is None:
        return []
    # with a function ComfyUI does not copy all of its history
    return list(queue.get_history(map_function=lambda entry: entry.get("outputs") or {}).values())


def is_working() -> bool:
    """Whether a prompt is running or waits."""
    from server import PromptServer  # pyright: ignore[reportAttributeAccessIssue]  (ComfyUI's module, not ours)

    server = getattr(PromptServer, "instance", None)
    queue = getattr(server, "prompt_queue", None)
    return queue is not None and queue.get_tasks_remaining() > 0


def cards() -> list[str]:
    """The graphics card that ComfyUI computes on, as `training.runs.cards` names it; none on processors."""
    import torch

    from ..training.runs.cards import card_names

    device = comfy.model_management.get_torch_device()
    if device.type == "cpu":
        return []
    current = torch.cuda.current_device() if device.type == "cuda" else 0
    return card_names([current if device.index is None else device.index])


def claim_cards(
    wanted: Sequence[str] | None, when: WhenBusy, node_id: str = "", patience: float = math.inf
) -> ExitStack:
    """Return when a training may start on these graphics cards; says on the node what it waits for.

    Args:
        patience: seconds to wait for another that is being started.

    Returns:
        To be closed once the training is started, as `training.runs.cards.claim` says.

    Raises:
        TrainingError: if another training has one of them, and this one should not wait.
        InterruptProcessingException: if the user cancels meanwhile.
    """
    from ..training.runs.cards import claim

    runs = output_folder(RUNS)
    return claim(runs, wanted, when, stop_if_cancelled, lambda text: send_text(node_id, text), patience=patience)


def stop_if_cancelled() -> None:
    """Raises if the user has cancelled, as ComfyUI expects of nodes."""
    comfy.model_management.throw_exception_if_processing_interrupted()


class progress:
    """ComfyUI's progress bar on a node; `update` raises when the user cancels."""

    def __init__(self, node_id: str, total: int) -> None:
        self._bar = comfy.utils.ProgressBar(total, node_id=node_id)
        self._total = total

    def update(self, done: int, preview: Path | None = None) -> None:
        """Move the bar; ``preview`` is a picture to show on the node."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        if preview is None:
            self._bar.update_absolute(done, self._total)
            return
        with open_image(preview) as image:
            self._bar.update_absolute(done, self._total, ("JPEG", image.convert("RGB"), 1024))


def counting(node_id: str) -> Callable[[int, int], None]:
    """A progress bar for work whose total is not known beforehand: takes how much is done, and out of how much."""
    bars: list[progress] = []

    def count(done: int, total: int) -> None:
        bars[:] = bars or [progress(node_id, total)]
        bars[0].update(done)

    return count


def private_folder() -> Path:
    """The pack's folder for what no page may read, such as keys; it need not exist."""
    return Path(folder_paths.get_system_user_directory("incontext_lora"))


def permissions() -> Permissions:
    """
    Raises:
        NotAllowed: if the settings cannot be read.
    """
    return Permissions.read(os.environ, private_folder() / FILE)


def comfyui_folder() -> Path:
    """Where ComfyUI's own files are."""
    return Path(str(folder_paths.__file__)).resolve().parent


def _output(name: str) -> Path:
    folder = output_folder(name)
    with explain_write_errors(folder, InContextError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
