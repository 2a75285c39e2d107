"""Sets up what a command needs: a ComfyUI, this checkout's work folder, and the demo models in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ..incontext.files.atomic import write_atomic
from .cache import cache_folder, exclusive, new_log, short_hash
from .comfyui import Host, find_host, get_or_build_host
from .errors import SetupError
from .pack import FOLDER, ROOT
from .packages import full_disk_message, run_setup_step
from .processes import child_environment, without_detours
from .progress import Progress

_WRITE_MODELS = """
import os, sys
sys.path.insert(0, os.getcwd())
from pathlib import Path
from demo.models import write_models
from demo.sets import write_inputs
write_models(Path(sys.argv[1]) / "models")
write_inputs(Path(sys.argv[1]) / "input")
"""


def require_repository(folder: str, what: str) -> None:
    """Refuse to run a part that is not in the published pack.

    Raises:
        SetupError: if the folder is not there.
    """
    if not (ROOT / folder).is_dir():
        raise SetupError(
            f"{what} are in the repository only, not in the installed pack. Clone the repository to run them."
        )


def link_pack(base: Path, checkout: Path) -> None:
    """Put the checkout into a work folder's custom nodes: as a link, or as a copy where links are impossible."""
    link = base / "custom_nodes" / FOLDER
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.exists() and link.resolve() == checkout.resolve():
        return
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        with contextlib.suppress(OSError):
            link.rmdir()  # removes a junction, but not its target
        shutil.rmtree(link, ignore_errors=True)
    try:
        link.symlink_to(checkout, target_is_directory=True)
    except OSError:
        # Windows allows junctions even to users who may not make links
        made = (
            os.name == "nt"
            and not subprocess.run(
                ["cmd", "/c", "mklink", "/J", str(link), str(checkout)], capture_output=True, check=False
            ).returncode
        )
        if not made:
            shutil.copytree(checkout, link, ignore=shutil.ignore_patterns(".git", "out", "build", "__pycache__"))


def prepare_base(base: Path, checkout: Path) -> None:
    """Make the folders of ComfyUI's ``--base-directory``, with the pack in its custom nodes."""
    for name in ("models", "input", "output", "user", "temp", "custom_nodes"):
        (base / name).mkdir(parents=True, exist_ok=True)
    link_pack(base, checkout)


def demo_fingerprint(checkout: Path) -> str:
    """A hash of all the files that the demo models are made from."""
    digest = hashlib.sha256()
    demo = checkout / "demo"
    code = [path for name in ("models", "sets", "tasks", "world") if (path := demo / f"{name}.py").exists()]
    for path in [*code, *sorted((demo / "weights").glob("*"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def prepare_work(host: Host, cache: Path, progress: Progress) -> Path:
    """Make this checkout's work folder, with the demo models in it."""
    base = cache / "host" / f"{ROOT.name}-{short_hash(str(ROOT))}"
    with exclusive(base.with_name(f"{base.name}.lock"), progress, "preparing the same work folder"):
        prepare_base(base, ROOT)
        stamp, wanted = base / "demo-models.json", demo_fingerprint(ROOT)
        try:
            written = json.loads(stamp.read_text(encoding="utf-8"))
            fresh = written["from"] == wanted and all((base / "models" / name).is_file() for name in written["files"])
        except (OSError, ValueError, KeyError, TypeError):
            fresh = False
        if not fresh:
            log = new_log(cache, "models")
            command = [host.python, "-c", _WRITE_MODELS, base]
            run_setup_step("Writing the demo models", command, log, progress, cwd=ROOT)
            files = [path.relative_to(base / "models").as_posix() for path in base.glob("models/*/incontext-demo*")]
            write_atomic(stamp, json.dumps({"from": wanted, "files": sorted(files)}) + "\n", durable=True)
    return base


def model_paths(models: Path) -> str:
    """A configuration for ``--extra-model-paths-config`` that adds another ComfyUI's models, as JSON, which is YAML too."""
    merged = {"unet": "diffusion_models", "clip": "text_encoders", "t2i_adapter": "controlnet"}
    folders: dict[str, list[str]] = {}
    for path in sorted(models.iterdir()) if models.is_dir() else []:
        if path.is_dir():
            folders.setdefault(merged.get(path.name, path.name), []).append(path.name)
    entry = {"base_path": str(models), **{name: "\n".join(paths) for name, paths in folders.items()}}
    return json.dumps({"comfyui": entry}, indent=2) + "\n"


@dataclass(frozen=True)
class Work:
    """What every command runs with.

    Attributes:
        host: the ComfyUI.
        base: the work folder, ComfyUI's ``--base-directory``.
        cache: the cache folder.
        setup_seconds: how long the set-up took.
        progress: the progress line.
    """

    host: Host
    base: Path
    cache: Path
    setup_seconds: float
    progress: Progress

    @property
    def environment(self) -> dict[str, str]:
        inherited = without_detours(os.environ) if self.host.managed else dict(os.environ)
        return child_environment(inherited, COMFYUI_PATH=str(self.host.comfyui), INCONTEXT_LORA_BASE=str(self.base))


def set_up() -> Work:
    """Find or build what every command needs.

    Raises:
        SetupError: if that is impossible.
    """
    started = time.monotonic()
    progress = Progress()
    cache = cache_folder(os.environ)
    given = os.environ.get("COMFYUI_PATH")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        host = find_host(given, os.environ.get("COMFYUI_PYTHON")) if given else get_or_build_host(cache, progress)
        base = prepare_work(host, cache, progress)
    except OSError as error:
        if error.errno == 28 or getattr(error, "winerror", None) == 112:
            raise SetupError(full_disk_message(cache)) from error
        raise SetupError(
            f"The cache folder {cache} cannot be used ({error}). Set INCONTEXT_LORA_CACHE to a writable folder."
        ) from error
    return Work(host, base, cache, time.monotonic() - started, progress)
