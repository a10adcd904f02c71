"""``python -m benchmarks.sink PORT``: accepts, reads, answers success, keeps nothing."""

from __future__ import annotations

import socketserver
import struct
import sys

from benchmarks.store_stream import CONTEXT_ID, PDU_BYTES


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Serve one association."""
        self.buffer = bytearray(1 << 20)
        self.low = self.high = 0
        left = 0
        is_last = False
        while True:
            if not left:
                head = self._head(6)
                if head is None:
                    return
                kind, length = struct.unpack(">BxI", head)
                if kind == 4:
                    fragment = self._head(6)
                    if fragment is None:
                        return
                    is_last = fragment[5] == 0x02
                    left = length - 6
                elif not self._other(kind, length):
                    return
            else:
                if self.low == self.high and not self._fill():
                    return
                step = min(left, self.high - self.low)
                self.low += step
                left -= step
                if not left and is_last:
                    self.request.sendall(_SUCCESS)

    def _head(self, count: int) -> bytes | None:
        while self.high - self.low < count:
            if not self._fill():
                return None
        head = bytes(self.buffer[self.low : self.low + count])
        self.low += count
        return head

    def _fill(self) -> bool:
        rest = self.high - self.low
        self.buffer[:rest] = self.buffer[self.low : self.high]
        self.low, self.high = 0, rest
        count = self.request.recv_into(memoryview(self.buffer)[rest:])
        self.high += count
        return bool(count)

    def _other(self, kind: int, length: int) -> bool:
        while length:
            part = self._head(min(length, 4096))
            if part is None:
                return False
            length -= len(part)
        self.request.sendall(_ACCEPT if kind == 1 else _RELEASE_ANSWER)
        return kind == 1


def _accept() -> bytes:
    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(content)) + content

    body = struct.pack(">HH", 1, 0) + b" " * 32 + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    body += item(0x21, struct.pack(">B3x", CONTEXT_ID) + item(0x40, b"1.2.840.10008.1.2.1"))
    body += item(0x50, item(0x51, struct.pack(">I", PDU_BYTES)) + item(0x52, b"1.2.3"))
    return struct.pack(">BxI", 2, len(body)) + body


def _success() -> bytes:
    command = b""
    for element, value in ((0x0100, 0x8001), (0x0120, 1), (0x0800, 0x0101), (0x0900, 0)):
        command += struct.pack("<HHIH", 0, element, 2, value)
    command = struct.pack("<HHII", 0, 0, 4, len(command)) + command
    head = struct.pack(">BxIIBB", 4, len(command) + 6, len(command) + 2, CONTEXT_ID, 0x03)
    return head + command


_ACCEPT = _accept()
_SUCCESS = _success()
_RELEASE_ANSWER = struct.pack(">BxI4x", 6, 4)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with _Server(("127.0.0.1", int(sys.argv[1])), _Handler) as server:
        server.serve_forever()
