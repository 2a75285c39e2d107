"""Fetch an archive of sd-scripts, and unpack what training needs. Standard library only; run as a script.

    python archive.py fetch URL FILE
    python archive.py unpack FILE FOLDER COMMIT PATTERN ...

An archive is a zip with one top folder, as `git archive --prefix` and the forges make it. Git stores the commit in the
archive's comment; an archive with another commit is refused.
"""

from __future__ import annotations

import fnmatch
import http.client
import os
import re
import ssl
import stat
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

CHUNK = 1 << 18
TRIES = 3
PATIENCE = 60.0  # seconds without a response
LARGEST = 500_000_000  # bytes of all unpacked files; sd-scripts takes 3 MB
MEGABYTE = 1_000_000

_COMMIT = re.compile(r"[0-9a-f]{40}")


class NotUsable(Exception):
    """The archive cannot be fetched or must not be used; the message is a sentence for the user."""


def fetch(url: str, file: Path, say: Callable[[str], None], pause: float = 2.0) -> None:
    """Download a file, complete or not at all.

    Args:
        say: receives lines about the progress.
        pause: seconds between tries.

    Raises:
        NotUsable: if there is no such file, or the network fails three times.
        OSError: if the file cannot be written.
    """
    unfinished = file.with_name(f"{file.name}.part")
    reason: Exception | None = None
    for tried in range(1, TRIES + 1):
        try:
            _download(url, unfinished, say)
            os.replace(unfinished, file)
            return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise NotUsable(
                    f"{url} answered {error.code} {error.reason}. Check the source and the commit."
                ) from error
            reason = error
        except (OSError, http.client.HTTPException) as error:
            reason = error
        finally:
            unfinished.unlink(missing_ok=True)
        if tried < TRIES:
            say(f"Retrying: {reason}")
            time.sleep(pause)
    raise NotUsable(f"The network could not be reached for {url}: {reason}.")


def _download(url: str, target: Path, say: Callable[[str], None]) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "incontext-lora"})
    with (
        urllib.request.urlopen(request, timeout=PATIENCE, context=_certificates()) as answer,
        target.open("wb") as file,
    ):
        if url.startswith("https:") and not answer.url.startswith("https:"):
            raise NotUsable(f"{url} leads to {answer.url}, which is not encrypted. Name another source.")
        expected, got = int(answer.headers.get("Content-Length") or 0), 0
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            got += len(chunk)
            say(f"Downloading {url.rsplit('/', 1)[-1]} ({got / MEGABYTE:.1f} MB)")
        if expected and got != expected:
            raise http.client.IncompleteRead(b"", expected - got)


def _certificates() -> ssl.SSLContext:
    """The system's certificates, or pip's if this Python has none, as on macOS before they are installed."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not ssl.get_default_verify_paths().capath:
        try:
            from pip._vendor import certifi
        except ImportError:
            return context
        context.load_verify_locations(certifi.where())
    return context


def unpack(file: Path, folder: Path, commit: str, patterns: Sequence[str]) -> int:
    """Write the wanted files into a folder. Links and names that lead out of it are never written.

    Args:
        file: a zip archive with one top folder, which is left out.
        folder: created if it is missing.
        commit: must equal the archive's comment, if both are full commit ids.
        patterns: folders, files, and patterns for files at the top.

    Returns:
        The number of files.

    Raises:
        NotUsable: if it is damaged, of another commit, too large, or has none of the files.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            comment = archive.comment.decode("ascii", errors="replace").strip()
            if _COMMIT.fullmatch(comment) and _COMMIT.fullmatch(commit) and comment != commit:
                raise NotUsable(f"{file.name} holds commit {comment}; expected {commit}. Name another source.")
            wanted = [
                (name, member)
                for member in archive.infolist()
                if (name := safe_name(member)) and is_wanted(name, patterns)
            ]
            if not wanted:
                raise NotUsable(f"{file.name} has none of the files of sd-scripts. Name another source.")
            if sum(member.file_size for _, member in wanted) > LARGEST:
                raise NotUsable(f"{file.name} unpacks to more than {LARGEST / MEGABYTE:.0f} MB. Name another source.")
            for name, member in wanted:
                target = extended_path(folder.joinpath(*name.split("/")))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as written:
                    written.write(archive.read(member))  # compares the checksum
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise NotUsable(f"{file.name} is damaged: {error}. Fetch it again.") from error
    return len(wanted)


def safe_name(member: zipfile.ZipInfo) -> str:
    """A member's name within the top folder; empty if it must not be written."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.is_dir() or kind not in (0, stat.S_IFREG) or "\\" in member.orig_filename or ":" in member.filename:
        return ""
    parts = member.filename.split("/")
    return "" if {"", ".", ".."} & {*parts} else "/".join(parts[1:])


def is_wanted(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file is one of these, or in one of these folders; ``*`` only matches files at the top."""
    return any(
        name == pattern or name.startswith(f"{pattern}/") or ("/" not in name and fnmatch.fnmatchcase(name, pattern))
        for pattern in patterns
    )


def extended_path(path: Path | str, system: str = sys.platform) -> str:
    r"""The path in the form that Windows accepts at any length: ``\\?\C:\…``, ``\\?\UNC\server\…``."""
    if system != "win32":
        return str(path)
    text = os.path.abspath(path) if os.name == "nt" else str(path)
    if text.startswith("\\\\?\\"):
        return text
    return f"\\\\?\\UNC\\{text[2:]}" if text.startswith("\\\\") else f"\\\\?\\{text}"


def main(arguments: Sequence[str]) -> int:
    what, *given = arguments
    try:
        if what == "fetch":
            url, file = given
            fetch(url, Path(file), lambda text: print(text, flush=True))
        else:
            file, folder, commit, *patterns = given
            print(f"{unpack(Path(file), Path(folder), commit, patterns)} files")
    except NotUsable as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or error} cannot be used: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
