"""The receiving archive of the demonstration: Orthanc where it is installed, else our own."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
from orthanc_api_client import OrthancApiClient

from oncopixel_pacs.demo.embedded_archive import EmbeddedArchive
from oncopixel_pacs.errors import ConfigurationError

_ORTHANC_PATHS = ("Orthanc", "/usr/sbin/Orthanc")
_START_SECONDS = 60.0


class Archive(Protocol):
    """A storage SCP whose content can be listed."""

    name: str
    ae_title: str
    port: int

    def start(self) -> None:
        """Begin to accept associations."""

    def stop(self) -> None:
        """End; what was stored stays in its folder."""

    def fetch(self, study_instance_uid: str, out: Path) -> list[Path]:
        """Write every object of a study as Part 10 files; returns their paths."""


def open_archive(folder: Path, free_port: Callable[[], int]) -> Archive:
    """Make the archive that this machine can run: Orthanc, or the embedded one."""
    program = next((found for name in _ORTHANC_PATHS if (found := shutil.which(name))), None)
    if program is None:
        return EmbeddedFolderArchive(folder, "ARCHIVE", free_port())
    return OrthancArchive(program, folder, "ORTHANC", free_port(), free_port())


@dataclass
class EmbeddedFolderArchive:
    """The archive that comes with the product: a storage SCP that writes to a folder."""

    folder: Path
    ae_title: str
    port: int
    name: str = "embedded archive"
    _scp: EmbeddedArchive | None = None

    def start(self) -> None:
        """Begin to accept associations."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._scp = EmbeddedArchive(self.folder, self.ae_title, port=self.port)
        self.port = self._scp.start()

    def stop(self) -> None:
        """End."""
        if self._scp is not None:
            self._scp.stop()

    def fetch(self, study_instance_uid: str, out: Path) -> list[Path]:
        """Copy every object of a study."""
        from pydicom import dcmread

        out.mkdir(parents=True, exist_ok=True)
        found = []
        for path in sorted(self.folder.rglob("*.dcm")):
            header = dcmread(path, specific_tags=["StudyInstanceUID"], stop_before_pixels=True)
            if header.StudyInstanceUID == study_instance_uid:
                found.append(Path(shutil.copy(path, out)))
        return found


@dataclass
class OrthancArchive:
    """A real Orthanc in a process of its own.

    Orthanc binds every interface, so it is told to take nothing but from this machine.
    """

    program: str
    folder: Path
    ae_title: str
    port: int
    http_port: int
    calling_ae_title: str = "ONCOPIXEL"
    name: str = "Orthanc"
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL of its REST API."""
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(self._configuration(), indent=2), encoding="utf-8")
        log = (self.folder / "orthanc.log").open("wb")
        with log:
            self._process = subprocess.Popen(  # noqa: S603
                [self.program, str(config)], stdout=log, stderr=subprocess.STDOUT
            )
        self.name = f"Orthanc {self._wait()}"

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)

    def fetch(self, study_instance_uid: str, out: Path) -> list[Path]:
        """Download every object of a study."""
        out.mkdir(parents=True, exist_ok=True)
        client = OrthancApiClient(self.url)
        study = client.studies.lookup(study_instance_uid)
        if study is None:
            return []
        found = []
        for number, instance in enumerate(client.studies.get_instances_ids(study)):
            path = out / f"{number:03d}.dcm"
            path.write_bytes(client.instances.get_file(instance))
            found.append(path)
        return found

    def _configuration(self) -> dict[str, object]:
        return {
            "Name": "OncoPixel demonstration archive",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": False,
            "DicomAlwaysAllowEcho": False,
            "DicomCheckModalityHost": True,
            "DicomModalities": {"oncopixel": [self.calling_ae_title, "127.0.0.1", 104]},
            "OverwriteInstances": True,
            "UnknownSopClassAccepted": True,
            "TcpNoDelay": True,
            "Plugins": [],
        }

    def _wait(self) -> str:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                return str(httpx.get(f"{self.url}/system", timeout=2).json()["Version"])
            except (httpx.TransportError, ValueError, KeyError):
                time.sleep(0.2)
        self.stop()
        raise ConfigurationError(
            f"Orthanc did not start; its log is {self.folder / 'orthanc.log'}."
        )
