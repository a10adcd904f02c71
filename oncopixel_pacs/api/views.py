"""Route about the views of a study as they hang in a reading room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel
from pydicom.dataset import Dataset

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.dicomweb.addresses import PREFIX
from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import FindingAnswer, PictureReply, Probability, overlay_path, shape
from oncopixel_pacs.domain import ImageResult, Instance, Laterality, Study, View
from oncopixel_pacs.domain.briefs import JobBrief
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.frames import read_object
from oncopixel_pacs.imaging.grayscale import own_window
from oncopixel_pacs.imaging.hanging import Hanging, hanging, hanging_order
from oncopixel_pacs.route import why_not

router = APIRouter(prefix="/api/v1/studies", tags=["studies"])

#: A page of more pictures would be slow; further ones are in the viewer, and told as a number.
_MOST_VIEWS = 12
_PROCESSING = "FOR PROCESSING"


class HungView(BaseModel):
    """One view, and how to hang it. Points are ``(row, column)`` in stored pixels."""

    model_config = shape(examples.HUNG_VIEW)

    sop_instance_uid: str
    name: str
    laterality: Laterality | None
    view: View | None
    rows: int
    columns: int
    column_per_row: float
    """Width of a pixel over its height."""
    mirror: bool
    """Whether columns run the other way when it hangs: the chest walls stand back to back."""
    upside_down: bool
    window_centre: float
    window_width: float
    """The image's own window; the range of its values where it has none."""
    picture: str | None
    """Path of the picture; takes the query parameters of WADO-RS rendered resources. Null when
    the file of the image is gone or damaged."""
    probability: Probability
    reason: str
    """Why no model read it, in a sentence; empty when one did, or none has looked yet."""
    findings: tuple[FindingAnswer, ...]
    answer: PictureReply | None
    """What models of pictures say; null for a mammogram."""
    overlay: str | None
    """Path of the picture with tissues drawn into it; null for a mammogram."""

    @classmethod
    def of(
        cls, instance: Instance, header: Dataset | None, image: ImageResult | None, job_id: str
    ) -> Self:
        """Answer for an image with what the models said of it, if they did."""
        facts = instance.facts
        turned = hanging(header or Dataset(), facts)
        centre, width = own_window(header or Dataset())
        row_mm, column_mm = facts.spacing_mm or (1.0, 1.0)
        return cls(
            sop_instance_uid=facts.sop_instance_uid,
            name=facts.name,
            laterality=facts.laterality,
            view=facts.view,
            rows=facts.rows,
            columns=facts.columns,
            column_per_row=column_mm / row_mm if row_mm else 1.0,
            mirror=turned.mirror,
            upside_down=turned.upside_down,
            window_centre=centre,
            window_width=width,
            picture=None
            if header is None
            else (
                f"{PREFIX}/studies/{facts.study_instance_uid}/series/{facts.series_instance_uid}"
                f"/instances/{facts.sop_instance_uid}/rendered"
            ),
            probability=image.probability if image else None,
            reason=image.reason.sentence if image and image.reason else "",
            findings=tuple(map(FindingAnswer.of, image.findings)) if image else (),
            answer=PictureReply.model_validate(image.picture) if image and image.picture else None,
            overlay=overlay_path(job_id, facts.sop_instance_uid)
            if image and image.picture
            else None,
        )

    @property
    def turned(self) -> Hanging:
        """How it must be turned."""
        return Hanging(self.mirror, self.upside_down)

    @property
    def width(self) -> float:
        """Of the picture, in heights of a pixel."""
        return self.columns * self.column_per_row

    def points(self, finding: FindingAnswer) -> str:
        """Outline of a finding as points of an SVG polygon; centres of pixels are at halves."""
        return " ".join(
            f"{(column + 0.5) * self.column_per_row:.1f},{row + 0.5:.1f}"
            for row, column in finding.outline
        )


class HungViews(BaseModel):
    """Views of a study in reading order: R CC, L CC, R MLO, L MLO, others."""

    model_config = shape(
        {"job_id": "5d0c6a1f0f7e4a4f9be0d5a1", "items": [examples.HUNG_VIEW], "not_shown": 0}
    )

    job_id: str | None
    """Job whose findings they show; null when no models have read them yet."""
    items: tuple[HungView, ...]
    not_shown: int
    """Further images, none of which has findings."""

    @property
    def read(self) -> bool:
        """Whether models read an image, as far as reasons tell."""
        return any(not item.reason for item in self.items)

    @property
    def of_pictures(self) -> bool:
        """Whether they are pictures that are no mammograms."""
        return any(item.answer is not None for item in self.items)


@router.get(
    "/{study_instance_uid}/views",
    summary="Show the views of a study as they hang",
    responses=tagged(documented(404)),
    dependencies=TAGGED,
)
def show_views(parts: Parts, study_instance_uid: Key) -> HungViews:
    """Give each view with its picture, how to turn it, and the findings of the newest result."""
    study = parts.catalogue.study(study_instance_uid)
    jobs = parts.briefs.jobs(study_instance_uid=study_instance_uid).items
    return hung_views(parts, study, jobs)


def hung_views(parts: ApiParts, study: Study, jobs: tuple[JobBrief, ...]) -> HungViews:
    """Give the views of a study with the findings of the newest of these jobs that has a result."""
    brief = next((item for item in jobs if item.finding_count is not None), None)
    job = parts.ledger.job(brief.id) if brief else None
    images = job.result.images if job and job.result else ()
    found = {image.facts.sop_instance_uid: image for image in images}
    worth_hanging = _worth_hanging(study)
    shown = _chosen(worth_hanging, found)
    return HungViews(
        job_id=job.id if job else None,
        items=tuple(
            HungView.of(
                item,
                _header(parts, item),
                found.get(item.facts.sop_instance_uid),
                job.id if job else "",
            )
            for item in shown
        ),
        not_shown=len(worth_hanging) - len(shown),
    )


def _chosen(images: list[Instance], found: Mapping[str, ImageResult]) -> list[Instance]:
    """Choose what there is room for: all with findings, then what is read, then the others."""

    def rank(item: Instance) -> tuple[bool, bool, tuple[int, int, str]]:
        result = found.get(item.facts.sop_instance_uid)
        left_out = why_not(item.facts) is not None if result is None else not result.analysed
        return not (result and result.findings), left_out, hanging_order(item.facts)

    ranked = sorted(images, key=rank)
    with_findings = sum(not rank(item)[0] for item in ranked)
    chosen = ranked[: max(_MOST_VIEWS, with_findings)]
    return sorted(chosen, key=lambda item: hanging_order(item.facts))


def _worth_hanging(study: Study) -> list[Instance]:
    """Images with pixels; raw ones only of views that are not there in another form."""
    pictures = [item for item in study.instances if item.facts.has_pixel_data]
    processed = {
        item.facts.name for item in pictures if item.facts.presentation_intent != _PROCESSING
    }
    return [
        item
        for item in pictures
        if item.facts.presentation_intent != _PROCESSING or item.facts.name not in processed
    ]


def _header(parts: ApiParts, instance: Instance) -> Dataset | None:
    """Header of an image; ``None`` when its file is gone or damaged."""
    try:
        return read_object(parts.files.absolute(instance.path)).header
    except (OSError, UnreadableImage):
        return None
