"""What the classes of the picture recipes mean, in codes, and which images they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.recipe import Recipe

_SCT = "SCT"
_BREAST = ("76752008", _SCT, "Breast")
_MICROSCOPE = ("GM", "SM")


@dataclass(frozen=True, slots=True)
class _Meaning:
    """Organ, modalities, codes by class, and the class that says that there is nothing."""

    site: tuple[str, str, str]
    modalities: tuple[str, ...]
    codes: Mapping[str, tuple[str, str, str]]
    absence: str = ""


_MEANINGS: Mapping[str, _Meaning] = {
    "brain_mri": _Meaning(
        ("12738006", _SCT, "Brain"),
        ("MR",),
        {
            "glioma": ("393564001", _SCT, "Glioma"),
            "meningioma": ("302820008", _SCT, "Intracranial meningioma"),
            "pituitary": ("127024001", _SCT, "Neoplasm of pituitary gland"),
            "notumor": ("111286", "DCM", "No abnormality"),
        },
        "notumor",
    ),
    "breakhis": _Meaning(
        _BREAST,
        _MICROSCOPE,
        {
            "benign": ("3898006", _SCT, "Neoplasm, benign"),
            "malignant": ("86049000", _SCT, "Malignant neoplasm, primary"),
        },
    ),
    "pcam": _Meaning(
        ("59441001", _SCT, "Lymph node"),
        _MICROSCOPE,
        {"tumour": ("14799000", _SCT, "Neoplasm, metastatic")},
        "normal",
    ),
    "bcss": _Meaning(
        _BREAST,
        _MICROSCOPE,
        {
            "tumour": ("108369006", _SCT, "Neoplasm"),
            "inflammatory": ("409774005", _SCT, "Inflammation"),
            "necrosis": ("6574001", _SCT, "Necrosis"),
        },
        "other",
    ),
}


def picture_meaning(recipe: Recipe) -> dict[str, Any]:
    """Write the part of the table ``oncopixel`` that tells what the answer of a picture means.

    A set without an entry, such as a folder of one's own, is taken for tissue under a microscope;
    its classes get codes of the private scheme.
    """
    meaning = _MEANINGS.get(recipe.data.sets[0])
    if meaning is None:
        meaning = _Meaning(("85756007", _SCT, "Tissue"), _MICROSCOPE, {})
    classes = [
        {
            "name": name,
            **({"code": list(meaning.codes[name])} if name in meaning.codes else {}),
            **({"absence": True} if name == meaning.absence else {}),
        }
        for name in recipe.data.classes
    ]
    return {
        "reads": "picture",
        "classes": classes,
        "site": list(meaning.site),
        "eligibility": {"modalities": list(meaning.modalities)},
    }
