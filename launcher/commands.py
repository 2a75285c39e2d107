"""The commands that run a part of the pack with ComfyUI: demo, bench, compare, sweep, serve."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from ..demo import compare as comparing
from ..demo import sweep as sweeping
from ..demo.server import accelerator, server_command
from ..demo.workflow import WorkflowError
from ..incontext.files.atomic import write_atomic
from . import pack
from .comfyui import get_or_build_tools
from .errors import SetupError
from .pack import ROOT
from .processes import run_child
from .progress import say
from .tools import install_chromium
from .trainer import sweep_with_sd_scripts
from .work import Work, model_paths, require_repository, set_up


def demo(options: argparse.Namespace, extra: Sequence[str]) -> int:
    out = options.out.resolve()
    work = set_up()
    command = pack.command(work.host.python, "demo.main_job", "--task", options.task, "--out", out)
    command += ["--base", str(work.base), "--comfyui", str(work.host.comfyui)]
    command += ["--setup-seconds", f"{work.setup_seconds:.1f}", *extra]
    return run_child(command, ROOT, work.environment)


def bench(options: argparse.Namespace, extra: Sequence[str]) -> int:
    require_repository("bench", "The benchmarks")
    work = set_up()
    command = pack.command(work.host.python, "bench", *options.names)
    if options.json:
        command += ["--json", str(options.json.resolve())]
    if options.lines:
        command += ["--lines", str(options.lines.resolve())]
    if work.host.managed and any(name.startswith("interface") for name in options.names or ["interface"]):
        install_chromium(work)
        command += ["--tools", str(get_or_build_tools(work.cache, work.host, work.progress))]
    command += ["--base", str(work.base), "--comfyui", str(work.host.comfyui), *extra]
    return run_child(command, ROOT, work.environment)


def compare(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Compare checkpoints in ComfyUI without the browser; after Ctrl-C, the same command continues."""
    return _run_in_comfyui("demo.compare", comparing.read, extra)


def sweep(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Train many times, with sd-scripts or in ComfyUI by a workflow; after Ctrl-C, the same command continues."""
    if any(word.partition("=")[0] == "--workflow" for word in extra):
        return _run_in_comfyui("demo.sweep", sweeping.read, extra)
    return sweep_with_sd_scripts(options, extra)


def _run_in_comfyui(module: str, read: Callable[[Sequence[str]], argparse.Namespace], extra: Sequence[str]) -> int:
    """Run a module that starts a ComfyUI. The user's own ComfyUI keeps its models and output folder.

    Args:
        read: reads the options and their files, so that a wrong one is reported before anything is set up.
    """
    try:
        read(extra)
    except WorkflowError as error:
        raise SetupError(str(error)) from error
    work = set_up()
    command = pack.command(work.host.python, module, "--base", work.base)
    command += ["--comfyui", str(work.host.comfyui), *extra]
    if not work.host.managed:
        output = str(work.host.comfyui / "output")  # where `run.py train` puts runs
        for argument in (*_user_model_arguments(work), "--output-directory", output):
            command += [f"--server-argument={argument}"]
    return run_child(command, Path.cwd(), work.environment)  # relative paths among the options start there


def serve(options: argparse.Namespace, extra: Sequence[str]) -> int:
    if not port_is_free(options.port):
        raise SetupError(
            f"Port {options.port} is in use, perhaps by another ComfyUI. Choose another, for example "
            f"`run.py serve --port {options.port + 1}`."
        )
    work = set_up()
    arguments = list(extra)
    if options.listen:
        arguments += ["--listen", options.listen]
    if not work.host.managed:
        arguments += _user_model_arguments(work)
    device = accelerator(work.host.python)
    database = work.base / "user" / "comfyui.db"
    host = work.host
    command = server_command(host.python, host.comfyui, work.base, options.port, device, database, arguments)
    say(f"ComfyUI with the pack will be at http://127.0.0.1:{options.port} (Ctrl-C ends it).")
    return run_child(command, work.host.comfyui, work.environment)


def _user_model_arguments(work: Work) -> list[str]:
    """Arguments that let ComfyUI find the models of the user's own ComfyUI."""
    paths = work.base / "user-models.yaml"
    write_atomic(paths, model_paths(work.host.comfyui / "models"))
    return ["--extra-model-paths-config", str(paths)]


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
