"""BreakHis: 700 x 460 microscope pictures of breast tumours at four magnifications.

Spanhol et al., IEEE Trans. Biomed. Eng. 63, 1455 (2016). Everything stands in the file name:
``SOB_B_TA-14-4659-40-001.png``. A slide number's letters tell the pieces of one patient apart, so
the patient is the number: 13412 stands under two subtypes, and 22549 on several slides.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from training.datasets.example import Example
from training.datasets.pictures import colour_picture
from training.datasets.tables import DataSetFault

SOURCE = "breakhis"
_NAME = re.compile(
    r"^SOB_([BM])_(A|F|PT|TA|DC|LC|MC|PC)-(\d{2})-(\d+)([A-Z]*)-(40|100|200|400)-(\d+)$"
)
SUBTYPES = {
    "A": "adenosis",
    "F": "fibroadenoma",
    "PT": "phyllodes tumor",
    "TA": "tubular adenoma",
    "DC": "ductal carcinoma",
    "LC": "lobular carcinoma",
    "MC": "mucinous carcinoma",
    "PC": "papillary carcinoma",
}


def read_breakhis(folder: Path) -> list[Example]:
    """List every picture below `folder`, in the published tree or in one flat folder.

    Raises
    ------
    DataSetFault
        When no picture is there or a name cannot be understood.
    """
    pictures = sorted(folder.rglob("SOB_*.png"))
    if not pictures:
        raise DataSetFault(f"There is no SOB_*.png below {folder}; is it the folder of BreakHis?")
    return [_picture(path) for path in pictures]


def _picture(path: Path) -> Example:
    match = _NAME.match(path.stem)
    if match is None:
        raise DataSetFault(
            f"{path} is not named as published, such as SOB_B_TA-14-4659-40-001.png."
        )
    kind, subtype, year, slide, piece, magnification, _ = match.groups()
    if (kind == "B") != (subtype in ("A", "F", "PT", "TA")):
        raise DataSetFault(f"{path}: {subtype} does not go with {kind}; restore the file's name.")
    return Example(
        source=SOURCE,
        key=path.stem,
        patient=f"{year}-{slide}",
        label={"B": "benign", "M": "malignant"}[kind],
        split=None,
        files=(path,),
        read_image=partial(colour_picture, path),
        facts={
            "subtype": SUBTYPES[subtype],
            "magnification": f"{magnification}X",
            "slide": f"{year}-{slide}{piece}",
        },
    )
