"""Finds the reason in the output of a tool that failed: the network, a full disk, or something else.

pip, git and uv word their errors differently from version to version, and Windows translates its own. So there are several
phrases for each reason, error numbers included, and every message quotes the tool.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST_LINE = 300  # characters of a quoted line

_FULL_DISK = re.compile(
    r"No space left on device|not enough space on the disk|Disk quota exceeded|Errno 28\b|Errno 122\b|os error (28|112|122)\b|"
    r"WinError 112\b"
)
_NETWORK = re.compile(
    # pip up to 25, then from 26
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|SSLCertVerificationError|"
    r"Max retries exceeded|connection broken|Could not fetch URL|HTTP error 50\d|"
    r"Failed to connect to |Failed to establish a secure connection|didn't respond within|not enough bytes were received|"
    # git and curl
    r"Could not resolve |Couldn't connect to server|unable to access |unable to connect to |connect to host .* port|RPC failed|"
    # uv
    r"error sending request|client error \(Connect\)|dns error|failed to lookup address|tcp connect error|"
    # Python, the operating systems, and our own download of archives
    r"name resolution|Name or service not known|getaddrinfo failed|nodename nor servname|Network is unreachable|"
    r"No route to host|Connection refused|Connection reset|Connection timed out|Operation timed out|"
    r"The network could not be reached|(WinError|Errno|os error) (100[56]\d|1100\d)\b",
    re.IGNORECASE,
)
# the server was reached, and refused; a proxy that wants a password (407) is a matter of the network
_REFUSED = re.compile(r"(returned error:|HTTP error|answered) 4(?!07)\d\d")
_WARNING = re.compile(r"\s*warning\b|.*\bRetrying\b", re.IGNORECASE)
_NOTHING_FOUND = "No matching distribution found"


def is_full_disk(output: Sequence[str]) -> bool:
    """Whether a tool failed because the disk is full."""
    return any(map(_FULL_DISK.search, output))


def find_network_error(output: Sequence[str]) -> str:
    """Find the line in which a tool says that it could not reach the network; empty if there is none.

    Warnings about retries only count if pip found nothing in the end: otherwise a later try succeeded, and the tool failed
    for another reason.
    """
    nothing_found = any(_NOTHING_FOUND in line for line in output)
    for line in reversed(output):
        if _NETWORK.search(line) and not _REFUSED.search(line) and (nothing_found or not _WARNING.match(line)):
            return line.strip()
    return ""


def quote(line: str) -> str:
    """The end of a message: what the tool said."""
    return f"The tool said:\n    {line[:LONGEST_LINE]}"


def unknown_failure(what: str, output: Sequence[str], log: object) -> str:
    """The message for a failure without a known reason."""
    last = "\n".join(f"    {line}" for line in output[-15:])
    return f"{what} failed. The log is {log}; its last lines are:\n{last}"
