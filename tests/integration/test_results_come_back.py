"""An archive that forwards whatever it stores: pictures of our results come back to us."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Store
from mammogram_builder import SCREENING
from pydicom import dcmread
from workflow_builder import PretendedModel, Works, folder_destination, running, utc_now

from oncopixel_pacs.domain import JobState, ObjectKind, StudyState
from oncopixel_pacs.receive.intake import Intake


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.dcm") if dcmread(path).Modality == "OT")


def send_back(works: Works, folder: Path) -> None:
    """Forward every picture that the destination holds."""
    intake = Intake(works.store.files, works.store.catalogue, utc_now)
    for path in pictures(folder):
        intake.accept_file(path, "ARCHIVE")


@pytest.mark.parametrize("late_view", [False, True])
def test_pictures_of_our_results_are_no_images_of_the_study(
    store: Store, tmp_path: Path, late_view: bool
) -> None:
    """The report was taken back and sent anew, because its own picture had come in."""
    out = tmp_path / "out"
    kinds = (ObjectKind.SEG, ObjectKind.SR, ObjectKind.SC)
    works = Works(store, PretendedModel(), (folder_destination(out, objects=kinds),))
    with running(works):
        works.receive(tmp_path / "in")
        first = works.finished(works.settle().id)
        assert first.state is JobState.DONE
        assert pictures(out)
        send_back(works, out)
        if not late_view:
            assert works.settler.settle_complete() == []
            study = store.catalogue.study(first.study_instance_uid)
            assert (study.state, study.revision) == (StudyState.SETTLED, 1)
            return
        works.receive(tmp_path / "in", SCREENING[1])
        second = works.finished(works.settle().id)
        assert second.revision == 2
        assert len(works.model.asked[-1].images) == 2
