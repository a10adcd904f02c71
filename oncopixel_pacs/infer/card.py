"""What one model says of itself, as far as the server needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oncopixel_pacs.domain import Concept, ModelTask, Subject
from oncopixel_pacs.imaging.picture_input import PictureInput
from oncopixel_pacs.infer.calibration import Calibrator
from oncopixel_pacs.requirements import Requirements

Activation = Literal["sigmoid", "softmax"]
CHANNELS: dict[Activation, int] = {"sigmoid": 1, "softmax": 2}
"""Output channels of a model of mammograms that go with each activation."""


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


@dataclass(frozen=True, slots=True)
class Card:
    """What ``metadata.json`` states.

    Attributes
    ----------
    pixel_size_mm
        Of the model's grid; 0 of pictures, which are brought to one size in pixels.
    input_shape
        ``(height, width)`` in pixels of the model's grid.
    reader
        How a picture becomes the input; ``None`` of a model of mammograms.
    classes
        Of a model of pictures, in the order of its channels; with one channel there are two, of
        which the channel is the second.
    site
        Which organ its pictures are of.
    """

    version: str
    task: ModelTask
    activation: Activation
    preprocessing_sha256: str
    pixel_size_mm: float
    manufacturer: str
    input_shape: tuple[int, int]
    requirements: Requirements = Requirements()
    reader: PictureInput | None = None
    classes: tuple[PictureClass, ...] = ()
    calibrator: Calibrator = Calibrator("none")
    site: Concept | None = None

    @property
    def subject(self) -> Subject:
        """What its images show."""
        return Subject.BREAST if self.reader is None else Subject.PICTURE

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of input and output."""
        if self.reader is None:
            return 1, CHANNELS[self.activation]
        return self.reader.channels, 1 if self.activation == "sigmoid" else len(self.classes)
