"""Where metrics go: a port on a loopback address, and a file."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bpfcrypto.errors import ConfigError
from bpfcrypto.programs.esp.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config import Listen

_PATIENCE = 5.0  # seconds for a client to say something, or to take something
_MOST_CLIENTS = 8  # at a time: nobody may use up our file descriptors, which looking after peers needs
_MODE = 0o644  # whoever collects metrics is somebody else; the folder says who may look


class MetricsServer:
    """Serves ``GET /metrics`` and nothing else, in threads of its own, for the length of a ``with`` block.

    Args:
        listen: where; port 0 lets the kernel choose.
        read: gives the text; it is called in other threads.

    Raises:
        ConfigError: the address or port cannot be had.
    """

    def __init__(self, listen: Listen, read: Callable[[], str]) -> None:
        kind = _Server6 if ":" in listen.host else _Server
        try:
            self._server = kind((listen.host, listen.port), read)
        except OSError as error:
            where = f"{listen.host} port {listen.port}"
            raise ConfigError(f"{where} cannot be listened at: {error.strerror}", place="[metrics] listen") from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host, port = self._server.server_address[:2]
        return f"http://{f'[{host!s}]' if ':' in str(host) else host!s}:{port}/metrics"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], read: Callable[[], str]) -> None:
        self.read = read
        self._free = threading.BoundedSemaphore(_MOST_CLIENTS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to report."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
            return
        body = self.server.read().encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "bpfcrypto"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are nothing to report."""


def write_metrics(path: Path, text: str) -> None:
    """Put metrics into a file, at once: who reads it finds the former ones or these.

    Raises:
        ConfigError: it cannot be written, and is as it was.
    """
    partial = path.with_name(f"{path.name}.new")  # not *.prom, which is what collectors look for
    try:
        with suppress(FileNotFoundError):
            partial.unlink()  # of a process that was killed
        with open(partial, "x", encoding="utf-8", opener=_open) as file:
            file.write(text)
        os.replace(partial, path)
    except OSError as error:
        message = f"metrics cannot be written: {error.strerror}"
        raise ConfigError(message, source=str(path), place="[metrics] file") from None


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, _MODE)
