"""By which of its objects a study is named: patient, accession number and the like."""

from __future__ import annotations

from datetime import datetime

from pydicom import dcmread

from oncopixel_pacs.domain import Instance, Study
from oncopixel_pacs.domain.facts import rejected
from oncopixel_pacs.imaging.frames import DAMAGED
from oncopixel_pacs.imaging.header import read_study_header
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.files import FileStore


def name_by_what_counts(study_instance_uid: str, catalogue: Catalogue, files: FileStore) -> None:
    """Name a study by its first image that no rejection note takes back (IHE IOCM).

    What came first of all may be a note, an image that was made under the wrong patient, or one
    without Patient ID among others that have it. Every other study is named rightly already.
    """
    study = catalogue.study(study_instance_uid)
    first = _first_that_counts(study)
    if first is None:
        return
    named = bool(study.header.patient_id) or not first.facts.patient_digest
    if named and len(study.images) == len(study.instances):
        return
    try:
        header = dcmread(files.absolute(first.path), stop_before_pixels=True)
    except DAMAGED:
        return  # whoever reads the image tells
    catalogue.rename(study_instance_uid, read_study_header(header))


def _first_that_counts(study: Study) -> Instance | None:
    taken_back = rejected(item.facts for item in study.instances)
    counting = [item for item in study.images if item.facts.sop_instance_uid not in taken_back]
    return min(counting, key=_order, default=None)


def _order(item: Instance) -> tuple[bool, datetime, str]:
    return not item.facts.patient_digest, item.received_at, item.facts.sop_instance_uid
