"""From one study result to the result objects that are stored and sent."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, MammographyCADSRStorage

from oncopixel_pacs.domain import (
    ImageResult,
    ModelTask,
    ObjectKind,
    SegmentationForm,
    StudyResult,
    Subject,
)
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.built_object import BuiltObject, Existing, Workshop, sources_of
from oncopixel_pacs.report.encapsulated_pdf import build_page_report
from oncopixel_pacs.report.key_objects import Made, build_key_objects
from oncopixel_pacs.report.mammography_cad import build_cad_report
from oncopixel_pacs.report.measurement_report import build_measurement_report
from oncopixel_pacs.report.pictures import Pictures, ReadMap
from oncopixel_pacs.report.presentation_state import build_presentation_state
from oncopixel_pacs.report.provenance import Provenance
from oncopixel_pacs.report.rejection_note import build_rejection_note
from oncopixel_pacs.report.secondary_capture import build_secondary_capture
from oncopixel_pacs.report.segmentation import (
    ObjectUids,
    build_segmentation,
    has_segmentation,
)
from oncopixel_pacs.report.source_header import SourceHeader, read_source, source_of_result
from oncopixel_pacs.report.source_presentation import read_presentation

Form = SegmentationForm
_DEFAULT_KINDS = (ObjectKind.SEG, ObjectKind.SR)


@dataclass(frozen=True, slots=True)
class Maps:
    """Maps of the images, each by the SOP Instance UID of its image.

    Attributes
    ----------
    labels
        Label map, ``None`` without finding; see `build_segmentation`.
    probabilities
        Probability map; only the fractional form asks for it.
    """

    labels: ReadMap
    probabilities: ReadMap = lambda _uid: None


def build_result_objects(
    result: StudyResult,
    paths: Mapping[str, Path],
    maps: Maps,
    provenance: Provenance,
    existing: Existing,
    predecessors: Sequence[Dataset] = (),
    wanted: Collection[ObjectKind] = _DEFAULT_KINDS,
    *,
    forms: Collection[SegmentationForm] = (Form.BINARY,),
    card_url: str = "",
    taken_back: Collection[str] = (),
) -> tuple[BuiltObject, ...]:
    """Build the result objects of a study: segmentations, report, and what is wanted.

    UIDs are derived from provenance, source SOP Instance UIDs, kind and form. An object that was
    stored under its UID before is taken as it is.

    Parameters
    ----------
    result
        What the models say of the study.
    paths
        Part 10 file of each image by SOP Instance UID.
    maps
        What the segmenter answered.
    provenance
        Who made the result.
    existing
        Bytes of an object that is already stored under a SOP Instance UID.
    predecessors
        Headers of the reports that the new ones replace, each its own kind. Those of another
        patient are not referred to.
    wanted
        Kinds to build. Segmentations and report are built in any case, since others refer to
        them, unless no image was analysed.
    forms
        Forms of the segmentations; there is a report for each, since it refers to them.
    card_url
        Where the cards of the models can be read, for the page.
    taken_back
        SOP Instance UIDs of earlier results that are not to be used again.

    Returns
    -------
    tuple of BuiltObject
        Segmentations in the order of the images, reports, then the others. When no image was
        analysed, only those documents that are wanted, which then say so.

    Raises
    ------
    ResultRejected
        When a source cannot be read, or results and images do not belong together.
    """
    result = _named_first(_searched(result))
    headers = _headers(result, paths)
    patient = next((item.dataset.PatientID for item in headers.values()), None)
    study = _Study(
        result,
        headers,
        paths,
        maps,
        Workshop(provenance, existing, taken_back),
        [item for item in predecessors if item.PatientID == patient],
        Pictures(paths, maps.labels),
    )
    if not result.analysed:
        return tuple(study.without_result(wanted, card_url))
    segmentations = {form: dict(study.segmentations(form)) for form in sorted(forms)}
    reports = {form: study.report(form, made) for form, made in segmentations.items()}
    pictures = list(study.of_images(wanted))
    objects = [item for made in segmentations.values() for item in made.values()]
    objects += reports.values()
    objects += study.cad_report() if ObjectKind.CAD_SR in wanted else ()
    objects += (built for _, built in pictures)
    if ObjectKind.PDF in wanted:
        objects.append(study.page(card_url))
    if ObjectKind.KOS in wanted and result.findings:
        for form, made in segmentations.items():
            of_images = [*made.items(), *pictures]
            objects.append(study.key_objects(form, of_images, reports[form]))
    return tuple(objects)


def _searched(result: StudyResult) -> StudyResult:
    """Count an image that the segmenter did not read as not analysed: nothing was looked for."""

    def as_reported(item: ImageResult) -> ImageResult:
        skip = next((skip for skip in item.skipped if skip.task is ModelTask.SEGMENT), None)
        if skip is None or not item.analysed:
            return item
        return replace(item, probability=None, reason=skip.reason, reason_detail=skip.detail)

    if result.subject is Subject.PICTURE:
        return result  # what each model answers stands for itself
    return replace(result, images=tuple(as_reported(item) for item in result.images))


def _named_first(result: StudyResult) -> StudyResult:
    """Put images that name the patient before others: a report is filed as its first image is."""
    images = sorted(result.images, key=lambda item: not item.facts.patient_digest)
    return replace(result, images=tuple(images))


def build_retraction(
    result: StudyResult,
    paths: Mapping[str, Path],
    stale: Sequence[Dataset],
    provenance: Provenance,
    existing: Existing,
) -> BuiltObject:
    """Build the note that takes back results which the new ones supersede.

    It is of the patient whose results they are: that is where an archive has them.

    Parameters
    ----------
    stale
        Headers of the earlier results, at least one.

    Raises
    ------
    ResultRejected
        When no header of the study can be read.
    """
    headers = _headers(result, paths)
    workshop = Workshop(provenance, existing)
    ordered = sorted(stale, key=lambda item: str(item.SOPInstanceUID))
    uids = workshop.study_uids(
        ObjectKind.REJECTION,
        result.study_instance_uid,
        [str(item.SOPInstanceUID) for item in ordered],
    )
    source = next(iter(headers.values()))
    if ordered and ordered[0].PatientID != source.dataset.PatientID:
        source = source_of_result(ordered[0])
    return workshop.make(
        ObjectKind.REJECTION,
        uids,
        lambda: build_rejection_note(source, result, ordered, provenance, uids),
        source.repairs,
    )


@dataclass(frozen=True, slots=True)
class _Study:
    """One study and the way its objects are made; `headers` by SOP Instance UID."""

    result: StudyResult
    headers: Mapping[str, SourceHeader]
    paths: Mapping[str, Path]
    maps: Maps
    workshop: Workshop
    predecessors: Sequence[Dataset]
    pictures: Pictures

    @property
    def provenance(self) -> Provenance:
        return self.workshop.provenance

    @property
    def analysed(self) -> list[ImageResult]:
        return [item for item in self.result.images if item.analysed]

    def without_result(self, wanted: Collection[ObjectKind], url: str) -> Iterator[BuiltObject]:
        """Build the documents that say that nothing was analysed, and why."""
        if not self.headers:
            return
        if ObjectKind.SR in wanted:
            yield self.report(None, {})
        if ObjectKind.CAD_SR in wanted:
            yield from self.cad_report()
        if ObjectKind.PDF in wanted:
            yield self.page(url)

    def segmentations(self, form: SegmentationForm) -> Iterator[tuple[str, BuiltObject]]:
        """Build the segmentation of each image that gets one, with the image's UID."""
        if self.provenance.algorithm(ModelTask.SEGMENT) is None:
            return
        for item in self.analysed:
            if has_segmentation(item, form):
                yield item.facts.sop_instance_uid, self._segmentation(item, form)

    def _segmentation(self, item: ImageResult, form: SegmentationForm) -> BuiltObject:
        uid = item.facts.sop_instance_uid
        uids = self.workshop.image_uids(ObjectKind.SEG, item, form)
        header = self.headers[uid]

        def build() -> Dataset:
            fractional = form is Form.FRACTIONAL
            probabilities = self.maps.probabilities(uid) if fractional else None
            labels = self.maps.labels(uid)
            return build_segmentation(
                header, item, labels, self.provenance, uids, form, probabilities
            )

        return self.workshop.make(ObjectKind.SEG, uids, build, header.repairs, form)

    def report(
        self, form: SegmentationForm | None, segmentations: Mapping[str, BuiltObject]
    ) -> BuiltObject:
        """Build the report that refers to the segmentations of a form."""
        replaced = _of_class(self.predecessors, Comprehensive3DSRStorage)
        parts = sources_of(self.result, replaced)
        uids = self._study_uids(ObjectKind.SR, parts, form)
        return self.workshop.make(
            ObjectKind.SR,
            uids,
            lambda: build_measurement_report(
                self.headers,
                self.result,
                {uid: item.dataset for uid, item in segmentations.items()},
                self.provenance,
                uids,
                replaced,
            ),
            self._repairs(self.headers),
            form,
        )

    def cad_report(self) -> Iterator[BuiltObject]:
        """Build the CAD report, if there is a model for it and a header to write it from."""
        mammograms = self.result.subject is Subject.BREAST
        if not (mammograms and self.headers and self.provenance.algorithm(ModelTask.SEGMENT)):
            return
        replaced = _of_class(self.predecessors, MammographyCADSRStorage)
        uids = self._study_uids(ObjectKind.CAD_SR, sources_of(self.result, replaced))
        yield self.workshop.make(
            ObjectKind.CAD_SR,
            uids,
            lambda: build_cad_report(self.headers, self.result, self.provenance, uids, replaced),
            self._repairs(self.headers),
        )

    def of_images(self, wanted: Collection[ObjectKind]) -> Iterator[tuple[str, BuiltObject]]:
        """Build the wanted objects that each image gets besides its SEG, with the image's UID."""
        # A presentation state is of grey images and of findings with outlines.
        mammograms = self.result.subject is Subject.BREAST
        for kind in (ObjectKind.SC, *((ObjectKind.GSPS,) if mammograms else ())):
            for item in self.analysed if kind in wanted else ():
                yield item.facts.sop_instance_uid, self._of_image(kind, item)

    def _of_image(self, kind: ObjectKind, item: ImageResult) -> BuiltObject:
        uid = item.facts.sop_instance_uid
        header, uids = self.headers[uid], self.workshop.image_uids(kind, item)

        def build() -> Dataset:
            if kind is ObjectKind.SC:
                picture = self.pictures.draw(item)
                return build_secondary_capture(header, item, picture, self.provenance, uids)
            shown = read_presentation(self.paths[uid])
            return build_presentation_state(header, shown, item, self.provenance, uids)

        return self.workshop.make(kind, uids, build, header.repairs)

    def page(self, card_url: str) -> BuiltObject:
        """Build the page for people."""
        # No reference to what it replaces, so the revision tells it from the one before.
        parts = [*sources_of(self.result, ()), f"revision {self.result.revision}"]
        uids = self._study_uids(ObjectKind.PDF, parts)
        return self.workshop.make(
            ObjectKind.PDF,
            uids,
            lambda: build_page_report(
                self.headers, self.result, self.pictures.draw, self.provenance, uids, card_url
            ),
            self._repairs(self.headers),
        )

    def key_objects(
        self,
        form: SegmentationForm,
        of_images: Sequence[tuple[str, BuiltObject]],
        report: BuiltObject,
    ) -> BuiltObject:
        """Build the selection of images with findings and of the objects made of them.

        What is selected depends on the kinds that are wanted, so its UIDs make the new one's.
        """
        found = {item.facts.sop_instance_uid for item, _ in self.result.findings}
        selected = [(uid, built) for uid, built in of_images if uid in found]
        parts = sorted({*found, *(item.sop_instance_uid for _, item in selected)})
        uids = self._study_uids(ObjectKind.KOS, [*parts, report.sop_instance_uid], form)
        made = {uid: _made([built for of, built in selected if of == uid]) for uid in found}
        return self.workshop.make(
            ObjectKind.KOS,
            uids,
            lambda: build_key_objects(
                self.headers, self.result, made, [report.dataset], self.provenance, uids
            ),
            self._repairs({uid: self.headers[uid] for uid in sorted(found)}),
            form,
        )

    def _study_uids(
        self, kind: ObjectKind, parts: Sequence[str], form: Form | None = None
    ) -> ObjectUids:
        return self.workshop.study_uids(kind, self.result.study_instance_uid, parts, form)

    @staticmethod
    def _repairs(headers: Mapping[str, SourceHeader]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(t for header in headers.values() for t in header.repairs))


def _made(built: Sequence[BuiltObject]) -> Made:
    states = [item.dataset for item in built if item.kind is ObjectKind.GSPS]
    return Made(
        pictures=tuple(item.dataset for item in built if item.kind is not ObjectKind.GSPS),
        presentation=states[0] if states else None,
    )


def _of_class(predecessors: Sequence[Dataset], sop_class_uid: str) -> list[Dataset]:
    return [item for item in predecessors if item.SOPClassUID == sop_class_uid]


def _headers(result: StudyResult, paths: Mapping[str, Path]) -> dict[str, SourceHeader]:
    """Read the headers of the images: analysed ones must be readable, others may be left out."""
    known = {}
    for item in sorted(result.images, key=lambda item: not item.analysed):
        # An object without a usable header is named in words; it must not fail the others.
        with contextlib.nullcontext() if item.analysed else contextlib.suppress(ResultRejected):
            known[item.facts.sop_instance_uid] = _source(item, paths)
    return known


def _source(item: ImageResult, paths: Mapping[str, Path]) -> SourceHeader:
    uid = item.facts.sop_instance_uid
    if uid not in paths:
        raise ResultRejected(f"The file of image {item.facts.name} is missing; store it again.")
    header = read_source(paths[uid])
    if header.dataset.SOPInstanceUID != uid:
        raise ResultRejected(
            f"The file of image {item.facts.name} holds another image; store it again."
        )
    return header
