"""Why an image is not analysed: one code and one sentence each. Speak of it as `domain.Reason`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Reason(StrEnum):
    """Why an image is not analysed. The value is the stable code; `sentence` is for people."""

    REJECTED = "rejected"
    SEVERAL_PATIENTS = "several-patients"
    NOT_MAMMOGRAPHY = "not-mammography"
    FOR_PROCESSING = "for-processing"
    TOMOSYNTHESIS = "tomosynthesis"
    PROJECTION = "projection"
    CONTRAST = "contrast-agent"
    MULTI_FRAME = "multi-frame"
    NOT_MONOCHROME = "not-monochrome"
    NO_PIXEL_DATA = "no-pixel-data"
    NO_LATERALITY = "no-laterality"
    NO_VIEW = "no-view"
    UNSUPPORTED_VIEW = "unsupported-view"
    VIEW_MODIFIER = "view-modifier"
    PARTIAL_VIEW = "partial-view"
    BREAST_IMPLANT = "breast-implant"
    QUALITY_CONTROL = "quality-control"
    NO_PIXEL_SPACING = "no-pixel-spacing"
    UNREADABLE_PIXELS = "unreadable-pixels"
    BURNED_IN = "burned-in-annotation"
    STEREOTACTIC = "stereotactic"
    TURNED = "turned"
    BLANK = "blank"
    NO_BREAST = "no-breast"
    NOT_A_BREAST = "not-a-breast"
    MODEL_MODALITY = "model-modality"
    MODEL_SOP_CLASS = "model-sop-class"
    MODEL_VIEW = "model-view"
    MODEL_LATERALITY = "model-laterality"
    MODEL_PIXEL_SIZE = "model-pixel-size"
    MODEL_MANUFACTURER = "model-manufacturer"
    MODEL_RULE = "model-rule"
    ANOTHER_MODEL = "model-another"
    ANALYSIS_FAILED = "analysis-failed"

    @property
    def sentence(self) -> str:
        """One sentence that says what is wrong with the image."""
        return _REASON_SENTENCES[self]


_REASON_SENTENCES: Mapping[Reason, str] = {
    Reason.REJECTED: "A rejection note takes the image back (IHE IOCM).",
    Reason.SEVERAL_PATIENTS: "The images of the study name different patients (Patient ID).",
    Reason.NOT_MAMMOGRAPHY: "The image is not a digital mammogram (modality or SOP class).",
    Reason.FOR_PROCESSING: "The image is For Processing; the models read For Presentation images.",
    Reason.TOMOSYNTHESIS: "The image is a tomosynthesis volume; the models read 2D mammograms.",
    Reason.PROJECTION: "The image is one projection of a tomosynthesis (Image Type).",
    Reason.CONTRAST: "The image shows contrast agent; the models read the low-energy image.",
    Reason.MULTI_FRAME: "The image has more than one frame.",
    Reason.NOT_MONOCHROME: "The image is not monochrome.",
    Reason.NO_PIXEL_DATA: "The object holds no pixel data.",
    Reason.NO_LATERALITY: "Image Laterality is missing, so the breast is unknown.",
    Reason.NO_VIEW: "View Code Sequence and View Position are missing, so the view is unknown.",
    Reason.UNSUPPORTED_VIEW: "The view is neither cranio-caudal nor medio-lateral oblique.",
    Reason.VIEW_MODIFIER: "The view carries a modifier (spot, magnification, implant displaced).",
    Reason.PARTIAL_VIEW: "The image is marked as a partial view of the breast.",
    Reason.BREAST_IMPLANT: "The breast has an implant.",
    Reason.QUALITY_CONTROL: "The image shows a test object or is for quality control.",
    Reason.NO_PIXEL_SPACING: "Imager Pixel Spacing is missing, so sizes are unknown.",
    Reason.UNREADABLE_PIXELS: "The pixel data cannot be decoded.",
    Reason.BURNED_IN: "Text is burned into the image (Burned In Annotation is YES).",
    Reason.STEREOTACTIC: "The image was taken for a biopsy (Image Type).",
    Reason.TURNED: "The image is turned by a quarter (Patient Orientation).",
    Reason.BLANK: "The image is blank: all of its pixels are alike.",
    Reason.NO_BREAST: "No breast was found in the image.",
    Reason.NOT_A_BREAST: "What the image shows is not shaped like a breast.",
    Reason.MODEL_MODALITY: "The model does not read images of this modality.",
    Reason.MODEL_SOP_CLASS: "The model does not read images of this SOP class.",
    Reason.MODEL_VIEW: "The model does not read this view.",
    Reason.MODEL_LATERALITY: "The model does not read this breast.",
    Reason.MODEL_PIXEL_SIZE: "The pixels are smaller or larger than the model reads.",
    Reason.MODEL_MANUFACTURER: "The model does not read images of this manufacturer.",
    Reason.MODEL_RULE: "The rule for the model leaves the image out.",
    Reason.ANOTHER_MODEL: "Another model with the same task reads the study.",
    Reason.ANALYSIS_FAILED: "The analysis of the study failed, so the models said nothing of it.",
}
