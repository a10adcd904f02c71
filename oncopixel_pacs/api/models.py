"""Route about models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.entity_tags import TAGGED, tagged
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import ModelAnswer, shape
from oncopixel_pacs.domain import ModelTask

router = APIRouter(prefix="/api/v1/models", tags=["models"])


_SHADOW: dict[str, Any] = {
    "name": "lesions-next",
    "task": "segment",
    "threshold": 0.5,
    "weights_sha256": "5f" * 32,
}


class ShadowModelAnswer(BaseModel):
    """A configured model whose answers are compared and never sent."""

    model_config = shape(_SHADOW)

    name: str
    task: ModelTask
    threshold: float
    weights_sha256: str


class ModelList(BaseModel):
    """The models that read studies."""

    model_config = shape({"ready": True, "items": [examples.MODEL], "shadows": [_SHADOW]})

    ready: bool | None
    """Whether they are loaded; null when another process runs them."""
    items: tuple[ModelAnswer, ...]
    shadows: tuple[ShadowModelAnswer, ...]
    """Shadow models; how they agree is at ``/api/v1/monitoring/shadows``."""


@router.get("", summary="List the models", responses=tagged(documented()), dependencies=TAGGED)
def list_models(parts: Parts) -> ModelList:
    """Models with version, operating point and digests, as they stand in every result."""
    return ModelList(
        ready=parts.models_ready(),
        items=tuple(ModelAnswer.of(item) for item in parts.algorithms),
        shadows=tuple(
            ShadowModelAnswer(
                name=item.name,
                task=item.task,
                threshold=item.threshold,
                weights_sha256=item.sha256,
            )
            for item in parts.settings.shadow_models
        ),
    )
