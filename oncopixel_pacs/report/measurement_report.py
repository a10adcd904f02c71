"""Structured report of one study: TID 1500 Measurement Report in a Comprehensive 3D SR.

For each finding, one planar ROI group (TID 1410) names its segment and carries the
measurements; a second group under the same tracking identifier carries the outline, because
viewers that cannot read segmentations, or stop at groups without coordinates, draw that one.
TID 1410 allows segment or outline, not both in one group.

Scores of an image are measured on the region that is the whole image. Scores of a breast and
of the study stand on the whole image with the highest score and name how they were derived;
TID 1410 allows one region, and groups without region make viewers fail on images that have no
Frame of Reference. A comment names the images that each score comes from.

The qualitative evaluations say in codes what came of the study, and for each image that was not
analysed why; where none was, that is the whole report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from oncopixel_pacs.domain import (
    Finding,
    ImageResult,
    Laterality,
    ModelTask,
    StudyResult,
    Subject,
)
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import (
    Relation,
    code,
    container,
    image,
    number,
    polyline,
    text,
)
from oncopixel_pacs.report.dataset_rules import uses_private_codes
from oncopixel_pacs.report.image_library import image_library
from oncopixel_pacs.report.measurement_groups import Groups, group
from oncopixel_pacs.report.picture_groups import PictureGroups
from oncopixel_pacs.report.provenance import Provenance
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.sentences import SIDE_NAMES, outcome, sentences
from oncopixel_pacs.report.source_header import SourceHeader
from oncopixel_pacs.report.sr_document import (
    document,
    observer_context,
    refer_to,
)

SERIES_DESCRIPTION = "AI REPORT - RESEARCH USE ONLY"


def build_measurement_report(
    headers: Mapping[str, SourceHeader],
    result: StudyResult,
    segmentations: Mapping[str, Dataset],
    provenance: Provenance,
    uids: ObjectUids,
    predecessors: Sequence[Dataset] = (),
) -> Dataset:
    """Write the report of one study.

    Parameters
    ----------
    headers
        Headers by SOP Instance UID: of every analysed image, and of the others as far as they
        can be read.
    result
        What the models say.
    segmentations
        SEG of each image by the SOP Instance UID of the image; needed where there are findings.
    provenance
        Who made it.
    uids
        Identity of the new object.
    predecessors
        Headers of the reports that this one replaces.

    Returns
    -------
    Dataset
        Without File Meta Information.

    Raises
    ------
    ResultRejected
        When a header, SEG or model is missing, or no header at all can be read.
    """
    analysed = [item for item in result.images if item.analysed]
    left_out = [
        item
        for item in result.images
        if not item.analysed and item.facts.sop_instance_uid in headers
    ]
    if not analysed and not left_out:
        raise ResultRejected("No header of the study can be read, so there is nothing to report.")
    pictures = result.subject is Subject.PICTURE
    builder = (PictureGroups if pictures else _Groups)(headers, segmentations, provenance, result)
    content = container(
        codes.IMAGING_MEASUREMENT_REPORT,
        [
            code(Relation.HAS_CONCEPT_MOD, codes.LANGUAGE, codes.US_ENGLISH),
            *observer_context(provenance),
            code(Relation.HAS_CONCEPT_MOD, codes.PROCEDURE_REPORTED, codes.IMAGING_PROCEDURE),
            image_library([(item.facts, builder.header(item)) for item in (*analysed, *left_out)]),
            # Empty, it would be no valid container.
            *([container(codes.IMAGING_MEASUREMENTS, builder.all())] if analysed else []),
            container(codes.QUALITATIVE_EVALUATIONS, list(_evaluations(headers, result))),
        ],
        relation=None,
    )
    source = headers[(*analysed, *left_out)[0].facts.sop_instance_uid]
    dataset = document(
        Comprehensive3DSRStorage,
        "1500",
        content,
        source,
        provenance,
        uids,
        SERIES_DESCRIPTION,
        max(result.revision, 1),
    )
    if uses_private_codes(dataset):
        dataset.CodingSchemeIdentificationSequence = [codes.scheme_item()]
    evidence = [builder.header(item) for item in (*analysed, *left_out)]
    of = (item.facts.sop_instance_uid for item in analysed)
    evidence += [segmentations[uid] for uid in of if uid in segmentations]
    refer_to(dataset, evidence, predecessors)
    return dataset


def _evaluations(headers: Mapping[str, SourceHeader], result: StudyResult) -> Iterator[Dataset]:
    """Say what came of the study, why images were not analysed, and all of it in words."""
    yield code(Relation.CONTAINS, codes.CAD_SUMMARY, outcome(result))
    for item in result.images:
        if item.reason is not None:
            header = headers.get(item.facts.sop_instance_uid)
            of = [] if header is None else [image(Relation.INFERRED_FROM, None, header.dataset)]
            yield code(Relation.CONTAINS, codes.NOT_ANALYSED, codes.REASONS[item.reason], of)
    for sentence in sentences(result):
        yield text(Relation.CONTAINS, codes.COMMENT, sentence)


class _Groups(Groups):
    """Writes the measurement groups of one study of mammograms."""

    def all(self) -> list[Dataset]:
        """Every group: findings first, then images, breasts and the study."""
        groups = []
        for item, finding in self.result.findings:
            groups += [self._finding(item, finding), self._outline(item, finding)]
        groups += [self._image(item) for item in self.analysed]
        groups += list(self._breasts())
        groups += list(self._study())
        return groups

    def _finding(self, item: ImageResult, finding: Finding) -> Dataset:
        segmentation = self.segmentations.get(item.facts.sop_instance_uid)
        if segmentation is None:
            raise ResultRejected(
                f"Image {item.facts.name} has findings but no segmentation; the report needs it."
            )
        whole = segmentation.SegmentationType == "LABELMAP"
        measures = [
            (codes.AREA, finding.area_mm2, codes.SQUARE_MILLIMETRE),
            (codes.LONG_AXIS, finding.long_axis_mm, codes.MILLIMETRE),
            (codes.SHORT_AXIS, finding.short_axis_mm, codes.MILLIMETRE),
            (codes.PROBABILITY_OF_CANCER, 100 * finding.probability, codes.PERCENT),
        ]
        return group(
            finding.tracking_id,
            finding.tracking_uid,
            [
                code(Relation.CONTAINS, codes.FINDING, codes.LESION),
                _site(item.facts.laterality),
                image(
                    Relation.CONTAINS,
                    codes.REFERENCED_SEGMENTATION_FRAME,
                    segmentation,
                    # A label map has one frame for all of its segments.
                    frame=None if whole else finding.number,
                    segment=finding.number if whole else None,
                ),
                image(Relation.CONTAINS, codes.SOURCE_FOR_SEGMENTATION, self.header(item)),
                *(
                    number(
                        Relation.CONTAINS,
                        name,
                        value,
                        unit,
                        self.identified(ModelTask.SEGMENT),
                    )
                    for name, value, unit in measures
                ),
            ],
        )

    def _outline(self, item: ImageResult, finding: Finding) -> Dataset:
        # From pixel centres at whole numbers to coordinates that start at the pixel's corner.
        points = [(column + 0.5, row + 0.5) for row, column in finding.outline]
        return group(
            finding.tracking_id,
            finding.tracking_uid,
            [
                code(Relation.CONTAINS, codes.FINDING, codes.LESION),
                _site(item.facts.laterality),
                polyline(Relation.CONTAINS, codes.IMAGE_REGION, points, self.header(item)),
            ],
        )

    def _image(self, item: ImageResult) -> Dataset:
        scores = []
        if item.probability is not None:
            scores.append(self._score(item.probability))
        return self.whole_image(
            f"{item.facts.name} image",
            derive_uid("image score", item.facts.sop_instance_uid),
            item,
            _site(item.facts.laterality),
            scores,
        )

    def _breasts(self) -> Iterator[Dataset]:
        for laterality, probability in sorted(self.result.breasts.items()):
            images = [item for item in self._scored() if item.facts.laterality is laterality]
            if images:
                yield self.whole_image(
                    SIDE_NAMES[laterality],
                    derive_uid("breast score", self.result.study_instance_uid, laterality),
                    images[0],
                    _site(laterality),
                    [self._score(probability, codes.MEAN)],
                )

    def _study(self) -> Iterator[Dataset]:
        images = self._scored()
        if self.result.probability is not None and images:
            yield self.whole_image(
                "Study",
                derive_uid("study score", self.result.study_instance_uid),
                images[0],
                _site(None),
                [self._score(self.result.probability, codes.MAXIMUM)],
            )

    def _scored(self) -> list[ImageResult]:
        """Images with a score, the highest first."""
        scored = [item for item in self.analysed if item.probability is not None]
        return sorted(scored, key=lambda item: -(item.probability or 0.0))

    def _score(self, probability: float, derivation: Code | None = None) -> Dataset:
        children = self.identified(ModelTask.CLASSIFY)
        if derivation is not None:
            children.insert(0, code(Relation.HAS_CONCEPT_MOD, codes.DERIVATION, derivation))
        return number(
            Relation.CONTAINS,
            codes.PROBABILITY_OF_CANCER,
            100 * probability,
            codes.PERCENT,
            children,
        )


def _site(laterality: Laterality | None) -> Dataset:
    """Name the finding site: the breast, with its side when there is one."""
    sides = (
        []
        if laterality is None
        else [code(Relation.HAS_CONCEPT_MOD, codes.LATERALITY, codes.SIDES[laterality])]
    )
    return code(Relation.HAS_CONCEPT_MOD, codes.FINDING_SITE, codes.BREAST, sides)
