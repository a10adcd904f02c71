"""Stands in for a UPS-RS service: the state machine of PS3.4 CC.1.1 behind PS3.18 section 11."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

Attributes = dict[str, Any]

STATE, TRANSACTION, INSTANCE = "00741000", "00081195", "00080018"
PROGRESS, PERFORMED = "00741002", "00741216"
#: What Table CC.2.5-3 asks for before COMPLETED (P) and before CANCELED (X).
_NEEDED = {
    "COMPLETED": (PERFORMED, ("00404028", "00404050", "00404019", "00404051")),
    "CANCELED": (PROGRESS, ("00404052", "0074100E")),
}
_OUTPUT = "00404033"


def element(representation: str, *values: Any) -> Attributes:
    """Write an element."""
    return {"vr": representation, "Value": list(values)}


def value(attributes: Attributes, tag: str) -> Any:
    """Return the first value of an element; ``None`` where there is none."""
    return next(iter(attributes.get(tag, {}).get("Value", [])), None)


@dataclass
class UpsStub:
    """A worklist, and what it was asked.

    Attributes
    ----------
    asked
        Method and path of every request, in order.
    answers
        What is answered in the place of the state machine's own word, one by one: a status and a
        body, or ``None`` to let a request through.
    lost
        Methods whose next request is done, and its answer never arrives.
    """

    url: str = ""
    workitems: dict[str, Attributes] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    answers: list[tuple[int, bytes] | None] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    authorization: str | None = None
    _lock: Lock = field(default_factory=Lock)

    def schedule(self, uid: str, *studies: str, code: str = "AI1", **more: Any) -> Attributes:
        """Put a workitem on the list; returns it, to be spoiled."""
        workitem = {
            INSTANCE: element("UI", uid),
            STATE: element("CS", "SCHEDULED"),
            "00404041": element("CS", "READY"),
            "00100010": element("PN", {"Alphabetic": "CANARY^NAME"}),
            "00404018": element("SQ", coded(code)),
            "00404021": element("SQ", *({"0020000D": element("UI", item)} for item in studies)),
            PROGRESS: {"vr": "SQ"},
            PERFORMED: {"vr": "SQ"},
            **more,
        }
        self.workitems[uid] = workitem
        return workitem

    def claim(self, uid: str, transaction_uid: str = "2.25.999") -> None:
        """Have somebody else claim a workitem."""
        self.workitems[uid][STATE] = element("CS", "IN PROGRESS")
        self.locks[uid] = transaction_uid

    def state(self, uid: str) -> str:
        """Tell how far a workitem is."""
        return str(value(self.workitems[uid], STATE))

    def sequence_item(self, uid: str, tag: str) -> Attributes:
        """Return the only item of a sequence of a workitem."""
        (item,) = self.workitems[uid][tag]["Value"]
        return dict(item)

    def count(self, method: str, ending: str) -> int:
        """Count requests."""
        return sum(1 for how, path in self.asked if how == method and path.endswith(ending))

    def handle(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        """Answer one request."""
        with self._lock:
            self.asked.append((method, path))
            told = self.answers.pop(0) if self.answers else None
            if told is not None:
                return told
            parts = path.removeprefix("/ups/workitems").strip("/").split("/")
            if parts == [""]:
                return self._search(query)
            uid = parts[0]
            if uid not in self.workitems:
                return 404, b""
            if method == "GET":
                return 200, json.dumps([self.workitems[uid]]).encode()
            (changes,) = json.loads(body)
            if parts[1:] == ["state"]:
                return self._change_state(uid, changes), b""
            return self._update(uid, query, changes), b""

    def _search(self, query: str) -> tuple[int, bytes]:
        wanted = {name: values[0] for name, values in parse_qs(query).items()}
        offset, limit = int(wanted.pop("offset", 0)), int(wanted.pop("limit", 10_000))
        found = [item for item in self.workitems.values() if _matches(item, wanted)]
        page = found[offset : offset + limit]
        return (200, json.dumps(page).encode()) if page else (204, b"")

    def _update(self, uid: str, query: str, changes: Attributes) -> int:
        if (
            self.state(uid) != "IN PROGRESS"
            or self.locks[uid] != changes.pop(TRANSACTION, None)["Value"][0]
        ):
            return 409
        if query != self.locks[uid] or STATE in changes:
            return 400
        self.workitems[uid] |= changes
        return 200

    def _change_state(self, uid: str, changes: Attributes) -> int:
        was, wanted, lock = self.state(uid), value(changes, STATE), value(changes, TRANSACTION)
        if not lock:
            return 400
        if wanted == "IN PROGRESS" and was == "SCHEDULED":
            self.locks[uid] = lock
        elif wanted not in _NEEDED or was != "IN PROGRESS" or not self._may(uid, lock, wanted):
            return 409
        self.workitems[uid][STATE] = element("CS", wanted)
        return 200

    def _may(self, uid: str, lock: str, wanted: str) -> bool:
        if lock != self.locks[uid]:
            return False
        tag, needed = _NEEDED[wanted]
        items = self.workitems[uid][tag].get("Value", [])
        there = wanted != "COMPLETED" or all(_OUTPUT in item for item in items)
        return bool(items) and there and all(value(item, name) for item in items for name in needed)


def coded(code: str, scheme: str = "99LIST") -> Attributes:
    """Write a coded entry."""
    return {
        "00080100": element("SH", code),
        "00080102": element("SH", scheme),
        "00080104": element("LO", f"meaning of {code}"),
    }


def _matches(workitem: Attributes, wanted: dict[str, str]) -> bool:
    for name, text in wanted.items():
        found: Any = workitem
        for tag in name.split("."):
            found = value(found, tag)
        if found != text:
            return False
    return True


@contextmanager
def ups_stub() -> Iterator[UpsStub]:
    """Serve a worklist on a free port."""
    stub = UpsStub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            stub.authorization = self.headers.get("Authorization")
            status, said = stub.handle(self.command, asked.path, asked.query, body)
            if self.command in stub.lost:
                stub.lost.remove(self.command)
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_PUT = do_POST = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}/ups"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
