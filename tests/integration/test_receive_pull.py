"""A study is fetched from a real Orthanc: by C-MOVE, by DICOMweb, by its REST API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dimse_builder import STUDY, Reception, free_port, mammogram, reception, until, utc_now
from orthanc_server import PASSWORD, Orthanc, running_orthanc

from oncopixel_pacs.domain.pulls import Pull, PullState
from oncopixel_pacs.errors import PullFailed
from oncopixel_pacs.receive.pull import echo
from oncopixel_pacs.receive.pull.puller import Puller
from oncopixel_pacs.settings import Settings, SourceSettings
from oncopixel_pacs.store.pulls import Pulls

pytestmark = pytest.mark.orthanc

KINDS = ["cmove", "dicomweb", "orthanc"]
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LONG = timedelta(hours=1)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        two_series = [mammogram(n, SeriesInstanceUID=f"{STUDY}.{1 + n % 2}") for n in range(1, 5)]
        report = mammogram(9, SOPClassUID=SEG, Modality="SEG", SeriesInstanceUID=f"{STUDY}.9")
        report.file_meta.MediaStorageSOPClassUID = SEG
        server.store([*two_series, report])
        yield server


def source_of(server: Orthanc, kind: str, **changes: Any) -> dict[str, Any]:
    place = {
        "cmove": {"host": "127.0.0.1", "port": server.dimse_port, "ae_title": server.ae_title},
        "dicomweb": {"url": server.dicomweb_url, "user": "onco", "password": PASSWORD},
        "orthanc": {"url": server.url, "user": "onco", "password": PASSWORD},
    }[kind]
    return {"type": kind, "name": "archive", **place, **changes}


@dataclass
class Pulling:
    """A server that pulls, one attempt at a time."""

    server: Reception
    pulls: Pulls
    puller: Puller

    def pull(self, study: str = STUDY) -> Pull:
        """Ask for a study and work on it once."""
        asked = self.pulls.add(study, "archive", utc_now())
        assert self.puller.work_once()
        return self.pulls.pull(asked.id)

    @property
    def source(self) -> SourceSettings:
        return self.server.settings.sources[0]

    def echo(self) -> str:
        tls = self.server.settings.tls
        return echo(self.source, calling_ae_title="ONCOPIXEL", timeout_seconds=5, tls=tls)


@contextmanager
def pulling(
    folder: Path, orthanc: Orthanc, source: dict[str, Any], **pull: Any
) -> Iterator[Pulling]:
    options = {"attempts": 1, "timeout_seconds": 10, **pull}
    with reception(folder, sources=(source,), pull=options) as server:
        orthanc.know("ONCOPIXEL", server.port)
        parts = server.pull_parts()
        yield Pulling(server, parts.pulls, Puller(parts))


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_is_fetched_once_and_is_complete(
    kind: str, orthanc: Orthanc, tmp_path: Path
) -> None:
    with pulling(tmp_path, orthanc, source_of(orthanc, kind)) as works:
        pull = works.pull()
        assert (pull.state, pull.expected, pull.received, pull.error) == (
            PullState.DONE,
            4,
            4,
            "",
        )
        assert sorted(works.server.stored) == [f"{STUDY}.1.{number}" for number in range(1, 5)]
        assert works.server.leftovers == []
        study = works.server.catalogue.study(STUDY)
        assert study.declared_complete
        again = works.pull()
        assert again.id != pull.id
        assert (again.state, again.received) == (PullState.DONE, 4)
        assert works.server.catalogue.study(STUDY) == study


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_missing_is_fetched(kind: str, orthanc: Orthanc, tmp_path: Path) -> None:
    with pulling(tmp_path, orthanc, source_of(orthanc, kind)) as works:
        held = mammogram(1, SeriesInstanceUID=f"{STUDY}.2")
        path = tmp_path / "held.dcm"
        held.save_as(path, enforce_file_format=True)
        works.server.intake.accept_file(path)
        pull = works.pull()
        assert (pull.state, pull.received) == (PullState.DONE, 4)
        # It would be a conflict if other bytes had come under its UID.
        assert works.server.catalogue.study(STUDY).conflicts == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_that_is_not_there_is_a_failure_in_one_sentence(
    kind: str, orthanc: Orthanc, tmp_path: Path
) -> None:
    with pulling(tmp_path, orthanc, source_of(orthanc, kind)) as works:
        pull = works.pull("1.2.3.4")
    assert (pull.state, pull.expected, pull.received) == (PullState.FAILED, None, 0)
    assert pull.error.startswith("archive does not have it; check the Study Instance UID")


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_answers_an_echo(kind: str, orthanc: Orthanc, tmp_path: Path) -> None:
    with pulling(tmp_path, orthanc, source_of(orthanc, kind)) as works:
        assert "answered" in works.echo()


UNREACHABLE = [
    ("cmove", {"port": free_port()}, "nothing listens there"),
    ("cmove", {"query_ae_title": "ELSEWHERE"}, "the AE titles on both sides"),
    ("dicomweb", {"url": f"http://127.0.0.1:{free_port()}/dicom-web"}, "cannot be reached"),
    ("dicomweb", {"password": "wrong"}, "check user, password or token"),
    ("orthanc", {"url": f"http://127.0.0.1:{free_port()}"}, "cannot be reached"),
    ("orthanc", {"password": "wrong"}, "check user and password"),
]


@pytest.mark.parametrize(("kind", "changes", "sentence"), UNREACHABLE)
def test_a_source_that_cannot_be_used_says_what_to_check(
    kind: str, changes: dict[str, Any], sentence: str, orthanc: Orthanc, tmp_path: Path
) -> None:
    source = source_of(orthanc, kind, **changes)
    with pulling(tmp_path, orthanc, source, attempts=2) as works:
        with pytest.raises(PullFailed, match=sentence):
            works.echo()
        pull = works.pull()
    assert pull.state is PullState.QUEUED
    assert pull.next_attempt_at is not None
    assert sentence in pull.error


def test_the_ae_titles_for_queries_and_for_storage_may_differ(tmp_path: Path) -> None:
    """Orthanc answers to one title only, so it is the one for queries."""
    with running_orthanc(tmp_path, DicomAet="QUERY") as orthanc:
        orthanc.store([mammogram(1)])
        source = source_of(orthanc, "cmove", ae_title="SENDER", query_ae_title="QUERY")
        with pulling(tmp_path / "data", orthanc, source) as works:
            assert works.pull().state is PullState.DONE
            assert works.server.catalogue.study(STUDY).instances[0].calling_ae_title == "QUERY"


def test_a_pacs_that_does_not_know_us_says_so(orthanc: Orthanc, tmp_path: Path) -> None:
    with pulling(tmp_path, orthanc, source_of(orthanc, "cmove")) as works:
        orthanc.forget()
        pull = works.pull()
    assert (pull.state, pull.expected, pull.received) == (PullState.FAILED, 4, 0)
    assert pull.error.startswith("archive (ARCHIVE at 127.0.0.1 port")


def test_a_partial_pull_says_how_much_came(orthanc: Orthanc, tmp_path: Path) -> None:
    """Three come; then the disk is full, and the rest is refused."""
    free = [1 << 40]
    source = source_of(orthanc, "cmove")
    options = {"sources": (source,), "pull": {"attempts": 1, "timeout_seconds": 10}}
    with reception(tmp_path, free_bytes=lambda _folder: free[0], **options) as server:
        orthanc.know("ONCOPIXEL", server.port)
        parts = server.pull_parts()
        for number in (1, 3):
            image = mammogram(number, SeriesInstanceUID=f"{STUDY}.2")
            image.save_as(tmp_path / "held.dcm", enforce_file_format=True)
            server.intake.accept_file(tmp_path / "held.dcm")
        free[0] = 0
        asked = parts.pulls.add(STUDY, "archive", utc_now())
        assert Puller(parts).work_once()
        pull = parts.pulls.pull(asked.id)
    assert (pull.state, pull.expected, pull.received) == (PullState.PARTIAL, 4, 2)
    assert pull.error
    assert not pull.error.endswith("..")


def test_a_server_that_stops_goes_on_at_its_next_start(orthanc: Orthanc, tmp_path: Path) -> None:
    with pulling(tmp_path, orthanc, source_of(orthanc, "orthanc")) as works:
        asked = works.pulls.add(STUDY, "archive", utc_now())
        # As a process leaves it that was killed while it worked.
        works.pulls.claim(works.server.settings.executor, utc_now(), LONG)
        assert works.pulls.pull(asked.id).state is PullState.RUNNING
        works.puller.start()
        until(lambda: works.pulls.pull(asked.id).state is PullState.DONE)
        works.puller.stop()
        assert works.pulls.pull(asked.id).attempts == 2
        assert len(works.server.stored) == 4


def test_settings_name_a_source_once() -> None:
    source = {"type": "orthanc", "name": "a", "url": "http://127.0.0.1:8042"}
    with pytest.raises(ValueError, match="source name used twice"):
        Settings(sources=(source, source))
