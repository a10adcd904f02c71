"""CAD report of one study: TID 4000 in a Mammography CAD SR, for mammography workstations.

It says the same as the measurement report in the words that such workstations read: each
finding is a Single Image Finding with centre, outline and probability, under the tracking
identifier that it has in the segmentation.

Four forms: findings; none found; partial, where some images were not analysed; failed, where
none was. Images that were not analysed stand under Failed Detections, and the impression says
in words why.

The models look at each image alone. Two findings become one Composite Feature only where a
breast has one CC and one MLO image, each with one finding; then there is no choice. It carries
no probability of its own, because none is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import MammographyCADSRStorage

from oncopixel_pacs.domain import (
    Algorithm,
    Finding,
    ImageResult,
    Laterality,
    ModelTask,
    StudyResult,
    View,
)
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import (
    Relation,
    by_reference,
    code,
    container,
    graphic,
    number,
    text,
    uid_reference,
)
from oncopixel_pacs.report.image_library import cad_image_library
from oncopixel_pacs.report.provenance import MODEL_NAME, Provenance
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.sentences import outcome, sentences
from oncopixel_pacs.report.source_header import SourceHeader
from oncopixel_pacs.report.sr_document import algorithm_items, document, refer_to

SERIES_DESCRIPTION = "AI CAD - RESEARCH USE ONLY"
LIBRARY_PATH = (1, 2)
"""Where the Image Library stands in the tree, see `content_items.by_reference`."""

_UNKNOWN_TYPE = (
    "Each finding is a lesion candidate of unknown type; it is coded as a density, because the "
    "models do not tell masses from calcifications, distortions or asymmetries."
)
Located = tuple[ImageResult, Finding]


def build_cad_report(
    headers: Mapping[str, SourceHeader],
    result: StudyResult,
    provenance: Provenance,
    uids: ObjectUids,
    predecessors: Sequence[Dataset] = (),
) -> Dataset:
    """Write the CAD report of one study.

    Parameters
    ----------
    headers
        Headers by SOP Instance UID: of every analysed image, and of the others as far as they
        can be read. Images without header are named in the text alone.
    result
        What the models say.
    provenance
        Who made it; a segmenter is among the algorithms.
    uids
        Identity of the new object.
    predecessors
        Headers of the CAD reports that this one replaces.

    Returns
    -------
    Dataset
        Without File Meta Information.

    Raises
    ------
    ResultRejected
        When the header of an analysed image is missing, or there is no header or segmenter.
    """
    listed = _listed(headers, result)
    algorithm = provenance.algorithm(ModelTask.SEGMENT)
    if algorithm is None:
        raise ResultRejected("A CAD report needs a model that segments; check the models.")
    if not listed:
        raise ResultRejected("No header of the study can be read, so there is nothing to report.")
    builder = _Tree(listed, result, provenance, algorithm)
    library = [(item.facts, headers[item.facts.sop_instance_uid].dataset) for item in listed]
    content = container(
        codes.MAMMOGRAPHY_CAD_REPORT,
        [
            code(Relation.HAS_CONCEPT_MOD, codes.LANGUAGE, codes.US_ENGLISH),
            cad_image_library(library),
            builder.summary(),
            builder.detections(),
            builder.analyses(),
        ],
        relation=None,
    )
    dataset = document(
        MammographyCADSRStorage,
        "4000",
        content,
        headers[listed[0].facts.sop_instance_uid],
        provenance,
        uids,
        SERIES_DESCRIPTION,
        max(result.revision, 1),
    )
    refer_to(dataset, [header for _, header in library], predecessors)
    return dataset


def correlated(result: StudyResult) -> tuple[tuple[Located, Located], ...]:
    """Pair the finding on CC with the finding on MLO where each is the only one.

    Only for a breast of which exactly one CC and one MLO image was analysed.
    """
    pairs = []
    for laterality in Laterality:
        located: list[Located] = []
        for view in (View.CC, View.MLO):
            images = [
                item
                for item in result.images
                if item.analysed and (item.facts.laterality, item.facts.view) == (laterality, view)
            ]
            if len(images) == 1 and len(images[0].findings) == 1:
                located.append((images[0], images[0].findings[0]))
        if len(located) == 2:
            pairs.append((located[0], located[1]))
    return tuple(pairs)


def _listed(headers: Mapping[str, SourceHeader], result: StudyResult) -> list[ImageResult]:
    """Images of the library, those that were analysed first."""
    for item in result.images:
        if item.analysed and item.facts.sop_instance_uid not in headers:
            raise ResultRejected(
                f"The header of image {item.facts.name} is missing; the CAD report needs it."
            )
    known = [item for item in result.images if item.facts.sop_instance_uid in headers]
    return sorted(known, key=lambda item: not item.analysed)


class _Tree:
    """Writes the parts of the content tree below its root."""

    def __init__(
        self,
        listed: Sequence[ImageResult],
        result: StudyResult,
        provenance: Provenance,
        algorithm: Algorithm,
    ) -> None:
        self._result = result
        self._provenance = provenance
        self._algorithm = algorithm
        self._positions = {
            item.facts.sop_instance_uid: number for number, item in enumerate(listed, start=1)
        }
        self._analysed = [item for item in listed if item.analysed]
        self._failed = [item for item in listed if not item.analysed]
        self._pairs = correlated(result)

    def summary(self) -> Dataset:
        """CAD Processing and Findings Summary with what was found, TID 4001."""
        features = [self._composite(pair) for pair in self._pairs]
        paired = {located[1].tracking_uid for pair in self._pairs for located in pair}
        features += [
            self._finding(item, finding, Relation.CONTAINS)
            for item, finding in self._result.findings
            if finding.tracking_uid not in paired
        ]
        description = "\r\n".join(self._description())
        return code(
            Relation.CONTAINS,
            codes.CAD_SUMMARY,
            outcome(self._result),
            [
                text(Relation.HAS_PROPERTIES, codes.IMPRESSION_DESCRIPTION, description),
                *(
                    item
                    for algorithm in self._provenance.algorithms
                    for item in algorithm_items(
                        algorithm, self._provenance, Relation.HAS_PROPERTIES
                    )
                ),
                *(_impression(feature) for feature in features),
            ],
        )

    def detections(self) -> Dataset:
        """Summary of Detections: on which images the search for lesions succeeded, TID 4015."""
        if not self._failed:
            status = codes.SUCCEEDED
        else:
            status = codes.PARTIALLY_SUCCEEDED if self._analysed else codes.FAILED
        parts = (
            (codes.SUCCESSFUL_DETECTIONS, self._analysed),
            (codes.FAILED_DETECTIONS, self._failed),
        )
        return code(
            Relation.CONTAINS,
            codes.SUMMARY_OF_DETECTIONS,
            status,
            [
                container(
                    name,
                    [
                        code(
                            Relation.CONTAINS,
                            codes.DETECTION_PERFORMED,
                            codes.CAD_LESION,
                            [
                                *self._identified(),
                                *(self._refer(Relation.HAS_PROPERTIES, item) for item in images),
                            ],
                        )
                    ],
                    Relation.INFERRED_FROM,
                )
                for name, images in parts
                if images
            ],
        )

    def analyses(self) -> Dataset:
        """Summary of Analyses: the matching of views, where there was something to match."""
        if not self._pairs:
            return code(Relation.CONTAINS, codes.SUMMARY_OF_ANALYSES, codes.NOT_ATTEMPTED)
        images = [located[0] for pair in self._pairs for located in pair]
        performed = code(
            Relation.CONTAINS,
            codes.ANALYSIS_PERFORMED,
            codes.SPATIAL_COLLOCATION,
            [
                *self._matching(),
                *(self._refer(Relation.HAS_PROPERTIES, item) for item in images),
            ],
        )
        return code(
            Relation.CONTAINS,
            codes.SUMMARY_OF_ANALYSES,
            codes.SUCCEEDED,
            [container(codes.SUCCESSFUL_ANALYSES, [performed], Relation.INFERRED_FROM)],
        )

    def _description(self) -> Iterator[str]:
        yield from sentences(self._result)
        if self._result.findings:
            yield _UNKNOWN_TYPE
        for (_, first), (_, second) in self._pairs:
            yield (
                f"{first.tracking_id} and {second.tracking_id} are given as one feature, because "
                "each is the only candidate on its view; nothing else was compared."
            )

    def _finding(self, item: ImageResult, finding: Finding, relation: Relation) -> Dataset:
        """Single Image Finding, TID 4006."""
        # From pixel centres at whole numbers to coordinates that start at the pixel's corner.
        outline = [(column + 0.5, row + 0.5) for row, column in finding.outline]
        row, column = finding.centre
        properties = Relation.HAS_PROPERTIES
        return code(
            relation,
            codes.SINGLE_IMAGE_FINDING,
            codes.CAD_LESION,
            [
                _intent(),
                text(Relation.HAS_OBS_CONTEXT, codes.TRACKING_IDENTIFIER, finding.tracking_id),
                uid_reference(Relation.HAS_OBS_CONTEXT, codes.TRACKING_UID, finding.tracking_uid),
                *self._identified(),
                number(
                    properties,
                    codes.PROBABILITY_OF_CANCER,
                    100 * finding.probability,
                    codes.PERCENT,
                ),
                graphic(
                    properties,
                    codes.CENTER,
                    "POINT",
                    [(column + 0.5, row + 0.5)],
                    self._refer(Relation.SELECTED_FROM, item),
                ),
                graphic(
                    properties,
                    codes.OUTLINE,
                    "POLYLINE",
                    outline,
                    self._refer(Relation.SELECTED_FROM, item),
                ),
            ],
        )

    def _composite(self, pair: tuple[Located, Located]) -> Dataset:
        """Composite Feature of one finding on each of two views, TID 4004."""
        return code(
            Relation.CONTAINS,
            codes.COMPOSITE_FEATURE,
            codes.CAD_LESION,
            [
                _intent(),
                code(Relation.HAS_PROPERTIES, codes.COMPOSITE_TYPE, codes.RELATED_SPATIALLY),
                code(Relation.HAS_PROPERTIES, codes.SCOPE_OF_FEATURE, codes.ON_MULTIPLE_IMAGES),
                *self._matching(),
                *(self._finding(*located, Relation.INFERRED_FROM) for located in pair),
            ],
        )

    def _identified(self) -> list[Dataset]:
        """Identify the segmenter."""
        return algorithm_items(self._algorithm, self._provenance, Relation.HAS_PROPERTIES)

    def _matching(self) -> list[Dataset]:
        """Identify what paired the views: this software, no model."""
        version = self._provenance.software_version
        return [
            text(Relation.HAS_PROPERTIES, codes.ALGORITHM_NAME, f"{MODEL_NAME} view matching"),
            text(Relation.HAS_PROPERTIES, codes.ALGORITHM_VERSION, version),
        ]

    def _refer(self, relation: Relation, item: ImageResult) -> Dataset:
        position = self._positions[item.facts.sop_instance_uid]
        return by_reference(relation, (*LIBRARY_PATH, position))


def _impression(feature: Dataset) -> Dataset:
    """Individual Impression/Recommendation, TID 4003."""
    return container(codes.INDIVIDUAL_IMPRESSION, [_intent(), feature], Relation.INFERRED_FROM)


def _intent() -> Dataset:
    return code(Relation.HAS_CONCEPT_MOD, codes.RENDERING_INTENT, codes.PRESENTATION_REQUIRED)
