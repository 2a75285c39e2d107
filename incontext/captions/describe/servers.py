"""Which servers may be asked, and with which key.

A workflow may come from a stranger, and it names the server. So neither keys nor permissions are in the workflow:

- a server on this machine may always be asked;
- any other server only if the person who runs ComfyUI has named it, in an environment variable or in a file that no page
  can read;
- a key belongs to the address it was named with (scheme, host, port, path, and everything below that path) and is sent
  nowhere else: on one gateway, another path may belong to someone else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import VisionError
from ...files import strict_json
from .options import OLLAMA

KEY, BASE = "INCONTEXT_LORA_API_KEY", "INCONTEXT_LORA_API_BASE"
FILE = "vision_servers.json"
"""``{"https://api.example.com/v1": "the key, or empty"}``, in a folder that ComfyUI does not serve."""

_OPENAI = "https://api.openai.com/v1"
_PORTS = {"http": 80, "https": 443}
# Strict on purpose: what one URL parser takes for the host, another may take for a user or a path.
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?"
    r"(?P<path>(?:/[a-z0-9._~-]+)*)/*",
    re.IGNORECASE,
)


Place = tuple[str, str, int, str]
"""Scheme, host, port and path."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that may be asked.

    Attributes:
        scheme, host, port: where it is.
        path: the part before ``/chat/completions``.
        key: sent with every request; empty for none.
        source: where the key came from, for messages.
    """

    scheme: str
    host: str
    port: int
    path: str
    key: str = field(default="", repr=False)
    source: str = ""

    @property
    def place(self) -> Place:
        return self.scheme, self.host, self.port, self.path

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def is_localhost(self) -> bool:
        """Whether its name means this machine, regardless of name servers."""
        return self.host == "localhost" or self.host.endswith(".localhost")

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        if self.is_localhost:
            return True
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return address.is_loopback or address.is_unspecified


@dataclass(frozen=True, slots=True)
class NamedServer:
    """A server that the person who runs ComfyUI has named.

    Attributes:
        key: empty if the server needs none.
        source: where it was named, for messages.
    """

    key: str = field(repr=False)
    source: str


def address(text: str) -> Server:
    """A server from the address of its API. An address without a path gets ``/v1``, the usual one.

    Raises:
        VisionError: if the address cannot be used.
    """
    match = _ADDRESS.fullmatch(text.strip())
    port = int(match["port"] or _PORTS[match["scheme"].lower()]) if match else 0
    if not match or not 0 < port < 65536:
        # not the text itself: it may hold a key
        raise VisionError(
            f"This is not the address of a vision server. Write it like {OLLAMA}: http or https, the host, perhaps a port, "
            "and the path. Keys and passwords do not belong in it."
        )
    if any(part in (".", "..") for part in match["path"].split("/")):  # another server may take it for another path
        raise VisionError(
            f"This is not the address of a vision server: its path contains dot segments. Write it like {OLLAMA}."
        )
    path = re.sub(r"/chat/completions$", "", match["path"].rstrip("/"), flags=re.IGNORECASE)
    return Server(match["scheme"].lower(), match["host"].lower().strip("[]").rstrip("."), port, path or "/v1")


def permitted(base_url: str, named: Mapping[Place, NamedServer]) -> Server:
    """The server of an address, with the key that belongs to it.

    Args:
        named: see `named_servers`.

    Raises:
        VisionError: if the address cannot be used, belongs to another machine that was not named, or has an invalid key.
    """
    asked = address(base_url)
    known = _known(asked, named)
    if known is None and not asked.is_local:
        raise VisionError(
            f"{asked.url} is not on this machine. A workflow may come from a stranger, so pictures and keys are only sent to "
            f"other machines that the person who runs ComfyUI has named: set {BASE}={asked.url} in the environment and "
            f"restart ComfyUI, or add it to {FILE} (see the help page of Caption Panels)."
        )
    if known is None:
        return asked
    return replace(asked, key=_checked(known.key, known.source), source=known.source)


def _known(asked: Server, named: Mapping[Place, NamedServer]) -> NamedServer | None:
    """The named server for an address: the one with the same path, else with the longest path above it."""
    *where, path = asked.place
    while path:
        known = named.get((*where, path))  # type: ignore[arg-type]
        if known is not None:
            return known
        path = path.rpartition("/")[0]
    return None


def named_servers(environment: Mapping[str, str], file: Path | None = None) -> dict[Place, NamedServer]:
    """All named servers, by scheme, host, port and path. The file takes precedence over the environment.

    Args:
        environment: of the process.
        file: see `FILE`; it need not exist.

    Raises:
        VisionError: if an entry cannot be used.
    """
    entries = [(base, key, str(file)) for base, key in (_entries(file) if file else {}).items()]
    if environment.get(BASE):
        entries.append((environment[BASE], environment.get(KEY, ""), KEY))
    named: dict[Place, NamedServer] = {}
    for base, key, source in entries:
        try:
            server = address(base)
        except VisionError as error:
            raise VisionError(
                f"The address of a server in {source if source != KEY else BASE} cannot be used. {error}"
            ) from None
        named.setdefault(server.place, NamedServer(key, source))
    if environment.get("OPENAI_API_KEY"):
        with suppress(VisionError):  # it is meant for other programs too, which accept other addresses
            server = address(environment.get("OPENAI_BASE_URL") or _OPENAI)
            named.setdefault(server.place, NamedServer(environment["OPENAI_API_KEY"], "OPENAI_API_KEY"))
    return named


def _entries(file: Path) -> dict[str, str]:
    try:
        data = strict_json.read(file)
    except FileNotFoundError:
        return {}
    except (OSError, strict_json.JsonError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not valid JSON"  # the details may hold a key
        raise VisionError(f"{file} cannot be read: {reason}. Correct it, or remove it.") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data.values()):
        raise VisionError(f'{file} cannot be used; expected {{"{_OPENAI}": "the key, or empty"}}.')
    return data


def _checked(key: str, source: str) -> str:
    key = key.strip()
    if re.search(r"[^!-~]", key):  # also line breaks, which would end a header
        raise VisionError(f"The key in {source} holds spaces or characters that keys do not have. Set it again.")
    return key
