"""Routes about routing: which models would read the images of a study, and why not the others."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.parts import ApiParts, Key, Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import shape
from oncopixel_pacs.domain import ModelMode, ModelTask, Reason, Study
from oncopixel_pacs.domain.model_choice import Verdict
from oncopixel_pacs.domain.rules import Origin
from oncopixel_pacs.route import route

router = APIRouter(prefix="/api/v1/studies", tags=["studies"])


class VerdictAnswer(BaseModel):
    """Whether one model would read one image."""

    model: str
    mode: ModelMode
    """A shadow reads beside the active models, and nothing of it is sent."""
    task: ModelTask
    runs: bool
    reason: Reason | None
    sentence: str
    """Why not; empty when it runs."""

    @classmethod
    def of(cls, verdict: Verdict) -> VerdictAnswer:
        """Answer of a verdict."""
        return cls(
            model=verdict.model,
            mode=verdict.mode,
            task=verdict.task,
            runs=verdict.reason is None,
            reason=verdict.reason,
            sentence=verdict.sentence,
        )


class RoutedImageAnswer(BaseModel):
    """One image as rules see it, with the word of every model."""

    sop_instance_uid: str
    name: str
    modality: str
    sop_class_uid: str
    body_part: str
    manufacturer: str
    station_name: str
    series_description: str
    calling_ae_title: str
    called_ae_title: str
    models: tuple[VerdictAnswer, ...]


class RoutingAnswer(BaseModel):
    """Which models would read a study if it were analysed now."""

    model_config = shape(examples.ROUTING)

    study_instance_uid: str
    images: tuple[RoutedImageAnswer, ...]


@router.get(
    "/{study_instance_uid}/routing",
    summary="Say which models would read a study, and why not the others",
    responses=tagged(documented(404)),
    dependencies=TAGGED,
)
def show_routing(parts: Parts, study_instance_uid: Key) -> RoutingAnswer:
    """Every image of a study with the word of every configured model.

    By their headers; decoding may still find a reason, such as a blank image.
    """
    return routing_of(parts, parts.catalogue.study(study_instance_uid))


def routing_of(parts: ApiParts, study: Study) -> RoutingAnswer:
    """Route the images of a study as its next revision would be."""
    origins = [Origin(item.calling_ae_title, item.called_ae_title) for item in study.instances]
    facts = [item.facts for item in study.instances]
    verdicts = route(list(zip(facts, origins, strict=True)), parts.candidates)
    return RoutingAnswer(
        study_instance_uid=study.study_instance_uid,
        images=tuple(
            RoutedImageAnswer(
                sop_instance_uid=fact.sop_instance_uid,
                name=fact.name,
                modality=fact.modality,
                sop_class_uid=fact.sop_class_uid,
                body_part=fact.body_part,
                manufacturer=fact.manufacturer,
                station_name=fact.station_name,
                series_description=fact.series_description,
                calling_ae_title=origin.calling_ae_title,
                called_ae_title=origin.called_ae_title,
                models=tuple(VerdictAnswer.of(item) for item in said),
            )
            for fact, origin, said in zip(facts, origins, verdicts, strict=True)
        ),
    )
