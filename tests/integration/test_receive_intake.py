"""Files from disk, and files that a killed process left without a row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dimse_builder import Reception, cut, mammogram, reception, write

from oncopixel_pacs.domain import IntakeOutcome
from oncopixel_pacs.errors import CannotUnderstand, OutOfResources


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path / "data") as running:
        yield running


def test_a_file_is_copied_in_and_stays_where_it_was(received: Reception, tmp_path: Path) -> None:
    path = write(mammogram(), tmp_path / "a.dcm")
    assert received.intake.accept_file(path) is IntakeOutcome.NEW
    assert received.intake.accept_file(path) is IntakeOutcome.DUPLICATE
    assert received.intake.accept_file(write(mammogram(fill=7), path)) is IntakeOutcome.CONFLICT
    assert path.exists()
    assert received.stored == [mammogram().SOPInstanceUID]
    assert not received.leftovers


def test_the_facts_of_the_header_are_recorded(received: Reception, tmp_path: Path) -> None:
    received.intake.accept_file(write(mammogram(), tmp_path / "a.dcm"))
    facts = received.catalogue.studies().items[0].instances[0].facts
    assert (facts.name, facts.rows, facts.columns) == ("L CC", 32, 24)
    assert facts.has_pixel_data
    assert facts.transfer_syntax_uid == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize("content", [b"", b"a text file", b"\x00" * 128 + b"DICM" + b"junk" * 40])
def test_a_file_that_is_no_dicom_is_refused(
    received: Reception, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(CannotUnderstand):
        received.intake.accept_file(path)
    assert not received.leftovers


def test_a_file_that_is_not_there_is_a_clear_error(received: Reception, tmp_path: Path) -> None:
    with pytest.raises(OutOfResources, match="No such file"):
        received.intake.accept_file(tmp_path / "missing.dcm")


@pytest.fixture
def orphan(received: Reception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a file that was kept by a process that died before the row was committed."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(received.catalogue, "add_instance", _die)
        received.intake.accept_file(write(mammogram(), tmp_path / "a.dcm"))
    (relative,) = received.files.stored_paths()
    return received.files.absolute(relative)


def test_an_orphan_gets_its_row_once(received: Reception, orphan: Path) -> None:
    assert not received.stored
    assert received.intake.adopt_orphans() == 1
    assert received.intake.adopt_orphans() == 0
    assert received.stored == [mammogram().SOPInstanceUID]
    assert orphan.exists()
    assert not received.leftovers


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_contents_without_a_row_the_one_that_came_first_is_held(
    received: Reception, orphan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """As in a new database: a study was held half as it came first, half as it was corrected."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(received.catalogue, "add_instance", _die)
        received.intake.accept_file(write(mammogram(fill=7), tmp_path / "b.dcm"))
    contents = sorted(received.files.stored_paths())
    for number, path in enumerate(contents):
        os.utime(received.files.absolute(path), (0, 1000 + (number != first)))
    assert received.intake.adopt_orphans() == 2
    (study,) = received.catalogue.studies().items
    assert (study.instances[0].path, study.conflicts) == (contents[first], 1)


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_image_that_is_sent_again_is_an_orphan_no_more(
    received: Reception, orphan: Path, tmp_path: Path
) -> None:
    outcome = received.intake.accept_file(write(mammogram(), tmp_path / "a.dcm"))
    assert outcome is IntakeOutcome.NEW
    assert received.intake.adopt_orphans() == 0


def test_an_orphan_that_cannot_be_read_stays_without_a_row(
    received: Reception, orphan: Path
) -> None:
    orphan.write_bytes(b"torn")
    assert received.intake.adopt_orphans() == 0
    assert orphan.exists()
    assert not received.stored


def test_an_orphan_whose_bytes_a_power_loss_tore_is_not_taken_for_an_image(
    received: Reception, orphan: Path, tmp_path: Path
) -> None:
    whole = orphan.read_bytes()
    cut(orphan, 100)
    assert received.intake.adopt_orphans() == 0
    assert not received.stored
    assert received.intake.accept_file(write(mammogram(), tmp_path / "a.dcm")) is IntakeOutcome.NEW
    (study,) = received.catalogue.studies().items
    assert received.files.absolute(study.instances[0].path) == orphan
    assert len(orphan.read_bytes()) == len(whole)
    assert study.conflicts == 0
