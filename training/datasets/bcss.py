"""BCSS: regions of breast cancer slides with a tissue class per pixel.

Amgad et al., Bioinformatics 35, 3461 (2019). Two layouts: the published regions
(``rgbs_colorCropped/`` and ``masks/``), and the tiles of 224 x 224 (``train/``, ``train_mask/``,
``val/``, ``val_mask/``). The 22 codes become the five classes of the paper; what lies outside the
region is ignored. The official test part is that of the institutes in `TEST_INSTITUTES`.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from training.datasets.example import IGNORED, Classes, Example
from training.datasets.pictures import colour_picture
from training.datasets.record import Split
from training.datasets.tables import DataSetFault, open_picture

SOURCE = "bcss"
CLASSES = ("tumour", "stroma", "inflammatory", "necrosis", "other")
TEST_INSTITUTES = frozenset({"OL", "LL", "E2", "EW", "GM", "S3"})
_CODES = {0: IGNORED, 1: 0, 19: 0, 20: 0, 2: 1, 3: 2, 10: 2, 11: 2, 4: 3}
_LARGEST_CODE = 21
_NAME = re.compile(r"^TCGA-([A-Z0-9]{2})-([A-Z0-9]{4})")
_LAYOUTS = (
    ("rgbs_colorCropped", "masks"),
    ("images", "masks"),
    ("train", "train_mask"),
    ("val", "val_mask"),
    ("train_512", "train_mask_512"),
    ("val_512", "val_mask_512"),
)


def read_bcss(folder: Path) -> list[Example]:
    """List the regions or tiles of a download.

    Raises
    ------
    DataSetFault
        When no picture is there, a mask is missing or a name cannot be understood.
    """
    examples = [
        _tile(path, folder / masks / path.name)
        for images, masks in _LAYOUTS
        for path in sorted((folder / images).glob("*.png"))
    ]
    if not examples:
        raise DataSetFault(
            f"{folder} holds no rgbs_colorCropped/*.png and no train/*.png; is it the folder of "
            "BCSS?"
        )
    return sorted(examples, key=lambda one: one.key)


def _tile(path: Path, mask: Path) -> Example:
    match = _NAME.match(path.name)
    if match is None:
        raise DataSetFault(f"{path} is not named after its slide, such as TCGA-A1-A0SK-….png.")
    if not mask.is_file():
        raise DataSetFault(f"There is no {mask}, the mask of {path.name}; it is incomplete.")
    institute, patient = match.groups()
    return Example(
        source=SOURCE,
        key=path.stem,
        patient=f"{institute}-{patient}",
        label=None,
        split=Split.TEST if institute in TEST_INSTITUTES else None,
        files=(path, mask),
        read_image=partial(colour_picture, path),
        read_mask=partial(_mask, mask),
        facts={"institute": institute},
    )


def _mask(path: Path) -> Classes:
    codes = np.asarray(open_picture(path))
    if codes.ndim != 2 or codes.max() > _LARGEST_CODE:
        raise DataSetFault(
            f"{path} does not hold class codes of 0 to {_LARGEST_CODE}; take the masks as "
            "published, not a coloured copy."
        )
    table = np.full(_LARGEST_CODE + 1, CLASSES.index("other"), dtype=np.uint8)
    for code, number in _CODES.items():
        table[code] = number
    classes: Classes = table[codes]
    return classes
