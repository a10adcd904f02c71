"""The operating point that a bundle says it was measured with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from oncopixel_pacs.errors import ModelRefused


class _OperatingPoints(BaseModel):
    default: Annotated[float, Field(ge=0, le=1)] | None = None


class _Stated(BaseModel):
    operating_points: _OperatingPoints = _OperatingPoints()


def stated_operating_point(bundle: Path) -> float | None:
    """Give ``operating_points.default`` of ``configs/metadata.json``.

    Returns
    -------
    float or None
        Compared with the network's own score, before calibration; ``None`` where none is stated,
        or the file cannot be read at all.

    Raises
    ------
    ModelRefused
        When what is stated is none, as a percentage is.
    """
    path = bundle / "configs" / "metadata.json"
    try:
        return _Stated.model_validate_json(path.read_bytes()).operating_points.default
    except OSError:
        return None
    except ValidationError as exc:
        if not any("operating_points" in item["loc"] for item in exc.errors()):
            return None
        raise ModelRefused(
            f"{path} states an operating point that is none: operating_points.default lies between "
            "0 and 1. Correct it, or give --threshold."
        ) from exc
