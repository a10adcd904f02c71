"""What `oncopixel doctor` finds about archives that studies are pulled from."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_builders import make_parts, serving
from conftest import Store
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from server_process import free_port
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.receive.guards.state_machine import use_ending_state_machine


@pytest.fixture
def archive_port() -> Iterator[int]:
    """Run an archive that takes C-ECHO, C-FIND and C-MOVE."""
    entity = ApplicationEntity("ARCHIVE")
    for sop_class in (
        Verification,
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelMove,
    ):
        entity.add_supported_context(sop_class)
    server: Any = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_CONN_OPEN, use_ending_state_machine)]
    )
    yield server.socket.getsockname()[1]
    entity.shutdown()


@pytest.mark.parametrize("runs", [True, False])
def test_the_ports_of_a_server_that_runs_are_no_fault(
    store: Store, tmp_path: Path, runs: bool
) -> None:
    config = tmp_path / "oncopixel.toml"
    with serving(make_parts(store)) as client, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        http_port = client.base_url.port if runs else free_port()
        config.write_text(
            f"""data_dir = "{tmp_path / "data"}"
dimse_port = {listener.getsockname()[1]}
http_port = {http_port}
""",
            encoding="utf-8",
        )
        told = json.loads(CliRunner().invoke(app, ["doctor", "--json", "-c", str(config)]).output)
    ports = {item["name"]: item for item in told["checks"] if item["name"].endswith("port")}
    assert ports["DICOM port"]["ok"] is runs
    assert ports["HTTP port"]["ok"] is True
    assert ("is in use; the server runs" in ports["HTTP port"]["detail"]) is runs


@pytest.mark.parametrize(("peer", "good"), [("ARCHIVE", True), ("MAMMO1", False)])
def test_an_archive_that_may_not_send_to_us_is_told(
    archive_port: int, tmp_path: Path, peer: str, good: bool
) -> None:
    config = tmp_path / "oncopixel.toml"
    config.write_text(
        f"""data_dir = "{tmp_path / "data"}"
[[peers]]
ae_title = "{peer}"
[[sources]]
type = "cmove"
name = "archive"
host = "127.0.0.1"
port = {archive_port}
ae_title = "ARCHIVE"
""",
        encoding="utf-8",
    )
    answer = json.loads(CliRunner().invoke(app, ["doctor", "--json", "-c", str(config)]).output)
    (check,) = (item for item in answer["checks"] if item["name"] == "source archive")
    assert check["ok"] is good
    assert ("sends as ARCHIVE, which is not among [[peers]]" in check["detail"]) is not good
