"""Images whose lesions lie beside them as mask pictures: the layout of several small sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets.record import Split
from training.datasets.tables import Row, read_grey, read_mask, split_of


@dataclass(frozen=True, slots=True)
class OutlinedImage:
    """One picture and the mask of its outlined lesions."""

    image_path: Path
    mask_path: Path
    key: str
    patient: str
    split: Split
    spacing_mm: tuple[float, float]
    source: str
    malignant: bool | None = None

    def pixels(self) -> NDArray[np.float32]:
        """Image, ``(rows, columns)``, in [0, 1]."""
        return read_grey(self.image_path)

    def lesions(self) -> NDArray[np.bool_]:
        """Everything that was outlined, ``(rows, columns)``."""
        return read_mask(self.mask_path)


def outlined_image(
    folder: Path,
    row: Row,
    splits: dict[str, Split],
    pixel_mm: float,
    source: str,
    malignant: bool | None = None,
) -> OutlinedImage:
    """Describe the image of one table row: ``images/``, ``masks/`` and ``splits.csv`` in `folder`.

    Raises
    ------
    DataSetFault
        When the patient stands in no split.
    """
    return OutlinedImage(
        image_path=folder / "images" / row["image"],
        mask_path=folder / "masks" / row["mask"],
        key=Path(row["image"]).stem,
        patient=row["patient"],
        split=split_of(row["patient"], splits, folder / "splits.csv"),
        spacing_mm=(pixel_mm, pixel_mm),
        source=source,
        malignant=malignant,
    )
