"""A real Orthanc with DICOM, REST and DICOMweb on free ports of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from dimse_builder import free_port, until
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

PASSWORD = "pixel"  # noqa: S105
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Orthanc:
    """Where it listens, and a client that is logged in."""

    dimse_port: int
    url: str
    client: httpx.Client
    ae_title: str = "ARCHIVE"

    @property
    def dicomweb_url(self) -> str:
        """Base URL of its DICOMweb plugin."""
        return f"{self.url}/dicom-web"

    def store(self, images: Sequence[Dataset]) -> None:
        """Put images into it."""
        for image in images:
            buffer = DicomBytesIO()
            image.save_as(buffer, enforce_file_format=True)
            self.client.post("/instances", content=buffer.getvalue()).raise_for_status()

    def know(self, ae_title: str, port: int, *, tls: bool = False) -> None:
        """Let it send by C-STORE to this AE title."""
        entry = {"AET": ae_title, "Host": "127.0.0.1", "Port": port, "UseDicomTls": tls}
        self.client.put("/modalities/oncopixel", json=entry).raise_for_status()

    def forget(self) -> None:
        """Take the AE title back."""
        self.client.delete("/modalities/oncopixel").raise_for_status()


@contextmanager
def running_orthanc(folder: Path, **options: Any) -> Iterator[Orthanc]:
    """Run it; skips where it is not installed."""
    program = shutil.which("Orthanc", path=f"/usr/sbin{os.pathsep}{os.environ['PATH']}")
    if program is None or not PLUGIN.exists():
        pytest.skip("needs the packages orthanc and orthanc-dicomweb")
    http_port, dimse_port = free_port(), free_port()
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"onco": PASSWORD},
        "DicomAet": "ARCHIVE",
        "DicomPort": dimse_port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowStore": True,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True},
        **options,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{http_port}"
    try:
        with httpx.Client(base_url=url, auth=("onco", PASSWORD), trust_env=False) as client:
            until(lambda: _answers(client), 60)
            yield Orthanc(dimse_port, url, client)
    finally:
        process.terminate()
        process.wait(30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/system").status_code == 200
    except httpx.TransportError:
        return False
