"""A server as it comes, in this process, and studies that are sent to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread

from oncopixel_pacs.bootstrap import Server
from oncopixel_pacs.deliver.cstore import send_files
from oncopixel_pacs.settings import ReceiveSettings, Settings

VIEWS = 4


@contextmanager
def serving(data_dir: Path, **overrides: Any) -> Iterator[tuple[httpx.Client, int]]:
    """Run a server with all roles and the shipped models, until the block ends.

    Parameters
    ----------
    **overrides
        Settings that are not as they come.

    Yields
    ------
    tuple
        A client of its API, and the port of its DICOM listener.
    """
    settings = Settings(
        data_dir=data_dir,
        dimse_port=0,
        http_port=0,
        receive=ReceiveSettings(least_free_bytes=0),
        log_level="error",
        **overrides,
    )
    server = Server(settings)
    addresses = server.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{addresses.http_port}") as client:
            wait(lambda: client.get("/health/ready").status_code == httpx.codes.OK)
            yield client, addresses.dimse_port or 0
    finally:
        server.stop()


def send(images: Sequence[Path], port: int) -> None:
    """Send images over one association."""
    for outcome in send_files(
        images, "127.0.0.1", port, called_ae_title="ONCOPIXEL", calling_ae_title="MODALITY"
    ):
        if not outcome.accepted:
            raise SystemExit(f"The server did not take {outcome.path}: {outcome.error}")


def study_of(image: Path) -> str:
    """Study Instance UID of a file."""
    return str(dcmread(image, stop_before_pixels=True).StudyInstanceUID)


def finished(client: httpx.Client, uid: str) -> dict[str, Any]:
    """Wait for the end of the job on a study; the job as the API tells it."""
    found: list[dict[str, Any]] = []

    def done() -> bool:
        items = client.get("/api/v1/jobs", params={"study_instance_uid": uid}).json()["items"]
        found[:] = [item for item in items if item["finished_at"]]
        return bool(found)

    wait(done, pause=0.5)  # the server has better things to do than to answer
    job: dict[str, Any] = client.get(f"/api/v1/jobs/{found[0]['id']}").json()
    if job["state"] != "done":
        raise SystemExit(f"The job on study {uid} ended as {job['state']}: {job['error']}")
    return job


def wait(condition: Callable[[], object], seconds: float = 600.0, pause: float = 0.1) -> None:
    """Wait until a condition holds."""
    ticker = threading.Event()
    for _ in range(int(seconds / pause)):
        if condition():
            return
        ticker.wait(pause)
    raise SystemExit("The server did not get there in time.")


def moment(text: str) -> datetime:
    """Read a time of the API."""
    return datetime.fromisoformat(text)
