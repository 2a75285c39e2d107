"""A small real server of the OpenAI-compatible protocol, which answers as it is told to: well, late, badly or not at all.

It speaks over real sockets, so what is tested is the real client. Behaviours are played in the order they are given; the
last one stays.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        """All pieces of text, in order."""
        return [part["text"] for part in self._parts() if part["type"] == "text"]

    @property
    def pictures(self) -> list[Image.Image]:
        """All pictures, decoded."""
        urls = [part["image_url"]["url"] for part in self._parts() if part["type"] == "image_url"]
        return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]

    def _parts(self) -> list[dict[str, Any]]:
        contents = [message["content"] for message in self.body["messages"]]
        return [
            part
            for content in contents
            for part in (content if isinstance(content, list) else [{"type": "text", "text": content}])
        ]


@dataclass
class Reply:
    """What goes back: a status and a body, as they are."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Behaviour = Callable[[Asked, "VisionServer"], Reply | None]
"""None: hang up without an answer."""


def says(text: Any, finish: str = "stop", **message: Any) -> Behaviour:
    """Answers with a text, as a model does."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    return lambda asked, server: reply({"object": "chat.completion", "choices": [choice]})


def reply(data: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(json.dumps(data).encode(), status, {name.replace("_", "-"): value for name, value in headers.items()})


def fails(status: int, message: str = "", **headers: str) -> Behaviour:
    """Answers with an error."""
    return lambda asked, server: reply({"error": {"message": message}}, status, **headers)


def raw(body: bytes, status: int = 200, **headers: str) -> Behaviour:
    return lambda asked, server: Reply(body, status, headers)


def hangs(asked: Asked, server: VisionServer) -> Reply | None:
    """Takes the question, and never answers."""
    server.closing.wait(60)
    return None


def hangs_up(asked: Asked, server: VisionServer) -> Reply | None:
    return None


def half(asked: Asked, server: VisionServer) -> Reply:
    """Promises more than it sends, then hangs up."""
    return Reply(b'{"choices": [', headers={"Content-Length": "1000"})


class VisionServer:
    """``with VisionServer(says("…")) as server: … server.url … server.asked``; listens on 127.0.0.1."""

    def __init__(self, *behaviours: Behaviour, models: Sequence[str] = ("seeing-model",), port: int = 0) -> None:
        self.asked: list[Asked] = []
        self.connections: list[socket.socket] = []
        self.closing = threading.Event()
        self._behaviours = list(behaviours)
        self._models = models
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def questions(self) -> list[Asked]:
        """What a model was asked."""
        return [asked for asked in self.asked if asked.method == "POST"]

    def __enter__(self) -> VisionServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _answer(self, asked: Asked) -> Reply | None:
        if asked.method == "GET":
            return reply({"object": "list", "data": [{"id": name, "object": "model"} for name in self._models]})
        if asked.body.get("model") not in self._models:
            return reply({"error": {"message": f"model '{asked.body.get('model')}' not found"}}, 404)
        with self._lock:
            behaviour = self._behaviours[0]
            if len(self._behaviours) > 1:
                self._behaviours.pop(0)
        return behaviour(asked, self)

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def do_GET(self) -> None:
                self._serve({})

            def _serve(self, body: dict[str, Any]) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                server.asked.append(asked)
                server.connections.append(self.connection)
                answer = server._answer(asked)
                self.close_connection = True
                if answer is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
