"""What a header says, read with tolerance: an odd header never raises, it only says less."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ImageFacts, Laterality, StudyHeader, View

Value = TypeVar("Value")

#: PS3.16 CID 4014 in SNOMED CT, and the older SNOMED-RT codes of files still in archives.
_VIEWS = {
    "399162004": View.CC,
    "R-10242": View.CC,
    "399368009": View.MLO,
    "R-10226": View.MLO,
}
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def read_image_facts(dataset: Dataset) -> ImageFacts:
    """Read what routing and reports need from a data set.

    Parameters
    ----------
    dataset
        With ``file_meta`` for the transfer syntax. Its pixel data need not be loaded; that the
        element is there is enough.
    """
    meta = getattr(dataset, "file_meta", None)
    with warnings.catch_warnings():
        # Their texts quote values, and values of a header are nobody's business in a log.
        warnings.simplefilter("ignore")
        return ImageFacts(
            sop_instance_uid=_text(dataset, "SOPInstanceUID"),
            sop_class_uid=_text(dataset, "SOPClassUID"),
            series_instance_uid=_text(dataset, "SeriesInstanceUID"),
            study_instance_uid=_text(dataset, "StudyInstanceUID"),
            transfer_syntax_uid="" if meta is None else _text(meta, "TransferSyntaxUID"),
            modality=_text(dataset, "Modality").upper(),
            presentation_intent=_text(dataset, "PresentationIntentType").upper(),
            laterality=_laterality(dataset),
            view=_view(dataset),
            view_modifiers=_modifiers(dataset),
            partial_view=_text(dataset, "PartialView").upper() == "YES",
            implant=_text(dataset, "BreastImplantPresent").upper() == "YES",
            quality_control=_text(dataset, "QualityControlImage").upper() == "YES",
            rows=_number(dataset, "Rows", int) or 0,
            columns=_number(dataset, "Columns", int) or 0,
            frames=_number(dataset, "NumberOfFrames", int) or 1,
            samples_per_pixel=_number(dataset, "SamplesPerPixel", int) or 1,
            photometric=_text(dataset, "PhotometricInterpretation").upper(),
            spacing_mm=_spacing(dataset),
            has_pixel_data=any(keyword in dataset for keyword in _PIXEL_KEYWORDS),
            manufacturer=_text(dataset, "Manufacturer"),
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
        )


def _laterality(dataset: Dataset) -> Laterality | None:
    for keyword in ("ImageLaterality", "Laterality"):
        text = _text(dataset, keyword).upper()
        if text in tuple(Laterality):
            return Laterality(text)
    # Some units write the breast into the view: RCC, LMLO, RIGHT MLO.
    position = _text(dataset, "ViewPosition").upper()
    for side, names in ((Laterality.RIGHT, ("RIGHT", "R")), (Laterality.LEFT, ("LEFT", "L"))):
        for name in names:
            rest = position.removeprefix(name).strip(" _-")
            if position.startswith(name) and rest in ("CC", "MLO", "ML", "LM"):
                return side
    return None


def _view(dataset: Dataset) -> View | None:
    for code in _sequence(dataset, "ViewCodeSequence")[:1]:
        value = _text(code, "CodeValue")
        if value:
            return _VIEWS.get(value, View.OTHER)
    position = _text(dataset, "ViewPosition").upper()
    if not position:
        return None
    for view in (View.MLO, View.CC):
        if position in (view, f"R{view}", f"L{view}", f"RIGHT {view}", f"LEFT {view}"):
            return view
    return View.OTHER


def _modifiers(dataset: Dataset) -> tuple[str, ...]:
    # They belong into the view code; some units write them beside it.
    return tuple(
        _text(item, "CodeMeaning") or _text(item, "CodeValue") or "?"
        for holder in (*_sequence(dataset, "ViewCodeSequence")[:1], dataset)
        for item in _sequence(holder, "ViewModifierCodeSequence")
    )


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Pixel Spacing, or Imager Pixel Spacing over the magnification (PS3.3 C.8.11.7.1.3)."""
    spacing = _pair(dataset, "PixelSpacing")
    if spacing is None:
        spacing = _pair(dataset, "ImagerPixelSpacing")
        magnification = _number(dataset, "EstimatedRadiographicMagnificationFactor", float) or 1.0
        if spacing is not None and 0.5 <= magnification <= 4:
            spacing = (spacing[0] / magnification, spacing[1] / magnification)
    # Other values are typing mistakes or microscopy.
    plausible = spacing is not None and all(0.005 <= value <= 5 for value in spacing)
    return spacing if plausible else None


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    values = _value(dataset, keyword)
    try:
        first, second = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return first, second


def _number(dataset: Dataset, keyword: str, kind: Callable[[Any], Value]) -> Value | None:
    try:
        return kind(_value(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    value = _value(dataset, keyword)
    # A NUL inside a value is refused by databases; it never means anything.
    return "" if value is None else str(value).replace("\0", "").strip()


def _sequence(dataset: Dataset, keyword: str) -> list[Dataset]:
    value = _value(dataset, keyword)
    try:
        return [item for item in value if isinstance(item, Dataset)]
    except TypeError:
        return []


def _value(dataset: Dataset, keyword: str) -> Any:
    # Values are parsed when they are touched, and a broken one may raise nearly anything.
    try:
        return dataset.get(keyword)
    except Exception:
        return None
