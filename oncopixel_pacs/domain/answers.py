"""What a model says of a picture that is no mammogram. Speak of it as part of `domain`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Concept:
    """A coded concept as a bundle states it (PS3.3 table 8.8-1)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How probable one class is.

    Attributes
    ----------
    absence
        Whether the class says that there is nothing, such as no tumour.
    """

    name: str
    concept: Concept
    probability: float
    absence: bool = False


@dataclass(frozen=True, slots=True)
class Tissue:
    """The pixels of one picture that show one kind of tissue.

    Attributes
    ----------
    number
        1-based; the value of these pixels in the label map, and the segment number in the SEG.
    share
        Of the pixels of the picture, in ``(0, 1]``.
    area_mm2
        ``None`` when the header states no size of a pixel.
    """

    number: int
    name: str
    concept: Concept
    tracking_uid: str
    share: float
    area_mm2: float | None = None


@dataclass(frozen=True, slots=True)
class PictureAnswer:
    """What the models of pictures say of one image.

    Attributes
    ----------
    classes
        Every class of the classifier, in its order; probabilities add up to 1, but those of a
        trusted bundle are as it gave them. Empty without one.
    called
        Name of the class that the classifier calls; empty without one.
    tissues
        Kinds of tissue that the segmenter found, in the order of its classes.
    searched
        Whether a segmenter read the image.
    site
        Which organ the picture is of, as the models state it.
    """

    classes: tuple[ClassScore, ...] = ()
    called: str = ""
    tissues: tuple[Tissue, ...] = ()
    searched: bool = False
    site: Concept | None = None

    @property
    def call(self) -> ClassScore | None:
        """The class that is called."""
        return next((item for item in self.classes if item.name == self.called), None)

    @property
    def tells(self) -> bool:
        """Whether it says that there is something."""
        call = self.call
        return bool(self.tissues) or (call is not None and not call.absence)
