"""Read untrusted JSON: files on disk, bodies of requests, recipes in LoRA files.

Python's own reader accepts NaN, turns 1e999 into infinity, and raises RecursionError for deep nesting. This one refuses
whatever a valid file of the pack never holds, and says so in a sentence.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGEST = 4 << 20  # bytes; a recipe takes a few thousand, the manifest of a large dataset a few million
DEEPEST = 64  # levels of lists and objects; a recipe has five
MOST = 200_000  # values; reading that many takes a quarter of a second
_LARGEST_INTEGER = 1 << 64  # ComfyUI's seeds have 64 bits

_REQUIRED = object()
_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


class JsonError(ValueError):
    """The JSON cannot be used. The message continues a sentence such as "run.json cannot be read: …"."""


def parse(
    data: str | bytes,
    *,
    largest: int = LARGEST,
    most: int = MOST,
    odd_names: bool = False,
    long_integers: bool = False,
) -> Any:
    """The value of a JSON text.

    Args:
        data: text, or bytes in UTF-8, with or without a byte order mark.
        largest: most bytes allowed (for a text, characters).
        most: most values allowed.
        odd_names: allow lone surrogates, with which Python keeps file names that are not valid text.
        long_integers: allow integers of more than 64 bits, which fields of a newer version may hold.

    Raises:
        JsonError: if it is not JSON, too large, nested too deeply, or holds a number or character that cannot be used.
    """
    if len(data) > largest:
        raise JsonError(f"it is larger than {_size(largest)}")
    try:
        text = data if isinstance(data, str) else data.decode("utf-8", "surrogatepass" if odd_names else "strict")
        if text.count(",") + text.count("[") + text.count("{") > most:  # never less than there are values
            raise JsonError(f"it holds more than {most:,} values")
        value = json.loads(text.removeprefix("\ufeff"), parse_constant=_refuse_constant)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise JsonError(f"it is not valid UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"it is not JSON ({error.msg}, line {error.lineno} column {error.colno})") from None
    except JsonError:
        raise
    except ValueError:  # Python does not read integers of more than 4,300 digits
        raise JsonError("it holds a number that is too large") from None
    check(value, odd_names=odd_names, long_integers=long_integers)
    return value


def read(
    path: Path,
    *,
    largest: int = LARGEST,
    most: int = MOST,
    odd_names: bool = False,
    long_integers: bool = False,
) -> Any:
    """The value of a JSON file; see `parse`.

    Raises:
        JsonError: as `parse`, and if the path is not a regular file.
        OSError: if the file cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
        raise JsonError("it is not a file")
    with path.open("rb") as file:
        data = file.read(largest + 1)
    return parse(data, largest=largest, most=most, odd_names=odd_names, long_integers=long_integers)


def read_object(path: Path, *, largest: int = LARGEST, most: int = MOST, odd_names: bool = False) -> dict[str, Any]:
    """`read` for a file that holds an object.

    Raises:
        JsonError: as `read`, and if the file holds another value.
        OSError: if the file cannot be read.
    """
    value = read(path, largest=largest, most=most, odd_names=odd_names)
    if not isinstance(value, dict):
        raise JsonError(f"it should hold an object, but holds {shown(value)}")
    return value


def field(data: Mapping[str, Any], name: str, kind: type | tuple[type, ...], default: Any = _REQUIRED) -> Any:
    """A field of an object, checked for its type. ``float`` includes whole numbers; a ``bool`` is not an ``int``.

    Raises:
        JsonError: if it is missing and has no default, or is of another type.
    """
    if name not in data:
        if default is _REQUIRED:
            raise JsonError(f"{name!r} is missing")
        return default
    value, kinds = data[name], kind if isinstance(kind, tuple) else (kind,)
    allowed = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join(_NAMES.get(each, "null") for each in kinds)
        raise JsonError(f"{name!r} should be {expected}, but is {shown(value)}")
    return value


def shown(value: Any, longest: int = 40) -> str:
    """A value for an error message: at most ``longest`` characters, on one line."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value) if value is None or isinstance(value, bool | int | float) else repr(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def check(value: Any, *, odd_names: bool = False, long_integers: bool = False) -> None:
    """Check a value that has already been read, without recursion, so that deep nesting does no harm.

    Raises:
        JsonError: if `parse` would refuse it.
    """
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for each in level:
            if isinstance(each, str):
                if not odd_names and not each.isascii():
                    _check_text(each)
            elif isinstance(each, dict):
                if not odd_names:
                    for name in each:
                        _check_text(name)
                below += each.values()
                below.append(None)  # an empty object is a level too
            elif isinstance(each, list):
                below += each
                below.append(None)
            elif isinstance(each, float):
                if not math.isfinite(each):
                    raise JsonError("it holds a number that is not finite")
            elif isinstance(each, int) and not (long_integers or -_LARGEST_INTEGER < each < _LARGEST_INTEGER):
                raise JsonError("it holds a number that is too large")
        if below and depth == DEEPEST:
            raise _too_deep()
        level, depth = below, depth + 1


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise JsonError(f"it holds a character that is not valid text ({text[:40]!a})") from None


def _refuse_constant(name: str) -> Any:
    raise JsonError(f"it holds {name}, which is not a number in JSON")


def _too_deep() -> JsonError:
    return JsonError(f"it is nested deeper than {DEEPEST} levels")


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count} bytes"
