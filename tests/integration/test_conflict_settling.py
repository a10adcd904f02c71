"""Images that come again with other content: a person says which is right."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from conftest import Store
from pydicom import dcmread
from workflow_builder import PretendedModel, Works, folder_destination, running, utc_now

from oncopixel_pacs.conflict_settling import ConflictSettling
from oncopixel_pacs.domain import Job, JobState, StudyState
from oncopixel_pacs.errors import ConfigurationError, NotFound, OncoPixelError, OutOfResources
from oncopixel_pacs.store.conflicts import Conflicts
from oncopixel_pacs.store.deletion_lock import deletion_lock
from oncopixel_pacs.store.retention import Retention
from oncopixel_pacs.store.set_aside import SetAside

STUDY = "2.25.4711"
FIRST, SECOND = f"{STUDY}.1", f"{STUDY}.2"


@pytest.fixture
def works(any_store: Store, tmp_path: Path) -> Works:
    """Have a study of two images, whose job has ended, under a misspelled name."""
    built = Works(any_store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    for uid in (FIRST, SECOND):
        send(built, tmp_path, uid, PatientName="DOE^JAN")
    any_store.ledger.finish(settle(built).id, JobState.DONE, utc_now())
    return built


def settle(works: Works) -> Job:
    """Settle the study; nothing runs that would work on its job."""
    catalogue = works.store.catalogue
    study = catalogue.study(STUDY)
    name = f"job-{study.revision}"
    job = catalogue.settle(study, "digest", name, utc_now(), lambda *_: None)
    assert job is not None
    return job


@pytest.fixture
def settling(works: Works) -> ConflictSettling:
    return ConflictSettling(works.store.database, works.store.files, utc_now)


def send(works: Works, folder: Path, uid: str, **attributes: str) -> None:
    works.receive(folder / "in", StudyInstanceUID=STUDY, SOPInstanceUID=uid, **attributes)


class PowerCut(BaseException):
    """The server ended here."""


def cut_off(*_: object) -> None:
    raise PowerCut


def correct(works: Works, folder: Path, **attributes: str) -> None:
    """Send both images again as the sender corrected them."""
    for uid in (FIRST, SECOND):
        send(works, folder, uid, **attributes)


def names_in_reports(works: Works, job: Job) -> set[str]:
    return {str(dcmread(works.store.files.absolute(item.path)).PatientName) for item in job.objects}


def stored_names(works: Works) -> list[str]:
    files = works.store.files
    return sorted(str(dcmread(files.absolute(path)).PatientName) for path in files.stored_paths())


def test_what_differs_is_told(works: Works, settling: ConflictSettling, tmp_path: Path) -> None:
    send(works, tmp_path, FIRST, PatientName="DOE^JANE", PatientComments="corrected")
    (shown,) = settling.of_study(STUDY)
    assert (shown.conflict.sop_instance_uid, shown.conflict.calling_ae_title) == (FIRST, "MODALITY")
    assert [(item.name, item.held, item.other) for item in shown.differences] == [
        ("PatientName", "DOE^JAN", "DOE^JANE"),
        ("PatientComments", None, "corrected"),
    ]


def test_a_file_that_is_gone_is_told_and_keeps_nobody_from_the_page(
    works: Works, settling: ConflictSettling, tmp_path: Path
) -> None:
    send(works, tmp_path, FIRST, PatientName="DOE^JANE")
    (shown,) = settling.of_study(STUDY)
    works.store.files.absolute(shown.conflict.path).unlink()
    (shown,) = settling.of_study(STUDY)
    assert [item.name for item in shown.differences] == ["(file)"]
    with pytest.raises(OutOfResources, match="cannot be read or moved now"):
        settling.take(STUDY)
    assert works.store.catalogue.study(STUDY).conflicts == 1


def test_a_corrected_study_is_taken_and_read_anew(
    works: Works, settling: ConflictSettling, tmp_path: Path
) -> None:
    correct(works, tmp_path, PatientName="DOE^JANE")
    assert works.store.catalogue.study(STUDY).conflicts == 2
    assert settling.take(STUDY) == 2
    study = works.store.catalogue.study(STUDY)
    assert (study.state, study.conflicts) == (StudyState.RECEIVING, 0)
    assert study.header.patient_name == "DOE^JANE"
    assert stored_names(works) == ["DOE^JANE"] * 2
    with running(works):
        job = works.finished(works.settle().id)
    assert (job.state, job.revision, job.error) == (JobState.DONE, 2, "")
    assert names_in_reports(works, job) == {"DOE^JANE"}


def test_what_is_held_can_be_kept(works: Works, settling: ConflictSettling, tmp_path: Path) -> None:
    correct(works, tmp_path, PatientName="ROE^JILL")
    assert settling.dismiss(STUDY) == 2
    study = works.store.catalogue.study(STUDY)
    assert (study.state, study.conflicts, study.revision) == (StudyState.SETTLED, 0, 1)
    assert stored_names(works) == ["DOE^JAN"] * 2


def test_single_conflicts_are_settled_each_their_own_way(
    works: Works, settling: ConflictSettling, tmp_path: Path
) -> None:
    correct(works, tmp_path, PatientName="DOE^JANE")
    first, second = (item.conflict.id for item in settling.of_study(STUDY))
    assert settling.take(STUDY, [first]) == 1
    assert settling.dismiss(STUDY, [second]) == 1
    assert stored_names(works) == ["DOE^JAN", "DOE^JANE"]
    with pytest.raises(NotFound, match="may be settled"):
        settling.take(STUDY, [second])


def test_of_several_contents_the_last_is_taken(
    works: Works, settling: ConflictSettling, tmp_path: Path
) -> None:
    for name in ("DOE^JANA", "DOE^JANE"):
        send(works, tmp_path, FIRST, PatientName=name)
    assert settling.take(STUDY) == 1
    assert stored_names(works) == ["DOE^JAN", "DOE^JANE"]
    assert works.store.catalogue.study(STUDY).conflicts == 0


def test_content_that_was_taken_is_a_duplicate_when_it_comes_again(
    works: Works, settling: ConflictSettling, tmp_path: Path
) -> None:
    for _ in range(2):
        send(works, tmp_path, FIRST, PatientName="DOE^JANE")
        settling.take(STUDY)
    send(works, tmp_path, FIRST, PatientName="DOE^JANE")
    assert works.store.catalogue.study(STUDY).conflicts == 0
    # What was held before is other content now.
    send(works, tmp_path, FIRST, PatientName="DOE^JAN")
    assert works.store.catalogue.study(STUDY).conflicts == 1


def test_nothing_is_taken_while_the_study_is_being_read(
    works: Works, settling: ConflictSettling, tmp_path: Path
) -> None:
    send(works, tmp_path, f"{STUDY}.3", PatientName="DOE^JAN")
    job = settle(works)
    works.store.ledger.set_state(job.id, JobState.ANALYSING)
    correct(works, tmp_path, PatientName="DOE^JANE")
    with pytest.raises(ConfigurationError, match="is being read just now"):
        settling.take(STUDY)
    assert works.store.catalogue.study(STUDY).conflicts == 2
    works.store.ledger.finish(job.id, JobState.DONE, utc_now())
    assert settling.take(STUDY) == 2


def test_an_archive_that_is_away_keeps_nobody_from_settling(
    works: Works, settling: ConflictSettling, tmp_path: Path
) -> None:
    """Its jobs deliver for as long as it is, with the name that is known to be wrong."""
    send(works, tmp_path, f"{STUDY}.3", PatientName="DOE^JAN")
    works.store.ledger.set_state(settle(works).id, JobState.DELIVERING)
    correct(works, tmp_path, PatientName="DOE^JANE")
    assert settling.take(STUDY) == 2
    assert settle(works).revision == 3


def test_nothing_is_removed_while_a_backup_needs_every_file(
    works: Works, settling: ConflictSettling, tmp_path: Path
) -> None:
    correct(works, tmp_path, PatientName="DOE^JANE")
    with deletion_lock(works.store.database, works.store.files.data_dir):
        for settle in (settling.take, settling.dismiss):
            with pytest.raises(OutOfResources, match="backup"):
                settle(STUDY)
    assert works.store.catalogue.study(STUDY).conflicts == 2
    assert settling.take(STUDY) == 2


def test_a_server_that_ends_in_between_loses_no_content(
    works: Works,
    settling: ConflictSettling,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    correct(works, tmp_path, PatientName="DOE^JANE")
    monkeypatch.setattr(SetAside, "remove", lambda _self: None)
    monkeypatch.setattr(Conflicts, "take", cut_off)
    monkeypatch.setattr(SetAside, "bring_back", cut_off)
    with pytest.raises(PowerCut):
        settling.take(STUDY)
    assert stored_names(works) == ["DOE^JANE"] * 2
    monkeypatch.undo()
    Retention(works.store.database, works.store.files).recover()  # as the next start does
    assert stored_names(works) == ["DOE^JAN", "DOE^JAN", "DOE^JANE", "DOE^JANE"]
    assert settling.take(STUDY) == 2


def test_an_image_of_another_study_cannot_be_put_into_this_one(
    works: Works, settling: ConflictSettling, tmp_path: Path
) -> None:
    works.receive(tmp_path / "in", StudyInstanceUID="2.25.4712", SOPInstanceUID=FIRST)
    with pytest.raises(ConfigurationError, match=r"of another study, 2\.25\.4712"):
        settling.take(STUDY)
    assert settling.dismiss(STUDY) == 1


def test_two_people_who_decide_at_once_decide_once(
    works: Works, settling: ConflictSettling, tmp_path: Path
) -> None:
    correct(works, tmp_path, PatientName="DOE^JANE")
    ready, said = threading.Barrier(4), []

    def decide(settle: object) -> None:
        ready.wait()
        try:
            said.append(settle(STUDY) > 0)  # type: ignore[operator]
        except OncoPixelError:
            said.append(False)

    people = [
        threading.Thread(target=decide, args=(settle,))
        for settle in (settling.take, settling.dismiss) * 2
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sum(said) == 1
    assert works.store.catalogue.study(STUDY).conflicts == 0
    assert len(stored_names(works)) == 2


def test_a_study_that_never_came_has_no_conflicts(settling: ConflictSettling) -> None:
    with pytest.raises(NotFound):
        settling.of_study("2.25.1")
