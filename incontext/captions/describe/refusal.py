"""The error messages of a server that refuses, without keys and markup."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import VisionError
from ...files import strict_json
from .servers import Server

_SHOWN = 300  # characters of a server's own message
_READ = 20_000  # characters of it that are searched for keys


class ServerError(VisionError):
    """The server cannot be asked, or did not answer.

    Attributes:
        hopeless: whether the next request would fail too.
    """

    def __init__(self, message: str, *, hopeless: bool = False) -> None:
        super().__init__(message)
        self.hopeless = hopeless


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


def words_of(server: Server, response: Response) -> str:
    """The server's own message about an error: one line, without the key."""
    try:
        data = strict_json.parse(response.body)
    except strict_json.JsonError:
        text = response.body.decode("utf-8", "replace")
        return "" if "<html" in text.lower() else clean(server, text)
    for name in ("error", "message", "detail"):
        if isinstance(data, dict) and data.get(name):
            data = data[name]
    return clean(server, data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))


def clean(server: Server, text: str) -> str:
    line = " ".join(without_key(server, text[:_READ]).split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def without_key(server: Server, text: str) -> str:
    return _key_pattern(server.key).sub("(the key)", text) if server.key else text


@functools.lru_cache(maxsize=8)
def _key_pattern(key: str) -> re.Pattern[str]:
    """Matches a key in any notation: plain, escaped for JSON, URLs or HTML, or with white space between its characters."""

    def written(character: str) -> str:
        code = ord(character)
        ways = (
            rf"\\{{0,8}}{re.escape(character)}",
            rf"\\{{1,8}}u00{code:02x}",
            rf"\\{{1,8}}x{code:02x}",
            rf"%{code:02x}",
            rf"&\#0{{0,5}}{code};",
            rf"&\#x0{{0,5}}{code:x};",
        )
        return f"(?:{'|'.join(ways)})"

    between = r"(?:[\s\u00ad\u200b-\u200f\u2060\ufeff]|\\{1,8}[nrt]|\\{1,8}u(?:00ad|200[b-f]|2060|feff|000[9ad]|0020))*"
    return re.compile(between.join(written(character) for character in key), re.IGNORECASE)
