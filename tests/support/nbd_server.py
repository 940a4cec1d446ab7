"""An NBD server on a Unix socket that misbehaves as a test asks it to.

Written from the NBD protocol, proto.md: fixed newstyle handshake, structured replies and
base:allocation.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["NbdServer"]

OPT_GO, OPT_STRUCTURED, OPT_META = 7, 8, 10
REP_ACK, REP_INFO, REP_META, REP_UNSUPPORTED = 1, 3, 4, (1 << 31) + 1
CMD_READ, CMD_DISCONNECT, CMD_STATUS = 0, 2, 7


class NbdServer:
    """Serves `content`. All attributes may be changed while it runs.

    extents: (length, flags) answered to a question from offset 0 on, whatever was asked; None
    refuses the question. has_extents: whether base:allocation is offered. blocks: minimum,
    preferred and maximum block size. bad: offsets whose reading fails with EIO. silent: nothing
    is answered any more. chunks: what a request for (offset, length) is answered with, each
    (type, payload, whether it is the last), instead of the content or the extents; after an answer
    without a last one the connection ends. reads, questions: (offset, length) of the requests seen.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self.content = content
        self.size = len(content)
        self.extents: Sequence[tuple[int, int]] | None = [(len(content), 0)]
        self.has_extents = True
        self.multi = False
        self.blocks = (1, 4096, 1 << 25)
        self.bad: set[int] = set()
        self.silent = False
        self.chunks: Callable[[int, int], Sequence[tuple[int, bytes, bool]]] | None = None
        self.connections = 0
        self.reads: list[tuple[int, int]] = []
        self.questions: list[tuple[int, int]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(20)
        self._open: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"nbd+unix:///?socket={self.path}"

    def __enter__(self) -> NbdServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.vanish()

    def vanish(self) -> None:
        """End all connections and listen no more."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                made, _ = self._listener.accept()
                self._open.append(made)
                self.connections += 1
                threading.Thread(target=self._serve, args=(made,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._negotiate(client)
            self._transmit(client)
        with contextlib.suppress(OSError):
            client.close()

    @staticmethod
    def _receive(client: socket.socket, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = client.recv(length - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _negotiate(self, client: socket.socket) -> None:
        client.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        self._receive(client, 4)
        while True:
            _, option, length = struct.unpack(">8sII", self._receive(client, 16))
            data = self._receive(client, length)

            def reply(kind: int, body: bytes = b"", option: int = option) -> None:
                head = struct.pack(">QIII", 0x3E889045565A9, option, kind, len(body))
                client.sendall(head + body)

            if option == OPT_STRUCTURED:
                reply(REP_ACK)
            elif option == OPT_META:
                if self.has_extents and b"base:allocation" in data:
                    reply(REP_META, struct.pack(">I", 1) + b"base:allocation")
                reply(REP_ACK)
            elif option == OPT_GO:
                flags = 1 | 2 | (1 << 8 if self.multi else 0)
                reply(REP_INFO, struct.pack(">HQH", 0, self.size, flags))
                reply(REP_INFO, struct.pack(">HIII", 3, *self.blocks))
                reply(REP_ACK)
                return
            else:
                reply(REP_UNSUPPORTED)

    def _transmit(self, client: socket.socket) -> None:
        while True:
            head = self._receive(client, 28)
            _, _, command, cookie, offset, length = struct.unpack(">IHHQQI", head)
            while self.silent:
                time.sleep(0.01)

            def reply(
                kind: int, body: bytes, cookie: int = cookie, is_last: bool = True
            ) -> None:
                head = struct.pack(">IHHQI", 0x668E33EF, is_last, kind, cookie, len(body))
                client.sendall(head + body)

            def fail(number: int) -> None:
                reply((1 << 15) + 1, struct.pack(">IH", number, 0))

            if command == CMD_DISCONNECT:
                return
            if self.chunks is not None:
                is_last = False
                for kind, body, is_last in self.chunks(offset, length):
                    reply(kind, body, is_last=is_last)
                if not is_last:
                    return
                continue
            if command == CMD_READ:
                self.reads.append((offset, length))
                if any(offset <= place < offset + length for place in self.bad):
                    fail(5)
                else:
                    data = self.content[offset : offset + length].ljust(length, b"\0")
                    reply(1, struct.pack(">Q", offset) + data)
            elif command == CMD_STATUS:
                self.questions.append((offset, length))
                if self.extents is None:
                    fail(22)
                else:
                    body = b"".join(struct.pack(">II", *pair) for pair in self._from(offset))
                    reply(5, struct.pack(">I", 1) + body)
            else:
                fail(22)

    def _from(self, offset: int) -> list[tuple[int, int]]:
        """The extents from `offset` on; one alone is repeated for ever."""
        assert self.extents is not None
        if len(self.extents) == 1:
            return list(self.extents)
        found = []
        at = 0
        for length, flags in self.extents:
            if at + length > offset:
                found.append((at + length - max(at, offset), flags))
            at += length
        return found
