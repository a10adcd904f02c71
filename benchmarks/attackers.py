"""Callers that do harm on the wire: connections that lie, stall or come in numbers."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation as MG
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

#: Begins an attack on a port, and returns the connection that it runs over.
Attack = Callable[[int], socket.socket]
MIB = 1 << 20


def association_request(syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return an A-ASSOCIATE-RQ that proposes mammography images in a transfer syntax."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title = "MODALITY"
    primitive.called_ae_title = "ONCOPIXEL"
    context = build_context(MG, syntax)
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    longest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    longest.maximum_length_received = 16382
    implementation.implementation_class_uid = "1.2.3.4"  # type: ignore[assignment]
    primitive.user_information = [longest, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    encoded: bytes = pdu.encode()
    return encoded


def store_pdus(dataset: bytes, instance: str = "1.2.3", longest: int = 16382) -> list[bytes]:
    """Return the P-DATA-TF PDUs of one C-STORE request."""
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = MG
    request.AffectedSOPInstanceUID = instance
    request.DataSet = BytesIO(dataset)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    encoded = []
    for primitive in message.encode_msg(1, longest):
        pdu = P_DATA_TF()
        pdu.from_primitive(primitive)
        encoded.append(pdu.encode())
    return encoded


def store_request(
    dataset: bytes, *, sop_class: bytes = MG.encode(), instance: bytes = b"1.2.3"
) -> bytes:
    """Return a C-STORE request whose command says anything at all, one fragment a PDU."""

    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHL", 0, number, len(value)) + value

    command = b"".join(
        [
            element(0x0002, sop_class + bytes(len(sop_class) % 2)),
            element(0x0100, struct.pack("<H", 0x0001)),
            element(0x0110, struct.pack("<H", 7)),
            element(0x0700, struct.pack("<H", 0)),
            element(0x0800, struct.pack("<H", 0x0001)),
            element(0x1000, instance + bytes(len(instance) % 2)),
        ]
    )
    command = element(0x0000, struct.pack("<L", len(command))) + command
    pieces = [(3, command)]
    pieces += [(0, dataset[at : at + 16000]) for at in range(0, len(dataset), 16000)]
    pieces[-1] = (pieces[-1][0] | 2, pieces[-1][1])
    return b"".join(
        struct.pack(">BBLLBB", 4, 0, len(piece) + 6, len(piece) + 2, 1, control) + piece
        for control, piece in pieces
    )


def answer_to(sock: socket.socket) -> int | None:
    """Wait for the status of a response; ``None`` when the association ends instead."""
    try:
        kind, length = struct.unpack(">BxL", receive(sock, 6))
        pdu = receive(sock, length)
    except (ConnectionError, OSError):
        return None
    at = pdu.find(struct.pack("<HHL", 0, 0x0900, 2))
    return None if kind != 0x04 or at < 0 else int(struct.unpack_from("<H", pdu, at + 8)[0])


def handshake_begun() -> bytes:
    """Return the first bytes of a TLS ClientHello, whose rest does not come."""
    return struct.pack(">BHH", 22, 0x0301, 512) + b"\x01\x00\x01\xfc\x03\x03"


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    """Open a connection from an address of this machine."""
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))


def associate(port: int, source: str = "127.0.0.1") -> socket.socket:
    """Open an association over a bare connection."""
    sock = connect(port, source)
    request_association(sock)
    return sock


def request_association(sock: socket.socket, syntax: str = ExplicitVRLittleEndian) -> bool:
    """Ask for an association; whether its one presentation context was accepted.

    Raises
    ------
    ConnectionError
        When it is not granted.
    """
    sock.sendall(association_request(syntax))
    kind, length = struct.unpack(">BxL", receive(sock, 6))
    answer = receive(sock, length)
    if kind != 0x02:
        raise ConnectionRefusedError(f"PDU of type {kind}")
    # Presentation Context Item of A-ASSOCIATE-AC (PS3.8 9.3.3.2): type 21H, context 1, result 0.
    at = answer.find(b"\x21\x00", 68)
    return answer[at + 4] == 1 and answer[at + 6] == 0


def receive(sock: socket.socket, count: int) -> bytes:
    """Return exactly so many bytes."""
    received = b""
    while len(received) < count:
        more = sock.recv(count - len(received))
        if not more:
            raise ConnectionError
        received += more
    return received


def sends(*parts: bytes) -> Attack:
    """Make an attack that says this before any association, and then nothing."""

    def begin(port: int) -> socket.socket:
        sock = connect(port)
        pour(sock, parts)
        return sock

    return begin


def associates_and_sends(*parts: bytes) -> Attack:
    """Make an attack that says this within an association, and then nothing."""

    def begin(port: int) -> socket.socket:
        sock = associate(port)
        pour(sock, parts)
        return sock

    return begin


def drips(content: bytes, *, associated: bool = False, pause: float = 0.1) -> Attack:
    """Make an attack that says one byte at a time (slowloris)."""

    def begin(port: int) -> socket.socket:
        sock = associate(port) if associated else connect(port)

        def drip() -> None:
            ticker = threading.Event()
            with suppress(OSError):
                for byte in content:
                    sock.sendall(bytes([byte]))
                    ticker.wait(pause)

        threading.Thread(target=drip, daemon=True).start()
        return sock

    return begin


def pour(sock: socket.socket, parts: tuple[bytes, ...]) -> None:
    """Send as much as the other side lets us."""

    def send() -> None:
        with suppress(OSError):
            for part in parts:
                sock.sendall(part)

    threading.Thread(target=send, daemon=True).start()


def was_cut(sock: socket.socket, seconds: float = 20.0) -> bool:
    """Wait until the other side ends a connection; ``False`` when it does not in time."""
    sock.settimeout(seconds)
    try:
        while sock.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@contextmanager
def closing_all(sockets: list[socket.socket]) -> Iterator[list[socket.socket]]:
    """Close them all in the end."""
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def resident_bytes() -> int:
    """Return the memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


#: Attacks on a TLS port, by what they do.
TLS_ATTACKS: dict[str, Attack] = {
    "TLS: not a word": sends(),
    "TLS: handshake that stops": sends(handshake_begun()),
    "TLS: handshake byte by byte": drips(handshake_begun() + bytes(1000)),
}
#: Attacks on a plain port, by what they do.
ATTACKS: dict[str, Attack] = {
    "4 GiB announced before association": sends(
        struct.pack(">BBL", 1, 0, 0xFFFFFFFF), *[b"\0" * MIB] * 64
    ),
    "data before association": sends(struct.pack(">BBL", 4, 0, 64 * MIB), *[b"\0" * MIB] * 64),
    "3 bytes of header": sends(b"\x01\x00\x00"),
    "half an association request": sends(association_request()[:90]),
    "association request byte by byte": drips(association_request() * 9),
    "not a word": sends(),
    "HTTP": sends(b"GET / HTTP/1.1\r\n\r\n"),
    "PDU of an unknown type": sends(struct.pack(">BBL", 0x55, 0, 4) + b"junk"),
    "association request full of zeros": sends(struct.pack(">BBL", 1, 0, 200) + bytes(200)),
    "data over the negotiated maximum": associates_and_sends(
        struct.pack(">BBLLBB", 4, 0, 64 * MIB, 64 * MIB - 4, 1, 2), *[b"\0" * MIB] * 64
    ),
    "4 GiB of data announced": associates_and_sends(
        struct.pack(">BBLLBB", 4, 0, 0xFFFFFFFF, 0xFFFFFFFB, 1, 2), *[b"\0" * MIB] * 64
    ),
    "fragment longer than its PDU": associates_and_sends(
        struct.pack(">BBLLBB", 4, 0, 100, 5000, 1, 3) + bytes(94)
    ),
    "half a PDU of data": associates_and_sends(store_pdus(bytes(100_000))[1][:1000]),
    "data byte by byte": drips(b"".join(store_pdus(bytes(1000))), associated=True),
    "data set that stops": associates_and_sends(*store_pdus(bytes(100_000))[:4]),
    "association without a word": associates_and_sends(),
    "fragments without a command": associates_and_sends(
        *[struct.pack(">BBLLBB", 4, 0, 10_006, 10_002, 1, 0) + bytes(10_000)] * 300
    ),
    "a second association request": associates_and_sends(association_request()),
}
