"""What a model of pictures states: MRI slices, photographs through a microscope and the like.

Its table ``oncopixel`` in ``metadata.json``::

    "oncopixel": {
        "reads": "picture",
        "task": "classify",                    or "segment"
        "activation": "softmax",               one channel per class; "sigmoid": two classes, one
                                               channel, the probability of the second class
        "preprocessing_sha256": "9f2c…",       of `imaging.picture_input.PictureInput`
        "manufacturer": "OncoPixel",
        "classes": [                           in the order of the channels
            {"name": "glioma", "code": ["393564001", "SCT", "Glioma"]},
            {"name": "notumor", "absence": true}
        ],
        "site": ["12738006", "SCT", "Brain"],  which organ, as a code
        "eligibility": {"modalities": ["MR"]}  at least the modalities; see `cards` for the rest
    }

A class without a code gets one of the private scheme. ``calibration``, beside the table, is applied
to the probabilities of a classifier.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from oncopixel_pacs.domain import Concept, ModelTask
from oncopixel_pacs.domain.requirements import Requirements
from oncopixel_pacs.imaging.picture_input import PictureInput
from oncopixel_pacs.infer.card import (
    Activation,
    CalibrationTable,
    Card,
    PictureClass,
    Words,
    picture_class,
)
from oncopixel_pacs.settings.section import Uid

_Side = Annotated[int, Field(ge=16, le=1024)]
_Words = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[ -\[\]-~]+$")]
_Value = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,16}$")]
_Code = tuple[_Value, Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$", strict=True)], _Words]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Class(_Strict):
    name: _Words
    code: _Code | None = None
    absence: bool = False

    def as_class(self) -> PictureClass:
        return picture_class(self.name, self.code, self.absence)


class _Eligibility(_Strict):
    modalities: tuple[Annotated[str, Field(pattern=r"^[A-Z0-9_ ]{1,16}$")], ...] = Field(
        min_length=1
    )
    sop_class_uids: tuple[Uid, ...] = ()
    manufacturers: tuple[_Words, ...] = ()
    burned_in_annotation: bool = False


class _Table(_Strict):
    reads: Literal["picture"]
    task: ModelTask
    activation: Activation
    preprocessing_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    manufacturer: Words
    classes: tuple[_Class, ...] = Field(min_length=2, max_length=64)
    site: _Code
    eligibility: _Eligibility

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len({item.name for item in self.classes}) != len(self.classes):
            raise ValueError("each class needs a name of its own")
        if self.activation == "sigmoid" and len(self.classes) != 2:
            raise ValueError("activation sigmoid needs two classes")
        return self


class _Image(BaseModel):
    num_channels: Literal[1, 3]
    spatial_shape: tuple[_Side, _Side]


class _Inputs(_Strict):
    image: _Image


class _Output(BaseModel):
    num_channels: int


class _DataFormat(BaseModel):
    inputs: _Inputs
    outputs: dict[str, _Output] = Field(min_length=1, max_length=1)


class _Metadata(BaseModel):
    version: Words
    network_data_format: _DataFormat
    calibration: CalibrationTable = CalibrationTable()
    oncopixel: _Table

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        (output,) = self.network_data_format.outputs.values()
        wanted = 1 if self.oncopixel.activation == "sigmoid" else len(self.oncopixel.classes)
        if output.num_channels != wanted:
            raise ValueError(
                f"it states {output.num_channels} output channels, its classes need {wanted}"
            )
        if self.calibration.kind == "platt" and len(self.oncopixel.classes) != 2:
            raise ValueError("calibration platt needs two classes")
        return self


def is_picture_card(content: bytes) -> bool:
    """Whether a ``metadata.json`` says that its model reads pictures."""
    try:
        table = json.loads(content).get("oncopixel")
        return isinstance(table, dict) and table.get("reads") == "picture"
    except (ValueError, AttributeError, RecursionError):
        return False


def read_picture_card(content: bytes) -> Card:
    """Read the card of a model of pictures.

    Raises
    ------
    pydantic.ValidationError
        When something is missing or contradicts itself.
    """
    metadata = _Metadata.model_validate_json(content)
    table = metadata.oncopixel
    image = metadata.network_data_format.inputs.image
    height, width = image.spatial_shape
    return Card(
        version=metadata.version,
        task=table.task,
        activation=table.activation,
        preprocessing_sha256=table.preprocessing_sha256,
        pixel_size_mm=0.0,
        manufacturer=table.manufacturer,
        input_shape=image.spatial_shape,
        requirements=Requirements(**dict(table.eligibility)),
        reader=PictureInput(image.num_channels, height, width),
        classes=tuple(item.as_class() for item in table.classes),
        calibrator=metadata.calibration.as_calibrator(),
        site=Concept(*table.site),
    )
