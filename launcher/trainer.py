"""The sd-scripts trainer: installs, checks and removes it, and trains with it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..incontext.errors import InContextError
from ..incontext.files.atomic import write_atomic
from ..training.sd_scripts import arguments as training_options
from ..training.sd_scripts import environment, fit, install_steps
from ..training.sweep import arguments as sweep_options
from . import pack
from .cache import cache_folder, find_cached, get_or_build, new_log, short_hash
from .comfyui import environment_key, find_host
from .errors import SetupError
from .failures import find_network_error, is_full_disk, quote, unknown_failure
from .interpreters import environment_python, missing_modules
from .packages import QUIET_PIP, describe_pip
from .processes import child_environment, read_output, run_child, run_logged, without_detours
from .progress import Progress, say
from .work import set_up

SD_SCRIPTS = "https://github.com/kohya-ss/sd-scripts.git"
SD_SCRIPTS_COMMIT = "48d368fa557731ad0488c07304dfeba8c07910eb"  # v0.10.1, for which training/sd_scripts is written


def trainer(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Install, check or remove the sd-scripts trainer."""
    try:
        if options.action == "remove":
            return remove_trainer()
        if options.action == "install":
            install_trainer(options)
        found = environment.find()
    except environment.TrainerNotInstalled as error:
        raise SetupError(str(error)) from error
    say(f"folder      {environment.trainer_folder()}", sys.stdout)
    say(f"interpreter {found.python}\ncheckout    {found.checkout} ({found.commit or 'unknown commit'})", sys.stdout)
    for name, reason in (found.left_out or {}).items():
        say(f"left out    {name}: {reason}", sys.stdout)
    command = pack.command(found.python, "training.sd_scripts.contract", found.checkout)
    return run_child(command, found.checkout, child_environment(without_detours(os.environ)))


def train(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Train with sd-scripts in the foreground; Ctrl-C saves the state and ends the training."""

    def read(words: Sequence[str]) -> None:
        given = training_options.parser().parse_args(words)
        if given.resume is None:
            training_options.require_order(given)
        training_options.require_files(given)

    return _run_training("training.sd_scripts.cli", read, extra)


def sweep_with_sd_scripts(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Train many times with sd-scripts in the foreground; after Ctrl-C, the same command continues."""

    def read(words: Sequence[str]) -> None:
        given = sweep_options.parser().parse_args(words)
        sweep_options.sweep_settings(given)
        training_options.require_order(given)
        training_options.require_files(given)

    return _run_training("training.sweep.cli", read, extra)


def _run_training(module: str, read: Callable[[Sequence[str]], None], extra: Sequence[str]) -> int:
    """Run a module that trains.

    Args:
        read: reads the options and their files, so that a wrong one is reported before anything is set up.
    """
    try:
        read(["--comfyui", "", "--output", "", *extra])
        environment.find()
    except (InContextError, environment.TrainerNotInstalled) as error:
        raise SetupError(str(error)) from error
    work = set_up()
    output = work.base / "output" if work.host.managed else work.host.comfyui / "output"
    folders = ("--comfyui", work.host.comfyui, "--models", work.base / "models", "--output", output)
    command = pack.command(work.host.python, module, *folders, *extra)
    # in the user's folder, where relative paths among the options start; patient, because saving a state takes time
    return run_child(command, Path.cwd(), work.environment, patience=90.0)


def install_trainer(options: argparse.Namespace) -> None:
    """Build the trainer's environment, or remember one that the user names. ComfyUI's environment stays unchanged."""
    folder = environment.trainer_folder()
    if options.python:
        environment.remember(adopt_trainer(options))
        return
    fitting = fit.flavour(find_host_torch(), shutil.which("nvidia-smi") is not None)
    problem = fit.space_problem(folder, fitting)
    if problem:
        raise SetupError(problem)
    too_long = environment.length_problem(folder)
    if too_long:
        raise SetupError(too_long)
    python, git = find_interpreter(), has_git()
    download, installed = (size / fit.GIGABYTE for size in fitting.size)
    say(
        f"Installing the sd-scripts trainer into {folder}: up to {download:.0f} GB to download, {installed:.0f} GB on the "
        f"disk. ComfyUI's own environment is not touched."
    )
    log = new_log(folder, "install")
    progress = Progress()

    def run_steps(steps: Sequence[Any]) -> None:
        for step in steps:
            try:
                run_install_step(step, log, progress)
            except SetupError:
                if not step.optional:
                    raise
                say(f"{step.title} failed. {step.otherwise}")

    def build(attempt: Path) -> None:
        run_steps(install_steps.checkout_steps(options.source, options.commit, attempt, git))
        run_steps(install_steps.environment_steps(python, fitting, attempt))
        text = (attempt / "sd-scripts" / "requirements.txt").read_text(encoding="utf-8")
        wanted, left_out = fit.requirements(text, fitting.gpu)
        run_steps(install_steps.requirement_steps(wanted, fitting, attempt))
        install_steps.remove_leftovers(attempt)
        write_atomic(attempt / "left-out.json", json.dumps(left_out))

    def is_usable(made: Path) -> bool:
        return environment.python_of(made / "venv").exists() and not install_steps.lacking(made / "sd-scripts")

    key = short_hash(options.source, options.commit, python or "uv", *fitting.requirements, fitting.index)
    made = get_or_build(folder, key, build, progress, is_usable)
    left_out = json.loads((made / "left-out.json").read_text(encoding="utf-8"))
    python_made = environment.python_of(made / "venv")
    environment.remember(environment.Trainer(python_made, made / "sd-scripts", options.commit, False, left_out))


def adopt_trainer(options: argparse.Namespace) -> Any:
    """Check an environment that the user made, and describe it.

    Raises:
        SetupError: if it cannot train.
    """
    python = Path(os.path.abspath(options.python.expanduser()))
    if not options.checkout:
        raise SetupError("--python needs --checkout too: the folder of the sd-scripts that this interpreter is for.")
    checkout = options.checkout.expanduser().resolve()
    missing = missing_modules(python, "torch", "accelerate", "transformers", "diffusers", "safetensors", "toml")
    if missing is None:
        raise SetupError(f"--python is {options.python}, which does not run. Name a Python interpreter.")
    if missing:
        raise SetupError(f"--python is {options.python}, which has no {' and no '.join(missing)}. Install them there.")
    if not (checkout / "train_network.py").exists():
        raise SetupError(
            f"--checkout is {options.checkout}, which has no train_network.py. Name a checkout of sd-scripts."
        )
    return environment.Trainer(python, checkout, "", True, {})


def find_host_torch() -> dict[str, Any] | None:
    """Describe the torch of the user's ComfyUI; None if there is no ComfyUI."""
    given = os.environ.get("COMFYUI_PATH")
    if given:
        python = find_host(given, os.environ.get("COMFYUI_PYTHON")).python
    else:
        made = find_cached(cache_folder(os.environ) / "environments", environment_key())
        python = environment_python(made / "venv") if made else Path(sys.executable)
    answer = read_output(fit.host_probe(python), python.parent).strip()
    return json.loads(answer.splitlines()[-1]) if answer else None


def remove_trainer() -> int:
    """Delete what `install` made. The user's own environment is forgotten, not deleted."""
    folder = environment.trainer_folder()
    if not folder.exists():
        say(f"There is nothing to remove in {folder}.")
        return 0
    (folder / "trainer.json").unlink(
        missing_ok=True
    )  # first, so that a half-removed trainer is never taken for a complete one
    shutil.rmtree(folder)
    say(f"Removed {folder}.")
    return 0


def find_interpreter() -> str:
    """Find an interpreter that can make the trainer's environment; empty if this machine has none and uv must bring one.

    Raises:
        SetupError: if there is no pip to fetch uv either.
    """
    for candidate in fit.interpreter_candidates():
        found = fit.fitting_interpreter(read_output(fit.interpreter_probe(candidate)))
        if found:
            return found
    if not read_output((sys.executable, "-m", "pip", "--version")):
        raise SetupError(
            f"The trainer needs Python 3.10 to 3.12 with its venv module; none was found, and {sys.executable} has no pip "
            "to fetch one. Install Python 3.12 (on Debian and Ubuntu also python3-venv)."
        )
    say("No Python from 3.10 to 3.12 with its venv module was found, so uv installs one in the trainer's own folder.")
    return ""


def has_git() -> bool:
    """Whether git works. On a Mac without developer tools, the program of this name does nothing."""
    return bool(read_output(("git", "--version")))


def run_install_step(step: Any, log: Path, progress: Progress) -> None:
    """Run one step of the trainer's installation.

    Raises:
        SetupError: if it fails.
    """
    progress.start(step.title)
    try:
        code, output = run_logged(
            step.command,
            step.folder,
            environment_of(step),
            log,
            progress,
            describe_pip,
        )
    except FileNotFoundError as error:
        raise SetupError(f"{step.command[0]} is not installed; {step.title.lower()} needs it.") from error
    if code:
        progress.abandon()
        raise SetupError(explain_failure(step, output, log))
    progress.finish()


def environment_of(step: Any) -> dict[str, str]:
    # LANGUAGE keeps git's messages in English, in which `failures` knows them
    own = {**QUIET_PIP, "GIT_TERMINAL_PROMPT": "0", "LANGUAGE": "C", **step.environment}
    return child_environment(without_detours(os.environ), **own)


def explain_failure(step: Any, output: Sequence[str], log: Path) -> str:
    """Explain why a step failed; if the reason is unknown, show its last lines."""
    if is_full_disk(output):
        return f"The disk is full. Free some space and install the trainer again (log: {log})."
    network = find_network_error(output)
    if network:
        remedies = ["Check it", "set a proxy (HTTPS_PROXY)", *filter(None, [step.without_network])]
        return (
            f"{step.title} failed because the network could not be reached. {', '.join(remedies[:-1])}, or {remedies[-1]} "
            f"(log: {log}). {quote(network)}"
        )
    return unknown_failure(step.title, output, log)
