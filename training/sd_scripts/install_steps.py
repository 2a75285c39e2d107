"""The steps that install the trainer, as values; `launcher.trainer` runs them with a log. Standard library only."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .environment import TrainerNotInstalled, python_of
from .fit import GIGABYTE, NEWEST, OLDEST, SIZE_CUDA, Flavour

CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # on Linux, pip's own index only has torch with CUDA
# the files of the checkout that training needs; the rest is other programs, documents and libraries for Windows
NEEDED = (
    "library", "networks", "requirements.txt", "LICENSE.md", "*_train_network.py", "train_network.py",
    "hunyuan_image_minimal_inference.py",  # its trainer samples with it
    # Anima's tokenizers; without the large tokenizer.json, which has the same content and which a mirror may lack
    *(f"configs/qwen3_06b/{name}" for name in ("config.json", "merges.txt", "tokenizer_config.json", "vocab.json")),
    *(f"configs/t5_old/{name}" for name in ("config.json", "spiece.model", "tokenizer.json")),
)  # fmt: skip


_OTHER_SOURCE = "name a mirror or a local copy of sd-scripts with --source or INCONTEXT_LORA_SD_SCRIPTS"
_OTHER_INDEX = "name a reachable package index (PIP_INDEX_URL)"
_OTHER_PYTHON = "install Python 3.12 yourself, or name a mirror with UV_PYTHON_INSTALL_MIRROR"


@dataclass(frozen=True)
class Step:
    """One command of the installation.

    Attributes:
        title: what it does, for the log.
        command: the program and its arguments.
        folder: its working folder.
        optional: whether the installation continues if it fails.
        otherwise: what happens then.
        environment: variables in addition to those of all commands.
        without_network: what else helps if the network cannot be reached; empty for a step that fetches nothing.
    """

    title: str
    command: tuple[str, ...]
    folder: Path
    optional: bool = False
    otherwise: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    without_network: str = ""


def checkout_steps(source: str, commit: str, folder: Path, has_git: bool = True) -> list[Step]:
    """Steps that fetch a commit and unpack what training needs. A local repository is only read.

    Args:
        source: URL or folder of a git repository, or URL or path of a zip archive of the commit.
        has_git: whether git is installed; without it, the commit is fetched as an archive, as the forges offer it.

    Raises:
        TrainerNotInstalled: if only git can read the source, and it is not installed.
    """
    archive, script = folder / "sd-scripts.zip", str(Path(__file__).with_name("archive.py"))
    url = archive_url(source, commit, has_git)
    if url:
        steps = [
            Step(
                f"Fetching sd-scripts {commit[:8]}",
                (sys.executable, script, "fetch", url, str(archive)),
                folder,
                without_network=_OTHER_SOURCE,
            )
        ]
    elif is_archive(source):
        steps, archive = [], Path(source).expanduser().resolve()
    elif not has_git:
        raise TrainerNotInstalled(
            f"{source} can only be read with git, which is not installed. Install git, or name the https address of a "
            "repository, or a zip archive of its commit, with --source."
        )
    else:
        steps = _git_steps(source, commit, folder, archive)
    unpack = (sys.executable, script, "unpack", str(archive), str(folder / "sd-scripts"), commit, *NEEDED)
    return [*steps, Step("Unpacking what training needs", unpack, folder)]


def archive_url(source: str, commit: str, has_git: bool) -> str:
    """The URL of an archive of a commit; empty if git is used instead, or the source is not on the web."""
    if not source.lower().startswith(("https://", "http://")):
        return ""
    if is_archive(source):
        return source
    repository = source.rstrip("/").removesuffix(".git")
    return "" if has_git else f"{repository}/archive/{commit}.zip"


def is_archive(source: str) -> bool:
    return source.lower().endswith(".zip")


def _git_steps(source: str, commit: str, folder: Path, archive: Path) -> list[Step]:
    git = ("git", "-c", "core.longpaths=true", "-c", "core.autocrlf=false")
    local = git_folder(source)
    steps = []
    if local is None:
        fetched = folder / "sd-scripts.git"
        local = fetched
        steps += [
            Step("Preparing the checkout", (*git, "init", "--quiet", "--bare", str(fetched)), folder),
            Step(
                f"Fetching sd-scripts {commit[:8]}",
                (*git, f"--git-dir={fetched}", "fetch", "--depth=1", "--progress", source, commit),
                folder,
                without_network=_OTHER_SOURCE,
            ),
        ]
    how = ("--format=zip", "--prefix=sd-scripts/", f"--output={archive}", commit, "--")
    paths = (f":(glob){path}" if "*" in path else path for path in NEEDED)
    return [*steps, Step("Taking what training needs", (*git, f"--git-dir={local}", "archive", *how, *paths), folder)]


def lacking(checkout: Path) -> list[str]:
    """Files that training needs but the checkout lacks, for instance because an older version of the pack made it."""
    return [path for path in NEEDED if not any(checkout.glob(path))]


def git_folder(source: str) -> Path | None:
    """The git directory of a local repository, bare or not; None if the source is not one."""
    folder = Path(source).expanduser()
    for candidate in (folder / ".git", folder):
        if (candidate / "objects").is_dir() and (candidate / "HEAD").is_file():
            return candidate.resolve()
    return None


def environment_steps(python: str, torch: Flavour, folder: Path, system: str = sys.platform) -> list[Step]:
    """Steps that make a virtual environment with torch. The checkout's requirements come later, in `requirement_steps`.

    Args:
        python: an interpreter that can make it; empty to let uv fetch one.
    """
    venv = folder / "venv"
    index = ("--index-url", torch.index) if torch.index else ()
    download, installed = (size // GIGABYTE for size in SIZE_CUDA)
    small = Step(
        f"Installing {torch.requirements[0]} for processors",
        (*pip(venv), "install", "--index-url", CPU_INDEX, "--timeout", "15", "--retries", "1", *torch.requirements),
        folder,
        optional=True,
        otherwise=f"The larger one with CUDA follows: {download} GB to download, {installed} GB on the disk.",
        without_network=_OTHER_INDEX,
    )
    made = [Step("Making a virtual environment", (python, "-m", "venv", str(venv)), folder)]
    return [
        *(made if python else uv_steps(folder)),
        *([small] if system == "linux" and not torch.gpu else []),
        Step(
            f"Installing {' and '.join(torch.requirements)}",
            (*pip(venv), "install", *torch.requirements, *index),
            folder,
            without_network=_OTHER_INDEX,
        ),
    ]


# An isolated interpreter, such as the portable build's, ignores PYTHONPATH, so the path is set in code.
_RUN_UV = """
import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("uv", run_name="__main__", alter_sys=True)
"""


def uv_steps(folder: Path) -> list[Step]:
    """Steps that make a virtual environment with an interpreter that uv finds or fetches, all within ``folder``."""
    tool, venv = folder / "uv", folder / "venv"
    own_pip = (sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check")
    uv = (sys.executable, "-c", _RUN_UV, str(tool), "venv", "--no-project", "--no-config")
    versions = f">={OLDEST[0]}.{OLDEST[1]},<{NEWEST[0]}.{NEWEST[1] + 1}"
    return [
        Step(
            "Fetching uv, which brings a Python",
            (*own_pip, "install", "--target", str(tool), "uv"),
            folder,
            without_network=_OTHER_INDEX,
        ),
        Step(
            f"Making a virtual environment with Python {versions}",
            (*uv, "--cache-dir", str(tool / "cache"), "--python", versions, str(venv)),
            folder,
            environment={"UV_PYTHON_INSTALL_DIR": str(folder / "python")},
            without_network=_OTHER_PYTHON,
        ),
        Step(
            "Installing pip in it",
            (*own_pip, "--python", str(python_of(venv)), "install", "pip"),
            folder,
            without_network=_OTHER_INDEX,
        ),
    ]


def requirement_steps(wanted: Sequence[str], torch: Flavour, folder: Path) -> list[Step]:
    # torch is named again so that no requirement changes its version
    index = ("--extra-index-url", torch.index) if torch.index else ()
    return [
        Step(
            "Installing the trainer's requirements",
            (*pip(folder / "venv"), "install", *torch.requirements, *wanted, *index),
            folder,
            without_network=_OTHER_INDEX,
        ),
        Step(
            "Compiling the checkout",
            (str(python_of(folder / "venv")), "-m", "compileall", "-q", str(folder / "sd-scripts")),
            folder,
            optional=True,
            otherwise="Python compiles it at each start of the trainer instead.",
        ),
    ]


def remove_leftovers(folder: Path) -> None:
    """Delete files that only the installation needed."""
    (folder / "sd-scripts.zip").unlink(missing_ok=True)
    for name in ("uv", "sd-scripts.git"):
        shutil.rmtree(folder / name, ignore_errors=True)


def pip(venv: Path) -> tuple[str, ...]:
    return (str(python_of(venv)), "-m", "pip", "--no-input", "--disable-pip-version-check")
