"""Brain tumour MRI, four classes: ``Training/`` and ``Testing/`` with a folder per class.

Kaggle, masoudnickparvar/brain-tumor-mri-dataset. Patients are not told, and the same picture
stands in both parts or several times: `training.duplicates` finds them, and the protocol keeps
copies together.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from training.datasets.example import Example
from training.datasets.pictures import grey_picture
from training.datasets.record import Split
from training.datasets.tables import DataSetFault

SOURCE = "brain_mri"
CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
_PARTS = {"Training": Split.TRAIN, "Testing": Split.TEST}
_ENDINGS = frozenset({".jpg", ".jpeg", ".png"})


def read_brain_mri(folder: Path) -> list[Example]:
    """List the pictures of a download.

    Raises
    ------
    DataSetFault
        When a part or class has no folder, or a folder is no class.
    """
    examples: list[Example] = []
    for part, split in _PARTS.items():
        root = folder / part
        if not root.is_dir():
            raise DataSetFault(f"There is no {root}; is it the folder of the brain tumour set?")
        unknown = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name not in CLASSES)
        if unknown:
            raise DataSetFault(f"{root / unknown[0]} is no class; expected {', '.join(CLASSES)}.")
        for name in CLASSES:
            pictures = [p for p in sorted((root / name).glob("*")) if p.suffix.lower() in _ENDINGS]
            if not pictures:
                raise DataSetFault(f"There is no picture in {root / name}; it is incomplete.")
            examples.extend(_picture(path, part, name, split) for path in pictures)
    return examples


def _picture(path: Path, part: str, label: str, split: Split) -> Example:
    key = f"{part}_{label}_{path.stem}"
    return Example(
        source=SOURCE,
        key=key,
        patient=key,
        label=label,
        split=split,
        files=(path,),
        read_image=partial(grey_picture, path),
    )
