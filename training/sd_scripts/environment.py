"""Where the trainer is installed, and the steps that install it.

Standard library only, and without imports from the rest of the pack: `run.py trainer` uses it before there is any
environment. Nothing is run here; the steps are values that `run.py` runs with a log.

    <user's data folder>/incontext-lora/trainer/
        trainer.json          which interpreter and which checkout are used; written last
        <key>-<random>/venv, <key>-<random>/sd-scripts
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 12)
TORCH = ("torch==2.14.1", "torchvision==0.29.1")  # where the host's own cannot be had
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # on Linux, pip's own index has torch with CUDA only

# what training needs of the checkout; the rest are other programs, documents and libraries for Windows
NEEDED = (
    "library", "networks", "requirements.txt", "LICENSE.md", "*_train_network.py", "train_network.py",
    "hunyuan_image_minimal_inference.py",  # its trainer samples with it
    # Anima's tokenizers; without the large tokenizer.json, which says the same as these and which a mirror may lack
    *(f"configs/qwen3_06b/{name}" for name in ("config.json", "merges.txt", "tokenizer_config.json", "vocab.json")),
    *(f"configs/t5_old/{name}" for name in ("config.json", "spiece.model", "tokenizer.json")),
)  # fmt: skip

GIGABYTE = 1_000_000_000
# download, installed; measured with CUDA libraries, estimated without
SIZE_CUDA, SIZE_CPU = (4 * GIGABYTE, 9 * GIGABYTE), (1 * GIGABYTE, 3 * GIGABYTE)

_TORCH_OF_HOST = """
import json, torch
try:
    import torchvision
    vision = torchvision.__version__
except ImportError:
    vision = ""
print(json.dumps({"torch": torch.__version__, "torchvision": vision, "cuda": torch.version.cuda or "",
                  "gpu": torch.cuda.is_available()}))
"""


class TrainerNotInstalled(Exception):
    """The message is a sentence for the user, with the remedy."""


@dataclass(frozen=True)
class Trainer:
    """An installed trainer.

    Attributes:
        python: its interpreter.
        checkout: its sd-scripts.
        commit: of the checkout; empty where it is unknown.
        adopted: an environment of the user's own, which is never changed or removed.
        left_out: requirement → why it was not installed.
    """

    python: Path
    checkout: Path
    commit: str = ""
    adopted: bool = False
    left_out: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Flavour:
    """Which torch fits the machine.

    Attributes:
        requirements: for pip.
        index: where they are found; pip's own index when empty.
        gpu: whether an NVIDIA card is used.
    """

    requirements: tuple[str, ...]
    index: str = ""
    gpu: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Bytes to download, and bytes on the disk."""
        return SIZE_CUDA if self.gpu else SIZE_CPU


@dataclass(frozen=True)
class Step:
    """One command of the installation; what an optional one does can be done without, and ``otherwise`` says how.

    ``environment`` has variables beside those that all commands get.
    """

    title: str
    command: tuple[str, ...]
    folder: Path
    optional: bool = False
    otherwise: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


# --- places ---------------------------------------------------------------------------------------------------------


def data_folder(environment: Mapping[str, str] = os.environ, system: str = sys.platform) -> Path:
    """The user's data folder for the pack."""
    if environment.get("INCONTEXT_LORA_DATA"):
        return Path(environment["INCONTEXT_LORA_DATA"]).expanduser().resolve()
    home = Path.home()
    if system == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / "incontext-lora"
    if system == "darwin":
        return home / "Library" / "Application Support" / "incontext-lora"
    return Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share") / "incontext-lora"


def trainer_folder() -> Path:
    return data_folder() / "trainer"


def find(folder: Path | None = None) -> Trainer:
    """The trainer that is installed.

    Raises:
        TrainerNotInstalled: with the command that installs one.
    """
    path = (folder or trainer_folder()) / "trainer.json"
    remedy = "Install it once with `python run.py trainer install` in the pack's folder."
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        trainer = Trainer(
            Path(data["python"]), Path(data["checkout"]), data["commit"], data["adopted"], data["left_out"]
        )
    except FileNotFoundError:
        raise TrainerNotInstalled(f"The sd-scripts trainer is not installed. {remedy}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainerNotInstalled(f"{path} cannot be read ({error!r}). {remedy}") from error
    for part in (trainer.python, trainer.checkout / "train_network.py"):
        if not part.exists():
            raise TrainerNotInstalled(f"The sd-scripts trainer is no longer whole: {part} is missing. {remedy}")
    return trainer


def remember(trainer: Trainer, folder: Path | None = None) -> None:
    """Make a trainer the one that is used."""
    folder = folder or trainer_folder()
    folder.mkdir(parents=True, exist_ok=True)
    data = {**asdict(trainer), "python": str(trainer.python), "checkout": str(trainer.checkout)}
    unfinished = folder / f".trainer.json.{os.getpid()}"
    unfinished.write_text(json.dumps({**data, "left_out": trainer.left_out or {}}, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / "trainer.json")


def python_of(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


# --- what fits this machine -----------------------------------------------------------------------------------------


# Asked of each interpreter that is found. Portable builds of ComfyUI have no venv, and some systems no ensurepip.
_ABOUT_INTERPRETER = """
import sys, json, struct
import venv, ensurepip
print(json.dumps({"version": sys.version_info[:2], "bits": 8 * struct.calcsize("P"),
                  "path": getattr(sys, "_base_executable", "") or sys.executable}))
"""


def interpreter_candidates(
    running: str = sys.executable, which: Callable[[str], str | None] = shutil.which, system: str = sys.platform
) -> list[tuple[str, ...]]:
    """Commands that may start an interpreter for the trainer, the best first: the running one, then the newest."""
    minors = range(NEWEST[1], OLDEST[1] - 1, -1)
    candidates: list[tuple[str, ...]] = [(running,)]
    launcher = which("py") if system == "win32" else None
    if launcher:
        candidates += [(launcher, f"-3.{minor}") for minor in minors]
    names = [*(f"python3.{minor}" for minor in minors), "python3", "python"]
    candidates += [(found,) for name in names if (found := which(name))]
    return list(dict.fromkeys(candidates))


def interpreter_probe(candidate: Sequence[str]) -> tuple[str, ...]:
    """The command that asks an interpreter what it is; it fails where no environment can be made with it."""
    return (*candidate, "-c", _ABOUT_INTERPRETER)


def fitting_interpreter(answer: str) -> str:
    """The path of an interpreter that the trainer's requirements support, from what `interpreter_probe` printed.

    Empty where it is too old or too new, or has 32 bits, for which there is no torch.
    """
    try:
        about = json.loads(answer.strip().splitlines()[-1])
        fits = OLDEST <= tuple(about["version"]) <= NEWEST and about["bits"] == 64
        return str(about["path"]) if fits else ""
    except (ValueError, KeyError, TypeError, IndexError):
        return ""


def host_probe(python: Path) -> tuple[str, ...]:
    """The command that asks ComfyUI's interpreter which torch it has."""
    return (str(python), "-c", _TORCH_OF_HOST)


def flavour(host: Mapping[str, object] | None, has_driver: bool) -> Flavour:
    """The torch to install.

    Args:
        host: what `host_probe` printed; None where no ComfyUI was found.
        has_driver: whether an NVIDIA driver is there.
    """
    if host is None:
        cuda = "https://download.pytorch.org/whl/cu128"
        return Flavour(TORCH, cuda, True) if has_driver else Flavour(TORCH)
    torch, vision, cuda = (str(host.get(name) or "") for name in ("torch", "torchvision", "cuda"))
    if not cuda or not host.get("gpu"):
        return Flavour(TORCH)
    # the very build that runs ComfyUI on this card: its version, and its CUDA
    requirements = [f"torch=={torch}", *([f"torchvision=={vision}"] if vision else [])]
    return Flavour(tuple(requirements), f"https://download.pytorch.org/whl/cu{cuda.replace('.', '')}", True)


def requirements(text: str, gpu: bool) -> tuple[list[str], dict[str, str]]:
    """The checkout's own requirements, and what is left out of them with the reason."""
    wanted: list[str] = []
    left_out: dict[str, str] = {}
    for line in (line.split("#")[0].strip() for line in text.splitlines()):
        name = re.split(r"[\[=<>~! ]", line)[0].lower()
        if not line:
            continue
        if line.startswith("-e"):
            left_out[line] = "not needed: the runner puts the checkout on the path"
        elif name == "bitsandbytes" and not gpu:
            left_out[name] = "its 8-bit optimisers need an NVIDIA card; plain AdamW is used"
        else:
            wanted.append(line)
    return wanted, left_out


# --- the steps ------------------------------------------------------------------------------------------------------


def checkout_steps(source: str, commit: str, folder: Path, has_git: bool = True) -> list[Step]:
    """Fetch a commit and unpack what training needs; a local repository is only read.

    Args:
        source: a git repository, by its URL or its folder; or a zip archive of the commit, by its URL or its path.
        has_git: else the commit is fetched as an archive, as the forges offer it.

    Raises:
        TrainerNotInstalled: for a source that only git can read, where there is none.
    """
    archive, script = folder / "sd-scripts.zip", str(Path(__file__).with_name("archive.py"))
    url = archive_url(source, commit, has_git)
    if url:
        steps = [
            Step(f"Fetching sd-scripts {commit[:8]}", (sys.executable, script, "fetch", url, str(archive)), folder)
        ]
    elif is_archive(source):
        steps, archive = [], Path(source).expanduser().resolve()
    elif not has_git:
        raise TrainerNotInstalled(
            f"{source} can be read with git only, which is not installed. Install git, or name the https address of a "
            "repository, or a zip archive of its commit, with --source."
        )
    else:
        steps = _git_steps(source, commit, folder, archive)
    unpack = (sys.executable, script, "unpack", str(archive), str(folder / "sd-scripts"), commit, *NEEDED)
    return [*steps, Step("Unpacking what training needs", unpack, folder)]


def archive_url(source: str, commit: str, has_git: bool) -> str:
    """Where to fetch a commit as an archive; empty where it need not or cannot be fetched so."""
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
            ),
        ]
    how = ("--format=zip", "--prefix=sd-scripts/", f"--output={archive}", commit, "--")
    paths = (f":(glob){path}" if "*" in path else path for path in NEEDED)
    return [*steps, Step("Taking what training needs", (*git, f"--git-dir={local}", "archive", *how, *paths), folder)]


def lacking(checkout: Path) -> list[str]:
    """What training needs of the checkout and is not there, such as what an older version of the pack did not take."""
    return [path for path in NEEDED if not any(checkout.glob(path))]


def git_folder(source: str) -> Path | None:
    """The git directory of a local repository, bare or not; None where the source is none."""
    folder = Path(source).expanduser()
    for candidate in (folder / ".git", folder):
        if (candidate / "objects").is_dir() and (candidate / "HEAD").is_file():
            return candidate.resolve()
    return None


def environment_steps(python: str, torch: Flavour, folder: Path, system: str = sys.platform) -> list[Step]:
    """A virtual environment with torch; the checkout's requirements follow when it is there to be read.

    Args:
        python: an interpreter that can make it; where it is empty, uv brings one.
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
    )
    made = [Step("Making a virtual environment", (python, "-m", "venv", str(venv)), folder)]
    return [
        *(made if python else uv_steps(folder)),
        *([small] if system == "linux" and not torch.gpu else []),
        Step(
            f"Installing {' and '.join(torch.requirements)}",
            (*pip(venv), "install", *torch.requirements, *index),
            folder,
        ),
    ]


# An interpreter without its site folder on the path, such as the portable build's, takes no PYTHONPATH either.
_RUN_UV = """
import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("uv", run_name="__main__", alter_sys=True)
"""


def uv_steps(folder: Path) -> list[Step]:
    """A virtual environment of an interpreter that uv finds or fetches; all of it in the attempt's own folder."""
    tool, venv = folder / "uv", folder / "venv"
    own_pip = (sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check")
    uv = (sys.executable, "-c", _RUN_UV, str(tool), "venv", "--no-project", "--no-config")
    versions = f">={OLDEST[0]}.{OLDEST[1]},<{NEWEST[0]}.{NEWEST[1] + 1}"
    return [
        Step("Fetching uv, which brings a Python", (*own_pip, "install", "--target", str(tool), "uv"), folder),
        Step(
            f"Making a virtual environment with Python {versions}",
            (*uv, "--cache-dir", str(tool / "cache"), "--python", versions, str(venv)),
            folder,
            environment={"UV_PYTHON_INSTALL_DIR": str(folder / "python")},
        ),
        Step("Installing pip in it", (*own_pip, "--python", str(python_of(venv)), "install", "pip"), folder),
    ]


def requirement_steps(wanted: Sequence[str], torch: Flavour, folder: Path) -> list[Step]:
    # torch is named again so that no requirement can move it
    index = ("--extra-index-url", torch.index) if torch.index else ()
    return [
        Step(
            "Installing the trainer's requirements",
            (*pip(folder / "venv"), "install", *torch.requirements, *wanted, *index),
            folder,
        ),
        Step(
            "Compiling the checkout",
            (str(python_of(folder / "venv")), "-m", "compileall", "-q", str(folder / "sd-scripts")),
            folder,
            optional=True,
            otherwise="Each start of the trainer does it, where Python may not write compiled files.",
        ),
    ]


def remove_leftovers(folder: Path) -> None:
    """Delete what only the installation needed."""
    (folder / "sd-scripts.zip").unlink(missing_ok=True)
    for name in ("uv", "sd-scripts.git"):
        shutil.rmtree(folder / name, ignore_errors=True)


def pip(venv: Path) -> tuple[str, ...]:
    return (str(python_of(venv)), "-m", "pip", "--no-input", "--disable-pip-version-check")


LONGEST_PATH = 259  # characters that Windows takes where its long paths are not enabled
_BELOW = len(r"\012345678901-01234567\venv\Lib\site-packages") + 128  # of the longest names in torch and transformers


def length_problem(folder: Path, system: str = sys.platform, enabled: bool | None = None) -> str:
    """A sentence where Windows would find the trainer's paths too long; empty where it would not.

    Args:
        folder: of the trainer.
        enabled: whether its long paths are enabled; asked of Windows by default.
    """
    if system != "win32" or len(str(folder)) + _BELOW <= LONGEST_PATH:
        return ""
    if long_paths_enabled() if enabled is None else enabled:
        return ""
    return (
        f"The folder {folder} has {len(str(folder))} characters; paths in the trainer would be too long for Windows, "
        f"{LONGEST_PATH - _BELOW} are possible. Set INCONTEXT_LORA_DATA to a shorter folder such as C:\\incontext-lora, or "
        "enable long paths in Windows."
    )


def long_paths_enabled() -> bool:
    """Whether Windows takes paths of any length, by the setting of this machine."""
    if sys.platform != "win32":
        return True
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            return winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1
    except OSError:
        return False


def space_problem(folder: Path, torch: Flavour, free: int | None = None) -> str:
    """A sentence where the disk is too small; empty where it is not."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free if free is None else free
    needed = torch.size[1]
    if free >= needed:
        return ""
    return (
        f"The trainer needs about {needed / GIGABYTE:.0f} GB in {folder}, {free / GIGABYTE:.1f} GB are free. Free some "
        "space, or set INCONTEXT_LORA_DATA to a folder on another disk."
    )
