"""Orthanc next door: the shipped configuration and plugin forward new mammograms, each once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from dimse_builder import STUDY, Reception, free_port, mammogram, reception, store, until
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from rejection_builder import rejection_note

from oncopixel_pacs.domain import Instance

DEPLOY = Path(__file__).parents[2] / "deploy" / "orthanc"
PLUGINS = Path("/usr/share/orthanc/plugins")
PROGRAM = shutil.which("Orthanc", path=f"/usr/sbin{os.pathsep}{os.environ['PATH']}")
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
LOGIN = ("oncopixel", "letmein")
pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(
        PROGRAM is None or not (PLUGINS / "libOrthancPython.so").exists(),
        reason="needs the packages orthanc, orthanc-dicomweb and orthanc-python",
    ),
]


@dataclass
class NextDoor:
    """An Orthanc with the shipped configuration; stopped and started as a test likes."""

    folder: Path
    oncopixel_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    dicom_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.http_port}", auth=LOGIN, trust_env=False, timeout=20
        )

    def start(self) -> None:
        environment = {
            "ORTHANC_STORAGE": self.folder,
            "ORTHANC_HTTP_PORT": self.http_port,
            "ORTHANC_DICOM_PORT": self.dicom_port,
            "ORTHANC_REMOTE": "false",
            "ORTHANC_PASSWORD": LOGIN[1],
            "ORTHANC_PLUGINS": PLUGINS,
            "ORTHANC_SCRIPT": DEPLOY / "oncopixel_forward.py",
            "ONCOPIXEL_HOST": "127.0.0.1",
            "ONCOPIXEL_DICOM_PORT": self.oncopixel_port,
            "ONCOPIXEL_RETRY_SECONDS": 1,
        }
        assert PROGRAM is not None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, str(DEPLOY / "orthanc.json")],
                env=os.environ | {name: str(value) for name, value in environment.items()},
                stdout=log,
                stderr=log,
            )
        until(self.answers, 60)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/oncopixel/state").status_code == 200
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def add(self, images: Sequence[Dataset]) -> None:
        for image in images:
            buffer = DicomBytesIO()
            image.save_as(buffer, enforce_file_format=True)
            self.client.post("/instances", content=buffer.getvalue()).raise_for_status()

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/oncopixel/state").raise_for_status().json()
        return found

    def at_rest(self) -> bool:
        state = self.state
        return bool(state["position"] == state["last"] and not state["refused"])


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NextDoor]:
    server = NextDoor(tmp_path_factory.mktemp("orthanc"))
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.client.close()


@contextlib.contextmanager
def oncopixel(orthanc: NextDoor, folder: Path, **options: Any) -> Iterator[Reception]:
    """Receive where Orthanc sends to, from it alone."""
    with reception(
        folder,
        dimse_port=orthanc.oncopixel_port,
        peers=({"ae_title": "ORTHANC", "address": "127.0.0.1"},),
        **options,
    ) as server:
        yield server


def of_class(number: int, sop_class: str, modality: str) -> Dataset:
    image = mammogram(number, SOPClassUID=sop_class, Modality=modality)
    image.file_meta.MediaStorageSOPClassUID = sop_class
    return image


def uids(*numbers: int) -> list[str]:
    return [f"{STUDY}.1.{number}" for number in numbers]


def held_by(server: Reception) -> dict[str, Instance]:
    instances = server.catalogue.study(STUDY).instances
    return {item.facts.sop_instance_uid: item for item in instances}


def test_new_mammograms_are_forwarded_once_whoever_was_away(
    orthanc: NextDoor, tmp_path: Path
) -> None:
    # OncoPixel is down: nothing is lost. Results and other modalities stay.
    orthanc.add([mammogram(1), mammogram(2), of_class(3, SEG, "SEG"), of_class(4, CT, "CT")])
    until(lambda: orthanc.state["last"] > orthanc.state["position"])
    with oncopixel(orthanc, tmp_path) as server:
        until(lambda: orthanc.at_rest(), 30)
        assert sorted(server.stored) == uids(1, 2)
        revision = server.catalogue.study(STUDY)

        # What comes from OncoPixel itself does not go back, not even a mammogram.
        assert (
            store(orthanc.dicom_port, mammogram(5), called="ORTHANC", calling="ONCOPIXEL").Status
            == 0
        )
        assert (
            store(orthanc.dicom_port, mammogram(6), called="ORTHANC", calling="CONSOLE").Status == 0
        )
        until(lambda: uids(6)[0] in server.stored and orthanc.at_rest(), 30)
        assert sorted(server.stored) == uids(1, 2, 6)

        # Orthanc restarts: it goes on where it was, and sends nothing again.
        orthanc.stop()
        held = server.catalogue.study(STUDY)
        orthanc.start()
        until(orthanc.at_rest, 30)
        assert server.catalogue.study(STUDY) == held != revision
        # A note that rejects an image follows it.
        note = rejection_note(uids(6), study=STUDY)
        orthanc.add([mammogram(7), note])
        until(lambda: orthanc.at_rest() and len(server.stored) == 5, 30)
        rejected = {uid: item.facts.rejects for uid, item in held_by(server).items()}
        assert rejected[note.SOPInstanceUID] == tuple(uids(6))


def test_what_is_refused_is_tried_again(orthanc: NextDoor, tmp_path: Path) -> None:
    full = [True]
    with oncopixel(
        orthanc, tmp_path, free_bytes=lambda _folder: 0 if full[0] else 1 << 50
    ) as server:
        orthanc.add([mammogram(11), mammogram(12)])
        until(lambda: len(orthanc.state["refused"]) == 2, 30)
        assert server.stored == []
        full[0] = False
        until(orthanc.at_rest, 30)
        assert sorted(server.stored) == uids(11, 12)


def test_a_study_in_the_explorer_leads_to_its_results(orthanc: NextDoor) -> None:
    script = orthanc.client.get("/plugins/explorer.js").text
    assert "https://localhost:8443/studies/{study}" in script
    assert "https://localhost:8444/viewer?StudyInstanceUIDs={study}" in script


def test_the_shipped_configuration_keeps_no_password() -> None:
    text = (DEPLOY / "orthanc.json").read_text(encoding="utf-8")
    assert '"oncopixel": "${ORTHANC_PASSWORD}"' in text
    assert json.dumps(LOGIN[1]) not in text
