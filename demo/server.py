"""The real ComfyUI server as a child process, and a small client for its HTTP and websocket API.

The demo, the tests and the benchmarks all talk to ComfyUI through this, exactly as the browser does. Nothing of ComfyUI
is imported here, and aiohttp (which ComfyUI brings) only where the websocket is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

OnEvent = Callable[[str, dict[str, Any]], None]
"""Called with the event's name (``progress``, ``progress_text``, ``executing``, …) and its data."""

_TEXT_EVENT = 3  # BinaryEventTypes.TEXT in ComfyUI's protocol.py
_ACCELERATOR_PROBE = """
import torch
xpu = getattr(torch, "xpu", None)
mps = getattr(torch.backends, "mps", None)
print("cuda" if torch.cuda.is_available() else "xpu" if xpu and xpu.is_available() else
      "mps" if mps and mps.is_available() else "cpu")
"""


class ServerError(RuntimeError):
    """The server did not start, went away, or answered with an error."""


class PromptRefused(ServerError):
    """ComfyUI found the prompt invalid and did not queue it (or queued a part of it only)."""


class ExecutionInterrupted(ServerError):
    """Somebody cancelled the prompt while it ran."""


class ExecutionFailed(ServerError):
    """A node raised while the prompt ran."""

    def __init__(self, node_id: str, node_type: str, exception_type: str, message: str) -> None:
        super().__init__(f"Node {node_id} ({node_type}) failed with {exception_type}: {message.strip()}")
        self.node_id = node_id
        self.node_type = node_type
        self.exception_type = exception_type
        self.message = message.strip()


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _driver_seems_there() -> bool:
    # importing torch to ask it takes seconds, so machines that cannot have an accelerator are told apart first
    if sys.platform == "darwin":
        return os.uname().machine == "arm64"
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32" / "nvcuda.dll").exists()
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/dri"))


def accelerator(python: str | Path = sys.executable) -> str:
    """What torch in the given interpreter computes on: ``cuda``, ``xpu``, ``mps`` or ``cpu``."""
    if not _driver_seems_there():
        return "cpu"
    answer = subprocess.run(
        [str(python), "-c", _ACCELERATOR_PROBE], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    return (answer.stdout.split() or ["cpu"])[-1] if answer.returncode == 0 else "cpu"


def server_command(
    python: str | Path, comfyui: Path, base: Path, port: int, device: str, database: Path, extra: Sequence[str] = ()
) -> list[str]:
    """The command line that starts ComfyUI on a work folder of its own, so that its own folder is never written to."""
    command = [str(python), str(comfyui / "main.py"), "--base-directory", str(base), "--port", str(port)]
    command += ["--database-url", f"sqlite:///{database.as_posix()}", "--disable-api-nodes"]
    if device == "cpu":
        command += ["--cpu", "--use-pytorch-cross-attention"]  # --cpu alone picks the slower split attention
    return [*command, *extra]


def dies_with_parent() -> dict[str, Any]:
    """Arguments for `subprocess.Popen`: on Linux the child is terminated when the thread that started it ends.

    So a killed parent (kill -9) leaves no server behind. Only the main thread may ask for it, since others end earlier.
    """
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return {}
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def ask_for_signal() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)

    return {"preexec_fn": ask_for_signal}


class ComfyServer:
    """A started ComfyUI: ``with ComfyServer(base, comfyui) as server: server.run(prompt)``.

    ``base`` is the work folder (models, custom_nodes, input, output, user); ``comfyui`` the folder with ``main.py``,
    ``$COMFYUI_PATH`` unless given. The log is kept in ``log``, by default ``<base>/logs/server-<port>.log``.
    """

    def __init__(
        self,
        base: Path,
        comfyui: Path | None = None,
        *,
        log: Path | None = None,
        extra_arguments: Sequence[str] = (),
        start_timeout: float = 300,
    ) -> None:
        comfyui = comfyui or Path(os.environ.get("COMFYUI_PATH") or "")
        if not (comfyui / "main.py").is_file():
            raise ServerError(f"No ComfyUI at {comfyui}: expected a folder with main.py; set COMFYUI_PATH to it.")
        self.base = Path(base).resolve()
        self.comfyui = comfyui.resolve()
        self.port = free_port()
        self.log = Path(log) if log else self.base / "logs" / f"server-{self.port}.log"
        self._extra = tuple(extra_arguments)
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[Any] | None = None
        self._private = Path()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ComfyServer:
        # ComfyUI empties its temp folder when it starts; servers that share a base must not share that
        self._private = Path(tempfile.mkdtemp(prefix="incontext-server-"))
        extra = ["--temp-directory", str(self._private), *self._extra]
        database = self._private / "comfyui.db"
        command = server_command(sys.executable, self.comfyui, self.base, self.port, self._device(), database, extra)
        self.base.joinpath("custom_nodes").mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.comfyui,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=os.name == "posix",  # a group of its own, so that its children end with it
                **dies_with_parent(),
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and everything it started; harmless if it has ended already."""
        process, self._process = self._process, None
        if process is not None:
            _end_tree(process, patience=10)
        if self._private.name:
            shutil.rmtree(self._private, ignore_errors=True)

    def run(self, prompt: dict[str, Any], on_event: OnEvent | None = None) -> dict[str, Any]:
        """Execute a prompt (API form) and return its history entry; raises what went wrong, naming the node."""
        return asyncio.run(self._run(prompt, on_event or (lambda name, data: None)))

    def object_info(self, node: str | None = None) -> dict[str, Any]:
        """ComfyUI's description of all nodes, or of one."""
        return self.get_json("/object_info" + (f"/{urllib.parse.quote(node)}" if node else ""))

    def upload_image(self, file: Path, subfolder: str = "") -> str:
        """Put an image file into ComfyUI's input folder; returns the name that *Load Image* wants."""
        boundary = uuid.uuid4().hex
        fields = {"subfolder": subfolder, "overwrite": "true", "type": "input"}
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        head = f'Content-Disposition: form-data; name="image"; filename="{file.name}"\r\n'
        head += "Content-Type: application/octet-stream\r\n\r\n"
        body = b"".join([*parts, f"--{boundary}\r\n{head}".encode(), file.read_bytes(), f"\r\n--{boundary}--".encode()])
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        stored = json.loads(self._request("/upload/image", body, headers))
        return f"{stored['subfolder']}/{stored['name']}" if stored["subfolder"] else stored["name"]

    def fetch_image(self, filename: str, subfolder: str = "", type: str = "output") -> bytes:
        """The bytes of an image that a node saved, named as in the history entry."""
        query = urllib.parse.urlencode({"filename": filename, "subfolder": subfolder, "type": type})
        return self._request(f"/view?{query}")

    def interrupt(self) -> None:
        """Cancel what is running, as the interface's button does."""
        self.post_json("/interrupt", {})

    def get_json(self, path: str) -> Any:
        return json.loads(self._request(path))

    def post_json(self, path: str, value: Any) -> Any:
        """Post a JSON value; returns the JSON answer, or None if there is none."""
        answer = self._request(path, json.dumps(value).encode(), {"Content-Type": "application/json"})
        return json.loads(answer) if answer else None

    def log_tail(self, lines: int = 30) -> str:
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    async def _run(self, prompt: dict[str, Any], on_event: OnEvent) -> dict[str, Any]:
        import aiohttp

        client = uuid.uuid4().hex
        failure: ServerError | None = None
        async with (
            aiohttp.ClientSession() as session,
            # connected before the prompt is posted, so that no event is missed
            session.ws_connect(f"{self.url}/ws?clientId={client}", max_msg_size=0, heartbeat=None) as events,
        ):
            prompt_id = await asyncio.to_thread(self._queue, prompt, client)
            async for message in events:
                if message.type == aiohttp.WSMsgType.BINARY:
                    name, data = _decode_binary(message.data)
                elif message.type == aiohttp.WSMsgType.TEXT:
                    event = json.loads(message.data)
                    name, data = event["type"], event["data"]
                else:
                    continue
                if name and data.get("prompt_id", prompt_id) == prompt_id:
                    on_event(name, data)
                    failure = failure or _failure(name, data)
                    # the last event of a prompt, sent after its history entry was written
                    if name == "executing" and data["node"] is None and "prompt_id" in data:
                        break
            else:
                raise ServerError(f"ComfyUI closed the connection while a prompt ran.\n{self.log_tail()}")
        if failure is not None:
            raise failure
        return self.get_json(f"/history/{prompt_id}")[prompt_id]

    def _queue(self, prompt: dict[str, Any], client: str) -> str:
        try:
            answer = self.post_json("/prompt", {"prompt": prompt, "client_id": client})
        except urllib.error.HTTPError as error:
            raise PromptRefused(describe_refusal(error.read().decode("utf-8", "replace"))) from None
        if answer["node_errors"]:  # ComfyUI runs the valid outputs and drops the others
            self.post_json("/queue", {"delete": [answer["prompt_id"]]})
            self.post_json("/interrupt", {"prompt_id": answer["prompt_id"]})
            raise PromptRefused(describe_refusal(json.dumps(answer)))
        return answer["prompt_id"]

    def _request(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never ask a proxy for loopback
        try:
            with opener.open(request, timeout=120) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            raise ServerError(f"ComfyUI at {self.url} does not answer ({error}).\n{self.log_tail()}") from error

    def _device(self) -> str:
        device = accelerator()
        return "cpu" if device == "mps" else device  # seeded results of the demo were only measured on CPU and CUDA

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        started, told = time.monotonic(), 0.0
        while True:
            waited = time.monotonic() - started
            if self._process.poll() is not None:
                code = self._process.returncode
                raise ServerError(f"ComfyUI ended while starting (exit code {code}); {self.log}:\n{self.log_tail()}")
            try:
                self.get_json("/queue")
                break
            except (ServerError, urllib.error.HTTPError):
                pass
            if waited > self._start_timeout:
                raise ServerError(f"ComfyUI did not answer within {waited:.0f} s; {self.log}:\n{self.log_tail()}")
            if waited > 2 and waited - told >= (1 if sys.stderr.isatty() else 10):
                told = waited
                _tell(f"Starting ComfyUI ... {waited:.0f} s")
            time.sleep(0.2)
        if told:
            _tell(f"ComfyUI is up after {time.monotonic() - started:.0f} s", last=True)


def _tell(text: str, last: bool = False) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}" + ("\n" if last else ""))
    else:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _decode_binary(message: bytes) -> tuple[str, dict[str, Any]]:
    """Event name and data of a binary message; previews (pixels for the browser) come out without a name."""
    if int.from_bytes(message[:4], "big") != _TEXT_EVENT:
        return "", {}
    length = int.from_bytes(message[4:8], "big")
    node, text = message[8 : 8 + length], message[8 + length :]
    return "progress_text", {"node": node.decode("utf-8", "replace"), "text": text.decode("utf-8", "replace")}


def _failure(name: str, data: dict[str, Any]) -> ServerError | None:
    if name == "execution_error":
        return ExecutionFailed(data["node_id"], data["node_type"], data["exception_type"], data["exception_message"])
    if name == "execution_interrupted":
        return ExecutionInterrupted(f"Cancelled while node {data['node_id']} ({data['node_type']}) ran.")
    return None


def describe_refusal(answer: str) -> str:
    """What ComfyUI's answer to a refused prompt says, one line per node."""
    try:
        refusal = json.loads(answer)
    except ValueError:
        return f"ComfyUI refused the prompt: {answer[:500]}"
    error = refusal.get("error") or {}
    lines = [f"ComfyUI refused the prompt: {error.get('message', 'some nodes are not valid')}"]
    for node_id, node in (refusal.get("node_errors") or {}).items():
        reasons = "; ".join(f"{reason['message']}: {reason['details']}" for reason in node["errors"])
        lines.append(f"  node {node_id} ({node['class_type']}): {reasons or 'an input of it is not valid'}")
    if len(lines) == 1 and error.get("details"):
        lines.append(f"  {error['details']}")
    return "\n".join(lines)


def _end_tree(process: subprocess.Popen[Any], patience: float) -> None:
    if os.name != "posix":
        subprocess.run(["taskkill", "/PID", str(process.pid), "/T", "/F"], capture_output=True, check=False)
        process.wait()
        return
    # the second round also ends what the server started and left behind
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):  # the whole group has ended
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
