"""LoRA files: the recipe in a safetensors header, and saving a LoRA with its recipe.

A safetensors file is eight bytes (length of the header, little endian), the header (JSON: one entry a tensor, and
``__metadata__`` with strings), then the tensors' bytes. A recipe is written by replacing the header; offsets in it
count from its end, so the tensors' bytes are copied as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import InContextError, LoraError
from ..files import names, strict_json
from ..files.strict_json import JsonError, shown
from .recipe import Recipe
from .tasks import recipe_for_file

if TYPE_CHECKING:
    from torch import Tensor

METADATA_KEY = "incontext_lora"
ENDING = ".safetensors"
SIDECARS = (".incontext.json", ".json")

_LARGEST_HEADER = 8_000_000  # bytes; a LoRA of ten thousand tensors has one million
_MOST_IN_HEADER = 500_000  # values; a tensor has some seven
_LARGEST_RECIPE = 400_000  # bytes; one of 256 panels has 40,000
_MOST_DIMENSIONS = 16
# what safetensors knows; a newer type is left to the library that reads the tensors
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
_ALIGNMENT = 8  # the tensors' bytes begin at a multiple of it
_COPY_CHUNK = 1 << 20
_DOWNLOAD_AGAIN = "Download the file again and compare its size with the one on the download page."

# first bytes of files that people have renamed or downloaded by mistake → what they are, and the remedy
_CONVERT = "Only .safetensors is read, since such files can run code when opened. Get the LoRA as .safetensors."
_OTHER_FILES: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive or a PyTorch file (.pt, .ckpt, .bin)", f"Unpack an archive first. {_CONVERT}"),
    (b"\x80", "a Python pickle (.pt, .ckpt, .bin)", _CONVERT),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Run 'git lfs pull', or download the file."),
    (b"<", "a web page", "The download gave an error or log-in page. Log in, then download the file again."),
    (b"{", "JSON text", "The download gave a message instead of the file; open it in an editor to read it."),
    (b"GGUF", "a GGUF file", "GGUF holds models, not LoRAs. Get the LoRA as .safetensors."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"7z\xbc\xaf", "a 7-Zip archive", "Unpack it first."),
    (b"Rar!", "a RAR archive", "Unpack it first."),
    (b"\0" * 8, "filled with zeros, as an unfinished download is", _DOWNLOAD_AGAIN),
)


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor: its type as safetensors writes it (``F16``, ``BF16``, …), shape, and first and last byte + 1."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says of itself.

    Attributes:
        tensors: name → entry, in the file's order.
        metadata: the file's own remarks; strings.
        data_start: where the tensors' bytes begin, in bytes from the start of the file.
    """

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    data_start: int


class UnreadableRecipe(LoraError):
    """The file is sound, but what stands at the recipe's place is no recipe."""


def read_header(path: str | Path) -> Header:
    """Read the header only, whatever the file's size.

    Raises:
        LoraError: where the file is missing, damaged, cut short or of another kind; the message says which.
    """
    path = Path(path)
    with _opened(path) as file:
        raw, data_start = _raw_header(file, path)
        return _parsed(raw, data_start, os.fstat(file.fileno()).st_size, path)


def read_metadata(path: str | Path) -> Mapping[str, str]:
    """The strings that the file's maker put into the header.

    Raises:
        LoraError: as `read_header`.
    """
    return read_header(path).metadata


def read_recipe(path: str | Path) -> Recipe | None:
    """The recipe inside the file; None where there is none.

    Raises:
        LoraError: as `read_header`; `UnreadableRecipe` where what stands at the recipe's place is none.
    """
    text = read_metadata(path).get(METADATA_KEY)
    return None if text is None else _recipe_from_text(text, f"The recipe inside {Path(path).name}")


def write_recipe(path: str | Path, recipe: Recipe) -> None:
    """Put a recipe into the file's header, in place of any recipe there. All else in the file stays as it is.

    The new file is written beside the old one and then takes its place in one step, so an interruption leaves the old
    one whole. Where ``path`` is a link, the file that it points to is replaced.

    Raises:
        LoraError: as `read_header`, and where the folder or the file cannot be written.
    """
    path = Path(path)
    with _opened(path) as source:
        raw, data_start = _raw_header(source, path)
        _parsed(raw, data_start, os.fstat(source.fileno()).st_size, path)  # refuse to copy what is damaged
        header = json.loads(raw)
        metadata = {**header.pop("__metadata__", {}), METADATA_KEY: _recipe_text(recipe)}
        new_header = _encoded({"__metadata__": metadata, **header}, path)
        target = path.resolve()
        with _temporary(target) as temporary:
            with temporary.open("wb") as file:
                shutil.copymode(target, temporary)  # before there is anything in it to read
                file.write(new_header)
                source.seek(data_start)
                shutil.copyfileobj(source, file, _COPY_CHUNK)
                _flush(file)
            source.close()  # Windows replaces no file that is open
            os.replace(temporary, target)


def find_recipe(path: str | Path) -> tuple[Recipe | None, str]:
    """The recipe of a LoRA: inside the file, else in a file beside it, else in the table of published LoRAs.

    Returns:
        The recipe, None where there is none, and where it was found, in words. A recipe that is there but cannot be
        read is passed over, and the words say so.

    Raises:
        LoraError: as `read_header`.
    """
    path = Path(path)
    unreadable: list[str] = []

    def found(recipe: Recipe | None, where: str) -> tuple[Recipe | None, str]:
        return recipe, " ".join([where, *unreadable])

    try:
        recipe = read_recipe(path)
    except UnreadableRecipe as error:
        recipe = None
        unreadable.append(f"({error})")
    if recipe is not None:
        return found(recipe, "the file itself")
    for sidecar in sidecars(path):
        try:
            recipe = read_sidecar(sidecar)
        except UnreadableRecipe as error:
            unreadable.append(f"({error})")
            continue
        if recipe is not None:
            return found(recipe, f"{sidecar.name} beside it")
    published = recipe_for_file(path.name)
    if published is not None:
        return found(published, f"the table of published LoRAs ({published.name})")
    return found(None, "no recipe in the file, beside it, or in the table of published LoRAs")


def sidecars(path: str | Path) -> tuple[Path, ...]:
    """Where a recipe beside the file may lie, in the order of reading."""
    path = Path(path)
    return tuple(path.with_name(path.stem + ending) for ending in SIDECARS)


def read_sidecar(path: str | Path) -> Recipe | None:
    """The recipe in a JSON file; None where there is no such file, or it is another program's.

    Raises:
        UnreadableRecipe: where the file is meant to be a recipe but is none.
    """
    path = Path(path)
    ours = path.name.endswith(SIDECARS[0])
    try:
        if not path.is_file():
            return None
        data = strict_json.read(path, largest=_LARGEST_RECIPE, long_integers=True)
    except (OSError, JsonError) as error:
        if ours:
            raise UnreadableRecipe(f"{path.name} cannot be read: {error}.") from error
        return None
    if isinstance(data, dict) and METADATA_KEY in data:  # what a copied header holds
        inner = data[METADATA_KEY]
        return _recipe_from_text(inner, path.name) if isinstance(inner, str) else _recipe_from(inner, path.name)
    if ours or (isinstance(data, dict) and isinstance(data.get("layout"), dict)):
        return _recipe_from(data, path.name)
    return None


# --- saving ---------------------------------------------------------------------------------------------------------


def checked_name(name: str) -> str:
    """A name for a LoRA file, relative to the folder of LoRAs, with ``/`` between folders and without ending.

    Raises:
        LoraError: where the name would leave that folder, or is none that every system can store.
    """
    parts = [part.strip() for part in name.strip().replace("\\", "/").split("/")]
    while parts[-1].lower().endswith(ENDING):
        parts[-1] = parts[-1][: -len(ENDING)].rstrip()
    for part in parts:
        reason = names.problem(part)
        if reason:
            raise LoraError(
                f"{shown(name)} cannot be the name of a LoRA: {reason}. Expected a name such as 'storyboard' or "
                "'my-style/storyboard', which is a file in the output folder's 'loras'."
            )
    return "/".join(parts)


def save_new(
    folder: str | Path,
    name: str,
    tensors: Mapping[str, Tensor],
    recipe: Recipe | None,
    metadata: Mapping[str, str] | None = None,
    *,
    once: bool = False,
) -> Path:
    """Write a LoRA to ``folder``; a file that is already there is never touched, the new one is counted up.

    Args:
        folder: of LoRAs; made where it is missing.
        name: as `checked_name` takes it.
        tensors: the LoRA's state dict; any device.
        recipe: goes into the header.
        metadata: further strings for the header.
        once: where the very same file is already there under this name, leave it at that.

    Returns:
        The file: ``name.safetensors``, else ``name_00002.safetensors`` and so on.

    Raises:
        LoraError: for a name that `checked_name` refuses, no tensors, or a folder that cannot be written.
    """
    relative = checked_name(name)
    if not tensors:
        raise LoraError("The LoRA holds no tensors. Connect the LoRA of a training that has finished.")
    strangers = [key for key, value in tensors.items() if not hasattr(value, "untyped_storage")]
    if strangers:
        raise LoraError(f"The LoRA's entry {strangers[0]!r} is no tensor. Connect a LORA_MODEL, as trainers give it.")
    remarks = {"format": "pt", **(metadata or {})}
    if recipe is not None:
        remarks[METADATA_KEY] = _recipe_text(recipe)
    return _put(Path(folder), relative, lambda path: _write_tensors(path, tensors, remarks), once)


def copy_new(folder: str | Path, name: str, source: Path, recipe: Recipe | None = None) -> Path:
    """Put a copy of a LoRA's file into ``folder``, as `save_new` does; the very same file is put there once.

    Args:
        recipe: takes the place of the recipe inside the file.

    Raises:
        LoraError: for a name that `checked_name` refuses, a source that cannot be read, or a folder that cannot be written.
    """

    def copy(path: Path) -> None:
        with _opened(source) as original, path.open("rb+") as file:
            shutil.copyfileobj(original, file, _COPY_CHUNK)
            _flush(file)
        if recipe is not None:
            write_recipe(path, recipe)

    return _put(Path(folder), checked_name(name), copy, once=True)


def _put(folder: Path, relative: str, write: Callable[[Path], None], once: bool) -> Path:
    """Have ``write`` fill a file, and give it the first name that is free."""
    base = folder / relative
    if not base.parent.resolve().is_relative_to(folder.resolve()):
        raise LoraError(f"{relative!r} leaves the folder {folder} through a link. Choose another name.")
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoraError(f"The folder {base.parent} cannot be made: {error}. Check its permissions.") from error
    with _temporary(base) as temporary:
        write(temporary)
        for target in _candidates(base):
            if _publish(temporary, target) or (once and _are_same(temporary, target)):
                return target
    raise AssertionError("candidates never end")


def _are_same(one: Path, other: Path) -> bool:
    """Whether two LoRAs hold the same; the entries of a header come in any order."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        try:
            (header, _), (its_header, _) = _raw_header(first, one), _raw_header(second, other)
            if json.loads(header) != json.loads(its_header):
                return False
        except ValueError:  # something else has this name
            return False
        while chunk := first.read(_COPY_CHUNK):
            if chunk != second.read(_COPY_CHUNK):
                return False
    return True


def header_digest(path: str | Path) -> str:
    """Names a safetensors file without reading its tensors: SHA-256 of its header, and its size.

    Raises:
        LoraError: as `read_header`.
    """
    path = Path(path)
    with _opened(path) as file:
        raw, _ = _raw_header(file, path)
        return f"{hashlib.sha256(raw).hexdigest()}-{os.fstat(file.fileno()).st_size}"


def _candidates(base: Path) -> Iterator[Path]:
    yield base.with_name(f"{base.name}.safetensors")
    for number in count(2):
        yield base.with_name(f"{base.name}_{number:05}.safetensors")


def _publish(temporary: Path, target: Path) -> bool:
    """Give the finished file its name in one step; False where the name is taken."""
    try:
        os.link(temporary, target)  # unlike a rename it fails where the name is taken
        return True
    except FileExistsError:
        return False
    except OSError:  # file systems without hard links
        if target.exists():
            return False
        os.replace(temporary, target)
        return True


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    stored: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        tensor = tensor.detach().to("cpu").contiguous()
        storage = tensor.untyped_storage().data_ptr()
        if storage in seen:  # safetensors stores no two tensors that share memory
            tensor = tensor.clone()
        seen.add(storage)
        stored[key] = tensor
    permissions = stat.S_IMODE(path.stat().st_mode)
    try:
        save_file(stored, str(path), metadata=metadata)
    except SafetensorError as error:  # how it says that the disk is full
        raise OSError(str(error)) from error
    with path.open("rb+") as file:
        _flush(file)
    os.chmod(path, permissions)  # some versions of safetensors replace the file by one that only its owner may read


# --- reading --------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path.is_dir():
        raise LoraError(f"{path} is a folder; expected a .safetensors file.")
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise LoraError(f"There is no file {path}. Put the LoRA into ComfyUI's folder models/loras.") from error
    except OSError as error:
        raise LoraError(f"{path} cannot be opened: {error}. Check its permissions.") from error
    with file:
        yield file


def _raw_header(file: BinaryIO, path: Path) -> tuple[bytes, int]:
    """The header's bytes and where the tensors' bytes begin; reads no more than the file can hold."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise LoraError(f"{path.name} is empty (0 bytes). {_DOWNLOAD_AGAIN}")
    start = file.read(64)
    length = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or length > _LARGEST_HEADER:
        raise LoraError(_what_it_is(path, start, length, size))
    if 8 + length > size:
        raise LoraError(
            f"{path.name} is cut short: its header should have {length:,} bytes, but the file ends after {size:,}. "
            f"{_DOWNLOAD_AGAIN}"
        )
    file.seek(8)
    return file.read(length), 8 + length


def _parsed(raw: bytes, data_start: int, size: int, path: Path) -> Header:
    damaged = f"{path.name} is damaged: "
    try:
        data = strict_json.parse(raw, largest=_LARGEST_HEADER, most=_MOST_IN_HEADER)
    except JsonError as error:
        raise LoraError(f"{damaged}its header is no JSON that can be used: {error}. {_DOWNLOAD_AGAIN}") from error
    if not isinstance(data, dict):
        raise LoraError(f"{damaged}its header holds no list of tensors. {_DOWNLOAD_AGAIN}")
    metadata = data.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise LoraError(f"{damaged}its metadata must be strings. Save the LoRA again with the program that made it.")
    try:
        tensors = {name: _entry(value) for name, value in data.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise LoraError(
            f"{damaged}a tensor in its header cannot be read ({shown(error, 120)}). {_DOWNLOAD_AGAIN}"
        ) from error
    end = max((entry.end for entry in tensors.values()), default=0)
    if data_start + end > size:
        raise LoraError(
            f"{path.name} is cut short: its tensors end at byte {data_start + end:,}, the file at {size:,}. "
            f"{_DOWNLOAD_AGAIN}"
        )
    if data_start + end < size:
        raise LoraError(
            f"{damaged}its tensors end at byte {data_start + end:,}, but the file has {size:,}. {_DOWNLOAD_AGAIN}"
        )
    wrong = _contradiction(tensors)
    if wrong:
        raise LoraError(f"{damaged}{wrong}. {_DOWNLOAD_AGAIN}")
    return Header(tensors, metadata, data_start)


def _contradiction(tensors: Mapping[str, TensorEntry]) -> str:
    """What the entries say that cannot be, as part of a sentence; empty where they fit together.

    Tensors follow each other without overlaps and gaps, and each takes as many bytes as its type and shape need.
    """
    end, last = 0, ""
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        bits, size = _BITS.get(entry.dtype), entry.end - entry.start
        if bits is not None and prod(entry.shape) * bits != size * 8:
            shape = "×".join(map(str, entry.shape[:8])) or "one value"
            return f"the tensor {shown(name)} is declared as {entry.dtype} of {shape}, but has {size:,} bytes"
        if entry.start < end:
            return f"the tensors {shown(last)} and {shown(name)} overlap"
        if entry.start > end:
            return f"{entry.start - end:,} bytes before the tensor {shown(name)} belong to none"
        end, last = entry.end, name
    return ""


def _entry(value: Any) -> TensorEntry:
    start, end = value["data_offsets"]
    shape = tuple(value["shape"])
    dtype = value["dtype"]
    if not isinstance(dtype, str) or not all(type(number) is int and number >= 0 for number in (start, end, *shape)):
        raise ValueError(value)
    if start > end or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(value)
    return TensorEntry(dtype, shape, start, end)


def _what_it_is(path: Path, start: bytes, length: int, size: int) -> str:
    other = _other_kind(start)
    if other:
        what, remedy = other
        return f"{path.name} is no safetensors file: it is {what}. {remedy}"
    return (
        f"{path.name} ({size:,} bytes) is no safetensors file: it begins with {start[:8]!r}, which would mean a header "
        f"of {length:,} bytes. {_DOWNLOAD_AGAIN}"
    )


def _other_kind(start: bytes) -> tuple[str, str] | None:
    begin = start.lstrip(b"\xef\xbb\xbf \t\r\n") if start[:1] != b"\0" else start
    return next(((what, remedy) for magic, what, remedy in _OTHER_FILES if begin.startswith(magic)), None)


# --- recipes as text, files in one step -----------------------------------------------------------------------------


def _recipe_text(recipe: Recipe) -> str:
    return json.dumps(recipe.to_json(), ensure_ascii=False, separators=(",", ":"))


def _recipe_from_text(text: str, where: str) -> Recipe:
    try:
        data = strict_json.parse(text, largest=_LARGEST_RECIPE, long_integers=True)
    except JsonError as error:
        raise UnreadableRecipe(f"{where} is no JSON that can be used: {error}.") from error
    return _recipe_from(data, where)


def _recipe_from(data: Any, where: str) -> Recipe:
    try:
        return Recipe.from_json(data)
    except InContextError as error:
        raise UnreadableRecipe(f"{where} cannot be read: {error}") from error


def _encoded(header: Mapping[str, Any], path: Path) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    if len(text) > _LARGEST_HEADER:
        raise LoraError(
            f"With its recipe the header of {path.name} would have {len(text):,} bytes; {_LARGEST_HEADER:,} are "
            "allowed. Shorten the recipe's texts."
        )
    return len(text).to_bytes(8, "little") + text


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A file beside ``target`` that is gone afterwards, unless it was renamed; its ending keeps it out of lists."""
    try:
        temporary = target.with_name(f".{target.name[:40]}-{secrets.token_hex(8)}.part")
        temporary.open("xb").close()  # unlike mkstemp, with the permissions of any new file
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise LoraError(
            f"{target} cannot be written: {error}. Check the folder's permissions and free space, and that no other "
            "program has the file open."
        ) from error


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
