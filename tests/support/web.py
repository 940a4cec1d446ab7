"""A web server on the loopback that answers ranges, or misbehaves as a test asks it to."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

__all__ = ["WebServer"]


class WebServer:
    """Serves `content` under every path. `misbehave(handler, start, end)` may answer instead.

    It returns True where it has answered. requests: the paths, ranges and other headers seen.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.etag: str | None = '"one"'
        self.ranges = True
        self.misbehave: Callable[[BaseHTTPRequestHandler, int, int], bool] = lambda *_: False
        self.requests: list[tuple[str, str | None, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                outer.requests.append((self.path, wanted, dict(self.headers)))
                match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
                if match is None or not outer.ranges:
                    self.answer(200, outer.content)
                    return
                size = len(outer.content)
                start, end = int(match[1]), min(int(match[2]) + 1, size)
                if outer.misbehave(self, start, end):
                    return
                if start >= size:
                    self.answer(416, b"", f"bytes */{size}")
                    return
                self.answer(206, outer.content[start:end], f"bytes {start}-{end - 1}/{size}")

            def answer(
                self, status: int, body: bytes, content_range: str | None = None, **more: str
            ) -> None:
                self.send_response(status)
                headers = {"Content-Length": str(len(body))}
                if content_range is not None:
                    headers["Content-Range"] = content_range
                if outer.etag is not None:
                    headers["ETag"] = outer.etag
                headers.update({name.replace("_", "-"): value for name, value in more.items()})
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # clients that hang up are part of the tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

        self._scheme = "http"

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Speak HTTPS."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, name: str = "disk.raw") -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/{name}"

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
