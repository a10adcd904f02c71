"""Route about models."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.parts import Parts
from oncopixel_pacs.api.problems import documented
from oncopixel_pacs.api.schemas import ModelAnswer, shape

router = APIRouter(prefix="/api/v1/models", tags=["models"])


class ModelList(BaseModel):
    """The models that read studies."""

    model_config = shape({"ready": True, "items": [examples.MODEL]})

    ready: bool | None
    """Whether they are loaded; null when another process runs them."""
    items: tuple[ModelAnswer, ...]


@router.get("", summary="List the models", responses=documented())
def list_models(parts: Parts) -> ModelList:
    """Models with version, operating point and digests, as they stand in every result."""
    return ModelList(
        ready=parts.models_ready(), items=tuple(ModelAnswer.of(item) for item in parts.algorithms)
    )
