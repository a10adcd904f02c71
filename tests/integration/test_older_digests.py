"""Objects that were received when SHA-256 was the digest stay the objects that they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dimse_builder import Reception, mammogram, reception, write
from pynetdicom.dsutils import split_dataset

from oncopixel_pacs.digests import algorithm_of, dataset_digest
from oncopixel_pacs.domain import IntakeOutcome
from oncopixel_pacs.receive.commitment import Reference, Request
from oncopixel_pacs.receive.intake import is_intact
from oncopixel_pacs.store.files import relative_path
from oncopixel_pacs.store.held_files import verify


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Reception]:
    """Give a server that begins with one object of the version before."""
    with reception(tmp_path / "data") as before:
        before.intake.accept_file(write(mammogram(), tmp_path / "a.dcm"))
        grow_older(before)
    with reception(tmp_path / "data") as running:
        yield running


def grow_older(received: Reception) -> None:
    """Name file and row of the one object by its SHA-256, as the version before did."""
    (path,) = received.files.stored_paths()
    kept = received.files.absolute(path)
    digest = dataset_digest(kept, split_dataset(kept)[1], "sha256")
    older = relative_path("instances", mammogram().SOPInstanceUID, digest)
    kept.rename(received.files.absolute(older))
    with received.database.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE instance SET digest = :digest, path = :path"),
            {"digest": digest, "path": older},
        )


def test_an_object_that_is_sent_again_is_the_same_object(
    received: Reception, tmp_path: Path
) -> None:
    before = list(received.files.stored_paths())
    again = write(mammogram(), tmp_path / "a.dcm")
    assert received.intake.accept_file(again) is IntakeOutcome.DUPLICATE
    assert list(received.files.stored_paths()) == before
    assert not received.leftovers


def test_other_content_under_its_uid_is_kept_apart_once(
    received: Reception, tmp_path: Path
) -> None:
    other = write(mammogram(fill=7), tmp_path / "a.dcm")
    for _ in range(2):
        assert received.intake.accept_file(other) is IntakeOutcome.CONFLICT
    (study,) = received.catalogue.studies().items
    assert (len(study.instances), study.conflicts) == (1, 1)
    assert len(list(received.files.stored_paths())) == 2


def test_a_new_object_of_its_study_has_a_digest_that_says_what_it_is(
    received: Reception, tmp_path: Path
) -> None:
    image = mammogram(2)
    assert received.intake.accept_file(write(image, tmp_path / "b.dcm")) is IntakeOutcome.NEW
    assert received.intake.accept_file(tmp_path / "b.dcm") is IntakeOutcome.DUPLICATE
    found = [received.catalogue.digest_of(uid) for uid in received.stored]
    assert {algorithm_of(digest) for digest in found if digest} == {"blake3", "sha256"}


def test_it_is_committed_and_verified_by_its_own_digest(
    received: Reception, tmp_path: Path
) -> None:
    received.intake.accept_file(write(mammogram(2), tmp_path / "b.dcm"))
    image = mammogram()
    request = Request("1.5", (Reference(image.SOPClassUID, image.SOPInstanceUID),))
    (verdict,) = received.intake.judge(request)
    assert verdict.failure is None
    assert verify(received.database, received.files, is_intact).instances == 2
    for path in received.files.stored_paths():
        kept = received.files.absolute(path)
        kept.write_bytes(kept.read_bytes()[:-1] + b"\xff")
    (verdict,) = received.intake.judge(request)
    assert verdict.failure is not None
    assert len(verify(received.database, received.files, is_intact).damaged) == 2


def test_a_file_without_a_row_of_the_version_before_gets_one(received: Reception) -> None:
    (path,) = received.files.stored_paths()
    with received.database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM instance"))
    assert received.intake.adopt_orphans() == 1
    assert received.intake.adopt_orphans() == 0
    assert list(received.files.stored_paths()) == [path]
    (study,) = received.catalogue.studies().items
    assert algorithm_of(study.instances[0].digest) == "sha256"
