"""A store with a real study in it: images received, results written, all of them real files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from builders import NOON, later, make_clock
from conftest import Store
from pydicom.dataset import Dataset
from report_builders import FOUR_VIEWS, Case, case

from oncopixel_pacs.domain import (
    JobState,
    Laterality,
    ObjectKind,
    ResultObject,
    SegmentationForm,
    StepName,
    View,
)
from oncopixel_pacs.receive.intake import Intake

ALL_KINDS = (ObjectKind.SEG, ObjectKind.SR, ObjectKind.SC)
JOB = "4d41"
#: Pixels of finding 1 of each image, and one that is far from any finding.
INSIDE, OUTSIDE = (14, 16), (60, 50)
GREY = 1400


@dataclass(frozen=True)
class HeldStudy:
    """What was put into the store."""

    case: Case
    objects: tuple[ResultObject, ...]

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        return self.case.result.study_instance_uid

    def sop_instance_uid(self, laterality: Laterality, view: View) -> str:
        """SOP Instance UID of a view."""
        (image,) = (
            item.facts
            for item in self.case.result.images
            if (item.facts.laterality, item.facts.view) == (laterality, view)
        )
        return image.sop_instance_uid


def grey(dataset: Dataset) -> None:
    """Fill an image with one grey, brighter from left to right by a little."""
    ramp = GREY + np.arange(dataset.Columns, dtype=np.uint16) * 2
    dataset.PixelData = np.tile(ramp, (dataset.Rows, 1)).tobytes()


def hold_study(
    store: Store,
    folder: Path,
    *,
    findings: int = 1,
    kinds: Collection[ObjectKind] = ALL_KINDS,
    forms: tuple[SegmentationForm, ...] = (SegmentationForm.BINARY,),
) -> HeldStudy:
    """Receive a study of four views and write its results, as the server does."""
    made = case(folder, dict.fromkeys(FOUR_VIEWS, findings), change=grey)
    intake = Intake(store.files, store.catalogue, make_clock(NOON))
    for path in made.paths.values():
        intake.accept_file(path, "MODALITY")
    uid = made.result.study_instance_uid
    study = store.catalogue.study(uid)
    store.catalogue.settle(study, "d" * 64, JOB, later(60), lambda *_: None)
    store.ledger.set_state(JOB, JobState.ANALYSING)
    store.ledger.save_result(JOB, made.result)
    store.ledger.begin_step(JOB, StepName.WRITE, later(61))
    objects = []
    for item in made.build(wanted=kinds, forms=forms):
        path, digest = store.files.write(item.part10, "results", item.sop_instance_uid)
        objects.append(
            ResultObject(
                kind=item.kind,
                sop_instance_uid=item.sop_instance_uid,
                sop_class_uid=item.sop_class_uid,
                series_instance_uid=item.series_instance_uid,
                series_description=item.series_description,
                path=path,
                sha256=digest,
                size_bytes=len(item.part10),
            )
        )
    store.ledger.add_objects(JOB, tuple(objects), {}, later(62), lambda *_: None)
    return HeldStudy(made, tuple(objects))
