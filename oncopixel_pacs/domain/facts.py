"""What the header of one image says. Speak of it as part of `domain`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

#: SOP class of Key Object Selection Documents, PS3.4 B.5: rejection notes are such.
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"

#: Manufacturer (0008,0070) of all that we write.
MANUFACTURER = "OncoPixel"

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


class Laterality(StrEnum):
    """Image Laterality (0020,0062), PS3.3 C.8.11.7.1.1; one image shows one breast."""

    RIGHT = "R"
    LEFT = "L"


class Ordered(StrEnum):
    """Which breasts the order is about; one side may be ordered without saying which."""

    RIGHT = "R"
    LEFT = "L"
    BOTH = "B"
    ONE = "ONE"


class View(StrEnum):
    """View of the breast, PS3.16 CID 4014; the two screening views are analysed."""

    CC = "CC"
    MLO = "MLO"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the header of one image says, as far as routing and reports need it.

    Attributes
    ----------
    laterality, view
        ``None`` when the header does not say.
    view_modifiers
        Code meanings of View Modifier Code Sequence (0054,0222).
    implant_displaced
        Whether one of them is Implant Displaced (Eklund).
    spacing_mm
        ``(row, column)`` size of a pixel in the breast plane: Pixel Spacing, else, and where
        both are the same, Imager Pixel Spacing over Estimated Radiographic Magnification Factor.
    source_uids
        SOP Instance UIDs of Source Image Sequence (0008,2112): a For Presentation image names
        the For Processing image that it was made from.
    ordered
        What the order says; ``None`` when it says nothing of sides.
    quality_control
        Whether it is an image of a test object, or marked as one for quality control.
    burned_in
        Whether Burned In Annotation (0028,0301) is ``YES``.
    stereotactic
        Whether it was taken for a biopsy, as a stereotactic pair or with the needle in place.
    projection
        Whether it is one of the projections that a tomosynthesis is computed from.
    turned
        Whether it is turned by a quarter, so that the chest wall is above or below.
    contrast
        Whether it shows contrast agent: a galactography, and every image of a contrast enhanced
        mammography but the low-energy one.
    body_part, series_description, station_name
        As the header has them; rules of a site choose by them.
    instance_number
        Instance Number (0020,0013); names images that are no mammograms.
    patient_digest
        Says whether two images name one patient, and not which: digest of Patient ID (0010,0020);
        empty where there is none.
    rejects
        Of a rejection note (IHE Imaging Object Change Management): SOP Instance UIDs of the
        objects that it takes back.
    edition
        Tells content that a person put in place of other content under the same UID; empty for
        what came first.
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    presentation_intent: str
    laterality: Laterality | None
    view: View | None
    view_modifiers: tuple[str, ...]
    partial_view: bool
    implant: bool
    quality_control: bool
    rows: int
    columns: int
    frames: int
    samples_per_pixel: int
    photometric: str
    spacing_mm: tuple[float, float] | None
    has_pixel_data: bool
    manufacturer: str = ""
    implant_displaced: bool = False
    source_uids: tuple[str, ...] = ()
    ordered: Ordered | None = None
    burned_in: bool = False
    stereotactic: bool = False
    projection: bool = False
    contrast: bool = False
    turned: bool = False
    body_part: str = ""
    series_description: str = ""
    station_name: str = ""
    instance_number: str = ""
    patient_digest: str = ""
    edition: str = ""
    rejects: tuple[str, ...] = ()

    @property
    def is_document(self) -> bool:
        """Whether it is no image but speaks of some.

        A selection, a rejection note, or a picture of our results, which an archive that forwards
        whatever it stores sends back to us.
        """
        return self.sop_class_uid == KEY_OBJECTS or self._pictures_results

    @property
    def _pictures_results(self) -> bool:
        # Pictures that were uploaded are ours as well, with the modality MG.
        said = (self.sop_class_uid, self.manufacturer, self.modality)
        return said == (_SECONDARY_CAPTURE, MANUFACTURER, "OT")

    @property
    def content_key(self) -> tuple[str, ...]:
        """What UIDs of results are derived from: other content has other results."""
        return (self.sop_instance_uid, *filter(None, [self.edition]))

    @property
    def name(self) -> str:
        """Short name such as ``R MLO`` or ``MR 3``; a question mark stands for what is unknown."""
        return view_name(self.modality, self.instance_number, self.laterality, self.view)


def view_name(modality: str, number: str, laterality: str | None, view: str | None) -> str:
    """Name an image as `ImageFacts.name` does."""
    if modality and modality != "MG" and laterality is None and not view:
        return f"{modality} {number or '?'}"
    return f"{laterality or '?'} {view or '?'}"


def rejected(held: Iterable[ImageFacts]) -> frozenset[str]:
    """SOP Instance UIDs of all that rejection notes among the objects of a study take back."""
    return frozenset(uid for facts in held for uid in facts.rejects)


def with_implant(images: Iterable[ImageFacts]) -> frozenset[Laterality]:
    """Breasts of a study of which any image shows or displaces an implant (Eklund).

    Breast Implant Present (0028,1300) is optional: the displaced view may be all that tells.
    """
    shown = (item.laterality for item in images if item.implant or item.implant_displaced)
    return frozenset(side for side in shown if side is not None)


def says_nothing_new(held: Collection[ImageFacts], new: Collection[str]) -> bool:
    """Whether what came last changes no image of a study, nor which of them count.

    Parameters
    ----------
    held
        Of all objects of the study.
    new
        SOP Instance UIDs of those that came last.
    """
    late = [facts for facts in held if facts.sop_instance_uid in new]
    if not late or not all(facts.is_document for facts in late):
        return False
    before = rejected(facts for facts in held if facts.sop_instance_uid not in new)
    images = {facts.sop_instance_uid for facts in held if not facts.is_document}
    return not (rejected(late) - before) & images
