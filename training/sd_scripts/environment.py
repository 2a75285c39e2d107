"""Where the trainer is installed.

Standard library only, and without imports from the rest of the pack: `run.py trainer` uses it before any environment
exists.

    <user's data folder>/incontext-lora/trainer/
        trainer.json          which interpreter and which checkout are used; written last
        <key>-<random>/venv, <key>-<random>/sd-scripts
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


class TrainerNotInstalled(Exception):
    """The message is a sentence for the user, with the remedy."""


@dataclass(frozen=True)
class Trainer:
    """An installed trainer.

    Attributes:
        python: its interpreter.
        checkout: its sd-scripts.
        commit: of the checkout; empty if it is unknown.
        adopted: whether it is the user's own environment, which is never changed or removed.
        left_out: requirement → why it was not installed.
    """

    python: Path
    checkout: Path
    commit: str = ""
    adopted: bool = False
    left_out: Mapping[str, str] | None = None


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
    """The installed trainer.

    Raises:
        TrainerNotInstalled: if there is none, or it is damaged; the message has the command that installs it.
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
            raise TrainerNotInstalled(f"The sd-scripts trainer is incomplete: {part} is missing. {remedy}")
    return trainer


def remember(trainer: Trainer, folder: Path | None = None) -> None:
    """Make this the trainer that `find` returns."""
    folder = folder or trainer_folder()
    folder.mkdir(parents=True, exist_ok=True)
    data = {**asdict(trainer), "python": str(trainer.python), "checkout": str(trainer.checkout)}
    unfinished = folder / f".trainer.json.{os.getpid()}"
    unfinished.write_text(json.dumps({**data, "left_out": trainer.left_out or {}}, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / "trainer.json")


def python_of(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


LONGEST_PATH = 259  # characters that Windows accepts if long paths are not enabled
_BELOW = len(r"\012345678901-01234567\venv\Lib\site-packages") + 128  # the longest path in torch and transformers


def length_problem(folder: Path, system: str = sys.platform, enabled: bool | None = None) -> str:
    """A sentence if the trainer's paths would be too long for Windows; empty if not.

    Args:
        folder: of the trainer.
        enabled: whether long paths are enabled; None to ask Windows.
    """
    if system != "win32" or len(str(folder)) + _BELOW <= LONGEST_PATH:
        return ""
    if long_paths_enabled() if enabled is None else enabled:
        return ""
    return (
        f"The folder {folder} has {len(str(folder))} characters; with more than {LONGEST_PATH - _BELOW}, paths in the trainer "
        f"are too long for Windows. Set INCONTEXT_LORA_DATA to a shorter folder such as C:\\incontext-lora, or "
        "enable long paths in Windows."
    )


def long_paths_enabled() -> bool:
    """Whether long paths are enabled on this machine; always True outside Windows."""
    if sys.platform != "win32":
        return True
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            return winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1
    except OSError:
        return False
