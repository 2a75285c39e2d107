"""What whoever runs ComfyUI has allowed: hosts, folders, and installing the trainer from another machine.

A workflow or a page may come from a stranger, so nothing of this is ever read from either. It comes from environment
variables and from a file that no page can read:

    {"hosts": ["comfy.example.com"], "folders": ["/data/sets"], "remote_install": true}
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from .errors import InContextError
from .files import strict_json
from .files.names import as_path
from .files.strict_json import JsonError

FILE = "settings.json"
HOSTS, FOLDERS, REMOTE_INSTALL = "INCONTEXT_LORA_HOSTS", "INCONTEXT_LORA_FOLDERS", "INCONTEXT_LORA_REMOTE_INSTALL"

LONGEST_SHOWN = 300  # characters of a path in a message

_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})


class NotAllowed(InContextError):
    """Whoever runs ComfyUI has not allowed this; the message says how to."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """
    Attributes:
        hosts: names under which ComfyUI is reached, beside those of this machine; lower case.
        folders: where workflows may read and write, beside ComfyUI's own folders; absolute.
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
            NotAllowed: if one of them cannot be read; then nothing is allowed.
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
        allowed = tuple(as_path(folder) for folder in folders if folder.strip())
        for folder in allowed:
            if not folder.is_absolute():
                raise NotAllowed(f"{FOLDERS} or {FILE} allows the folder {str(folder)!r}; write its whole path.")
        return Permissions(
            frozenset(host.strip().lower().rstrip(".") for host in hosts if host.strip()),
            allowed,
            remote or said in _YES,
        )

    def check_folder(self, folder: Path, own: Sequence[Path]) -> None:
        """
        Args:
            folder: the folder that a workflow names.
            own: ComfyUI's folders, in which a workflow may always read and write.

        Raises:
            NotAllowed: if the folder, once links are followed, is in none of ComfyUI's folders or the allowed ones.
        """
        real = _follow_links(folder, (*own, *self.folders))
        if not any(real.is_relative_to(os.path.realpath(root)) for root in (*own, *self.folders)):
            shown = shorten(real)
            raise NotAllowed(
                f"A workflow may come from a stranger, so it can only use folders in {listed(own)}; {shown} is in none of "
                f"them. Move the sets there, or allow the folder on the machine that runs ComfyUI: set {FOLDERS}={shown} in "
                f"the environment and restart ComfyUI, or add it to {FILE} (see the help page)."
            )


def shorten(path: PurePath) -> str:
    """A path for a message: cut where it is too long to read, and escaped where it cannot be shown."""
    text = str(path) if str(path).isprintable() else repr(str(path))[1:-1]
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def listed(folders: Sequence[Path]) -> str:
    """Folders as the end of a sentence: ``a, b or c``."""
    *first, last = map(str, dict.fromkeys(folders))
    return f"{', '.join(first)} or {last}" if first else last


def is_remote(path: PurePath) -> bool:
    r"""Whether Windows would ask another machine, or a device, for a path: ``\\server\share``, ``\\?\UNC\…``."""
    return path.drive.startswith("\\\\")


def _follow_links(folder: Path, roots: Sequence[Path]) -> Path:
    """Where a folder really is; as it is written where finding out is not safe, or not possible."""
    written = Path(os.path.abspath(folder))
    # Looking at a path on another machine is already too much: Windows logs in there with the user's credentials.
    if is_remote(written) and not any(written.is_relative_to(os.path.abspath(root)) for root in roots):
        return written
    try:
        return Path(os.path.realpath(folder))
    except ValueError:  # it holds a character that no path can hold
        return written


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
