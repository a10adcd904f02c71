"""What attacks cost a plain pynetdicom listener, and what they cost ours.

Twelve connections attack at once, four on a TLS port. Told are the time until a C-STORE of
somebody else is answered, the time until every attacker is cut off, and the growth of the
listener's memory.

    python -m benchmarks.attacks
"""

from __future__ import annotations

import argparse
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attackers import (
    ATTACKS,
    TLS_ATTACKS,
    Attack,
    answer_to,
    closing_all,
    request_association,
    store_request,
    was_cut,
)
from benchmarks.receivers import free_port

ATTACKERS = 12
#: On a TLS port: fewer than a listener's backlog, or the attackers would wait for each other.
TLS_ATTACKERS = 4
#: Nothing is waited for any longer.
PATIENCE_SECONDS = 20.0
_START_SECONDS = 60.0

INSTANCE = b"1.2.826.0.1.3680043.8.498.9.9"
#: The least of a mammogram, in Explicit VR Little Endian.
IMAGE = b"".join(
    struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
    for tag, vr, value in (
        (0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.1.2\0"),
        (0x00080018, b"UI", INSTANCE + bytes(len(INSTANCE) % 2)),
        (0x00080060, b"CS", b"MG"),
        (0x0020000D, b"UI", b"1.2.826.0.1.3680043.8.498.9\0"),
        (0x0020000E, b"UI", b"1.2.826.0.1.3680043.8.498.9.1\0"),
    )
)

PLAIN = """
import ssl, sys
from pynetdicom import AE, AllStoragePresentationContexts, evt
ae = AE("ONCOPIXEL")
ae.supported_contexts = AllStoragePresentationContexts
context = None
if sys.argv[2:]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[2:])
ae.start_server(
    ("127.0.0.1", int(sys.argv[1])),
    evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000)],
    ssl_context=context,
)
"""


@dataclass(frozen=True)
class Cost:
    """What one attack did; ``None`` for longer than anyone waits.

    Attributes
    ----------
    answered_seconds
        Until a C-STORE of somebody else was answered with success.
    cut_seconds
        Until the last attacker was cut off.
    grown_bytes
        Peak of the listener's memory less what it held before.
    """

    answered_seconds: float | None
    cut_seconds: float | None
    grown_bytes: int

    def __str__(self) -> str:
        return (
            f"{_seconds(self.answered_seconds)} | {_seconds(self.cut_seconds)} | "
            f"{self.grown_bytes / 1e6:.0f} MB"
        )


@dataclass(frozen=True)
class Keys:
    """A certificate that signs itself, and its key."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        """Have OpenSSL make them."""
        made = cls(folder / "own.crt", folder / "own.key")
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        subprocess.run(  # noqa: S603
            [*command.split(), "-keyout", str(made.key), "-out", str(made.certificate)],
            check=True,
            capture_output=True,
        )
        return made

    def client(self) -> ssl.SSLContext:
        """Context of a sender that trusts the certificate, and shows it."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.check_hostname = False
        context.load_cert_chain(self.certificate, self.key)
        return context


@contextmanager
def plain_listener(_folder: Path, keys: Keys | None) -> Iterator[tuple[int, int]]:
    """Run pynetdicom as its documentation shows; gives process id and port."""
    port = free_port()
    files = [] if keys is None else [str(keys.certificate), str(keys.key)]
    with _running([sys.executable, "-c", PLAIN, str(port), *files], port) as pid:
        yield pid, port


@contextmanager
def our_listener(folder: Path, keys: Keys | None) -> Iterator[tuple[int, int]]:
    """Run our server as an admin would, receiving alone; gives process id and port."""
    port, plain = free_port(), free_port()
    tls = ""
    if keys is not None:
        tls = (
            f'[tls]\ncertificate = "{keys.certificate}"\nkey = "{keys.key}"\n'
            f'ca_file = "{keys.certificate}"\nport = {port}\n'
        )
    config = folder / "oncopixel.toml"
    config.write_text(
        f'data_dir = "{folder / "data"}"\ndimse_port = {port if keys is None else plain}\n'
        f"[receive]\nleast_free_bytes = 0\n{tls}"
    )
    command = [sys.executable, "-m", "oncopixel_pacs", "serve", "--role", "receive"]
    with _running([*command, "--config", str(config)], port) as pid:
        yield pid, port


@contextmanager
def _running(command: list[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.1)
        yield process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def measure(begin: Attack, pid: int, port: int, client: ssl.SSLContext | None) -> Cost:
    """Attack a listener, and look at what it does meanwhile."""
    before = _memory(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the peak
    began = time.monotonic()
    answered: list[float] = []
    cut: list[float] = []
    attackers: list[socket.socket] = []
    with closing_all(attackers):
        for _ in range(ATTACKERS if client is None else TLS_ATTACKERS):
            with suppress(OSError):
                attackers.append(begin(port))
        workers = [_noting(answered, began, lambda: _is_served(port, client))]
        for sock in attackers:
            workers.append(_noting(cut, began, lambda sock=sock: was_cut(sock, PATIENCE_SECONDS)))
        for worker in workers:
            worker.join()
    everyone_cut = attackers and len(cut) == len(attackers)
    grown = _memory(pid, "VmHWM") - before
    return Cost(min(answered, default=None), max(cut) if everyone_cut else None, max(grown, 0))


def _noting(times: list[float], began: float, succeeds: Callable[[], bool]) -> threading.Thread:
    def run() -> None:
        if succeeds():
            times.append(time.monotonic() - began)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    return worker


def _is_served(port: int, client: ssl.SSLContext | None) -> bool:
    """Try to store one object until that succeeds, as a modality does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        left = deadline - time.monotonic()
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=left) as plain,
        ):
            sock = plain if client is None else client.wrap_socket(plain)
            with sock:
                request_association(sock)
                sock.sendall(store_request(IMAGE, instance=INSTANCE))
                if answer_to(sock) == 0x0000:
                    return True
        time.sleep(0.2)
    return False


def _memory(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def _seconds(value: float | None) -> str:
    return f"over {PATIENCE_SECONDS:.0f} s" if value is None else f"{value:.1f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="attacks whose name has this in it")
    chosen = parser.parse_args(arguments)
    columns = "answered | cut off | memory"
    print(f"| attack | pynetdicom: {columns} | ours: {columns} |\n|---|" + "---|" * 6)
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        keys = Keys.make(Path(folder))
        for attacks, pair in ((ATTACKS, None), (TLS_ATTACKS, keys)):
            for number, (name, begin) in enumerate(attacks.items()):
                if chosen.only and chosen.only not in name:
                    continue
                costs = []
                for run in (plain_listener, our_listener):
                    # A listener of its own for each: what an earlier attack left does not count.
                    place = Path(folder) / f"{run.__name__}-{number}-{pair is None}"
                    place.mkdir()
                    client = None if pair is None else pair.client()
                    with run(place, pair) as (pid, port):
                        _is_served(port, client)
                        costs.append(measure(begin, pid, port, client))
                print(f"| {name} | {costs[0]} | {costs[1]} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
