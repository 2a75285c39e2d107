"""Why a tool failed, from what pip, git and uv of several versions say."""

from __future__ import annotations

import pytest
from incontext_lora.launcher.failures import LONGEST_LINE, find_network_error, is_full_disk, quote, unknown_failure

RETRY = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by "
    "'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish a new "
    "connection: [Errno 111] Connection refused')': /simple/six/"
)
NOTHING = "ERROR: No matching distribution found for six"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        # pip 23 and 26, an index that cannot be reached
        (
            [
                RETRY,
                "ERROR: Could not find a version that satisfies the requirement six (from versions: none)",
                NOTHING,
            ],
            0,
        ),
        # one of two indexes cannot be reached
        ([RETRY, "ERROR: Could not find a version that satisfies six (from versions: 2.2, 2.3)", NOTHING], 0),
        # pip 23, a file
        (
            [
                "    raise ConnectionError(e, request=request)",
                "pip._vendor.requests.exceptions.ConnectionError: HTTPConnectionPool(host='x', port=9): Max retries exceeded "
                "with url: /six.whl (Caused by NewConnectionError('<…>: Failed to establish a new connection'))",
            ],
            1,
        ),
        # pip 26, a file
        (
            [
                "× Failed to connect to x while fetching http://x/six.whl",
                "╰─> Failed to resolve IP address",
                "",
                "hint: Are you connected to the Internet?",
            ],
            0,
        ),
        (
            [
                "× Unable to fetch http://x/six.whl",
                "╰─> x didn't respond within 15 seconds (while establishing a connection)",
            ],
            1,
        ),
        (["× Failed to establish a secure connection to x while fetching http://x/six.whl"], 0),
        # git
        (
            [
                "fatal: unable to access 'http://x/': Failed to connect to x port 9 after 0 ms: Couldn't connect to server"
            ],
            0,
        ),
        (["fatal: unable to access 'https://x/': Could not resolve host: x"], 0),
        (["fatal: unable to access 'https://x/': CONNECT tunnel failed, response 407"], 0),
        (
            [
                "ssh: Could not resolve hostname x: Name or service not known",
                "fatal: Could not read from remote repository.",
            ],
            0,
        ),
        (["ssh: connect to host x port 22: Connection timed out"], 0),
        (["fatal: unable to connect to 127.0.0.1:", "127.0.0.1[0: 127.0.0.1]: errno=Connection refused"], 1),
        # uv
        (
            [
                "error: Request failed after 3 retries in 7.2s",
                "  cause: Failed to fetch: http://x/simple/sixx/",
                "  cause: client error (Connect)",
                "  cause: failed to lookup address information: Name or service not known",
            ],
            3,
        ),
        # the download of archives
        (["Retrying: timed out", "The network could not be reached for https://x/y.zip: timed out."], 1),
        # Windows in German: only the number is known
        (["OSError: [WinError 10060] Ein Verbindungsversuch ist fehlgeschlagen"], 0),
        (["error: Ein Socketvorgang konnte nicht ausgeführt werden. (os error 10065)"], 0),
    ],
)
def test_a_missing_network_is_found_in_many_wordings(output: list[str], line: int) -> None:
    assert find_network_error(output) == output[line].strip()


@pytest.mark.parametrize(
    "output",
    [
        # it was reached in the end, then something else failed
        [RETRY, "Collecting six", "error: subprocess-exited-with-error", "ERROR: Failed building wheel for six"],
        ["Retrying: timed out", "x.zip holds commit 0; expected 1. Name another source."],
        # it was reached, and refused
        ["fatal: unable to access 'https://x/': The requested URL returned error: 403"],
        ["ERROR: HTTP error 404 while getting https://x/six.whl"],
        # no such version
        ["ERROR: Could not find a version that satisfies the requirement six==99 (from versions: 1.0)", NOTHING],
        ["Traceback (most recent call last):", "MemoryError"],
        [],
    ],
)
def test_other_failures_are_not_taken_for_a_missing_network(output: list[str]) -> None:
    assert find_network_error(output) == ""


@pytest.mark.parametrize(
    ("line", "full"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", True),
        ("OSError: [WinError 112] Es steht nicht genug Speicherplatz zur Verfügung", True),
        ("error: failed to write (os error 28)", True),
        ("[Errno 2] No such file or directory", False),
    ],
)
def test_a_full_disk_is_found(line: str, full: bool) -> None:
    assert is_full_disk(["Collecting six", line]) is full


def test_what_the_tool_said_is_shown() -> None:
    assert quote("x" * 1000) == "The tool said:\n    " + "x" * LONGEST_LINE
    shown = unknown_failure("Installing", [f"line {number}" for number in range(100)], "setup.log")
    assert shown.startswith("Installing failed. The log is setup.log; its last lines are:\n    line 85\n")
    assert shown.endswith("line 99")
