"""Sends images by STOW-RS to a server of its own, and reads its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from api_builders import make_parts
from builders import make_clock
from conftest import Store

from oncopixel_pacs.api.application import create_app
from oncopixel_pacs.api.dicomweb.addresses import service_url
from oncopixel_pacs.api.http_server import HttpServer
from oncopixel_pacs.receive.contexts import STORAGE_SOP_CLASSES
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.stow import StowService, stow_router
from oncopixel_pacs.receive.stow_parts import StowLimits
from oncopixel_pacs.store.free_space import FreeSpace

BOUNDARY = "frontier"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
REFERENCED, FAILED, OTHER = "00081199", "00081198", "0008119A"
REASON, INSTANCE = "00081197", "00081155"


@contextmanager
def taking(
    store: Store, *, limits: StowLimits | None = None, space: FreeSpace | None = None
) -> Iterator[httpx.Client]:
    """Serve STOW-RS over a store on a free port."""
    parts = make_parts(store)
    service = StowService(
        intake=Intake(store.files, store.catalogue, make_clock()),
        space=space or parts.free_space,
        sop_classes=frozenset(STORAGE_SOP_CLASSES),
        service_url=service_url,
        limits=limits or StowLimits(),
    )
    server = HttpServer(create_app(parts, [stow_router(service, {})]), "127.0.0.1", 0)
    try:
        address = f"http://127.0.0.1:{server.start()}/dicom-web"
        with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
            yield client
    finally:
        server.stop()


def body_of(files: Sequence[bytes], media_type: str = "application/dicom") -> bytes:
    """Make a body of these parts."""
    head = f"--{BOUNDARY}\r\nContent-Type: {media_type}\r\n\r\n".encode()
    return b"".join(head + file + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()


def post(client: httpx.Client, content: Any, path: str = "/studies", **headers: str) -> Any:
    """Send a body."""
    return client.post(path, content=content, headers={"Content-Type": RELATED, **headers})


def reasons(answer: httpx.Response, sequence: str = FAILED) -> list[int]:
    """Failure reasons of one of the sequences."""
    items = answer.json().get(sequence, {}).get("Value", [])
    return [item[REASON]["Value"][0] for item in items]


def failures(answer: httpx.Response) -> list[int]:
    """Failure reasons of every object that was not stored."""
    return [*reasons(answer), *reasons(answer, OTHER)]
