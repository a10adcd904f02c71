"""A result object as it is stored and sent: its identity, its bytes, and what was repaired."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset

from oncopixel_pacs.domain import ImageResult, ObjectKind, SegmentationForm, StudyResult
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.report.provenance import Provenance, file_meta, transfer_syntax
from oncopixel_pacs.report.segmentation import ObjectUids

Existing = Callable[[str], bytes | None]

_VIEW_ORDER = ("R CC", "L CC", "R MLO", "L MLO")
# Behind the images, and no two series of a study alike.
_SERIES: Mapping[tuple[ObjectKind, SegmentationForm | None], int] = MappingProxyType(
    {
        (ObjectKind.SR, SegmentationForm.BINARY): 90_001,
        (ObjectKind.SR, SegmentationForm.FRACTIONAL): 90_002,
        (ObjectKind.SR, SegmentationForm.LABELMAP): 90_003,
        (ObjectKind.SR, None): 90_004,
        (ObjectKind.CAD_SR, None): 90_011,
        (ObjectKind.KOS, SegmentationForm.BINARY): 90_021,
        (ObjectKind.KOS, SegmentationForm.FRACTIONAL): 90_022,
        (ObjectKind.KOS, SegmentationForm.LABELMAP): 90_023,
        (ObjectKind.PDF, None): 90_031,
        (ObjectKind.REJECTION, None): 90_041,
        (ObjectKind.SEG, SegmentationForm.BINARY): 90_101,
        (ObjectKind.SC, None): 90_201,
        (ObjectKind.GSPS, None): 90_301,
        (ObjectKind.SEG, SegmentationForm.FRACTIONAL): 90_401,
        (ObjectKind.SEG, SegmentationForm.LABELMAP): 90_501,
    }
)


@dataclass(frozen=True, slots=True)
class BuiltObject:
    """A result object, ready to be checked, stored and sent.

    Attributes
    ----------
    dataset
        What `part10` holds.
    part10
        The bytes to store and send.
    repairs
        What was changed in the headers of its sources, one sentence each, without values.
    form
        Of the segmentations that it is or refers to; ``None`` where it is neither.
    """

    kind: ObjectKind
    dataset: Dataset
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    series_description: str
    part10: bytes
    repairs: tuple[str, ...]
    form: SegmentationForm | None = None


@dataclass(frozen=True, slots=True)
class Workshop:
    """Makes objects, unless they are stored already.

    Attributes
    ----------
    existing
        Bytes of an object that is already stored under a SOP Instance UID.
    taken_back
        SOP Instance UIDs that a note took back: what holds again gets another one.
    """

    provenance: Provenance
    existing: Existing
    taken_back: Collection[str] = ()

    def make(
        self,
        kind: ObjectKind,
        uids: ObjectUids,
        build: Callable[[], Dataset],
        repairs: tuple[str, ...] = (),
        form: SegmentationForm | None = None,
    ) -> BuiltObject:
        """Take what is stored under this identity, else build it and write it as Part 10."""
        stored = self.existing(uids.sop_instance_uid)
        if stored is not None:
            return _described(kind, dcmread(io.BytesIO(stored)), stored, (), form)
        dataset = build()
        buffer = io.BytesIO()
        syntax = transfer_syntax(kind, form)
        meta = file_meta(dataset, syntax, self.provenance.software_version)
        file = FileDataset(buffer, dataset, preamble=b"\0" * 128, file_meta=meta)
        file.save_as(buffer, enforce_file_format=True)
        return _described(kind, dataset, buffer.getvalue(), repairs, form)

    def image_uids(
        self, kind: ObjectKind, item: ImageResult, form: SegmentationForm | None = None
    ) -> ObjectUids:
        """Own series for each image: viewers show one object of a SEG series, and it has a side.

        Laterality (0020,0060) is an attribute of the series (PS3.3 C.7.3.1).
        """
        identity = (self.provenance.digest, *item.facts.content_key, *_named(kind, form))
        name = item.facts.name
        order = _VIEW_ORDER.index(name) if name in _VIEW_ORDER else len(_VIEW_ORDER)
        return ObjectUids(
            self._instance_uid(*identity),
            derive_uid(*identity, "series"),
            _SERIES[kind, form] + order,
        )

    def study_uids(
        self,
        kind: ObjectKind,
        study_instance_uid: str,
        parts: Sequence[str],
        form: SegmentationForm | None = None,
    ) -> ObjectUids:
        """Identify an object by what it is made of; one series for all of a study.

        So viewers show the newest of several revisions.
        """
        named = _named(kind, form)
        digest = self.provenance.digest
        return ObjectUids(
            self._instance_uid(digest, *parts, *named),
            derive_uid(digest, study_instance_uid, *named, "series"),
            _SERIES[kind, form],
        )

    def _instance_uid(self, *identity: str) -> str:
        uid = derive_uid(*identity, "instance")
        while uid in self.taken_back:
            uid = derive_uid(*identity, "instance", uid)
        return uid


def sources_of(result: StudyResult, predecessors: Sequence[Dataset]) -> list[str]:
    """List what a report is made of: images, what came of each, and what it replaces."""
    outcomes = sorted(
        " ".join((*item.facts.content_key, item.reason or "analysed")) for item in result.images
    )
    return outcomes + sorted(str(item.SOPInstanceUID) for item in predecessors)


def _named(kind: ObjectKind, form: SegmentationForm | None) -> tuple[str, ...]:
    return (kind,) if form in (None, SegmentationForm.BINARY) else (kind, str(form))


def _described(
    kind: ObjectKind,
    dataset: Dataset,
    part10: bytes,
    repairs: tuple[str, ...],
    form: SegmentationForm | None,
) -> BuiltObject:
    return BuiltObject(
        kind=kind,
        dataset=dataset,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        series_description=str(dataset.SeriesDescription),
        part10=part10,
        repairs=repairs,
        form=form,
    )
