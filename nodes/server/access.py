"""Which requests may change something: those of ComfyUI's own page, and of programs that are not a page.

Any page in the browser can send a request to ComfyUI's port. It cannot choose three things: ``Origin`` (where the page comes
from), ``Sec-Fetch-Site``, and a ``Content-Type`` of JSON, for which the browser asks ComfyUI first. A page whose own name is
made to resolve to this machine (DNS rebinding) has the same name in ``Host`` and ``Origin``, so that name must be one of ours.
A page that came over https is the owner's: no one else has a certificate for this server.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
from collections.abc import Mapping

from ...incontext.permissions import FILE, HOSTS, REMOTE_INSTALL, Permissions

_AUTHORITY = re.compile(r"(?P<host>[^\s/@:\[\]?#]+|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?", re.IGNORECASE)
_ORIGIN = re.compile(rf"(?P<scheme>https?)://{_AUTHORITY.pattern}", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
# endings that no public name has; each belongs to the network this machine is in
_LOCAL_ENDINGS = (".localhost", ".local", ".lan", ".home", ".internal", ".home.arpa", ".localdomain")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def wrong_content(headers: Mapping[str, str]) -> str:
    """What is wrong with a request's content type; empty for JSON in UTF-8."""
    kind = headers.get("Content-Type", "")
    name, _, parameter = kind.partition(";")
    if name.strip().lower() != "application/json":
        return f"The request has the content type {kind[:80]!r}. Send application/json."
    if parameter.strip() and parameter.replace(" ", "").lower() not in ("charset=utf-8", 'charset="utf-8"'):
        return f"The request has the content type {kind[:80]!r}. Send JSON in UTF-8."
    return ""


def refusal(headers: Mapping[str, str], permissions: Permissions) -> str:
    """Why a request that would change something is refused; empty if it may.

    Args:
        headers: of the request; names in any case, as aiohttp has them.
    """
    site = headers.get("Sec-Fetch-Site", "same-origin").strip().lower()
    if site not in ("same-origin", "none"):
        return "The request comes from a page of another site. Open ComfyUI itself."
    asked = headers.get("Host", "").strip()
    origin = headers.get("Origin")
    if origin is None:  # not a page
        host = _host(asked)
        return "" if host and _is_ours(host, permissions) else _foreign(asked)
    page = _ORIGIN.fullmatch(origin.strip())
    if page is None:
        return f"The request comes from a page without an address of its own ({origin[:80]!r}). Open ComfyUI itself."
    before = headers.get("X-Forwarded-Host", "").split(",")[0].strip()  # no page of another origin can send it
    if not (_agree(page, asked) or _agree(page, before)):
        return (
            f"The request comes from {origin[:200]}, but was sent to {asked[:200]!r}. Open ComfyUI itself; a reverse proxy in "
            "front of it must pass on the Host header."
        )
    if page["scheme"].lower() == "https" or _is_ours(page["host"].lower(), permissions):
        return ""
    return _foreign(page["host"])


def refusal_to_install(headers: Mapping[str, str], peer: str, here: str, permissions: Permissions) -> str:
    """Why this request may not install the trainer; empty if it may.

    Args:
        peer: address that the request came from.
        here: address that it was sent to.
    """
    if permissions.remote_install or is_from_here(headers, peer, here):
        return ""
    return (
        "The trainer is installed from the machine that ComfyUI runs on: open ComfyUI there as http://127.0.0.1, or run "
        "`python run.py trainer install` in the pack's folder. To allow it from here, set "
        f"{REMOTE_INSTALL}=1 in the environment of ComfyUI and start it again."
    )


def is_from_here(headers: Mapping[str, str], peer: str, here: str) -> bool:
    """Whether a request comes from the machine that ComfyUI runs on, and through no proxy.

    Args:
        peer: address that the request came from.
        here: address that it was sent to.
    """
    names = [_host(headers.get("Host", ""))]
    if (origin := headers.get("Origin")) is not None:
        page = _ORIGIN.fullmatch(origin.strip())
        names.append(page["host"].lower() if page else "")
    is_near = all(is_this_machine(each) or (_address(each) or "") == _address(here) for each in (peer, *names))
    return is_near and not any(name in headers for name in _FORWARDED)


def is_this_machine(name: str) -> bool:
    """Whether a host's name or address always leads to this machine."""
    address = _address(name)
    return address.is_loopback if address else name == "localhost" or name.endswith(".localhost")


def _is_ours(host: str, permissions: Permissions) -> bool:
    """Whether no stranger's page can have this host: an address, a name of this network, or one that is allowed."""
    name = host.rstrip(".")
    if _address(name) is not None or "." not in name or name.endswith(_LOCAL_ENDINGS):
        return True
    return name in permissions.hosts or name in _own_names()


@functools.cache
def _own_names() -> frozenset[str]:
    return frozenset(name.lower() for name in (socket.gethostname(), socket.getfqdn()))


def _agree(page: re.Match[str], asked: str) -> bool:
    """Whether a page's address is the one that was asked; a browser leaves out the usual port."""
    found = _AUTHORITY.fullmatch(asked)
    if found is None or found["host"].lower() != page["host"].lower():
        return False
    scheme = page["scheme"].lower()
    if scheme == "https" and not found["port"]:  # some proxies leave out the port; Sec-Fetch-Site has told ports apart
        return True
    return int(found["port"] or _PORTS[scheme]) == int(page["port"] or _PORTS[scheme])


def _host(authority: str) -> str:
    found = _AUTHORITY.fullmatch(authority.strip())
    return found["host"].lower() if found else ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _foreign(asked: str) -> str:
    return (
        f"{asked[:200]!r} is not known as a name of this ComfyUI, and a stranger's page could use it to get here. If it is "
        f"yours, set {HOSTS}={_host(asked)[:200] or 'the name'} in the environment of ComfyUI and start it again, or add it "
        f"to {FILE} (see the README). Addresses, https and the machine's own name work without this."
    )
