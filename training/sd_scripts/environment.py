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
        commit: of the checkout; empty where it is unknown.
        adopted: an environment of the user's own, which is never changed or removed.
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
