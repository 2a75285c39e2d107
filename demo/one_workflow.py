"""One workflow run in ComfyUI from the command line: what `run.py sweep --workflow` and `run.py compare` share.

Standard library only, for `run.py` itself reads the options before it sets anything up.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .line import Line
from .server import ComfyServer, ServerError
from .workflow import Prompt, WorkflowError


def parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that `run.py` adds by itself."""
    made = argparse.ArgumentParser(
        prog=f"run.py {command}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    made.add_argument("--comfyui", type=Path, help=argparse.SUPPRESS)
    made.add_argument("--server-argument", action="append", default=[], help=argparse.SUPPRESS)
    return made


def run(
    options: argparse.Namespace,
    title: str,
    prompt_of: Callable[[argparse.Namespace, dict[str, Any]], Prompt],
    shown: Callable[[str], str] = str,
) -> dict[str, Any] | None:
    """Start ComfyUI and run one prompt in it.

    Args:
        title: what the progress line says while the prompt runs.
        prompt_of: makes the prompt from the options and ComfyUI's description of its nodes.
        shown: makes the progress line's text from a text that a node sends.

    Returns:
        ComfyUI's history of the prompt, or None if it failed; the reason has been printed then.
    """
    line = Line()
    line.phase("starting ComfyUI")

    def watch(event: str, data: dict[str, Any]) -> None:
        if event == "progress_text":
            line.update(shown(str(data.get("text", ""))))

    try:
        with ComfyServer(options.base, options.comfyui, extra_arguments=options.server_argument) as server:
            prompt = prompt_of(options, server.object_info())
            line.phase(f"{title}. Ctrl-C loses nothing: the same command continues.")
            history = server.run(prompt, watch)
    except (ServerError, WorkflowError) as error:
        print(f"\n{error}", file=sys.stderr)
        return None
    line.phase("finished")
    return history
