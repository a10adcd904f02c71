"""Studies to measure with: many, with UIDs of their own, of few phantoms that take long to make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import imagecodecs
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLosslessSV1

from oncopixel_pacs.domain.uids import derive_uid
from sample_dicom.study import make_study

#: How images may be sent. Units send either; an archive in between mostly the latter.
SYNTAXES: Mapping[str, UID] = MappingProxyType(
    {"uncompressed": ExplicitVRLittleEndian, "jpeg-lossless": JPEGLosslessSV1}
)
_WOMEN = 4


def studies_in(
    folder: Path, number: int, rows: int, columns: int, syntax: str
) -> list[Sequence[Path]]:
    """Give the files of so many studies; what is missing of them is written first.

    Parameters
    ----------
    folder
        May hold what an earlier call wrote there.
    syntax
        One of `SYNTAXES`.
    """
    place = folder / f"{rows}x{columns}-{syntax}"
    studies = [place / f"study-{item:04d}" for item in range(number)]
    for woman in range(_WOMEN):
        missing = [study for study in studies[woman::_WOMEN] if not study.exists()]
        if not missing:
            continue
        images = [image.dataset for image in make_study(woman + 1, rows=rows, columns=columns)]
        for image in images:
            _encode(image, SYNTAXES[syntax])
        for study in missing:
            _write(study, images)
    return [sorted(study.iterdir()) for study in studies]


def _encode(image: Dataset, syntax: UID) -> None:
    if syntax != JPEGLosslessSV1:
        return
    codestream = imagecodecs.ljpeg_encode(image.pixel_array, bitspersample=image.BitsStored)
    image.PixelData = encapsulate([codestream])
    image["PixelData"].VR = "OB"
    image.file_meta.TransferSyntaxUID = syntax


def _write(study: Path, images: Sequence[Dataset]) -> None:
    """Write images as a study of its own; the folder gets its name when all are there."""
    unfinished = study.with_suffix(".part")
    unfinished.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(image, keyword, derive_uid(study.name, image[keyword].value))
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(unfinished / f"{number}.dcm", enforce_file_format=True)
    unfinished.rename(study)
