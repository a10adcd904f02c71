"""Associations of our own end as the standard says."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from commitment_modality import UIDS, ask
from dimse_builder import mammogram, reception, store, until
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.presentation import build_context

from oncopixel_pacs.deliver.association import VERIFICATION, Peer, opened
from oncopixel_pacs.deliver.commitment import STORAGE_COMMITMENT


def test_it_is_released_once_the_report_that_came_on_it_is_answered(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reported, releasing = threading.Event(), threading.Event()
    sent: list[str] = []

    def on_report(_event: evt.Event) -> tuple[int, None]:
        reported.set()
        return 0x0000, None

    def before_sending(event: evt.Event) -> None:
        if type(event.message).__name__ == "N_EVENT_REPORT_RSP":
            releasing.wait(0.5)

    def on_sent(event: evt.Event) -> None:
        sent.append(type(event.pdu).__name__)
        if sent[-1] == "A_RELEASE_RQ":
            releasing.set()

    handlers: list[tuple[Any, ...]] = [
        (evt.EVT_N_EVENT_REPORT, on_report),
        (evt.EVT_DIMSE_SENT, before_sending),
        (evt.EVT_PDU_SENT, on_sent),
    ]
    with reception(tmp_path) as archive:
        assert store(archive.port, mammogram(1)).Status == 0x0000
        peer = Peer("archive", "127.0.0.1", archive.port, "ONCOPIXEL", "MODALITY")
        contexts = [build_context(STORAGE_COMMITMENT)]
        with opened(peer, contexts, 20.0, handlers=handlers) as assoc:
            assert ask(assoc, UIDS[:1]) == 0x0000
            assert reported.wait(15)
    assert sent == ["A_ASSOCIATE_RQ", "P_DATA_TF", "P_DATA_TF", "P_DATA_TF", "A_RELEASE_RQ"]
    assert "commitment.reported" in capfd.readouterr().out


def test_an_answer_that_nobody_asked_for_is_not_answered(tmp_path: Path) -> None:
    answer = N_EVENT_REPORT()
    answer.MessageIDBeingRespondedTo = 1
    answer.AffectedSOPClassUID = UID(STORAGE_COMMITMENT)
    answer.Status = 0x0000
    with reception(tmp_path) as archive:
        peer = Peer("archive", "127.0.0.1", archive.port, "ONCOPIXEL", "MODALITY")
        with opened(peer, [build_context(STORAGE_COMMITMENT)], 20.0) as assoc:
            (context,) = assoc.accepted_contexts
            sent: list[object] = []
            assoc.bind(evt.EVT_DIMSE_SENT, lambda event: sent.append(event.message))
            assoc._serve_request(answer, context.context_id)
            assert assoc.is_established and not sent
        assert assoc.is_released


def test_a_report_of_another_service_ends_it(tmp_path: Path) -> None:
    def answer_with_a_report(event: evt.Event) -> int:
        report = N_EVENT_REPORT()
        report.MessageID = 1
        report.AffectedSOPClassUID = UID(STORAGE_COMMITMENT)
        report.AffectedSOPInstanceUID = UID(f"{STORAGE_COMMITMENT}.1")
        report.EventTypeID = 1
        event.assoc.dimse.send_msg(report, event.context.context_id)
        return 0x0000

    archive = ApplicationEntity("ARCHIVE")
    archive.add_supported_context(VERIFICATION)
    handlers: list[Any] = [(evt.EVT_C_ECHO, answer_with_a_report)]
    server: Any = archive.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        peer = Peer("archive", "127.0.0.1", server.server_address[1], "ARCHIVE", "ONCOPIXEL")
        with opened(peer, [build_context(VERIFICATION)], 2.0) as assoc:
            assoc.send_c_echo()
            until(lambda: assoc.is_aborted)
    finally:
        server.shutdown()
