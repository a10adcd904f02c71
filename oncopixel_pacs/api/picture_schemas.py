"""What models of other pictures than mammograms say, as the API answers it."""

from __future__ import annotations

from pydantic import BaseModel

from oncopixel_pacs.api import examples
from oncopixel_pacs.api.shape import shape


class ConceptAnswer(BaseModel):
    """A coded concept."""

    model_config = shape(examples.CONCEPT)

    value: str
    scheme: str
    meaning: str


class ClassAnswer(BaseModel):
    """How probable one class is."""

    model_config = shape(examples.CLASS)

    name: str
    concept: ConceptAnswer
    probability: float
    absence: bool
    """Whether the class says that there is nothing."""


class TissueAnswer(BaseModel):
    """The pixels of a picture that show one kind of tissue."""

    model_config = shape(examples.TISSUE)

    number: int
    """Segment of the segmentation object."""
    name: str
    concept: ConceptAnswer
    tracking_uid: str
    share: float
    """Of the pixels of the picture."""
    area_mm2: float | None
    """Null when the header states no size of a pixel."""


class PictureReply(BaseModel):
    """What models of pictures that are no mammograms say of one."""

    model_config = shape(examples.PICTURE)

    classes: tuple[ClassAnswer, ...]
    """Every class of the classifier; probabilities add up to 1."""
    called: str
    """The class that the classifier calls; empty without one."""
    tissues: tuple[TissueAnswer, ...]
    searched: bool
    """Whether a segmenter read the image."""
    site: ConceptAnswer | None
    """Which organ it is of, as the models state it."""
