"""The audit trail: who did what to which study, and that nobody changed it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from api_builders import HEADER, JOB, bearer, fail, finish, make_parts, serving
from builders import STUDY_UID, later
from certificates import Authority
from conftest import Store
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DatabaseError
from typer.testing import CliRunner

from oncopixel_pacs.api import audit_guard
from oncopixel_pacs.api.health import alarms
from oncopixel_pacs.audit import AuditEvent, AuditKind, message
from oncopixel_pacs.cli import app
from oncopixel_pacs.domain.access import AccessRole
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.opening import open_store
from oncopixel_pacs.settings import load_settings
from oncopixel_pacs.settings.audit import AuditSettings
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.audit_trail import AuditRecord, AuditTrail
from oncopixel_pacs.store.deletion_lock import deletion_lock
from oncopixel_pacs.syslog import SyslogForwarder


def trail_of(store: Store) -> AuditTrail:
    return AuditTrail(store.database, "ONCOPIXEL")


def view(number: int = 1) -> AuditEvent:
    return AuditEvent(AuditKind.VIEW, later(number), "jane", "192.0.2.9", study_instance_uid="1.2")


def records(store: Store) -> list[AuditRecord]:
    return list(reversed(trail_of(store).records(limit=200).items))


# --- messages -------------------------------------------------------------------------------


def test_a_message_says_who_did_what_to_which_study() -> None:
    event = AuditEvent(
        AuditKind.VIEW, later(0), "jane", "192.0.2.9", study_instance_uid="1.2.3", patient_id="P-7"
    )
    root = fromstring(message(event, "ONCOPIXEL"))  # noqa: S314
    assert [child.tag for child in root] == [
        "EventIdentification",
        "ActiveParticipant",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
        "ParticipantObjectIdentification",
    ]
    identification = root[0]
    assert identification.attrib == {
        "EventActionCode": "R",
        "EventDateTime": "2025-03-01T12:00:00.000+00:00",
        "EventOutcomeIndicator": "0",
    }
    assert identification[0].attrib["csd-code"] == "110103"
    assert root[1].attrib == {
        "UserID": "jane",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "192.0.2.9",
        "NetworkAccessPointTypeCode": "2",
    }
    assert root[3].attrib["AuditSourceID"] == "ONCOPIXEL"
    study, patient = root[4], root[5]
    assert study.attrib["ParticipantObjectID"] == "1.2.3"
    assert study[0].attrib["csd-code"] == "110180"
    assert patient.attrib["ParticipantObjectID"] == "P-7"


@pytest.mark.parametrize("kind", AuditKind)
def test_every_kind_makes_a_message_whatever_its_name_holds(kind: AuditKind) -> None:
    event = AuditEvent(kind, later(0), "<a>&\x00\x1b\"'", detail="GET /\x07", other="B\x00")
    root = fromstring(message(event, "ONCOPIXEL"))  # noqa: S314
    assert root[1].attrib["UserID"] == "<a>&??\"'"


# --- the chain ------------------------------------------------------------------------------


def test_the_chain_holds_and_its_head_is_remembered(any_store: Store) -> None:
    trail = trail_of(any_store)
    assert trail.verify().records == 0
    for number in range(5):
        trail.append(view(number))
    head = trail.verify().head
    trail.append(view())
    found = trail.verify(head)
    assert (found.records, found.fault) == (6, "")


def test_two_who_append_at_once_make_one_chain(any_store: Store) -> None:
    trail = trail_of(any_store)

    def append() -> None:
        for _ in range(10):
            trail.append(view())

    threads = [threading.Thread(target=append) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = trail.verify()
    assert (found.records, found.fault) == (30, "")


@pytest.mark.parametrize(
    "change", ["UPDATE audit_record SET who = 'eve'", "DELETE FROM audit_record"]
)
def test_the_database_refuses_to_change_a_record(any_store: Store, change: str) -> None:
    trail_of(any_store).append(view())
    with (
        any_store.database.engine.begin() as connection,
        pytest.raises(DatabaseError, match="append-only"),
    ):
        connection.execute(text(change))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("UPDATE audit_record SET who = 'eve' WHERE id = 2", "Record 2 was changed"),
        ("UPDATE audit_record SET message = '' WHERE id = 3", "Record 3 was changed"),
        ("DELETE FROM audit_record WHERE id = 2", "Record 2 is missing"),
        ("DELETE FROM audit_record WHERE id = 4", "missing; 4 was the head"),
    ],
)
def test_who_gets_past_the_database_is_found_out(store: Store, change: str, fault: str) -> None:
    trail = trail_of(store)
    for number in range(4):
        trail.append(view(number))
    head = trail.verify().head
    with store.database.engine.begin() as connection:
        for name in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER audit_no_{name}"))
        connection.execute(text(change))
    assert fault in trail.verify(head).fault


# --- over HTTP ------------------------------------------------------------------------------


def test_what_people_and_programs_do_is_recorded(store: Store) -> None:
    fail(store)
    tokens = ApiTokens(store.database)
    _, secret = tokens.create("ris", AccessRole.OPERATOR, (), later(0), None)
    me = bearer(secret)
    with serving(make_parts(store)) as client:
        client.get(f"/api/v1/studies/{STUDY_UID}", headers=me)
        client.get(f"/studies/{STUDY_UID}", headers=me)
        client.get("/api/v1/studies?state=settled", headers=me)
        client.post(f"/api/v1/jobs/{JOB}/retry", headers=me)
        client.post("/api/v1/peers", headers=me, json={"ae_title": "MG1"})
        client.get("/api/v1/jobs", headers=bearer("unknown"))
        client.post(
            "/login", data={"user": "eve", "password": "x"}, headers={"X-Requested-With": "x"}
        )
    seen = [(item.kind, item.who, item.outcome, item.study_instance_uid) for item in records(store)]
    assert seen == [
        ("view", "ris", 0, STUDY_UID),
        ("query", "ris", 0, ""),
        ("change", "ris", 0, STUDY_UID),
        ("forbidden", "ris", 4, ""),
        ("forbidden", "", 4, ""),
        ("login", "eve", 4, ""),
    ]
    assert trail_of(store).verify().fault == ""
    assert HEADER.patient_id in records(store)[0].message


def test_who_is_not_known_fills_no_trail(store: Store) -> None:
    # The trail is never cut: a scanner, or worse, would grow it as long as it likes.
    ApiTokens(store.database).create("ris", AccessRole.OPERATOR, (), later(0), None)
    with serving(make_parts(store)) as client:
        for number in range(10):
            client.get(f"/api/v1/jobs/{number}")
            client.post(f"/studies/{number}/complete")
            client.delete(f"/api/v1/users/{number}", headers=bearer("unknown"))
        tried = {"user": "eve", "password": "x"}
        for _ in range(10):
            client.post("/login", data=tried, headers={"X-Requested-With": "x"})
    kinds = [item.kind for item in records(store)]
    # Five failures, and that more were tried.
    assert kinds == ["forbidden"] + 6 * ["login"]


@contextmanager
def full(store: Store) -> Iterator[None]:
    """Let the database file grow no further, as on a full disk."""
    engine = store.database.engine

    def limit(connection: Connection) -> None:
        # Less than it has is as much as it has.
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    def unlimited(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 4294967294")

    event.listen(engine, "begin", limit)
    try:
        with pytest.raises(OutOfResources):
            while True:
                trail_of(store).append(view())
        yield
    finally:
        event.remove(engine, "begin", limit)
        event.listen(engine, "begin", unlimited)


def test_what_a_full_disk_kept_from_being_recorded_is_recorded_when_there_is_room(
    store: Store,
) -> None:
    finish(store)
    with serving(make_parts(store)) as client:
        with full(store):
            before = len(records(store))
            assert client.get(f"/api/v1/jobs/{JOB}").status_code == 200
            assert client.get("/api/v1/studies").status_code == 200
            assert len(records(store)) == before
        client.get("/api/v1/jobs")
    assert [item.kind for item in records(store)[before:]] == ["view", "query", "query"]
    assert trail_of(store).verify().fault == ""


def test_when_no_more_can_be_kept_for_the_trail_nothing_is_shown(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_guard, "MOST_DEFERRED", 1)
    finish(store)
    with serving(make_parts(store)) as client, full(store):
        assert client.get("/api/v1/studies").status_code == 200
        answer = client.get(f"/api/v1/jobs/{JOB}")
        assert answer.status_code == 503
        assert "database" in answer.json()["detail"]
        assert client.get(f"/jobs/{JOB}", headers={"Accept": "text/html"}).status_code == 503
        assert client.get("/health/live").status_code == 200


def test_no_record_holds_the_name_of_a_patient(store: Store) -> None:
    finish(store)
    with serving(make_parts(store)) as client:
        client.get("/dicom-web/studies", params={"PatientName": HEADER.patient_name})
        client.get(f"/jobs/{JOB}")
    assert records(store)
    for item in records(store):
        assert HEADER.patient_name.partition("^")[0] not in json.dumps(item.message)


def test_the_trail_is_listed_page_by_page_and_given_as_xml(store: Store) -> None:
    for number in range(5):
        trail_of(store).append(view(number))
    with serving(make_parts(store)) as client:
        first = client.get("/api/v1/audit", params={"limit": 2, "kind": "view"}).json()
        assert [item["id"] for item in first["items"]] == [5, 4]
        trail_of(store).append(view())
        cursor = {"cursor": first["next_cursor"], "limit": 3, "kind": "view"}
        assert [i["id"] for i in client.get("/api/v1/audit", params=cursor).json()["items"]] == [
            3,
            2,
            1,
        ]
        assert client.get("/api/v1/audit", params={"cursor": "x"}).status_code == 404
        answer = client.get("/api/v1/audit/1")
        assert answer.headers["content-type"].startswith("application/xml")
        assert fromstring(answer.text).tag == "AuditMessage"  # noqa: S314
        assert client.get("/api/v1/audit/99999").status_code == 404


# --- the command ----------------------------------------------------------------------------


def test_the_page_shows_searches_and_checks_the_trail(store: Store) -> None:
    trail = trail_of(store)
    for number in range(60):
        trail.append(view(number))
    trail.append(AuditEvent(AuditKind.UNKNOWN_NODE, later(99), "<STRANGER>", "192.0.2.66"))
    ours = {"X-Requested-With": "test"}
    with serving(make_parts(store)) as client:
        page = client.get("/audit").text
        older = client.get("/audit", params={"cursor": 12}).text
        narrowed = client.get("/audit", params={"who": "jane", "kind": "view"}).text
        checked = client.post("/api/v1/audit/verify", headers=ours).json()
        said = client.post("/audit/verify", headers=ours).text
        cut = client.post("/audit/verify", params={"head": f"900:{'0' * 64}"}, headers=ours).text
    assert "&lt;STRANGER&gt;" in page
    assert "unknown node" in page
    assert "cursor=12" in page
    assert 'href="/api/v1/audit/11"' in older
    assert "STRANGER" not in narrowed
    assert checked["intact"] is True
    assert checked["records"] >= 61
    assert "records are as they were written" in said
    assert "Records after" in cut


def test_a_name_that_somebody_claimed_keeps_nobody_from_the_list(tmp_path: Path) -> None:
    config = tmp_path / "oncopixel.toml"
    config.write_text('data_dir = "data"\n')
    opened = open_store(load_settings(config))
    claimed = AuditEvent(AuditKind.LOGIN, later(1), "[/b]x", "192.0.2.9")
    AuditTrail(opened.database, "ONCOPIXEL").append(claimed)
    opened.database.close()
    listed = CliRunner().invoke(app, ["audit", "list", "-c", str(config)])
    assert listed.exit_code == 0
    assert "[/b]x" in listed.stdout


def test_the_command_finds_what_was_changed(tmp_path: Path) -> None:
    config = tmp_path / "oncopixel.toml"
    config.write_text('data_dir = "data"\n')
    opened = open_store(load_settings(config))
    for number in range(3):
        AuditTrail(opened.database, "ONCOPIXEL").append(view(number))
    sound = CliRunner().invoke(app, ["audit", "verify", "-c", str(config)])
    assert sound.exit_code == 0
    head = sound.stdout.rpartition("Head: ")[2].strip()
    listed = CliRunner().invoke(app, ["audit", "list", "--json", "-c", str(config)])
    assert [item["id"] for item in json.loads(listed.stdout)] == [3, 2, 1]
    with opened.database.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_no_delete"))
        connection.execute(text("DELETE FROM audit_record WHERE id = 3"))
    opened.database.close()
    assert CliRunner().invoke(app, ["audit", "verify", "-c", str(config)]).exit_code == 0
    cut = CliRunner().invoke(app, ["audit", "verify", "--head", head, "-c", str(config)])
    assert cut.exit_code == 1
    assert "missing" in cut.stderr


# --- the repository -------------------------------------------------------------------------


@dataclass
class Repository:
    """Takes syslog over TLS, message by message as RFC 5425 frames them."""

    port: int
    messages: list[str] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.messages) >= count, 30)


@contextmanager
def repository(authority: Authority, port: int = 0) -> Iterator[Repository]:
    identity = authority.issue("repository")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    listening = socket.create_server(("127.0.0.1", port))
    running = Repository(listening.getsockname()[1])

    def serve() -> None:
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return
            with (
                # Who does not trust us hangs up in the middle of the handshake.
                contextlib.suppress(ssl.SSLError, ConnectionError),
                context.wrap_socket(plain, server_side=True) as secure,
            ):
                stream = secure.makefile("rb")
                while size := _size(stream):
                    body = stream.read(size)
                    with running.came:
                        running.messages.append(body.decode())
                        running.came.notify_all()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield running
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def _size(stream) -> int:  # type: ignore[no-untyped-def]
    digits = b""
    while (byte := stream.read(1)) not in (b" ", b""):
        digits += byte
    return int(digits or b"0")


@pytest.mark.usefixtures("any_store")
def test_records_are_made_while_a_backup_is_made(any_store: Store) -> None:
    """It may take hours, in which whatever is recorded would wait and fail."""
    with deletion_lock(any_store.database, any_store.files.data_dir):
        assert trail_of(any_store).append(view()).id == 1


def test_every_record_comes_to_the_repository_in_order(store: Store, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trail = trail_of(store)
    for number in range(150):
        trail.append(view(number))
    with repository(authority) as running:
        settings = AuditSettings(
            syslog_host="localhost", syslog_port=running.port, syslog_ca_file=authority.ca_file
        )
        forwarder = SyslogForwarder(trail, settings)
        forwarder.start()
        running.wait_for(150)
        trail.append(view())
        running.wait_for(151)
        forwarder.stop()
    head, _, body = running.messages[0].partition("\ufeff")
    assert head.startswith("<85>1 2025-03-01T12:00:00.000Z ")
    assert head.endswith(" DICOM+RFC3881 - ")
    sent = [item.partition("\ufeff")[2] for item in running.messages]
    assert sent == [item.message for item in records(store)]
    assert fromstring(body).tag == "AuditMessage"  # noqa: S314
    assert trail.unsent(f"syslog localhost:{running.port}") == ()


def test_a_repository_that_nobody_vouches_for_gets_nothing(store: Store, tmp_path: Path) -> None:
    trail = trail_of(store)
    trail.append(view())
    with repository(Authority(tmp_path / "one")) as running:
        stranger = Authority(tmp_path / "two", "two")
        settings = AuditSettings(
            syslog_host="localhost", syslog_port=running.port, syslog_ca_file=stranger.ca_file
        )
        forwarder = SyslogForwarder(trail, settings)
        with pytest.raises(ssl.SSLError):
            forwarder._send_all()
    assert running.messages == []
    assert len(trail.unsent(f"syslog localhost:{running.port}")) == 1


def test_a_repository_that_takes_no_records_is_an_alarm(store: Store) -> None:
    trail, clock = trail_of(store), [later(60)]
    trail.append(view())
    parts = make_parts(store, now=lambda: clock[0])
    away = AuditSettings(syslog_host="arr.example")
    settings = parts.settings.model_copy(update={"audit": away})
    assert alarms(replace(parts, settings=settings)) == ()
    clock[0] = later(7200)
    [said] = alarms(replace(parts, settings=settings))
    assert "are not at their repository (syslog arr.example:6514)" in said
    assert alarms(parts) == (), "none is configured"
    trail.note_sent(away.receiver, 1)
    assert alarms(replace(parts, settings=settings)) == ()
