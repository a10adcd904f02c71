"""What one model asks of an image, beyond what every model asks."""

from __future__ import annotations

from dataclasses import dataclass

from oncopixel_pacs.domain.facts import ImageFacts, Laterality, View
from oncopixel_pacs.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a bundle states about the images that it reads; empty means any.

    Attributes
    ----------
    burned_in_annotation
        Whether it reads images into which text is burned. A model that was not trained on text
        may take it for tissue, so it must say so.
    manufacturers
        Compared without regard to case with the beginning of Manufacturer (0008,0070).
    pixel_size_mm
        Least and largest size of a pixel in the breast plane, rows and columns alike.
    """

    modalities: tuple[str, ...] = ()
    sop_class_uids: tuple[str, ...] = ()
    views: tuple[View, ...] = ()
    lateralities: tuple[Laterality, ...] = ()
    manufacturers: tuple[str, ...] = ()
    pixel_size_mm: tuple[float, float] | None = None
    burned_in_annotation: bool = False

    def why_not(self, facts: ImageFacts) -> tuple[Reason, str] | None:
        """Return the reason why the model does not read an image, and in words what it has.

        ``None`` when it reads it.
        """
        if facts.burned_in and not self.burned_in_annotation:
            return Reason.BURNED_IN, ""
        if self.modalities and facts.modality not in self.modalities:
            return Reason.MODEL_MODALITY, f"It reads {', '.join(self.modalities)}."
        if self.sop_class_uids and facts.sop_class_uid not in self.sop_class_uids:
            return Reason.MODEL_SOP_CLASS, f"It is of {facts.sop_class_uid}."
        if self.views and facts.view not in self.views:
            return Reason.MODEL_VIEW, f"It reads {', '.join(self.views)}."
        if self.lateralities and facts.laterality not in self.lateralities:
            return Reason.MODEL_LATERALITY, f"It reads {', '.join(self.lateralities)}."
        maker = facts.manufacturer.casefold()
        if self.manufacturers and not maker.startswith(
            tuple(item.casefold() for item in self.manufacturers)
        ):
            return Reason.MODEL_MANUFACTURER, f"It reads {', '.join(self.manufacturers)}."
        if self.pixel_size_mm and facts.spacing_mm:
            least, most = self.pixel_size_mm
            if min(facts.spacing_mm) < least or max(facts.spacing_mm) > most:
                return Reason.MODEL_PIXEL_SIZE, f"It reads {least:g} to {most:g} mm."
        return None
