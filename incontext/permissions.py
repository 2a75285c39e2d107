"""What whoever runs ComfyUI has allowed: hosts, folders, and installing the trainer from another machine.

A workflow or a page may come from a stranger, so nothing of this is ever read from either. It comes from environment
variables and from a file that no page can read:

    {"hosts": ["comfy.example.com"], "folders": ["/data/sets"], "remote_install": true}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import strict_json
from .errors import InContextError
from .names import as_path
from .strict_json import JsonError

FILE = "settings.json"
HOSTS, FOLDERS, REMOTE_INSTALL = "INCONTEXT_LORA_HOSTS", "INCONTEXT_LORA_FOLDERS", "INCONTEXT_LORA_REMOTE_INSTALL"

_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})


class NotAllowed(InContextError):
    """Whoever runs ComfyUI has not allowed this; the message says how to."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """
    Attributes:
        hosts: names under which ComfyUI is reached, beside those of this machine; lower case.
        folders: where workflows may write, beside ComfyUI's own folders.
        remote_install: whether a page on another machine may install the trainer.
    """

    hosts: frozenset[str] = frozenset()
    folders: tuple[Path, ...] = ()
    remote_install: bool = False

    @staticmethod
    def read(environment: Mapping[str, str], file: Path | None = None) -> Permissions:
        """What the variables and the file allow together.

        Args:
            environment: of the process. Hosts are separated by commas, folders as in PATH.
            file: see `FILE`; it need not exist.

        Raises:
            NotAllowed: where one of them cannot be read; then nothing is allowed.
        """
        data = _entries(file) if file else {}
        try:
            hosts = [*environment.get(HOSTS, "").split(","), *_texts(data, "hosts")]
            folders = [*environment.get(FOLDERS, "").split(os.pathsep), *_texts(data, "folders")]
            remote = strict_json.field(data, "remote_install", bool, False)
        except JsonError as error:
            raise NotAllowed(f"{file} cannot be used: {error}. Correct it, or remove it.") from None
        said = environment.get(REMOTE_INSTALL, "").strip().lower()
        if said not in _YES | _NO:
            raise NotAllowed(f"{REMOTE_INSTALL} is {said!r}; it should be 1 or 0. Correct it and start ComfyUI again.")
        return Permissions(
            frozenset(host.strip().lower().rstrip(".") for host in hosts if host.strip()),
            tuple(as_path(folder) for folder in folders if folder.strip()),
            remote or said in _YES,
        )

    def check_writable(self, folder: Path, own: tuple[Path, ...]) -> None:
        """
        Args:
            folder: where a workflow wants to write.
            own: ComfyUI's folders for this.

        Raises:
            NotAllowed: where the folder, with links followed, is in none that may be written to.
        """
        real = folder.resolve()
        if not any(real.is_relative_to(each.resolve()) for each in (*own, *self.folders)):
            raise NotAllowed(
                f"{real} is not below {' or '.join(str(each) for each in own)}, and a workflow may write nowhere else, since "
                f"it may come from a stranger. Move the sets there, or allow the folder where ComfyUI runs: set "
                f"{FOLDERS}={real} in the environment and start ComfyUI again, or add it to {FILE} (see the help page)."
            )


def _entries(file: Path) -> Mapping[str, Any]:
    try:
        return strict_json.read_object(file)
    except FileNotFoundError:
        return {}
    except (OSError, JsonError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        raise NotAllowed(f"{file} cannot be read: {reason}. Correct it, or remove it.") from None


def _texts(data: Mapping[str, Any], name: str) -> list[str]:
    values = strict_json.field(data, name, list, [])
    if not all(isinstance(value, str) for value in values):
        raise JsonError(f"{name!r} should be a list of texts")
    return values
