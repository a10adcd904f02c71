"""Who was not let in is remembered with the reason, on both databases, and not without end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builders import NOON, later
from conftest import Store as Shelf
from dimse_builder import association, mammogram, reception, store, until, utc_now

from oncopixel_pacs.audit import AuditEvent, AuditKind, AuditOutcome
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.receive.peers import Caller
from oncopixel_pacs.receive.rejections import MOST_AUDITED, MOST_PENDING, RejectionRecorder
from oncopixel_pacs.settings import PeerSettings
from oncopixel_pacs.store.callers import MOST_ROWS, Callers, RejectedCaller, RejectionKind

STRANGER = RejectedCaller("STRANGER", "ONCOPIXEL", "192.0.2.7", "Not known", NOON, NOON)


def test_rejected_associations_are_remembered_by_caller_and_reason(tmp_path: Path) -> None:
    peers = (PeerSettings(ae_title="ROOM1", address="127.0.0.1"),)
    with reception(tmp_path / "data", peers=peers) as received:
        begin = utc_now()
        for calling, called in (("STRANGER", "ONCOPIXEL"),) * 3 + (("ROOM1", "OTHER"),):
            with association(received.port, calling=calling, called=called) as assoc:
                assert assoc.is_rejected
        assert store(received.port, mammogram(), calling="ROOM1").Status == 0x0000
        until(lambda: sum(item.count for item in received.callers.rejected()) == 4)
        wrong, stranger = received.callers.rejected()
        assert (stranger.calling_ae_title, stranger.called_ae_title) == ("STRANGER", "ONCOPIXEL")
        assert (stranger.address, stranger.count) == ("127.0.0.1", 3)
        assert stranger.reason == "Calling AE title not recognised: it is not among the peers"
        assert begin <= stranger.first_at < stranger.last_at <= utc_now()
        assert (wrong.calling_ae_title, wrong.called_ae_title) == ("ROOM1", "OTHER")
        assert wrong.reason == "Called AE title not recognised: we are ONCOPIXEL"


def test_a_known_title_from_another_address_is_told_apart(tmp_path: Path) -> None:
    peers = (PeerSettings(ae_title="ROOM1", address="192.0.2.1"),)
    with reception(tmp_path / "data", peers=peers) as received:
        with association(received.port, calling="ROOM1") as assoc:
            assert assoc.is_rejected
        until(lambda: bool(received.callers.rejected()))
        (item,) = received.callers.rejected()
        assert item.reason.endswith("recognised: it is known with another address")


def test_stopping_writes_what_is_pending(tmp_path: Path) -> None:
    peers = (PeerSettings(ae_title="ROOM1"),)
    with reception(tmp_path / "data", peers=peers) as received:
        for number in range(3):
            with association(received.port, calling=f"STRANGER{number}") as assoc:
                assert assoc.is_rejected
        received.scp.stop()
        assert len(received.callers.rejected()) == 3


def test_the_same_caller_is_one_row_and_keeps_its_first_time(any_store: Shelf) -> None:
    callers = Callers(any_store.database)
    callers.add([STRANGER])
    callers.add([replace(STRANGER, first_at=later(9), last_at=later(10), count=4)])
    callers.add([replace(STRANGER, reason="Local limit exceeded", last_at=later(5))])
    newest, older = callers.rejected()
    assert replace(newest, id=None) == replace(STRANGER, last_at=later(10), count=5)
    assert older.reason == "Local limit exceeded"


def test_the_oldest_go_when_there_are_too_many(any_store: Shelf) -> None:
    callers = Callers(any_store.database)
    callers.add(
        replace(STRANGER, calling_ae_title=f"A{n}", last_at=later(n)) for n in range(MOST_ROWS)
    )
    callers.add([replace(STRANGER, calling_ae_title="NEW", last_at=later(MOST_ROWS))])
    titles = [item.calling_ae_title for item in callers.rejected()]
    assert len(titles) == MOST_ROWS
    assert titles[0] == "NEW"
    assert "A0" not in titles


def note(recorder: RejectionRecorder, ae_title: str) -> None:
    caller = Caller(ae_title, "192.0.2.7")
    recorder.note(caller, "ONCOPIXEL", RejectionKind.UNKNOWN, "Not known")


def test_a_flood_of_titles_is_bounded_and_odd_ones_are_made_plain(any_store: Shelf) -> None:
    callers = Callers(any_store.database)
    recorder = RejectionRecorder(callers, utc_now)
    for number in range(MOST_PENDING + 50):
        note(recorder, f"\x00\N{SNOWMAN}{number:030}")
    note(recorder, "S1")
    recorder.start()
    recorder.stop()
    (flood,) = callers.rejected()[-1:]
    assert flood.calling_ae_title == "??00000000000000"
    assert sum(item.count for item in callers.rejected()) >= MOST_PENDING


def test_a_database_that_is_away_loses_no_count(store: Shelf) -> None:
    class Away(Callers):
        failures = 1

        def add(self, rejected: object) -> None:
            if self.failures:
                self.failures -= 1
                raise OutOfResources("The database is away.")
            super().add(rejected)  # type: ignore[arg-type]

    callers = Away(store.database)
    recorder = RejectionRecorder(callers, utc_now)
    note(recorder, "STRANGER")
    note(recorder, "STRANGER")
    recorder.start()
    until(lambda: callers.failures == 0)
    recorder.stop()
    (item,) = callers.rejected()
    assert item.count == 2


def test_a_rejected_association_stands_in_the_audit_trail_once_a_minute(store: Shelf) -> None:
    noted: list[AuditEvent] = []
    time = [later(0)]
    recorder = RejectionRecorder(Callers(store.database), lambda: time[0], noted.append)
    for moment in (0, 30, 61):
        time[0] = later(moment)
        note(recorder, "STRANGER")
        recorder._write()
    first, again = noted
    assert (first.kind, first.outcome) == (AuditKind.UNKNOWN_NODE, AuditOutcome.REFUSED)
    assert (first.who, first.address, first.at) == ("STRANGER", "192.0.2.7", later(0))
    assert "association to ONCOPIXEL rejected: Not known" in first.detail
    assert again.at == later(61)


def test_strangers_do_not_fill_the_audit_trail(store: Shelf) -> None:
    noted: list[AuditEvent] = []
    recorder = RejectionRecorder(Callers(store.database), lambda: later(0), noted.append)
    for number in range(MOST_AUDITED + 50):
        note(recorder, f"S{number}")
    recorder.start()
    recorder.stop()
    assert len(noted) == MOST_AUDITED
