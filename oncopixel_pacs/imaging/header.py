"""What a header says, read with tolerance: an odd header never raises, it only says less."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ImageFacts, Laterality, Ordered, StudyHeader, View
from oncopixel_pacs.imaging import image_type, words
from oncopixel_pacs.imaging.codes import IMPLANT_DISPLACED, ORDERED, SIDES, VIEWS
from oncopixel_pacs.imaging.raw_values import (
    RawElements,
    is_absent,
    plain_number,
    plain_text,
    plain_texts,
    raw_elements,
)
from oncopixel_pacs.imaging.rejections import read_rejected

Value = TypeVar("Value")

_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_MOST_SOURCES = 16
#: What units write in Contrast/Bolus Agent where there is none.
_NO_AGENT = frozenset({"NONE", "NO", "N", "NIL", "NA", "N/A", "UNKNOWN", "-", "0"})
#: A breast on its support is magnified by 1.0 to 1.2, on a magnification stand by 1.5 to 2.
_LEAST_MAGNIFIED = 1.4
_ORDER_CODES = (
    "RequestedProcedureCodeSequence",
    "ScheduledProtocolCodeSequence",
    "ProcedureCodeSequence",
    "PerformedProtocolCodeSequence",
)
_ORDER_TEXTS = (
    "RequestedProcedureDescription",
    "ScheduledProcedureStepDescription",
    "PerformedProcedureStepDescription",
    "StudyDescription",
)

#: What `_read` looks at. A unit says the same of hundreds of images: it is read once.
SAID_BY_MANY = (
    "SpecificCharacterSet",
    "Modality",
    "PresentationIntentType",
    "ImageLaterality",
    "Laterality",
    "AnatomicRegionSequence",
    "ViewPosition",
    "ViewCodeSequence",
    "ViewModifierCodeSequence",
    "PartialView",
    "BreastImplantPresent",
    "QualityControlImage",
    "CalibrationImage",
    "BodyPartExamined",
    "SeriesDescription",
    "ProtocolName",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "EstimatedRadiographicMagnificationFactor",
    "Manufacturer",
    "RequestAttributesSequence",
    "BurnedInAnnotation",
    "ImageType",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "PatientOrientation",
    "StationName",
    *_ORDER_CODES,
    *_ORDER_TEXTS,
)


def read_image_facts(dataset: Dataset) -> ImageFacts:
    """Read what routing and reports need from a data set.

    Parameters
    ----------
    dataset
        With ``file_meta`` for the transfer syntax. Its pixel data need not be loaded; that the
        element is there is enough.
    """
    meta = getattr(dataset, "file_meta", None)
    said = raw_elements(dataset, SAID_BY_MANY)
    with warnings.catch_warnings():
        # Their texts quote values, and values of a header are nobody's business in a log.
        warnings.simplefilter("ignore")
        facts = _read(dataset) if said is None else _read_once(_SameWords(said, dataset))
        return replace(
            facts,
            sop_instance_uid=_text(dataset, "SOPInstanceUID"),
            sop_class_uid=_text(dataset, "SOPClassUID"),
            series_instance_uid=_text(dataset, "SeriesInstanceUID"),
            study_instance_uid=_text(dataset, "StudyInstanceUID"),
            transfer_syntax_uid="" if meta is None else _text(meta, "TransferSyntaxUID"),
            has_pixel_data=any(keyword in dataset for keyword in _PIXEL_KEYWORDS),
            source_uids=_sources(dataset),
            rejects=read_rejected(dataset),
            patient_digest=patient_digest(_text(dataset, "PatientID")),
            # Mammograms are named by side and view.
            instance_number="" if facts.modality == "MG" else _text(dataset, "InstanceNumber")[:12],
        )


class _SameWords:
    """A header, equal to every other whose elements of `SAID_BY_MANY` hold the same bytes."""

    __slots__ = ("_said", "dataset")

    def __init__(self, said: RawElements, dataset: Dataset) -> None:
        self._said = said
        self.dataset: Dataset | None = dataset

    def __hash__(self) -> int:
        return hash(self._said)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameWords) and self._said == other._said


@lru_cache(maxsize=256)
def _read_once(header: _SameWords) -> ImageFacts:
    # What is remembered must not hold the patient.
    dataset, header.dataset = header.dataset, None
    return _read(Dataset() if dataset is None else dataset)


def _read(dataset: Dataset) -> ImageFacts:
    """Read what does not tell one image from another."""
    kind = _image_type(dataset)
    return ImageFacts(
        sop_instance_uid="",
        sop_class_uid="",
        series_instance_uid="",
        study_instance_uid="",
        transfer_syntax_uid="",
        modality=_text(dataset, "Modality").upper(),
        presentation_intent=_text(dataset, "PresentationIntentType").upper(),
        laterality=_laterality(dataset),
        view=_view(dataset),
        view_modifiers=_modifiers(dataset),
        partial_view=_text(dataset, "PartialView").upper() == "YES",
        implant=_text(dataset, "BreastImplantPresent").upper() == "YES",
        quality_control=_is_test_object(dataset),
        rows=_number(dataset, "Rows", int) or 0,
        columns=_number(dataset, "Columns", int) or 0,
        frames=_number(dataset, "NumberOfFrames", int) or 1,
        samples_per_pixel=_number(dataset, "SamplesPerPixel", int) or 1,
        photometric=_text(dataset, "PhotometricInterpretation").upper(),
        spacing_mm=_spacing(dataset),
        has_pixel_data=False,
        manufacturer=_text(dataset, "Manufacturer"),
        implant_displaced=any(
            _text(item, "CodeValue") in IMPLANT_DISPLACED for item in _modifier_items(dataset)
        ),
        ordered=_ordered(dataset),
        burned_in=_text(dataset, "BurnedInAnnotation").upper() == "YES",
        stereotactic=image_type.guides_biopsy(kind),
        projection=image_type.is_projection(kind),
        contrast=image_type.shows_contrast(kind, agent=_names_agent(dataset)),
        turned=_is_turned(dataset),
        body_part=_text(dataset, "BodyPartExamined").upper(),
        series_description=_text(dataset, "SeriesDescription"),
        station_name=_text(dataset, "StationName"),
    )


def read_study_header(dataset: Dataset) -> StudyHeader:
    """Read what an admin recognises a study by; never for a log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return StudyHeader(
            patient_name=_text(dataset, "PatientName"),
            patient_id=_text(dataset, "PatientID"),
            description=_text(dataset, "StudyDescription"),
            accession_number=_text(dataset, "AccessionNumber"),
            study_date=_text(dataset, "StudyDate"),
            study_time=_text(dataset, "StudyTime"),
            study_id=_text(dataset, "StudyID"),
            referring_physician_name=_text(dataset, "ReferringPhysicianName"),
        )


def patient_digest(patient_id: str) -> str:
    """Digest by which images of one patient are told from those of others; empty without an ID."""
    return hashlib.sha256(patient_id.encode()).hexdigest()[:16] if patient_id else ""


def _laterality(dataset: Dataset) -> Laterality | None:
    """Read the breast from attributes made for it; never from a free description.

    A wrong side is worse than none, and a description may be that of the protocol.
    """
    for keyword in ("ImageLaterality", "Laterality"):
        text = _text(dataset, keyword).upper()
        if text in tuple(Laterality):
            return Laterality(text)
        if text:
            return None  # both breasts, or nonsense: what stands below cannot know better
    for region in _sequence(dataset, "AnatomicRegionSequence")[:1]:
        for code in (region, *_sequence(region, "AnatomicRegionModifierSequence")):
            if (side := SIDES.get(_text(code, "CodeValue"))) is not None:
                return side
    # Some units write the breast into the view: RCC, LMLO, RIGHT MLO.
    position = _text(dataset, "ViewPosition").upper()
    for side, names in ((Laterality.RIGHT, ("RIGHT", "R")), (Laterality.LEFT, ("LEFT", "L"))):
        for name in names:
            rest = position.removeprefix(name).strip(" _-")
            if position.startswith(name) and rest in ("CC", "MLO", "ML", "LM"):
                return side
    return None


def _view(dataset: Dataset) -> View | None:
    """Read the view: a code of CID 4014, else the meaning of a foreign code, else text."""
    position = _text(dataset, "ViewPosition")
    for code in _sequence(dataset, "ViewCodeSequence")[:1]:
        value = _text(code, "CodeValue")
        if value in VIEWS:
            return VIEWS[value]
        if value:
            return words.view(_text(code, "CodeMeaning")) or words.view(position) or View.OTHER
    if not position:
        return None
    return words.view(position) or View.OTHER


def _modifier_items(dataset: Dataset) -> list[Dataset]:
    # They belong into the view code; some units write them beside it.
    return [
        item
        for holder in (*_sequence(dataset, "ViewCodeSequence")[:1], dataset)
        for item in _sequence(holder, "ViewModifierCodeSequence")
    ]


def _modifiers(dataset: Dataset) -> tuple[str, ...]:
    said = tuple(
        _text(item, "CodeMeaning") or _text(item, "CodeValue") or "?"
        for item in _modifier_items(dataset)
    )
    # A unit that leaves the modifier out states the factor all the same.
    magnified = _LEAST_MAGNIFIED <= _magnification(dataset) <= 4
    return said if said or not magnified else ("Magnification",)


def _is_turned(dataset: Dataset) -> bool:
    """Whether rows run up or down, or across the body, and columns to the front or the back.

    Rows of a mammogram run from or to the chest wall (PS3.3 C.7.6.1.1.1); the networks know no
    image that is turned by a quarter.
    """
    directions = plain_texts(dataset, "PatientOrientation") or _value(dataset, "PatientOrientation")
    if directions is None or isinstance(directions, str) or len(directions) != 2:
        return False
    along, down = (str(item).strip()[:1] for item in directions)
    return along in {"R", "L", "H", "F"} and down in {"A", "P"}


def _is_test_object(dataset: Dataset) -> bool:
    marked = ("QualityControlImage", "CalibrationImage")
    if any(_text(dataset, keyword).upper() == "YES" for keyword in marked):
        return True
    described = ("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName")
    return any(words.names_test_object(_text(dataset, keyword)) for keyword in described)


def _image_type(dataset: Dataset) -> tuple[str, ...]:
    value = plain_texts(dataset, "ImageType") or _value(dataset, "ImageType")
    values = [value] if isinstance(value, str) else value
    try:
        return tuple(str(item).strip().upper() for item in values)
    except TypeError:
        return ()


def _names_agent(dataset: Dataset) -> bool:
    """Whether a contrast agent is named (PS3.3 C.7.6.4): in a vessel, or in a duct."""
    said = _text(dataset, "ContrastBolusAgent").upper()
    named = bool(said) and said not in _NO_AGENT
    return named or bool(_sequence(dataset, "ContrastBolusAgentSequence"))


def _sources(dataset: Dataset) -> tuple[str, ...]:
    items = _sequence(dataset, "SourceImageSequence")[:_MOST_SOURCES]
    return tuple(uid for item in items if (uid := _text(item, "ReferencedSOPInstanceUID")))


def _ordered(dataset: Dataset) -> Ordered | None:
    """Read which breasts were asked for: by code, by the meaning of a code, by description."""
    requests = _sequence(dataset, "RequestAttributesSequence")
    holders = [*requests, dataset]
    codes = [
        item
        for holder in holders
        for keyword in _ORDER_CODES
        for item in _sequence(holder, keyword)
    ]
    said = {ORDERED[value] for item in codes if (value := _text(item, "CodeValue")) in ORDERED}
    if not said:
        texts = [_text(item, "CodeMeaning") for item in codes]
        said = {side for text in texts if (side := words.ordered(text))}
    if not said:
        texts = [_text(holder, keyword) for holder in holders for keyword in _ORDER_TEXTS]
        said = {side for text in texts if (side := words.ordered(text))}
    named = said - {Ordered.ONE}
    if len(named) > 1:
        return Ordered.BOTH
    return next(iter(named or said), None)


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Pixel Spacing, or Imager Pixel Spacing over the magnification (PS3.3 C.8.11.7.1.3).

    Where both are the same, that of the detector was copied, and nothing is corrected in it yet
    (PS3.3 10.7.1.3).
    """
    spacing, at_detector = (_pair(dataset, f"{which}PixelSpacing") for which in ("", "Imager"))
    if spacing is None or spacing == at_detector:
        spacing = at_detector
        magnification = _magnification(dataset)
        if spacing is not None and 0.5 <= magnification <= 4:
            spacing = (spacing[0] / magnification, spacing[1] / magnification)
    # Other values are typing mistakes or microscopy.
    plausible = spacing is not None and all(0.005 <= value <= 5 for value in spacing)
    return spacing if plausible else None


def _magnification(dataset: Dataset) -> float:
    return _number(dataset, "EstimatedRadiographicMagnificationFactor", float) or 1.0


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    values = plain_texts(dataset, keyword) or _value(dataset, keyword)
    try:
        first, second = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return first, second


def _number(dataset: Dataset, keyword: str, kind: Callable[[Any], Value]) -> Value | None:
    plain = plain_number(dataset, keyword)
    try:
        return kind(_value(dataset, keyword) if plain is None else plain)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    plain = plain_text(dataset, keyword)
    if plain is not None:
        return plain.strip()
    value = _value(dataset, keyword)
    # A NUL inside a value is refused by databases; it never means anything. What designates
    # ISO 2022 IR 58 (PS3.3 C.12.1.1.2) is left in the text by the library.
    return "" if value is None else str(value).replace("\0", "").replace("\x1b$)A", "").strip()


def _sequence(dataset: Dataset, keyword: str) -> list[Dataset]:
    value = _value(dataset, keyword)
    try:
        return [item for item in value if isinstance(item, Dataset)]
    except TypeError:
        return []


def _value(dataset: Dataset, keyword: str) -> Any:
    if is_absent(dataset, keyword):
        return None
    # Values are parsed when they are touched, and a broken one may raise nearly anything.
    try:
        return dataset.get(keyword)
    except Exception:
        return None
