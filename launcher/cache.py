"""Folders in the user's cache: built once, completely or not at all, and shared by all checkouts that need the same one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..incontext.files import file_lock
from ..incontext.files.atomic import write_atomic
from .pack import FOLDER
from .progress import Progress, say


def cache_folder(environment: Mapping[str, str], system: str = sys.platform, home: Path | None = None) -> Path:
    """The folder for environments, ComfyUI and work folders."""
    home = home or Path.home()
    if environment.get("INCONTEXT_LORA_CACHE"):
        return Path(environment["INCONTEXT_LORA_CACHE"]).expanduser().resolve()
    if system == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / FOLDER
    if system == "darwin":
        return home / "Library" / "Caches" / FOLDER
    return Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / FOLDER


def new_log(cache: Path, name: str) -> Path:
    """The path of a new log in the cache; its folder is made."""
    logs = cache / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"


def short_hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


@contextlib.contextmanager
def exclusive(path: Path, progress: Progress, purpose: str) -> Iterator[None]:
    """Hold the operating system's lock on a file. The lock ends with the process, however the process ends.

    On a file system without locks, waiting would never end, so the work continues unguarded and a line says so.

    Args:
        purpose: completes the sentence "Waiting for another run.py that is …".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        progress.start(f"Waiting for another run.py that is {purpose}")
        while (is_held := file_lock.acquire(file)) is False:
            progress.update()
            time.sleep(0.2)
        progress.finish()
        if is_held is None:
            say(f"{path.parent} is on a file system without locks. Start one run.py at a time.", progress.stream)
        yield  # closing the file releases the lock


def find_cached(parent: Path, key: str) -> Path | None:
    """Find the finished folder for a key; None if there is none. Only a stamp makes a folder finished."""
    try:
        folder = parent / json.loads((parent / f"{key}.json").read_text(encoding="utf-8"))["folder"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if folder.is_dir() else None


def get_or_build(
    parent: Path,
    key: str,
    build: Callable[[Path], None],
    progress: Progress,
    is_usable: Callable[[Path], bool] = Path.is_dir,
) -> Path:
    """Find the finished folder for a key, or build it.

    Every attempt has its own folder, and the stamp, written last, names the finished one. So an interrupted attempt is
    never taken for a finished folder, and a child process of it that keeps writing does no harm.

    Args:
        build: fills the empty folder that it receives.
        is_usable: whether a finished folder still works; otherwise it is built again.
    """
    cached = find_cached(parent, key)
    if cached and is_usable(cached):
        return cached
    with exclusive(parent / f"{key}.lock", progress, "setting up the same environment"):
        cached = find_cached(parent, key)  # another process may have built it while this one waited
        if cached and is_usable(cached):
            return cached
        stamp = parent / f"{key}.json"
        stamp.unlink(missing_ok=True)
        _remove_attempts(parent, key, None, progress)
        attempt = parent / f"{key}-{secrets.token_hex(4)}"
        attempt.mkdir(parents=True)
        try:
            build(attempt)
        except BaseException:
            progress.abandon()
            _remove_attempts(parent, key, None, progress)
            raise
        write_atomic(stamp, json.dumps({"folder": attempt.name}) + "\n", durable=True)
        # again, because a child of a killed attempt may have kept writing during the first removal
        _remove_attempts(parent, key, attempt.name, progress)
        return attempt


def _remove_attempts(parent: Path, key: str, keep: str | None, progress: Progress) -> None:
    for folder in parent.glob(f"{key}-*"):
        if folder.is_dir() and folder.name != keep:
            progress.start("Removing the files of an unfinished set-up")
            for child in list(folder.iterdir()):
                progress.update()
                shutil.rmtree(child, ignore_errors=True) if child.is_dir() else child.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            progress.finish()
