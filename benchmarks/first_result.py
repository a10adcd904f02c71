"""Time from the last view of a study to its analysis: ``python -m benchmarks.first_result``.

Starts a server as it comes (all roles, default settings, the shipped models) on free ports, sends
synthetic four-view studies by C-STORE, one after the other, and reads from the ledger when the
last view was received, when the analysis began and when it ended.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from pydicom import dcmread

from oncopixel_pacs.bootstrap import Server
from oncopixel_pacs.deliver.cstore import send_files
from oncopixel_pacs.logs import configure_logging
from oncopixel_pacs.settings import ReceiveSettings, Settings
from sample_dicom.study import write_studies

VIEWS = 4


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--columns", type=int, default=832)
    options = parser.parse_args()
    configure_logging("error", "text")
    with tempfile.TemporaryDirectory(prefix="oncopixel-first-") as name:
        images = list(
            write_studies(
                Path(name) / "sent", options.studies, 1, rows=options.rows, columns=options.columns
            )
        )
        begun, ended = _measure(Path(name) / "data", images)
    print(f"{'':24}{'median':>8}{'longest':>9}   seconds after the last view was received")
    print(f"{'analysis begins':24}{median(begun):8.2f}{max(begun):9.2f}")
    print(f"{'analysis is done':24}{median(ended):8.2f}{max(ended):9.2f}")


def _measure(data_dir: Path, images: list[Path]) -> tuple[list[float], list[float]]:
    settings = Settings(
        data_dir=data_dir,
        dimse_port=0,
        http_port=0,
        receive=ReceiveSettings(least_free_bytes=0),
        log_level="error",
    )
    server = Server(settings)
    addresses = server.start()
    begun, ended = [], []
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{addresses.http_port}") as client:
            _wait(lambda: client.get("/health/ready").status_code == httpx.codes.OK)
            for first in range(0, len(images), VIEWS):
                study = images[first : first + VIEWS]
                _send(study, addresses.dimse_port or 0)
                uid = str(dcmread(study[0], stop_before_pixels=True).StudyInstanceUID)
                job = _finished(client, uid)
                last = _moment(client.get(f"/api/v1/studies/{uid}").json()["last_received_at"])
                step = next(item for item in job["steps"] if item["name"] == "analyse")
                begun.append((_moment(step["started_at"]) - last).total_seconds())
                ended.append((_moment(step["finished_at"]) - last).total_seconds())
    finally:
        server.stop()
    return begun, ended


def _send(images: list[Path], port: int) -> None:
    for outcome in send_files(
        images, "127.0.0.1", port, called_ae_title="ONCOPIXEL", calling_ae_title="MODALITY"
    ):
        if not outcome.accepted:
            raise SystemExit(f"The server did not take {outcome.path}: {outcome.error}")


def _finished(client: httpx.Client, uid: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def done() -> bool:
        items = client.get("/api/v1/jobs", params={"study_instance_uid": uid}).json()["items"]
        found[:] = [item for item in items if item["finished_at"]]
        return bool(found)

    _wait(done)
    job: dict[str, Any] = client.get(f"/api/v1/jobs/{found[0]['id']}").json()
    return job


def _wait(condition: Any, seconds: float = 600.0) -> None:
    ticker = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if condition():
            return
        ticker.wait(0.1)
    raise SystemExit("The server did not get there in time.")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


if __name__ == "__main__":
    main()
