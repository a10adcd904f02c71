"""Measurement groups of a study of pictures: classes of each image, kinds of tissue.

The group of an image has the class that is called as its Finding, and one Probability for each
class, which a modifier names. A group of a kind of tissue refers to its segment, as that of a
lesion candidate does.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ImageResult, ModelTask, PictureAnswer, Tissue
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import Relation, code, image, number
from oncopixel_pacs.report.measurement_groups import Groups, group
from oncopixel_pacs.report.sentences import tissue_name


class PictureGroups(Groups):
    """Writes the measurement groups of one study of pictures."""

    def all(self) -> list[Dataset]:
        """Every group: kinds of tissue first, then images."""
        answers = [(item, item.picture) for item in self.analysed if item.picture is not None]
        tissues = [self._tissue(item, of, one) for item, of in answers for one in of.tissues]
        return tissues + [self._image(item, of) for item, of in answers]

    def _tissue(self, item: ImageResult, answer: PictureAnswer, tissue: Tissue) -> Dataset:
        segmentation = self.segmentations.get(item.facts.sop_instance_uid)
        if segmentation is None:
            raise ResultRejected(
                f"Image {item.facts.name} shows tissue but has no segmentation; the report "
                "needs it."
            )
        whole = segmentation.SegmentationType == "LABELMAP"
        children = self.identified(ModelTask.SEGMENT)
        measures = [(codes.SHARE_OF_PICTURE, 100 * tissue.share, codes.PERCENT)]
        if tissue.area_mm2 is not None:
            measures.insert(0, (codes.AREA, tissue.area_mm2, codes.SQUARE_MILLIMETRE))
        return group(
            tissue_name(item, tissue),
            tissue.tracking_uid,
            [
                code(Relation.CONTAINS, codes.FINDING, codes.code_of(tissue.concept)),
                *_site(answer),
                image(
                    Relation.CONTAINS,
                    codes.REFERENCED_SEGMENTATION_FRAME,
                    segmentation,
                    frame=None if whole else tissue.number,
                    segment=tissue.number if whole else None,
                ),
                image(Relation.CONTAINS, codes.SOURCE_FOR_SEGMENTATION, self.header(item)),
                *(
                    number(Relation.CONTAINS, name, value, unit, children)
                    for name, value, unit in measures
                ),
            ],
        )

    def _image(self, item: ImageResult, answer: PictureAnswer) -> Dataset:
        (site,) = _site(answer)
        call = answer.call
        said = []
        if call is not None:
            said.append(code(Relation.CONTAINS, codes.FINDING, codes.code_of(call.concept)))
            said += self._scores(answer)
        return self.whole_image(
            f"{item.facts.name} image",
            derive_uid("image score", item.facts.sop_instance_uid),
            item,
            site,
            said,
        )

    def _scores(self, answer: PictureAnswer) -> Iterator[Dataset]:
        for item in answer.classes:
            of = code(Relation.HAS_CONCEPT_MOD, codes.FINDING, codes.code_of(item.concept))
            children = [of, *self.identified(ModelTask.CLASSIFY)]
            share = 100 * item.probability
            yield number(Relation.CONTAINS, codes.PROBABILITY, share, codes.PERCENT, children)


def _site(answer: PictureAnswer) -> list[Dataset]:
    if answer.site is None:
        raise ResultRejected("The models do not say which organ they read; correct the bundle.")
    return [code(Relation.HAS_CONCEPT_MOD, codes.FINDING_SITE, codes.code_of(answer.site))]
