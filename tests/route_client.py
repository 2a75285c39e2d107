"""Asks the server's routes over HTTP, as ComfyUI serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

if TYPE_CHECKING:
    from conftest import HostPack


class Client:
    """Asks the server's routes over HTTP."""

    def __init__(self, host: HostPack) -> None:
        self._loop = host.loop
        app = web.Application()
        app.add_routes([route for route in host.prompt_server.routes if isinstance(route, web.RouteDef)])
        self._client = self._wait(self._start(app))

    async def _start(self, app: web.Application) -> TestClient[Any, Any]:
        client = TestClient(TestServer(app))
        await client.start_server()
        return client

    def close(self) -> None:
        self._wait(self._client.close())

    def get(self, path: str) -> tuple[int, Any]:
        return self._wait(self._ask("GET", path))

    def caching(self, path: str) -> str:
        """What a browser is told about keeping this answer."""
        return self._wait(self._cache_control(path))

    def post(self, path: str, value: Any = None) -> tuple[int, Any]:
        return self._wait(self._ask("POST", path, json=value or {}))

    def send(self, path: str, data: bytes, **headers: str) -> tuple[int, Any]:
        """A POST as somebody else sends it; in the names of headers, ``_`` stands for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._wait(self._ask("POST", path, data=data, headers=named))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._client.port}"

    def _wait(self, awaited: Any) -> Any:
        return self._loop.run_until_complete(awaited)

    async def _cache_control(self, path: str) -> str:
        async with self._client.get(f"/incontext_lora/{path}") as answer:
            return answer.headers.get("Cache-Control", "")

    async def _ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        from yarl import URL

        async with self._client.request(method, URL(f"/incontext_lora/{path}", encoded=True), **options) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await (answer.json() if is_json else answer.read())
