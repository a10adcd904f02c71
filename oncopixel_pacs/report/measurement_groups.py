"""What measurement groups of every subject need: headers, algorithms, the whole image as region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset

from oncopixel_pacs.domain import Algorithm, ImageResult, ModelTask, StudyResult
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import Relation, container, polyline, text, uid_reference
from oncopixel_pacs.report.provenance import Provenance
from oncopixel_pacs.report.source_header import SourceHeader
from oncopixel_pacs.report.sr_document import algorithm_items


class Groups:
    """Writes the measurement groups of one study."""

    def __init__(
        self,
        headers: Mapping[str, SourceHeader],
        segmentations: Mapping[str, Dataset],
        provenance: Provenance,
        result: StudyResult,
    ) -> None:
        self.headers = headers
        self.segmentations = segmentations
        self.provenance = provenance
        self.result = result
        self.analysed = [item for item in result.images if item.analysed]
        self._identified: dict[ModelTask, list[Dataset]] = {}

    def header(self, item: ImageResult) -> Dataset:
        """Header of an image."""
        try:
            return self.headers[item.facts.sop_instance_uid].dataset
        except KeyError:
            raise ResultRejected(
                f"The header of image {item.facts.name} is missing; the report needs it."
            ) from None

    def algorithm(self, task: ModelTask) -> Algorithm:
        """Model that answered."""
        algorithm = self.provenance.algorithm(task)
        if algorithm is None:
            raise ResultRejected(f"There is a result but no model to {task}; check the models.")
        return algorithm

    def identified(self, task: ModelTask) -> list[Dataset]:
        """Identify the model that answered: the same items for each of its measurements."""
        if task not in self._identified:
            self._identified[task] = algorithm_items(self.algorithm(task), self.provenance)
        return list(self._identified[task])

    def whole_image(
        self,
        tracking_id: str,
        tracking_uid: str,
        item: ImageResult,
        site: Dataset,
        scores: list[Dataset],
    ) -> Dataset:
        """Write the group of something that is said of an image as a whole."""
        header = self.header(item)
        width, height = float(header.Columns), float(header.Rows)
        corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height), (0.0, 0.0)]
        region = polyline(Relation.CONTAINS, codes.IMAGE_REGION, corners, header)
        return group(tracking_id, tracking_uid, [site, region, *scores])


def group(tracking_id: str, tracking_uid: str, children: Sequence[Dataset]) -> Dataset:
    """Write a measurement group (TID 1410, 1501)."""
    return container(
        codes.MEASUREMENT_GROUP,
        [
            text(Relation.HAS_OBS_CONTEXT, codes.TRACKING_IDENTIFIER, tracking_id),
            uid_reference(Relation.HAS_OBS_CONTEXT, codes.TRACKING_UID, tracking_uid),
            *children,
        ],
    )
