"""What one model says of itself, as far as the server needs it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from oncopixel_pacs.domain import Concept, ModelTask, Subject
from oncopixel_pacs.domain.requirements import Requirements
from oncopixel_pacs.imaging.picture_input import AsShown, PictureInput
from oncopixel_pacs.infer.calibration import Calibrator

Activation = Literal["sigmoid", "softmax"]


_NOT_IN_LO = re.compile(r"[\\\x00-\x1f\x7f-\x9f]")


def _as_long_string(text: str) -> str:
    """Refuse what no value of VR LO can hold (PS3.5 6.2): every result would be held back."""
    if _NOT_IN_LO.search(text) or not text.strip():
        raise ValueError("it stands in every result: no backslash, no line break, not blank")
    return text


Words = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_as_long_string)]
"""Text of a bundle that becomes one value of its results: a version, a manufacturer."""


class CalibrationTable(BaseModel):
    """Table ``calibration`` of ``metadata.json``."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["none", "platt", "temperature"] = "none"
    slope: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    shift: float = Field(default=0.0, ge=-1000, le=1000, allow_inf_nan=False)

    def as_calibrator(self) -> Calibrator:
        """Give what it describes."""
        return Calibrator(self.kind, self.slope, self.shift)


CHANNELS: dict[Activation, int] = {"sigmoid": 1, "softmax": 2}
"""Output channels of a model of mammograms that go with each activation."""
PRIVATE_SCHEME = "99ONCOPIXEL"


_MALIGNANCY = re.compile(
    r"(?!no[nt\W_]|without|benign|normal).*(malig|cancer|carcinoma)", re.IGNORECASE
)


def require_meant(task: ModelTask, names: Sequence[str]) -> None:
    """Refuse a classifier of mammograms whose answer would be reported as what it is not.

    Its last class is reported as the probability of malignancy, whatever it is called.

    Parameters
    ----------
    names
        Of its classes, in the order of the channels; empty where they are not stated.

    Raises
    ------
    ValueError
        When the last one does not name malignancy.
    """
    if task is ModelTask.CLASSIFY and names and not _MALIGNANCY.match(names[-1].strip()):
        raise ValueError(
            f"its last class is {names[-1]!r}, and that of a classifier of mammograms is reported "
            "as the probability of malignancy: it must be last and named so (malignant, cancer)"
        )


@dataclass(frozen=True, slots=True)
class PictureClass:
    """One class of a model of pictures.

    Attributes
    ----------
    absence
        Whether it says that there is nothing; a segmenter's is the background.
    """

    name: str
    concept: Concept
    absence: bool


def picture_class(name: str, code: tuple[str, str, str] | None, absence: bool) -> PictureClass:
    """Give a class; one without a code gets one of the private scheme."""
    value = f"c-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return PictureClass(name, Concept(*(code or (value, PRIVATE_SCHEME, name))), absence)


@dataclass(frozen=True, slots=True)
class Card:
    """What ``metadata.json`` states.

    Attributes
    ----------
    activation
        ``none``: it answers with probabilities already, as a trusted bundle does.
    pixel_size_mm
        Of the model's grid; 0 of pictures, which are brought to one size in pixels.
    input_shape
        ``(height, width)`` in pixels of the model's grid.
    outline_threshold
        Probability down to which findings reach, below the operating point; ``None``: down to that.
    reader
        How a picture becomes the input; ``None`` of a model of mammograms.
    keys
        Names of input and output in the metadata of a trusted bundle.
    classes
        Of a model of pictures, in the order of its channels; with one channel there are two, of
        which the channel is the second.
    site
        Which organ its pictures are of.
    views_together
        Images of a breast that it reads at once.
    """

    version: str
    task: ModelTask
    activation: Activation | Literal["none"]
    preprocessing_sha256: str
    pixel_size_mm: float
    manufacturer: str
    input_shape: tuple[int, int]
    requirements: Requirements = Requirements()
    outline_threshold: float | None = None
    reader: PictureInput | AsShown | None = None
    classes: tuple[PictureClass, ...] = ()
    calibrator: Calibrator = Calibrator("none")
    site: Concept | None = None
    keys: tuple[str, str] = ("image", "pred")
    views_together: int = 1

    @property
    def subject(self) -> Subject:
        """What its images show."""
        return Subject.BREAST if self.reader is None else Subject.PICTURE

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of input and output."""
        if self.reader is None:
            return 1, 1 if self.activation == "sigmoid" else 2
        return self.reader.channels, 1 if self.activation == "sigmoid" else len(self.classes)
