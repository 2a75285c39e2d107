"""A connection to a vision server: proxies, time limits, and addresses of this machine."""

from __future__ import annotations

import http.client
import socket
import urllib.parse
import urllib.request
from contextlib import suppress
from typing import Any

from .servers import Server

_CONNECTING = 15.0  # seconds to establish a connection


def open_connection(
    server: Server, path: str, timeout: float
) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """A connection, the target to request, and the headers. It uses the machine's proxy if one applies."""
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "incontext-lora"}
    if server.key:
        headers["Authorization"] = f"Bearer {server.key}"
    kind = http.client.HTTPSConnection if server.scheme == "https" else http.client.HTTPConnection
    proxy = None if server.is_local else _proxy(server)
    if proxy is None or proxy.hostname is None:
        return kind(server.host, server.port, timeout=timeout), path, headers
    connection = kind(proxy.hostname, proxy.port or 80, timeout=timeout)
    if server.scheme == "https":
        connection.set_tunnel(server.host, server.port)
        return connection, path, headers
    return connection, server.url.removesuffix(server.path) + path, headers


def connect(connection: http.client.HTTPConnection, timeout: float) -> None:
    """Connect within a few seconds; the response may take the whole ``timeout``.

    Raises:
        OSError: if there is no connection in time.
    """
    connection.timeout = min(timeout, _CONNECTING)
    try:
        connection.connect()
    except TimeoutError:
        raise OSError(f"no connection within {connection.timeout:g} s") from None
    connection.sock.settimeout(timeout)


def to_this_machine(address: tuple[str, int], *rest: Any) -> socket.socket:
    """A connection to a port of this machine, as to ``localhost``.

    Raises:
        OSError: if no server is listening there.
    """
    try:
        return socket.create_connection(("127.0.0.1", address[1]), *rest)
    except OSError as error:
        with suppress(OSError):
            return socket.create_connection(("::1", address[1]), *rest)
        raise error from None


def _proxy(server: Server) -> urllib.parse.SplitResult | None:
    address = urllib.request.getproxies().get(server.scheme)
    if not address or urllib.request.proxy_bypass(server.host):
        return None
    return urllib.parse.urlsplit(address if "//" in address else f"//{address}")
